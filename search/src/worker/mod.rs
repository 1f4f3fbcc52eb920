//! Trials in processes of their own: whatever a trial does, the search goes on.
//!
//! ```text
//! tune ── Workers::evaluate ──┬── alcop worker     evaluates one schedule at a time, and stays for the next one
//!                             └── alcop worker     … killed, reaped and replaced when it hangs, dies or takes too much
//! ```
//!
//! | a trial | its record |
//! | --- | --- |
//! | takes longer than a phase may | `timed-out`, as [`watch`](crate::watch) says it |
//! | takes more memory than it may | `compile-failed` or `run-failed` by its phase: "… took more than 4096 MiB" |
//! | aborts, faults, exits, answers nonsense | likewise, with the signal or exit code and the last lines of its standard error |
//! | panics | `panicked`, by the worker, which stays |
//! | leaves more than half of what a worker may take | the worker goes after it |
//!
//! Workers end with the search, however that ends: their standard input is closed then ([`serve_with`]). They do not see
//! Ctrl-C, so that running trials finish.
//!
//! Memory is what a worker has in RAM and in swap, looked at every 20 ms. A limit of the system on what it may *ask for*
//! (`RLIMIT_DATA`, `RLIMIT_AS`) would leave it to LLVM what becomes of a refused allocation, say nothing of why the process
//! died, and count what drivers reserve and never touch. Between two looks a worker can take as much as one can write in
//! 20 ms; where that is the machine's last, the system's choice is a worker and not the search (`oom_score_adj`).

mod process;
mod protocol;
mod serve;

use std::fmt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alcop_spec::TileSchedule;
pub use alcop_system::usage::available_mib;

use process::{Event, GRACE, Listener, Process};
pub use protocol::{DeviceSpec, FromWorker, Job, PROTOCOL, ToWorker};
#[cfg(feature = "compile")]
pub use serve::serve;
pub use serve::serve_with;

use crate::CODE_VERSION;
use crate::journal::Status;
use crate::tune::{Effort, TrialFailure, TrialOutcome};
use crate::watch::{Phase, TICK, Timeouts, Watch, timed_out};

/// What a trial may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time, by phase. A worker's start is part of [`Phase::Queueing`].
    pub timeouts: Timeouts,
    /// Memory of its worker, operands included, in MiB; `None`: as much as it takes. Linux only.
    pub memory_mib: Option<u64>,
}

/// Worker processes for the trials of one search: as many as are evaluated at once, started when they are needed.
///
/// ```no_run
/// use std::process::Command;
/// use alcop_search::watch::Timeouts;
/// use alcop_search::worker::{DeviceSpec, Job, Limits, Workers};
/// use alcop_spec::{AxisTiles, DType, GpuTarget, Layout, Matmul, OpSpec};
///
/// // In a process of its own the program calls `alcop_search::worker::serve()`.
/// let program = std::env::current_exe().expect("a program");
/// let op = OpSpec::Matmul(Matmul { m: 512, n: 768, k: 3072, batch: 1, dtype: DType::F16, out_dtype: DType::F32,
///     layout: Layout::Nn });
/// let target = GpuTarget::resolve("a100").expect("an embedded device");
/// let device = DeviceSpec::Simulator(Box::new(target.clone()));
/// let command = move || {
///     let mut command = Command::new(&program);
///     command.arg("worker");
///     command
/// };
/// let limits = Limits { timeouts: Timeouts::NONE, memory_mib: Some(4096) };
/// let workers = Workers::new(command, Job { op, target, device }, limits);
/// // let report = tune(…, |schedule, effort| workers.evaluate(schedule, effort), …);
/// ```
pub struct Workers {
    command: Box<dyn Fn() -> Command + Send + Sync>,
    job: Job,
    limits: Limits,
    listener: Option<Listener>,
    idle: Mutex<Vec<Process>>,
    /// Whether some worker measures: kernels must not disturb each other.
    measuring: AtomicBool,
    /// How long a worker that says nothing any more may take to end by itself.
    grace: Duration,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Workers { job, limits, idle, .. } = self;
        f.debug_struct("Workers")
            .field("job", job)
            .field("limits", limits)
            .field("idle", idle)
            .finish_non_exhaustive()
    }
}

impl Workers {
    /// Workers are processes of `command`, which calls [`serve_with`] there; its standard streams are taken.
    pub fn new(command: impl Fn() -> Command + Send + Sync + 'static, job: Job, limits: Limits) -> Workers {
        Workers {
            command: Box::new(command),
            job,
            limits,
            listener: None,
            idle: Mutex::default(),
            measuring: AtomicBool::new(false),
            grace: GRACE,
        }
    }

    /// `listener` sees each line that a worker prints on standard error.
    pub fn on_stderr(self, listener: impl Fn(&str) + Send + Sync + 'static) -> Workers {
        Workers {
            listener: Some(Arc::new(listener)),
            ..self
        }
    }

    /// Starts the first worker, for the first trial: what fails here would fail every trial.
    ///
    /// # Errors
    /// The command cannot be started, is no worker of this version, or has no such device.
    pub fn start(&self) -> Result<(), TrialFailure> {
        let worker = self.fresh(&Watch::start())?;
        self.idle().push(worker);
        Ok(())
    }

    /// Evaluates one schedule, for [`tune`](crate::tune::tune()); may be called on several threads.
    pub fn evaluate(&self, schedule: &TileSchedule, effort: Effort) -> TrialOutcome {
        self.evaluate_on(&Watch::start(), schedule, effort)
    }

    /// The same, by this clock.
    fn evaluate_on(&self, watch: &Watch, schedule: &TileSchedule, effort: Effort) -> TrialOutcome {
        let worker = match self.take_idle() {
            Some(worker) => worker,
            None => self.fresh(watch)?,
        };
        worker.forget_words();
        let schedule = *schedule;
        worker.say(ToWorker::Evaluate { schedule, effort });
        // Freed when the worker has answered or is gone.
        let mut turn = None;
        let answer = self.attend(&worker, watch, &mut turn, "");
        let late = watch.exceeded(&self.limits.timeouts);
        let failure = match answer {
            Ok(FromWorker::Outcome(outcome)) => {
                if self.has_room(&worker) {
                    self.idle().push(worker);
                }
                return late.map_or(outcome, |(phase, limit)| Err(timed_out(phase, limit)));
            }
            Ok(other) => Ending::Nonsense(format!("{other:?}")).failure(worker, watch.now().0),
            Err(ending) => ending.failure(worker, watch.now().0),
        };
        tracing::debug!(%schedule, reason = failure.reason, "a worker is lost");
        Err(failure)
    }

    /// A worker that waits for a trial: it has not ended meanwhile, and has said nothing that the next trial's answer could
    /// be confused with.
    fn take_idle(&self) -> Option<Process> {
        loop {
            let mut worker = self.idle().pop()?;
            if worker.lives() && worker.next(Duration::ZERO).is_none() {
                return Some(worker);
            }
        }
    }

    /// The limit, if a worker has reached it.
    fn too_much_mib(&self, worker: &Process) -> Option<u64> {
        let reached = |limit_mib: &u64| worker.taken_bytes().is_some_and(|taken| taken >> 20 >= *limit_mib);
        self.limits.memory_mib.filter(reached)
    }

    /// Whether the next trial has most of the limit for itself: what a worker keeps of earlier ones counts, too.
    fn has_room(&self, worker: &Process) -> bool {
        let keeps = |limit_mib: u64| worker.taken_bytes().is_some_and(|taken| taken >> 20 > limit_mib / 2);
        !self.limits.memory_mib.is_some_and(keeps)
    }

    /// A new worker that is ready.
    fn fresh(&self, watch: &Watch) -> Result<Process, TrialFailure> {
        let started = Instant::now();
        let failed = |reason: String| TrialFailure {
            status: Status::RunFailed,
            reason: format!("no worker for the trial: {reason}"),
        };
        let command = (self.command)();
        let program = command.get_program().to_string_lossy().into_owned();
        let worker = Process::start(command, self.listener.clone(), self.grace)
            .map_err(|error| failed(format!("{program} cannot be started: {error}")))?;
        let job = Box::new(self.job.clone());
        let protocol = PROTOCOL;
        worker.say(ToWorker::Start { protocol, job });
        let answer = self.attend(&worker, watch, &mut None, "starting");
        // What has too much before its first trial was ready before anybody looked.
        let answer = answer.and_then(|said| match self.too_much_mib(&worker) {
            Some(limit_mib) => Err(Ending::Memory("starting", limit_mib)),
            None => Ok(said),
        });
        let reason = match answer {
            Ok(FromWorker::Ready { protocol, code }) if (protocol, &*code) == (PROTOCOL, CODE_VERSION) => {
                tracing::debug!(seconds = started.elapsed().as_secs_f64(), "a worker is ready");
                return Ok(worker);
            }
            Ok(FromWorker::Ready { protocol, code }) => format!(
                "{program} is alcop {code} with protocol {protocol}, and the search alcop {CODE_VERSION} with protocol \
                 {PROTOCOL}"
            ),
            Ok(FromWorker::Refused { reason }) => reason,
            Ok(other) => {
                Ending::Nonsense(format!("{other:?}"))
                    .failure(worker, Phase::Queueing)
                    .reason
            }
            Err(ending) => {
                let failure = ending.failure(worker, Phase::Queueing);
                if failure.status == Status::TimedOut {
                    return Err(failure);
                }
                failure.reason
            }
        };
        Err(failed(reason))
    }

    /// Follows a worker until it has said what is no phase, or must end. `doing` names what it does in place of its phase.
    fn attend<'a>(
        &'a self,
        worker: &Process,
        watch: &Watch,
        turn: &mut Option<Turn<'a>>,
        doing: &'static str,
    ) -> Result<FromWorker, Ending> {
        let timeouts = self.limits.timeouts;
        let mut asks = false;
        loop {
            let (phase, spent) = watch.now();
            let left = timeouts.of(phase).map(|limit| limit.saturating_sub(spent));
            match worker.next(left.unwrap_or(TICK).min(TICK)) {
                Some(Event::Said(FromWorker::Phase(phase))) => {
                    watch.enter(phase);
                    asks = phase == Phase::Queueing;
                }
                Some(Event::Said(last)) => return Ok(last),
                Some(Event::Garbage(line)) => return Err(Ending::Nonsense(line)),
                Some(Event::Closed) => return Err(Ending::Death(doing)),
                None => {}
            }
            if let Some((phase, limit)) = watch.exceeded(&timeouts) {
                return Err(Ending::Time(phase, limit));
            }
            if let Some(limit_mib) = self.too_much_mib(worker) {
                return Err(Ending::Memory(doing, limit_mib));
            }
            if asks {
                *turn = turn.take().or_else(|| Turn::take(&self.measuring));
                if turn.is_some() {
                    worker.say(ToWorker::Measure);
                    asks = false;
                }
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Process>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The device, as long as one worker measures.
struct Turn<'a>(&'a AtomicBool);

impl Turn<'_> {
    fn take(measuring: &AtomicBool) -> Option<Turn<'_>> {
        (!measuring.swap(true, Ordering::Acquire)).then(|| Turn(measuring))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Why a worker has to go. The text is what it did, where that is no phase.
enum Ending {
    /// A phase took longer than its limit.
    Time(Phase, Duration),
    /// It took more than so many MiB.
    Memory(&'static str, u64),
    /// It is dead, or says nothing any more.
    Death(&'static str),
    /// What it said is no message, or none that fits.
    Nonsense(String),
}

impl Ending {
    /// Ends the worker; what is recorded of its trial.
    fn failure(self, worker: Process, phase: Phase) -> TrialFailure {
        let (name, _) = phase.names();
        let named = |doing: &'static str| if doing.is_empty() { name } else { doing };
        let reason = match self {
            Ending::Time(phase, limit) => return timed_out(phase, limit),
            Ending::Memory(doing, limit_mib) => {
                format!("{} took more than {limit_mib} MiB (--memory-limit)", named(doing))
            }
            Ending::Death(doing) => format!("{} ended the worker: {}", named(doing), worker.obituary()),
            Ending::Nonsense(said) => format!("the worker's answer is no message that fits: {said}"),
        };
        let status = match phase {
            Phase::Compiling => Status::CompileFailed,
            Phase::Queueing | Phase::Running => Status::RunFailed,
        };
        TrialFailure { status, reason }
    }
}

#[cfg(test)]
mod tests;

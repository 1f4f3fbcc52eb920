//! Time-outs of trials: queueing, compiling and running are watched apart.
//!
//! An evaluation says what it does ([`Watch::enter`]), and who waits for it gives up once a phase has taken longer than it
//! may ([`Status::TimedOut`]). [`worker`](crate::worker) evaluates in processes, which are ended then; [`with_timeouts`]
//! evaluates on threads of the search's own process, for which a closure is enough.
//!
//! A thread cannot be stopped from outside: what hangs is left behind and replaced: the next trial gets new threads. What
//! is left behind has the lowest priority from then on (on Linux), so that any number of compiles that spin for ever
//! leaves the search its cores. Threads keep the search from nothing else: a trial that takes memory without end takes the
//! machine's, and one that aborts, or faults in native code, ends the search.
//!
//! ```
//! use std::time::Duration;
//! use alcop_search::journal::Status;
//! use alcop_search::tune::Effort;
//! use alcop_search::watch::{Phase, Timeouts, with_timeouts};
//! # use alcop_spec::{AxisTiles, Swizzle, TileSchedule};
//! # let schedule = TileSchedule { block: AxisTiles::mnk(64, 64, 32), warp: AxisTiles::mn(32, 32), shared_stages: 1,
//! #     register_stages: 1, swizzle: Swizzle::Xor, raster_rows: 1, split_k: 1 };
//!
//! let timeouts = Timeouts { compile: Some(Duration::from_millis(10)), ..Timeouts::NONE };
//! let evaluate = with_timeouts(timeouts, |_, _, watch| {
//!     watch.enter(Phase::Compiling);
//!     loop { std::thread::sleep(Duration::from_secs(1)) }
//! });
//! assert_eq!(evaluate(&schedule, Effort::Sample).unwrap_err().status, Status::TimedOut);
//! ```

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alcop_spec::TileSchedule;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};

use crate::journal::Status;
use crate::tune::{Effort, TrialFailure, TrialOutcome, guarded};

/// How long the waiter sleeps at most before it looks at the phase again: another one may have begun.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// What an evaluation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It waits for a thread or a worker, or for the device that another trial uses. Each evaluation begins so.
    Queueing,
    /// From the schedule to PTX.
    Compiling,
    /// The kernel is verified or timed.
    Running,
}

impl Phase {
    /// All of them, in the order of an evaluation.
    pub const ALL: [Phase; 3] = [Phase::Queueing, Phase::Compiling, Phase::Running];

    /// The name in a reason, and the option that sets its limit.
    pub(crate) const fn names(self) -> (&'static str, &'static str) {
        match self {
            Phase::Queueing => ("queueing", "--queue-timeout"),
            Phase::Compiling => ("compiling", "--compile-timeout"),
            Phase::Running => ("running", "--run-timeout"),
        }
    }
}

/// How long an evaluation may be in each phase, all its stays together; `None`: as long as it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Limit of [`Phase::Queueing`].
    pub queue: Option<Duration>,
    /// Limit of [`Phase::Compiling`].
    pub compile: Option<Duration>,
    /// Limit of [`Phase::Running`].
    pub run: Option<Duration>,
}

impl Timeouts {
    /// No limits.
    pub const NONE: Timeouts = Timeouts {
        queue: None,
        compile: None,
        run: None,
    };

    pub(crate) const fn of(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Queueing => self.queue,
            Phase::Compiling => self.compile,
            Phase::Running => self.run,
        }
    }
}

/// The clock of one evaluation.
#[derive(Clone)]
pub struct Watch {
    clock: Arc<Mutex<Clock>>,
    listener: Option<Arc<dyn Fn(Phase) + Send + Sync>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Clock {
    phase: Phase,
    since: Instant,
    /// Spent in earlier stays, by phase.
    spent: [Duration; Phase::ALL.len()],
}

impl Clock {
    fn enter(&mut self, phase: Phase) {
        let now = Instant::now();
        self.spent[self.phase as usize] += now - self.since;
        (self.phase, self.since) = (phase, now);
    }
}

impl Watch {
    /// A clock that starts now, in [`Phase::Queueing`].
    pub fn start() -> Watch {
        Watch {
            clock: Arc::new(Mutex::new(Clock {
                phase: Phase::Queueing,
                since: Instant::now(),
                spent: [Duration::ZERO; Phase::ALL.len()],
            })),
            listener: None,
        }
    }

    /// The same, and `listener` is told of each phase that is entered; the evaluation goes on when it returns.
    pub fn with_listener(listener: impl Fn(Phase) + Send + Sync + 'static) -> Watch {
        Watch {
            listener: Some(Arc::new(listener)),
            ..Watch::start()
        }
    }

    /// The evaluation goes over to a phase; it may come back to an earlier one.
    pub fn enter(&self, phase: Phase) {
        self.clock().enter(phase);
        if let Some(listener) = &self.listener {
            listener(phase);
        }
    }

    /// The phase, and the time in it so far.
    pub fn now(&self) -> (Phase, Duration) {
        let clock = self.clock();
        (clock.phase, clock.spent[clock.phase as usize] + clock.since.elapsed())
    }

    /// The first phase that has taken longer than it may, and its limit.
    pub(crate) fn exceeded(&self, timeouts: &Timeouts) -> Option<(Phase, Duration)> {
        let clock = self.clock();
        let mut spent = clock.spent;
        spent[clock.phase as usize] += clock.since.elapsed();
        Phase::ALL.into_iter().find_map(|phase| {
            timeouts
                .of(phase)
                .filter(|limit| spent[phase as usize] >= *limit)
                .map(|limit| (phase, limit))
        })
    }

    /// The phase has taken so much longer, without anybody waiting for it.
    #[cfg(test)]
    pub(crate) fn skip(&self, time: Duration) {
        let mut clock = self.clock();
        let phase = clock.phase;
        clock.spent[phase as usize] += time;
    }

    /// A clock on which each stay in a phase takes so much longer.
    #[cfg(test)]
    pub(crate) fn slow_in(slow: Phase, time: Duration) -> Watch {
        let watch = Watch::start();
        let inner = watch.clone();
        let listener = move |phase| {
            if phase == slow {
                inner.skip(time);
            }
        };
        Watch {
            listener: Some(Arc::new(listener)),
            ..watch
        }
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        // Plain numbers: valid whoever panicked.
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An evaluation with time-outs, for [`tune`](crate::tune::tune()): `evaluate` runs on threads of its own, as many as rayon
/// has, and its answer counts if it comes in time. A panic is an answer ([`Status::Panicked`]); against endless memory,
/// aborts and faults use [`Workers`](crate::worker::Workers).
pub fn with_timeouts<E>(timeouts: Timeouts, evaluate: E) -> impl Fn(&TileSchedule, Effort) -> TrialOutcome + Sync
where
    E: Fn(&TileSchedule, Effort, &Watch) -> TrialOutcome + Send + Sync + 'static,
{
    let evaluate = Arc::new(evaluate);
    // Threads of evaluations that ended, for the next ones. Those of one that hangs do not come back.
    let idle: Mutex<Vec<Threads>> = Mutex::new(Vec::new());
    move |schedule, effort| {
        let free = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let threads = match free.map_or_else(Threads::new, Ok) {
            Ok(threads) => threads,
            Err(error) => {
                return Err(TrialFailure {
                    status: Status::RunFailed,
                    reason: format!("no thread for the trial: {error}"),
                });
            }
        };
        let (sender, receiver) = mpsc::channel();
        let watch = Watch::start();
        let (evaluate, theirs, schedule) = (Arc::clone(&evaluate), watch.clone(), *schedule);
        threads.pool.spawn(move || {
            let outcome = guarded(|| evaluate(&schedule, effort, &theirs));
            // What comes after the answer is no part of the last phase.
            theirs.enter(Phase::Queueing);
            if sender.send(outcome).is_err() {
                tracing::debug!(%schedule, "a trial ended after its time-out");
            }
        });
        loop {
            let (phase, spent) = watch.now();
            let left = timeouts.of(phase).map(|limit| limit.saturating_sub(spent));
            let answer = receiver.recv_timeout(left.unwrap_or(TICK).min(TICK));
            // All phases: one that nobody looked at may have begun and ended since.
            let exceeded = watch.exceeded(&timeouts);
            match answer {
                Ok(outcome) => {
                    idle.lock().unwrap_or_else(PoisonError::into_inner).push(threads);
                    return exceeded.map_or(outcome, |(phase, limit)| Err(timed_out(phase, limit)));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(TrialFailure {
                        status: Status::Panicked,
                        reason: "the trial's thread ended without an answer".to_owned(),
                    });
                }
            }
            if let Some((phase, limit)) = exceeded {
                threads.leave_behind();
                return Err(timed_out(phase, limit));
            }
        }
    }
}

/// The threads of one evaluation.
struct Threads {
    pool: ThreadPool,
    /// As the system numbers them; threads that have not started yet are missing.
    ids: Arc<Mutex<Vec<priority::ThreadId>>>,
}

impl Threads {
    fn new() -> Result<Threads, ThreadPoolBuildError> {
        let ids = Arc::new(Mutex::new(Vec::new()));
        let started = Arc::clone(&ids);
        let pool = ThreadPoolBuilder::new()
            .start_handler(move |_| {
                started
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(priority::this_thread());
            })
            .build()?;
        Ok(Threads { pool, ids })
    }

    /// Gives up on what runs here: it shall not be in the way of others. The threads end when it does, if ever.
    fn leave_behind(self) {
        for id in self.ids.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            priority::make_lowest(*id);
        }
    }
}

/// Priorities of threads.
#[cfg(target_os = "linux")]
mod priority {
    pub(super) type ThreadId = libc::pid_t;

    pub(super) fn this_thread() -> ThreadId {
        // SAFETY: no preconditions.
        unsafe { libc::gettid() }
    }

    /// On Linux each thread has a priority ("nice value") of its own (setpriority(2), "C library/kernel differences").
    pub(super) fn make_lowest(thread: ThreadId) {
        // SAFETY: takes plain numbers; a thread that has ended meanwhile is an error, and its number is not used again as
        // long as the process lives and starts few threads.
        let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, thread as libc::id_t, 19) };
        if result != 0 {
            tracing::debug!(thread, error = %std::io::Error::last_os_error(), "the priority stays");
        }
    }

    /// The nice value of a thread.
    #[cfg(test)]
    pub(super) fn of(thread: ThreadId) -> i32 {
        // SAFETY: takes plain numbers.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, thread as libc::id_t) }
    }
}

/// Elsewhere threads keep their priority.
#[cfg(not(target_os = "linux"))]
mod priority {
    pub(super) type ThreadId = ();

    pub(super) fn this_thread() -> ThreadId {}

    pub(super) fn make_lowest((): ThreadId) {}
}

pub(crate) fn timed_out(phase: Phase, limit: Duration) -> TrialFailure {
    let (name, option) = phase.names();
    TrialFailure {
        status: Status::TimedOut,
        reason: format!("{name} took longer than {} s ({option})", limit.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests;

//! The worker's side: reads requests, evaluates, answers.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use alcop_spec::TileSchedule;

use super::protocol::{FromWorker, Job, PROTOCOL, ToWorker};
use crate::CODE_VERSION;
use crate::tune::{Effort, TrialOutcome, guarded};
use crate::watch::{Phase, Watch};

/// Evaluates schedules of an operator for the search that started this process, and does not return: the process ends with
/// its standard input, also in the midst of a trial.
///
/// Standard output is the search's: whatever the process prints there goes to standard error.
#[cfg(feature = "compile")]
pub fn serve() -> ! {
    serve_with(operators)
}

/// The evaluation of a job's operator, made once.
#[cfg(feature = "compile")]
fn operators(job: Job) -> Result<impl Fn(&TileSchedule, Effort, &Watch) -> TrialOutcome, String> {
    use crate::evaluate::Evaluator;
    // As long as the process.
    let job: &'static Job = Box::leak(Box::new(job));
    let device = Box::leak(job.device.open()?);
    let evaluator = Evaluator::new(&job.op, &job.target, device)
        .map_err(|error| format!("{error}; tune a smaller shape, or on a machine with more memory"))?;
    Ok(move |schedule: &TileSchedule, effort: Effort, watch: &Watch| {
        evaluator.evaluate_watched(schedule, effort, watch)
    })
}

#[cfg(feature = "compile")]
impl super::protocol::DeviceSpec {
    /// The device.
    ///
    /// # Errors
    /// The reason, for a reader: rates are missing, or there is no such device.
    pub fn open(&self) -> Result<Box<dyn alcop_runtime::device::Device + Sync>, String> {
        use alcop_runtime::{cuda::CudaDevice, timing::SimDevice};
        match self {
            super::protocol::DeviceSpec::Simulator(target) => match SimDevice::new(target) {
                Ok(device) => Ok(Box::new(device)),
                Err(error) => Err(error.to_string()),
            },
            super::protocol::DeviceSpec::Cuda(ordinal) => match CudaDevice::open(*ordinal) {
                Ok(device) => Ok(Box::new(device)),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// `serve` for an evaluation of one's own; `make` is called once, with what the search is about. An evaluation that enters
/// [`Phase::Queueing`] goes on when the device is its own, until its outcome.
pub fn serve_with<E>(make: impl FnOnce(Job) -> Result<E, String>) -> !
where
    E: Fn(&TileSchedule, Effort, &Watch) -> TrialOutcome,
{
    system::be_the_first_to_go();
    let Ok(mut output) = system::take_stdout() else {
        system::leave()
    };
    let (sender, requests) = mpsc::channel();
    // A thread of its own notices the search's end while the others hang.
    let reader = thread::Builder::new().name("requests".to_owned()).spawn(move || {
        for line in io::stdin().lock().lines() {
            let message = line.and_then(|line| Ok(serde_json::from_str(&line)?));
            if let Err(error) = &message {
                tracing::error!("the search's message is none: {error}");
            }
            // Who takes no more messages is about to end as well.
            if message.map(|message| sender.send(message)).is_err() {
                break;
            }
        }
        system::leave();
    });
    if reader.is_ok() {
        converse(requests, move |message| say(&mut output, message), make);
    }
    system::leave()
}

fn say(output: &mut File, message: &FromWorker) -> io::Result<()> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    output.write_all(line.as_bytes())
}

/// The conversation, until one side has no more to say.
fn converse<E>(
    requests: Receiver<ToWorker>,
    say: impl FnMut(&FromWorker) -> io::Result<()> + Send + 'static,
    make: impl FnOnce(Job) -> Result<E, String>,
) where
    E: Fn(&TileSchedule, Effort, &Watch) -> TrialOutcome,
{
    let say = Arc::new(Mutex::new(say));
    let speak = move |message: &FromWorker| {
        let mut say = say.lock().unwrap_or_else(PoisonError::into_inner);
        if say(message).is_err() {
            // Nobody listens.
            system::leave();
        }
    };
    let evaluate = match started(&requests).and_then(make) {
        Ok(evaluate) => evaluate,
        Err(reason) => return speak(&FromWorker::Refused { reason }),
    };
    let (protocol, code) = (PROTOCOL, CODE_VERSION.to_owned());
    speak(&FromWorker::Ready { protocol, code });
    let requests = Arc::new(Mutex::new(requests));
    let next = |requests: &Mutex<Receiver<ToWorker>>| requests.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(message) = next(&requests) {
        let ToWorker::Evaluate { schedule, effort } = message else {
            let reason = format!("expected a schedule to evaluate, and got {message:?}");
            return speak(&FromWorker::Refused { reason });
        };
        let (told, asked) = (speak.clone(), Arc::clone(&requests));
        let watch = Watch::with_listener(move |phase| {
            told(&FromWorker::Phase(phase));
            if phase == Phase::Queueing && !matches!(next(&asked), Ok(ToWorker::Measure)) {
                // Nothing else is said in a trial.
                system::leave();
            }
        });
        let outcome = guarded(|| evaluate(&schedule, effort, &watch));
        speak(&FromWorker::Outcome(outcome));
    }
}

/// The job of the first message.
fn started(requests: &Receiver<ToWorker>) -> Result<Job, String> {
    match requests.recv() {
        Ok(ToWorker::Start { protocol, job }) if protocol == PROTOCOL => Ok(*job),
        Ok(ToWorker::Start { protocol, .. }) => Err(format!(
            "the search speaks protocol {protocol}, and this worker protocol {PROTOCOL}"
        )),
        Ok(message) => Err(format!("expected the start, and got {message:?}")),
        Err(_) => Err("nothing was asked".to_owned()),
    }
}

/// What the system does for a worker.
mod system {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsFd;

    /// The stream to the search, which nothing else writes to from now on: standard output becomes standard error.
    pub(super) fn take_stdout() -> io::Result<File> {
        let stream = io::stdout().as_fd().try_clone_to_owned()?;
        // SAFETY: takes plain numbers; Rust's own stream has nothing buffered yet, and stays open.
        match unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(File::from(stream)),
        }
    }

    /// Ends the process at once: exit handlers could wait for what hangs.
    pub(super) fn leave() -> ! {
        // SAFETY: no preconditions.
        unsafe { libc::_exit(0) }
    }

    /// Where the machine's memory is used up in spite of all limits, the system ends this process and not the search
    /// (proc_pid_oom_score_adj(5)).
    pub(super) fn be_the_first_to_go() {
        if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "1000") {
            tracing::debug!(%error, "no preference in the choice of the out-of-memory killer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{a100, bert, evaluated, schedule};
    use crate::journal::Status;
    use crate::worker::protocol::DeviceSpec;

    fn start(protocol: u32) -> ToWorker {
        let job = Job {
            op: bert(),
            target: a100(),
            device: DeviceSpec::Cuda(0),
        };
        ToWorker::Start {
            protocol,
            job: Box::new(job),
        }
    }

    /// What a worker says to messages; each goes through JSON and back, as between processes.
    fn conversation<E>(messages: &[ToWorker], make: impl FnOnce(Job) -> Result<E, String>) -> Vec<FromWorker>
    where
        E: Fn(&TileSchedule, Effort, &Watch) -> TrialOutcome,
    {
        let (sender, requests) = mpsc::channel();
        for message in messages {
            let text = serde_json::to_string(message).unwrap();
            let same: ToWorker = serde_json::from_str(&text).unwrap();
            assert_eq!(&same, message);
            sender.send(same).unwrap();
        }
        drop(sender);
        let (said, answers) = mpsc::channel();
        let say = move |message: &FromWorker| {
            let text = serde_json::to_string(message)?;
            said.send(serde_json::from_str(&text)?).map_err(io::Error::other)
        };
        converse(requests, say, make);
        answers.iter().collect()
    }

    fn evaluate(effort: Effort) -> ToWorker {
        let schedule = schedule(3, 2);
        ToWorker::Evaluate { schedule, effort }
    }

    fn ready() -> FromWorker {
        FromWorker::Ready {
            protocol: PROTOCOL,
            code: CODE_VERSION.to_owned(),
        }
    }

    /// A time that decimal digits do not end.
    const TIME_US: f64 = 1.0 / 3.0;

    #[test]
    fn each_phase_is_told_and_measuring_waits_until_it_may() {
        let messages = [
            start(PROTOCOL),
            evaluate(Effort::Full),
            ToWorker::Measure,
            evaluate(Effort::Sample),
        ];
        let said = conversation(&messages, |job| {
            assert_eq!((job.op, &job.target), (bert(), &a100()));
            Ok(|given: &TileSchedule, effort: Effort, watch: &Watch| {
                assert_eq!(*given, schedule(3, 2));
                watch.enter(Phase::Compiling);
                assert_eq!(effort, Effort::Full, "only that");
                watch.enter(Phase::Queueing);
                watch.enter(Phase::Running);
                Ok(evaluated(&bert(), TIME_US, effort))
            })
        });
        let panicked = match &said[5..] {
            [FromWorker::Phase(Phase::Compiling), FromWorker::Outcome(Err(failure))] => failure,
            other => panic!("{other:?}"),
        };
        assert_eq!(panicked.status, Status::Panicked);
        assert!(panicked.reason.contains("only that"), "{panicked:?}");
        assert_eq!(
            said[..5],
            [
                ready(),
                FromWorker::Phase(Phase::Compiling),
                FromWorker::Phase(Phase::Queueing),
                FromWorker::Phase(Phase::Running),
                FromWorker::Outcome(Ok(evaluated(&bert(), TIME_US, Effort::Full))),
            ]
        );
    }

    type Evaluate = fn(&TileSchedule, Effort, &Watch) -> TrialOutcome;

    #[test]
    fn what_cannot_be_evaluated_is_refused_with_the_reason() {
        let never = |_: Job| -> Result<Evaluate, String> { unreachable!() };
        let refused = |said: Vec<FromWorker>, reason: &str| match &said[..] {
            [FromWorker::Refused { reason: why }] => assert!(why.contains(reason), "{why}"),
            other => panic!("{other:?}"),
        };
        refused(
            conversation(&[start(PROTOCOL + 1)], never),
            "the search speaks protocol 2",
        );
        refused(conversation(&[evaluate(Effort::Full)], never), "expected the start");
        let absent = |_: Job| -> Result<Evaluate, String> { Err("no cuda:0".to_owned()) };
        refused(conversation(&[start(PROTOCOL)], absent), "no cuda:0");
    }
}

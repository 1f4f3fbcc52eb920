//! Stand-ins for workers: shell scripts that speak the protocol and do what a trial must not. What hangs does so until it is
//! ended, and time is skipped, not spent: no limit is an hour's, and none is ever waited for.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicU32;

use super::*;
use crate::fixtures::{a100, bert, evaluated, schedule};
use crate::journal::Role;
use crate::space::Space;
use crate::strategy::Strategy;
use crate::tune::{StopReason, TuneInput, TuneOptions, tune};

const NO_LIMITS: Limits = Limits {
    timeouts: Timeouts::NONE,
    memory_mib: None,
};

/// Reads the start, gives its number away, and says that it is ready.
const READY: &str = r#"
echo $$ >> "$FOLDER/pids"
read -r start
echo '{"ready":{"protocol":1,"code":"'$CODE'"}}'
"#;

/// Takes 134 MB, and keeps them.
const TAKES: &str = "grow() { x=0123456789abcdef; while [ ${#x} -lt 100000000 ]; do x=$x$x; done; }\n";

/// What a trial does, by its stages in shared memory; told as `phase NAME` and `outcome`.
const TRIALS: &str = r#"
phase() { echo '{"phase":"'$1'"}'; }
outcome() { echo "$OUTCOME"; }
megabytes() { head -c 20000000 /dev/zero | tr '\0' x; }
while read -r request; do
    phase compiling
    case "$request" in
        *'"shared_stages":1,'*) exec sleep 1000 ;;
        *'"shared_stages":2,'*) while :; do :; done ;;
        *'"shared_stages":3,'*) echo 'LLVM ERROR: Cannot select: t7' >&2; kill -ABRT $$ ;;
        *'"shared_stages":4,'*) phase running; kill -SEGV $$ ;;
        *'"shared_stages":5,'*) phase running; exit 3 ;;
        *'"shared_stages":6,'*) grow; read -r never ;;
        *'"shared_stages":7,'*) echo 'some library says hello' ;;
        *'"shared_stages":8,'*) phase running; exec tr '\0' x < /dev/zero ;;
        *'"shared_stages":9,'*) phase running; phase compiling; exec sleep 1000 ;;
        *'"shared_stages":10,'*) exec >&-; exec sleep 1000 ;;
        *'"shared_stages":11,'*) echo '"measure"' ;;
        *'"shared_stages":13,'*) x=$(megabytes); y=$(megabytes); phase running; outcome ;;
        *'"shared_stages":14,'*) phase running; outcome; outcome; echo $$ > "$FOLDER/twice" ;;
        *'"shared_stages":15,'*) [ "$(ulimit -H -c)" = 0 ] || exit 4; phase running; outcome ;;
        *'"shared_stages":12,'*) echo '{"ready":{"protocol":1,"code":"'$CODE'"}}' ;;
        *) phase running; outcome ;;
    esac
done
"#;

/// A schedule that no stand-in spoils.
const GOOD: u32 = 20;

struct StandIns {
    folder: tempfile::TempDir,
    workers: Workers,
}

impl StandIns {
    fn new(script: String, limits: Limits) -> StandIns {
        let folder = tempfile::tempdir().unwrap();
        let target = a100();
        let job = Job {
            op: bert(),
            device: DeviceSpec::Simulator(Box::new(target.clone())),
            target,
        };
        let outcome = serde_json::to_string(&FromWorker::Outcome(Ok(good()))).unwrap();
        let path = folder.path().to_owned();
        let command = move || {
            let mut command = Command::new("sh");
            command.args(["-c", &script]).env("FOLDER", &path);
            command.env("CODE", CODE_VERSION).env("OUTCOME", &outcome);
            command
        };
        let workers = Workers::new(command, job, limits);
        StandIns { folder, workers }
    }

    fn of_trials(limits: Limits) -> StandIns {
        StandIns::new(format!("{READY}{TAKES}{TRIALS}"), limits)
    }

    fn evaluate(&self, shared_stages: u32) -> TrialOutcome {
        self.evaluate_on(&watch_of(shared_stages), shared_stages)
    }

    fn evaluate_on(&self, watch: &Watch, shared_stages: u32) -> TrialOutcome {
        self.workers.evaluate_on(watch, &staged(shared_stages), Effort::Sample)
    }

    #[track_caller]
    fn fails(&self, shared_stages: u32, status: Status, reasons: &[&str]) {
        let failure = self.evaluate(shared_stages).unwrap_err();
        assert_eq!(failure.status, status, "{}", failure.reason);
        for reason in reasons {
            assert!(failure.reason.contains(reason), "{reason}: {}", failure.reason);
        }
    }

    fn processes(&self) -> Vec<u32> {
        let pids = fs::read_to_string(self.folder.path().join("pids")).unwrap();
        pids.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Which of the workers that ever were exist, zombies included.
    fn alive(&self) -> Vec<u32> {
        let exists = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        self.processes().into_iter().filter(exists).collect()
    }
}

fn good() -> crate::tune::Evaluated {
    evaluated(&bert(), 1.0 / 3.0, Effort::Sample)
}

fn staged(shared_stages: u32) -> TileSchedule {
    TileSchedule {
        shared_stages,
        ..schedule(3, 2)
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// A clock on which what hangs takes more than an hour: in one stay, or in the two of the ninth stand-in's compiling.
fn watch_of(shared_stages: u32) -> Watch {
    match shared_stages {
        1 | 2 => Watch::slow_in(Phase::Compiling, HOUR),
        9 => Watch::slow_in(Phase::Compiling, HOUR / 2),
        _ => Watch::start(),
    }
}

/// An hour for each phase, and 64 MiB.
fn limits() -> Limits {
    let hour = Some(HOUR);
    Limits {
        timeouts: Timeouts {
            queue: hour,
            compile: hour,
            run: hour,
        },
        memory_mib: Some(64),
    }
}

/// Waits for what another process or thread does; how long that takes is no part of a test.
#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < HOUR / 6, "hangs: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_worker_stays_for_the_next_trial_and_goes_with_the_search() {
    let stand_ins = StandIns::of_trials(NO_LIMITS);
    stand_ins.workers.start().unwrap();
    for _ in 0..3 {
        assert_eq!(stand_ins.evaluate(GOOD), Ok(good()));
    }
    assert_eq!(stand_ins.processes().len(), 1);
    // Two at once are two workers.
    std::thread::scope(|scope| {
        let hold = stand_ins.workers.take_idle();
        scope.spawn(|| assert_eq!(stand_ins.evaluate(GOOD), Ok(good())));
        drop(hold);
    });
    assert_eq!((stand_ins.processes().len(), stand_ins.alive().len()), (2, 1));
    let StandIns { folder, workers } = stand_ins;
    let pids = fs::read_to_string(folder.path().join("pids")).unwrap();
    drop(workers);
    assert!(pids.lines().all(|pid| !Path::new("/proc").join(pid).exists()));
}

#[test]
fn what_hangs_is_timed_out_by_its_phase_and_gone() {
    let stand_ins = StandIns::of_trials(limits());
    let reason = "compiling took longer than 3600 s (--compile-timeout)";
    for stages in [1, 2, 9] {
        let failure = stand_ins.evaluate(stages).unwrap_err();
        assert_eq!((failure.status, &*failure.reason), (Status::TimedOut, reason));
        assert_eq!(stand_ins.alive(), [0; 0], "{stages}");
        assert_eq!(stand_ins.evaluate(GOOD), Ok(good()), "after {stages}");
    }
}

#[test]
fn how_a_worker_dies_is_recorded_with_its_last_words() {
    let stand_ins = StandIns::of_trials(limits());
    let (compile, run) = (Status::CompileFailed, Status::RunFailed);
    stand_ins.fails(
        3,
        compile,
        &[
            "compiling ended the worker: signal: 6 (SIGABRT)",
            "; its last words: LLVM ERROR: Cannot select: t7",
        ],
    );
    assert_eq!(stand_ins.evaluate(GOOD), Ok(good()));
    stand_ins.fails(4, run, &["running ended the worker: signal: 11 (SIGSEGV)"]);
    stand_ins.fails(5, run, &["running ended the worker: exit status: 3"]);
    assert_eq!(stand_ins.alive(), [0; 0]);
    assert_eq!(stand_ins.evaluate(GOOD), Ok(good()));

    // One that does not die is not waited for here.
    let mut stand_ins = StandIns::of_trials(limits());
    stand_ins.workers.grace = Duration::ZERO;
    stand_ins.fails(
        10,
        compile,
        &["compiling ended the worker: it closed its standard output"],
    );
    assert_eq!(stand_ins.alive(), [0; 0]);
    assert_eq!(stand_ins.evaluate(GOOD), Ok(good()));
}

#[test]
fn what_is_no_message_is_recorded() {
    let stand_ins = StandIns::of_trials(limits());
    let no_message = "the worker's answer is no message that fits: ";
    stand_ins.fails(7, Status::CompileFailed, &[no_message, "some library says hello"]);
    // A line that does not end.
    stand_ins.fails(8, Status::RunFailed, &[no_message, "xxxxxxxx…"]);
    // Messages out of place.
    stand_ins.fails(11, Status::CompileFailed, &[no_message, "measure"]);
    stand_ins.fails(12, Status::CompileFailed, &[no_message, "Ready"]);
    assert_eq!(stand_ins.alive(), [0; 0]);
    assert_eq!(stand_ins.evaluate(GOOD), Ok(good()));
}

#[test]
#[cfg(target_os = "linux")]
fn endless_memory_is_taken_back() {
    let stand_ins = StandIns::of_trials(limits());
    let reason = "compiling took more than 64 MiB (--memory-limit)";
    stand_ins.fails(6, Status::CompileFailed, &[reason]);
    assert_eq!(stand_ins.alive(), [0; 0]);
    assert_eq!(stand_ins.evaluate(GOOD), Ok(good()));
}

/// What one trial leaves behind shall not be held against the next one.
#[test]
#[cfg(target_os = "linux")]
fn a_worker_that_keeps_more_than_half_of_what_it_may_take_goes() {
    let limits = Limits {
        memory_mib: Some(72),
        ..limits()
    };
    let stand_ins = StandIns::of_trials(limits);
    assert_eq!(stand_ins.evaluate(GOOD), Ok(good()));
    assert_eq!(stand_ins.evaluate(GOOD), Ok(good()));
    assert_eq!((stand_ins.processes().len(), stand_ins.alive().len()), (1, 1));
    // It keeps 40 MB, after having taken 60.
    assert_eq!(stand_ins.evaluate(13), Ok(good()));
    assert_eq!(stand_ins.alive(), [0; 0]);
}

#[test]
fn an_abort_leaves_no_core_file() {
    let stand_ins = StandIns::of_trials(limits());
    assert_eq!(stand_ins.evaluate(15), Ok(good()));
}

#[test]
fn who_speaks_unasked_gets_no_trial() {
    let stand_ins = StandIns::of_trials(limits());
    assert_eq!(stand_ins.evaluate(14), Ok(good()));
    let said = stand_ins.folder.path().join("twice");
    until("the stand-in's second answer", || said.exists());
    // The line is in the pipe, and is heard some time: from then on the worker is not handed out any more.
    until("the line is heard", || match stand_ins.workers.take_idle() {
        Some(worker) => {
            stand_ins.workers.idle().push(worker);
            false
        }
        None => true,
    });
    assert_eq!(stand_ins.evaluate(GOOD), Ok(good()));
    assert_eq!((stand_ins.processes().len(), stand_ins.alive().len()), (2, 1));
}

#[test]
fn a_worker_that_cannot_be_started_is_a_failed_trial() {
    let absent = Workers::new(|| Command::new("/no/such/program"), of_stand_in(), NO_LIMITS);
    let failure = absent.start().unwrap_err();
    assert_eq!(failure.status, Status::RunFailed);
    let reason = "no worker for the trial: /no/such/program cannot be started: No such file";
    assert!(failure.reason.starts_with(reason), "{}", failure.reason);
    assert_eq!(absent.evaluate(&staged(GOOD), Effort::Full).unwrap_err(), failure);

    let says = |script: &str, reason: &str| {
        let stand_ins = StandIns::new(format!("echo $$ >> \"$FOLDER/pids\"\n{script}"), limits());
        let failure = stand_ins.workers.start().unwrap_err();
        assert_eq!(failure.status, Status::RunFailed);
        assert!(failure.reason.contains(reason), "{}", failure.reason);
        assert_eq!(stand_ins.alive(), [0; 0]);
    };
    says(
        "echo oh no >&2; exit 4",
        "starting ended the worker: exit status: 4; its last words: oh no",
    );
    says(
        r#"echo '{"refused":{"reason":"no device cuda:9"}}'"#,
        "no worker for the trial: no device cuda:9",
    );
    says(
        r#"echo '{"ready":{"protocol":1,"code":"0.0.1+old"}}'"#,
        "sh is alcop 0.0.1+old with protocol 1",
    );
    says(
        r#"echo '{"ready":{"protocol":2,"code":"'$CODE'"}}'"#,
        "with protocol 2, and the search",
    );
    says(
        &format!("{TAKES}grow; read -r start; read -r never"),
        "starting took more than 64 MiB (--memory-limit)",
    );
    // One that was ready before anybody looked.
    says(
        &format!(
            "{TAKES}read -r start; grow; echo '{{\"ready\":{{\"protocol\":1,\"code\":\"'$CODE'\"}}}}'; read -r never"
        ),
        "starting took more than 64 MiB (--memory-limit)",
    );
}

/// One that neither reads nor speaks, however long the job is.
#[test]
fn a_worker_that_never_gets_ready_is_timed_out() {
    let timeouts = Timeouts {
        queue: Some(HOUR),
        ..Timeouts::NONE
    };
    let mut stand_ins = StandIns::new(
        "echo $$ >> \"$FOLDER/pids\"; exec sleep 1000".to_owned(),
        Limits { timeouts, ..NO_LIMITS },
    );
    let sources = &mut stand_ins.workers.job.target.sources;
    sources.insert("sm_count".to_owned(), "a long story ".repeat(100_000));
    let watch = Watch::start();
    let pids = stand_ins.folder.path().join("pids");
    let failure = std::thread::scope(|scope| {
        let trial = scope.spawn(|| stand_ins.evaluate_on(&watch, GOOD).unwrap_err());
        until("the stand-in starts", || {
            fs::read(&pids).is_ok_and(|text| text.ends_with(b"\n"))
        });
        watch.skip(HOUR);
        trial.join().unwrap()
    });
    let reason = "queueing took longer than 3600 s (--queue-timeout)";
    assert_eq!((failure.status, &*failure.reason), (Status::TimedOut, reason));
    assert_eq!(stand_ins.alive(), [0; 0]);
}

#[test]
fn one_that_died_between_trials_is_replaced() {
    let stand_ins = StandIns::new(format!("{READY} read -r request; echo \"$OUTCOME\"; exit 0"), NO_LIMITS);
    for _ in 0..3 {
        assert_eq!(stand_ins.evaluate(GOOD), Ok(good()));
        until("it ends", || !stand_ins.workers.idle().iter_mut().any(Process::lives));
    }
    assert_eq!(stand_ins.processes().len(), 3);
}

/// Ctrl-C reaches the whole process group.
#[test]
fn workers_finish_their_trials_on_ctrl_c() {
    let script = format!("{READY} read -r request; kill -INT $$; echo \"$OUTCOME\"; read -r end");
    assert_eq!(StandIns::new(script, NO_LIMITS).evaluate(GOOD), Ok(good()));
}

/// A stand-in for a device that measures: it says garbage where two use it at once, or without asking. It takes a moment, for
/// others to come.
const MEASURES: &str = r#"
while read -r request; do
echo '{"phase":"compiling"}'
echo '{"phase":"queueing"}'
read -r grant
[ "$grant" = '"measure"' ] || echo "not granted"
echo '{"phase":"running"}'
# It may be ended as soon as it has said that, so that it leaves no folder behind.
case "$request" in *'"shared_stages":1,'*) exec sleep 1000 ;; esac
mkdir "$FOLDER/measuring" || echo "not alone"
sleep 0.05
rmdir "$FOLDER/measuring"
echo "$OUTCOME"
done
"#;

#[test]
fn one_worker_at_a_time_measures() {
    let timeouts = Timeouts {
        run: Some(HOUR),
        ..Timeouts::NONE
    };
    let stand_ins = StandIns::new(format!("{READY}{MEASURES}"), Limits { timeouts, ..NO_LIMITS });
    // The first stand-in hangs as it measures.
    let evaluate = |stages| match stages {
        1 => stand_ins.evaluate_on(&Watch::slow_in(Phase::Running, HOUR), 1),
        stages => stand_ins.evaluate(stages),
    };
    std::thread::scope(|scope| {
        let trials: Vec<_> = (0..6).map(|_| scope.spawn(|| evaluate(GOOD))).collect();
        for trial in trials {
            assert_eq!(trial.join().unwrap(), Ok(good()));
        }
        // The device of one that hangs is free again.
        let trials: Vec<_> = [1, 1, GOOD]
            .map(|stages| (stages, scope.spawn(move || evaluate(stages))))
            .into();
        for (stages, trial) in trials {
            let status = trial.join().unwrap().map_err(|failure| failure.status);
            let expected = if stages == GOOD {
                Ok(good())
            } else {
                Err(Status::TimedOut)
            };
            assert_eq!(status, expected);
        }
    });
}

#[test]
fn who_waits_too_long_for_the_device_is_timed_out() {
    let timeouts = Timeouts {
        queue: Some(HOUR),
        ..Timeouts::NONE
    };
    let stand_ins = StandIns::new(format!("{READY}{MEASURES}"), Limits { timeouts, ..NO_LIMITS });
    let turn = Turn::take(&stand_ins.workers.measuring);
    assert!(turn.is_some());
    let failure = stand_ins
        .evaluate_on(&Watch::slow_in(Phase::Queueing, HOUR), GOOD)
        .unwrap_err();
    let reason = "queueing took longer than 3600 s (--queue-timeout)";
    assert_eq!((failure.status, &*failure.reason), (Status::TimedOut, reason));
    drop(turn);
    assert_eq!(stand_ins.evaluate(GOOD), Ok(good()));
}

#[test]
fn standard_error_is_heard_line_by_line_and_little_of_it_is_kept() {
    let script = r#"
        read -r request
        i=0; while [ $i -lt 40 ]; do i=$((i + 1)); echo "line $i" >&2; done
        echo 'no more' >&2; head -c 100000 /dev/zero | tr '\0' y >&2
        exit 1"#;
    let stand_ins = StandIns::new(format!("{READY}{script}"), NO_LIMITS);
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = Arc::clone(&heard);
    let StandIns { folder, workers } = stand_ins;
    let workers = workers.on_stderr(move |line| hears.lock().unwrap().push(line.to_owned()));
    let failure = workers.evaluate(&staged(GOOD), Effort::Sample).unwrap_err();
    let words = "; its last words: line 37 | line 38 | line 39 | line 40 | no more | yyy";
    assert!(failure.reason.contains(words), "{}", failure.reason);
    assert!(failure.reason.len() < 1000, "{}", failure.reason.len());
    let heard = heard.lock().unwrap();
    assert_eq!((heard.len(), heard[0].as_str()), (42, "line 1"));
    assert!(heard[41].len() < 10_000, "{}", heard[41].len());
    drop(folder);
}

/// Everything that a trial must not do, in one search.
#[test]
fn whatever_a_trial_does_the_search_goes_on() {
    let mut stand_ins = StandIns::of_trials(limits());
    stand_ins.workers.grace = Duration::ZERO;
    let (op, target) = (bert(), a100());
    let space = Space::artifact_matmul();
    let input = TuneInput::new(&op, &target, &space, "0.1.0");
    let options = TuneOptions {
        strategy: Strategy::Random { seed: 3 },
        trials: 24,
        ..TuneOptions::default()
    };
    let calls = AtomicU32::new(0);
    let evaluate = |schedule: &TileSchedule, effort| {
        // Each of the stand-in's trials in turn, and some that succeed.
        let call = calls.fetch_add(1, Ordering::Relaxed);
        let shared_stages = if call % 2 == 1 { GOOD } else { call / 2 % 12 + 1 };
        stand_ins.workers.evaluate_on(
            &watch_of(shared_stages),
            &TileSchedule {
                shared_stages,
                ..*schedule
            },
            effort,
        )
    };
    let report = tune(
        input,
        options,
        Vec::new(),
        None,
        &AtomicBool::new(false),
        evaluate,
        &mut |_| {},
    )
    .unwrap();
    assert_eq!(report.stopped, StopReason::Trials);
    let search: Vec<_> = report
        .trials
        .iter()
        .filter(|record| record.role == Role::Search)
        .collect();
    let with = |status| search.iter().filter(|record| record.status == status).count();
    assert_eq!((search.len(), with(Status::Ok)), (24, 12));
    assert_eq!((with(Status::TimedOut), with(Status::RunFailed)), (3, 3));
    assert_eq!(with(Status::CompileFailed), 6);
    assert!(report.best.is_some());
}

fn of_stand_in() -> Job {
    Job {
        op: bert(),
        target: a100(),
        device: DeviceSpec::Cuda(0),
    }
}

#[test]
fn lines_are_bounded() {
    let mut text = &b"short\n\nlonger than that\nlast"[..];
    let mut next = || protocol::read_line(&mut text, 6).unwrap().map(|line| line.text(5));
    assert_eq!(next().as_deref(), Some("short"));
    assert_eq!(next().as_deref(), Some(""));
    assert_eq!(next().as_deref(), Some("longe…"));
    assert_eq!(next().as_deref(), Some(" than…"));
    assert_eq!(next().as_deref(), Some("that"));
    assert_eq!(next().as_deref(), Some("last"));
    assert_eq!(next(), None);
}

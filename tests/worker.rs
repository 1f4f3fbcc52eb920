//! Worker processes of the command: the same outcomes as in the process, and gone when their search is.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{a100, alcop, expect, matmul, schedule};
use alcop::runtime::timing::SimDevice;
use alcop::search::evaluate::Evaluator;
use alcop::search::journal::{Status, TrialRecord};
use alcop::search::tune::Effort;
use alcop::search::watch::{Phase, Timeouts};
use alcop::search::worker::{DeviceSpec, FromWorker, Job, Limits, PROTOCOL, ToWorker, Workers};
use alcop::spec::{DType, GpuTarget, Layout};

/// What takes as long as this hangs, also on a busy machine.
const HANGS: Duration = Duration::from_secs(3600);

fn worker() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alcop"));
    command.arg("worker");
    command
}

fn job(extents: [u64; 3], device: &GpuTarget) -> Job {
    Job {
        op: matmul(Layout::Nn, extents, DType::F32),
        target: a100(),
        device: DeviceSpec::Simulator(Box::new(device.clone())),
    }
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < HANGS, "{what}: not within {HANGS:?}");
        sleep(Duration::from_millis(5));
    }
}

fn exists(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

/// Processes that a process has started: worker processes.
fn children(parent: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else {
        return Vec::new();
    };
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let lists: Vec<String> = tasks.flatten().map(of_task).collect();
    let numbers = lists.iter().flat_map(|list| list.split_whitespace());
    numbers.map(|number| number.parse().expect("a number")).collect()
}

/// Whether a signal could be sent to a process, or with a minus to a group.
fn kill(signal: &str, process: &str) -> bool {
    let sent = Command::new("kill")
        .args([signal, "--", process])
        .stderr(Stdio::null())
        .status();
    sent.expect("kill is there").success()
}

#[test]
fn a_worker_answers_what_the_process_itself_would() {
    // A device of one's own: no worker could know its numbers by name. Rates that decimal digits do not end.
    let mut own = a100();
    own.name = "mine".to_owned();
    let rates = own.rates.as_mut().expect("a device");
    (rates.dram_latency_clk, rates.l2_near_latency_clk) = (1000.0 / 3.0, 1000.0 / 7.0);
    let job = job([128, 128, 256], &own);
    let device = SimDevice::new(&own).expect("it has rates");
    let here = Evaluator::new(&job.op, &job.target, &device).expect("memory");
    let limits = Limits {
        timeouts: Timeouts::NONE,
        memory_mib: Some(8192),
    };
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = Arc::clone(&heard);
    let there =
        Workers::new(worker, job.clone(), limits).on_stderr(move |line| hears.lock().unwrap().push(line.to_owned()));
    there.start().expect("it starts");
    for (schedule, effort, status) in [
        (schedule([64, 64, 32], [32, 32], 3, 2), Effort::Sample, Status::Ok),
        (schedule([64, 64, 32], [32, 32], 3, 2), Effort::Full, Status::Ok),
        (schedule([128, 64, 64], [64, 32], 1, 1), Effort::Sample, Status::Ok),
        (schedule([64, 64, 32], [32, 32], 3, 7), Effort::Sample, Status::Refused),
        (schedule([50, 64, 32], [32, 32], 3, 2), Effort::Sample, Status::Refused),
    ] {
        let outcome = there.evaluate(&schedule, effort);
        assert_eq!(outcome, here.evaluate(&schedule, effort), "{schedule}");
        assert_eq!(outcome.map_or_else(|failure| failure.status, |_| Status::Ok), status);
    }
    assert_eq!(*heard.lock().unwrap(), [""; 0]);
}

/// A worker, spoken to by hand.
struct Spoken {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Spoken {
    fn start(job: &Job) -> Spoken {
        let mut command = worker();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let output = BufReader::new(output);
        let mut spoken = Spoken { child, input, output };
        let (protocol, job) = (PROTOCOL, Box::new(job.clone()));
        spoken.say(&ToWorker::Start { protocol, job });
        assert!(matches!(spoken.hear(), FromWorker::Ready { .. }));
        spoken
    }

    fn say(&mut self, message: &ToWorker) {
        let line = serde_json::to_string(message).expect("JSON");
        writeln!(self.input.as_mut().expect("open"), "{line}").expect("it reads");
    }

    fn hear(&mut self) -> FromWorker {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it writes");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

/// All blocks of it are 9 million warp instructions four times over: minutes, against the moment between two lines of a
/// test.
const SLOW: [u64; 3] = [2048, 2048, 2048];

#[test]
fn a_worker_ends_in_the_midst_of_a_trial_when_nobody_speaks_to_it_any_more() {
    let mut spoken = Spoken::start(&job(SLOW, &a100()));
    spoken.say(&ToWorker::Evaluate {
        schedule: schedule([64, 64, 32], [32, 32], 3, 2),
        effort: Effort::Full,
    });
    assert_eq!(spoken.hear(), FromWorker::Phase(Phase::Compiling));
    assert_eq!(spoken.hear(), FromWorker::Phase(Phase::Running));
    // What anything else in it prints goes to standard error.
    let stream = |number: u32| fs::read_link(format!("/proc/{}/fd/{number}", spoken.child.id())).expect("open");
    assert_eq!(stream(1), stream(2));
    drop(spoken.input.take());
    spoken.child.wait().expect("it ends");
    let mut rest = String::new();
    spoken.output.read_line(&mut rest).expect("closed");
    assert_eq!(rest, "", "it had not answered yet");
}

/// A search whose trials take a while, as the leader of a process group of its own.
fn search(out: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_alcop"))
        .args([
            "tune",
            "--op",
            "matmul",
            "--m",
            "1024",
            "--n",
            "1024",
            "--k",
            "1024",
            "--trials",
            "2000",
            "--no-cache",
            "--queue-timeout",
            "1000000",
            "--compile-timeout",
            "1000000",
            "--run-timeout",
            "1000000",
        ])
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("it starts")
}

/// Waits until the search has recorded a trial and workers evaluate; their numbers.
fn at_work(search: &mut Child, out: &Path) -> Vec<u32> {
    let journal = out.join("journal.jsonl");
    until("a record", || {
        assert!(search.try_wait().expect("a child").is_none(), "it ended by itself");
        fs::read_to_string(&journal).is_ok_and(|text| text.contains('\n'))
    });
    let workers = children(search.id());
    assert!(!workers.is_empty());
    workers
}

/// What a journal holds that is being written.
fn records_so_far(out: &Path) -> Vec<TrialRecord> {
    let text = alcop::search::journal::read(&out.join("journal.jsonl"));
    text.map_or_else(|_| Vec::new(), |text| text.records)
}

fn records(out: &Path) -> Vec<TrialRecord> {
    let text = alcop::search::journal::read(&out.join("journal.jsonl")).expect("a journal");
    assert_eq!(text.truncated_bytes, 0);
    text.records
}

/// Ctrl-C on a terminal: the signal goes to the search and its workers alike.
#[test]
fn ctrl_c_lets_running_trials_finish_and_leaves_no_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut search = search(directory.path());
    let workers = at_work(&mut search, directory.path());
    assert!(kill("-INT", &format!("-{}", search.id())));
    assert_eq!(search.wait().expect("it ends").code(), Some(130));
    for worker in workers {
        assert!(!exists(worker), "{worker}");
    }
    let records = records(directory.path());
    assert!(records.iter().all(|record| record.status == Status::Ok), "{records:?}");
}

/// Whether some record failed, after all workers were made to fault, and one after it succeeded.
fn a_fault_is_behind_it(search: &Child, out: &Path) -> bool {
    let records = records_so_far(out);
    match records.iter().position(|record| record.status != Status::Ok) {
        Some(failed) => records[failed..].iter().any(|record| record.status == Status::Ok),
        None => {
            for worker in children(search.id()) {
                // Between trials it dies unseen, and it may be gone already.
                kill("-SEGV", &worker.to_string());
            }
            sleep(Duration::from_millis(100));
            false
        }
    }
}

#[test]
fn a_search_goes_on_without_workers_that_fault() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path();
    let mut search = search(out);
    at_work(&mut search, out);
    until("a trial after a fault", || a_fault_is_behind_it(&search, out));
    assert!(kill("-INT", &search.id().to_string()));
    assert_eq!(search.wait().expect("it ends").code(), Some(130));
    let failed: Vec<TrialRecord> = records(out)
        .into_iter()
        .filter(|record| record.status != Status::Ok)
        .collect();
    for record in failed {
        assert!(
            matches!(record.status, Status::CompileFailed | Status::RunFailed),
            "{record:?}"
        );
        let reason = record.reason.expect("a reason");
        assert!(reason.contains("ended the worker: signal: 11 (SIGSEGV)"), "{reason}");
    }
}

/// Whether they work or wait for a trial: a worker whose input other workers held open as well would wait for ever.
#[test]
fn workers_end_with_a_search_that_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut search = search(directory.path());
    at_work(&mut search, directory.path());
    let mut workers = Vec::new();
    // On a machine, or in a container, of one processor the search has one worker.
    let several = std::thread::available_parallelism().map_or(1, |processors| processors.get().min(2));
    until("several workers", || {
        workers = children(search.id());
        workers.len() >= several
    });
    search.kill().expect("it lives");
    search.wait().expect("it ends");
    // Whoever adopts them need not reap them.
    let ended = |worker: u32| {
        fs::read_to_string(format!("/proc/{worker}/status")).map_or(true, |status| status.contains("State:\tZ"))
    };
    until("the workers' end", || workers.iter().all(|&worker| ended(worker)));
}

#[test]
fn a_limit_that_no_worker_keeps_ends_the_search_before_any_trial() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().to_str().expect("UTF-8");
    let operator = [
        "tune",
        "--op",
        "matmul",
        "--m",
        "128",
        "--n",
        "128",
        "--k",
        "256",
        "--no-cache",
        "--out",
        out,
    ];
    let limited = |limit: &str| alcop(&[&operator[..], &["--trials", "1", "--memory-limit", limit]].concat());
    expect(
        &limited("8"),
        1,
        "no worker for the trial: starting took more than 8 MiB (--memory-limit)",
    );
    assert_eq!(records(directory.path()), []);
    expect(&limited("0"), 2, "--memory-limit");
    expect(&limited("4096"), 0, "verified");
}

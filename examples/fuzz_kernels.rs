//! Mutated file tests through explain, opt, compile and run, each against its plain lowering:
//! `make fuzz-kernels SECONDS=3600`, or `cargo run --example fuzz_kernels -- SECONDS FOLDER [FIRST_SEED]`.
//!
//! ```text
//! seed 17: pipeline/relu_in_copy, `arith.maximumf` for `arith.mulf`   equal
//! seed 18: plain/work_two_loops, a constant changed                   differs at 3/2   -> FOLDER/18.mlir
//! ```
//!
//! Children do the work, seed after seed; what kills one, or takes too long, is noted, and the next goes on behind it. Their
//! memory is limited. FOLDER/next holds the seed that a later call starts from; FOLDER/SEED.mlir says above the kernel what
//! went wrong. Exit code 1: a difference, a hazard of ours alone, an abort or an internal error of ours. Counted apart, and
//! no failure: what upstream's own passes do on the way of the plain lowering, kernels that are undefined as they are
//! written, and modules without an LLVM translation.

#[path = "../tests/common/baseline.rs"]
#[allow(dead_code)]
mod baseline;
#[path = "../tests/common/mutate.rs"]
mod mutate;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alcop::compiler::detect::{Assumptions, detect, detection_table, detections_json, remarks};
use alcop::compiler::ir::Context;
use alcop::passes::opt;
use alcop::spec::GpuTarget;
use baseline::{DEFAULT, NoBaseline, Outcome};

/// What one seed may take. A seed that takes longer is counted, and is no failure.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Address space of a child, in KiB.
const MEMORY_KIB: u64 = 6_000_000;
/// Seeds of one child, whose memory MLIR's contexts fill slowly.
const SEEDS_A_CHILD: u64 = 200;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["child", first, step, count] => {
            child(number(first), number(step), number(count));
            ExitCode::SUCCESS
        }
        // Without arguments: a few, as an example.
        [] => drive(
            Duration::from_secs(600),
            &std::env::temp_dir().join("alcop-fuzz-kernels"),
            Some(0),
            Some(8),
        ),
        [seconds, folder] => drive(Duration::from_secs(number(seconds)), Path::new(folder), None, None),
        [seconds, folder, first] => drive(
            Duration::from_secs(number(seconds)),
            Path::new(folder),
            Some(number(first)),
            None,
        ),
        _ => {
            eprintln!("usage: fuzz_kernels SECONDS FOLDER [FIRST_SEED]");
            ExitCode::from(2)
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        eprintln!("{text:?} is not a number");
        std::process::exit(2)
    })
}

/// The kernel of a seed: its file and the mutations, and the text.
fn kernel(seed: u64) -> (String, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests");
    let mut files: Vec<PathBuf> = ["detect", "pipeline", "plain"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).expect("the folder of file tests"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mlir"))
        .collect();
    files.sort();
    let mut random = mutate::Random::new(seed);
    let path = &files[random.below(files.len())];
    let text = std::fs::read_to_string(path).expect("readable");
    let (text, how) = mutate::mutated(&text, &mut random);
    let name = path.strip_prefix(&root).unwrap_or(path).display();
    (format!("{name}: {}", how.join(", ")), text)
}

/// Says on standard output what it is doing, so that the parent knows where it died.
fn child(first: u64, step: u64, count: u64) {
    for seed in (0..count).map(|number| first + number * step) {
        say(&format!("start {seed}"));
        let (_, text) = kernel(seed);
        let (class, detail) = verdict(&text);
        say(&format!("done {class}\t{}", detail.replace('\n', " ")));
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .expect("the parent reads");
}

/// A class, and what helps. Classes that start with `!` are failures.
fn verdict(text: &str) -> (String, String) {
    say("stage plain");
    let base = baseline::baseline("fuzz.mlir", text);
    if let Err(NoBaseline::NotAKernel(detail)) = base {
        return ("no kernel".to_owned(), detail);
    }
    for (stage, run) in [
        ("explain", explain as fn(&str) -> Result<(), String>),
        ("opt", opt_pipeline),
    ] {
        say(&format!("stage {stage}"));
        match std::panic::catch_unwind(|| run(text)) {
            Ok(Ok(())) => {}
            Ok(Err(detail)) => return (format!("!{stage}: internal error"), detail),
            Err(_) => return (format!("!{stage}: panic"), String::new()),
        }
    }
    let mut notes = Vec::new();
    for depth in [(1, 1), DEFAULT] {
        let label = format!("{}/{}", depth.0, depth.1);
        say(&format!("stage compile {label}"));
        let compiled = match std::panic::catch_unwind(|| baseline::compile("fuzz.mlir", text, depth)) {
            Ok(Ok(compiled)) => compiled,
            Ok(Err(detail)) => return ("no kernel".to_owned(), detail),
            Err(_) => return (format!("!compile {label}: panic"), String::new()),
        };
        let outcome = match &base {
            Ok(base) => {
                say(&format!("stage run {label}"));
                baseline::outcome(base, &compiled)
            }
            Err(_) => baseline::outcome_without(&compiled),
        };
        if let (Outcome::Differs(_) | Outcome::Hazard(_), Ok(base)) = (&outcome, &base) {
            say("stage plain");
            if let Some(detail) = baseline::undefined_as_written("fuzz.mlir", text, &base.arguments) {
                return ("plain: undefined without LLVM's passes".to_owned(), detail);
            }
        }
        match outcome {
            Outcome::Equal => {}
            Outcome::Bug(detail) if detail.contains("no LLVM translation") => {
                notes.push("no LLVM translation".to_owned())
            }
            Outcome::Refused(code, _) => notes.push(format!("{label} refused {code}")),
            Outcome::Differs(detail) => return (format!("!{label}: differs"), detail),
            Outcome::Hazard(detail) => return (format!("!{label}: hazard"), detail),
            Outcome::Bug(detail) => return (format!("!{label}: internal error"), detail),
        }
    }
    match (base, notes.first()) {
        (Err(reason), _) => (format!("plain: {}", reason.class()), reason.to_string()),
        (Ok(_), Some(note)) => (note.clone(), String::new()),
        (Ok(_), None) => ("equal".to_owned(), String::new()),
    }
}

fn explain(text: &str) -> Result<(), String> {
    let context = Context::new();
    let Ok(module) = context.parse(text, "fuzz.mlir") else {
        return Ok(());
    };
    let target = GpuTarget::resolve("sm_80").expect("an architecture");
    let detection = detect(&module, &alcop::detect_options(&target));
    let printed = detection_table(&detection).len() + remarks(&detection).len();
    let json = detections_json(&[detection]).to_string();
    if printed + json.len() == 0 {
        Err("no output".to_owned())
    } else {
        Ok(())
    }
}

fn opt_pipeline(text: &str) -> Result<(), String> {
    let context = Context::new();
    let Ok(mut module) = context.parse(text, "fuzz.mlir") else {
        return Ok(());
    };
    let pipeline = opt::pipeline_text::parse("builtin.module(alcop-pipeline{shared-stages=3 register-stages=2})");
    let settings = opt::Settings {
        architecture: "sm_80".to_owned(),
        shared_bytes_per_block: 166_912,
        assumptions: Assumptions::default(),
        print_ir_after_all: false,
        timing: false,
    };
    let pipeline = pipeline.map_err(|error| error.to_string())?;
    match opt::run(&mut module, &pipeline, &settings) {
        Ok(opt::Outcome::Bug) => Err(format!("{:?}", context.take_diagnostics())),
        Ok(opt::Outcome::Done) => module.verify().map_err(|diagnostics| format!("{diagnostics:?}")),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Default)]
struct Tally {
    classes: BTreeMap<String, u64>,
    failures: u64,
    seeds: u64,
}

fn drive(time: Duration, folder: &Path, first: Option<u64>, most: Option<u64>) -> ExitCode {
    std::fs::create_dir_all(folder).expect("the folder of failures can be made");
    let kept = std::fs::read_to_string(folder.join("next")).ok();
    let kept = kept.and_then(|text| text.trim().parse().ok());
    let first = first.or(kept).unwrap_or(0);
    let jobs = std::thread::available_parallelism().map_or(1, |jobs| jobs.get() as u64);
    let end = Instant::now() + time;
    let tally = Arc::new(Mutex::new(Tally::default()));
    let last: Vec<u64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|job| {
                let tally = Arc::clone(&tally);
                scope.spawn(move || worker(first + job, jobs, end, most.map(|most| first + most), folder, &tally))
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker ends"))
            .collect()
    });
    let next = last.into_iter().min().unwrap_or(first);
    std::fs::write(folder.join("next"), format!("{next}\n")).expect("writable");
    let tally = tally.lock().expect("no worker panicked");
    println!("{} kernels, seeds {first} to {next}:", tally.seeds);
    for (class, count) in &tally.classes {
        println!("  {count:6} {class}");
    }
    if tally.failures > 0 {
        println!("{} failures (!) stand in {}", tally.failures, folder.display());
    }
    // As an example it shows what it does; KNOWN faults are the business of the tests.
    ExitCode::from(u8::from(tally.failures > 0 && most.is_none()))
}

/// Runs the seeds `first`, `first + step` … until the time is over; returns the next one.
fn worker(first: u64, step: u64, end: Instant, before: Option<u64>, folder: &Path, tally: &Mutex<Tally>) -> u64 {
    let mut seed = first;
    while Instant::now() < end && before.is_none_or(|before| seed < before) {
        let count = before.map_or(SEEDS_A_CHILD, |before| {
            (before - seed).div_ceil(step).min(SEEDS_A_CHILD)
        });
        let exe = std::env::current_exe().expect("this program");
        let errors = folder.join(format!("stderr.{}", first % step));
        let log = std::fs::File::create(&errors).expect("writable");
        let mut running = Command::new("sh")
            .args(["-c", &format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"")])
            .arg(exe)
            .args(["child", &seed.to_string(), &step.to_string(), &count.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a child starts");
        let (sender, lines) = channel();
        let out = BufReader::new(running.stdout.take().expect("piped"));
        let reader = std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let (mut stage, mut open) = ("start".to_owned(), false);
        let mut deadline = Instant::now() + TIME_LIMIT;
        let hung = loop {
            if Instant::now() >= end && !open {
                break false;
            }
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match line.split_once(' ') {
                    Some(("start", _)) => (open, deadline) = (true, Instant::now() + TIME_LIMIT),
                    Some(("stage", what)) => what.clone_into(&mut stage),
                    Some(("done", outcome)) => {
                        let (class, detail) = outcome.split_once('\t').unwrap_or((outcome, ""));
                        note(tally, folder, seed, class, detail);
                        seed += step;
                        open = false;
                    }
                    _ => eprintln!("a child says {line:?}"),
                },
                Err(RecvTimeoutError::Timeout) => break true,
                Err(RecvTimeoutError::Disconnected) => break false,
            }
        };
        running.kill().expect("it is our child");
        let status = running.wait().expect("it is our child");
        reader.join().expect("it only reads");
        if hung {
            note(tally, folder, seed, "over the time limit", &stage);
            seed += step;
        } else if open {
            let said = std::fs::read_to_string(&errors).unwrap_or_default();
            let tail: String = said.chars().take(600).collect();
            let memory = ["memory allocation of", "out of memory", "bad_alloc"];
            let class = if memory.iter().any(|words| said.contains(words)) {
                "over the memory limit".to_owned()
            } else if stage == "plain" || stage == "start" {
                "upstream crashes".to_owned()
            } else {
                format!("!{stage}: the process ended ({status})")
            };
            note(tally, folder, seed, &class, &tail);
            seed += step;
        }
    }
    seed
}

fn note(tally: &Mutex<Tally>, folder: &Path, seed: u64, class: &str, detail: &str) {
    let mut tally = tally.lock().expect("no worker panicked");
    tally.seeds += 1;
    *tally.classes.entry(class.to_owned()).or_default() += 1;
    if class.starts_with('!') || class == "upstream crashes" {
        let (how, text) = kernel(seed);
        let detail = detail.replace('\n', "\n// ");
        let file = folder.join(format!("{seed}.mlir"));
        std::fs::write(&file, format!("// {class}\n// {how}\n// {detail}\n{text}")).expect("writable");
        if class.starts_with('!') {
            tally.failures += 1;
            println!("seed {seed}: {class}: {how} -> {}", file.display());
        }
    }
}

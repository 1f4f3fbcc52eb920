//! `alcop tune`: the fastest schedule of an operator, its PTX, and the record of the search.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alcop_search::CODE_VERSION;
use alcop_search::compile::compile_operator;
use alcop_search::evaluate::{Evaluator, ptx_hash};
use alcop_search::journal::{Identity, Journal, JournalError, TrialRecord};
use alcop_search::space::Space;
use alcop_search::strategy::Strategy;
use alcop_search::tune::{StopReason, TuneError, TuneEvent, TuneInput, TuneOptions, TuneReport, tune};
use alcop_spec::{GpuTarget, OpSpec};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::device::{DeviceName, timing_device};
use super::operator::OperatorArguments;
use super::report::{Files, json, text, trial_line};
use super::{Failure, output};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SpaceName {
    /// All schedules that the compiler has: 5832 points before pruning.
    Wide,
    /// The space of the paper's artifact: 1620 points before pruning.
    Artifact,
}

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    operator: OperatorArguments,
    /// The device to compile for
    #[arg(long, default_value = "a100")]
    target: String,
    /// Where trials are timed: sim (the target's timing simulator), sim:TARGET or cuda:N
    #[arg(long, default_value = "sim")]
    device: DeviceName,
    /// Trials of the strategy
    #[arg(long, default_value_t = 20)]
    trials: usize,
    /// Start no trial after so many seconds
    #[arg(long)]
    seconds: Option<f64>,
    /// Which schedules are tried first: analytic, analytic+learned, learned, annealing, random or exhaustive
    #[arg(long, default_value = "analytic")]
    strategy: Strategy,
    /// Seed of the strategy
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Trials between two decisions of the strategy; evaluated in parallel
    #[arg(long, default_value_t = 4)]
    trials_at_once: usize,
    /// The schedules that are searched
    #[arg(long, value_enum, default_value = "wide")]
    space: SpaceName,
    /// Folder for PTX, launch files and the journal
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// The journal; by default journal.jsonl in the folder, where an older one is kept under another name
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Go on with the search that the journal records
    #[arg(long)]
    resume: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let op = arguments
        .operator
        .op_spec()?
        .ok_or_else(|| Failure::usage("name an operator (--op matmul --m … --n … --k …)"))?;
    let target = GpuTarget::resolve(&arguments.target).map_err(Failure::usage)?;
    target.rates().map_err(Failure::usage)?;
    let device = timing_device(&arguments.device, &arguments.target)?;
    writable_folder(&arguments.out)?;
    let (mut journal, history) = open_journal(arguments, &op, &target)?;
    let space = match arguments.space {
        SpaceName::Wide => Space::wide_matmul(),
        SpaceName::Artifact => Space::artifact_matmul(),
    };
    let interrupt = interrupt_flag()?;
    let evaluator = Evaluator::new(&op, &target, device.as_ref());
    let input = TuneInput {
        op: &op,
        target: &target,
        space: &space,
        compiler: CODE_VERSION,
    };
    let options = TuneOptions {
        strategy: arguments.strategy.with_seed(arguments.seed),
        trials: arguments.trials,
        batch: arguments.trials_at_once,
        seconds: arguments.seconds,
        ..TuneOptions::default()
    };
    let progress = Progress::new(&op, &target, arguments.trials);
    let report = tune(
        input,
        options,
        history,
        Some(&mut journal),
        &interrupt,
        |schedule, effort| evaluator.evaluate(schedule, effort),
        &mut |event| progress.show(event),
    );
    progress.bar.finish_and_clear();
    let report = report.map_err(tune_failure)?;
    let files = write_files(arguments, &op, &target, journal.path(), &report)?;
    let answer = if arguments.json {
        format!("{:#}\n", json(&op, &target, &report, &files))
    } else {
        text(&op, &target, &report, &files)
    };
    output::write(Path::new("-"), &answer)?;
    if report.stopped == StopReason::Interrupted {
        let (done, path) = (report.trials.len(), journal.path().display());
        return Err(Failure::interrupted(format!(
            "interrupted after {done} trials; --journal {path} --resume goes on"
        )));
    }
    if report.best.is_none() {
        return Err(Failure::refused(format!(
            "no schedule passed; the reasons are in {}",
            journal.path().display()
        )));
    }
    Ok(())
}

fn tune_failure(error: TuneError) -> Failure {
    match error {
        TuneError::Space(_) => Failure::refused(error),
        TuneError::Target(_) | TuneError::Journal(_) | TuneError::EmptyBatch => Failure::usage(error),
    }
}

/// Found out before the search, not after it.
fn writable_folder(folder: &Path) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::usage(format!("cannot write to {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(fail)?;
    let probe = folder.join(".alcop-writable");
    fs::write(&probe, b"").map_err(fail)?;
    fs::remove_file(&probe).map_err(fail)
}

fn open_journal(
    arguments: &Arguments,
    op: &OpSpec,
    target: &GpuTarget,
) -> Result<(Journal, Vec<TrialRecord>), Failure> {
    let named = arguments.journal.clone();
    let path = named.clone().unwrap_or_else(|| arguments.out.join("journal.jsonl"));
    if arguments.resume {
        let identity = Identity::new(op, target, CODE_VERSION);
        let opened = Journal::resume(&path, &identity).map_err(Failure::usage)?;
        if opened.repaired_bytes > 0 {
            eprintln!(
                "alcop: {}: removed a cut-off last line of {} bytes",
                path.display(),
                opened.repaired_bytes
            );
        }
        return Ok((opened.journal, opened.records));
    }
    match Journal::create(&path) {
        Err(JournalError::Exists { .. }) if named.is_none() => {
            let kept = set_aside(&path)?;
            eprintln!("alcop: the earlier journal is now {}", kept.display());
            Journal::create(&path)
                .map_err(Failure::usage)
                .map(|journal| (journal, Vec::new()))
        }
        other => other.map_err(Failure::usage).map(|journal| (journal, Vec::new())),
    }
}

/// Renames a journal to the first free of `journal.1.jsonl`, `journal.2.jsonl` …
fn set_aside(path: &Path) -> Result<PathBuf, Failure> {
    let kept = (1u32..)
        .map(|number| path.with_extension(format!("{number}.jsonl")))
        .find(|kept| !kept.exists())
        .ok_or_else(|| Failure::usage(format!("too many journals beside {}", path.display())))?;
    fs::rename(path, &kept).map_err(|error| {
        Failure::usage(format!(
            "cannot rename {} to {}: {error}",
            path.display(),
            kept.display()
        ))
    })?;
    Ok(kept)
}

/// Set by the first Ctrl-C; the second ends the process.
fn interrupt_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if shared.swap(true, Ordering::Relaxed) {
            // The journal is valid at any moment: each record is written whole or taken back on the next start.
            std::process::exit(130);
        }
        eprintln!("alcop: stopping after the trials that run; Ctrl-C again stops at once");
    })
    .map_err(|error| Failure::bug(format!("no handler for Ctrl-C: {error}")))?;
    Ok(flag)
}

/// Writes the winner and its counterpart without a pipeline.
fn write_files(
    arguments: &Arguments,
    op: &OpSpec,
    target: &GpuTarget,
    journal: &Path,
    report: &TuneReport,
) -> Result<Files, Failure> {
    let write = |record: &Option<TrialRecord>, name: &str| -> Result<Option<PathBuf>, Failure> {
        let Some(record) = record else { return Ok(None) };
        let kernel = compile_operator(op, &record.schedule, target).map_err(Failure::bug)?;
        if record.ptx_hash.as_ref().is_some_and(|hash| *hash != ptx_hash(&kernel)) {
            return Err(Failure::bug(format!(
                "trial {} compiles to another PTX than the one that was verified",
                record.trial
            )));
        }
        let path = arguments.out.join(format!("{name}.json"));
        output::write_bundle(&path, op, &kernel)?;
        let schedule = serde_json::to_string_pretty(&record.schedule).map_err(Failure::bug)?;
        output::write(
            &arguments.out.join(format!("{name}.schedule.json")),
            &format!("{schedule}\n"),
        )?;
        Ok(Some(path))
    };
    Ok(Files {
        best: write(&report.best, "best")?,
        unpipelined: write(&report.baseline_unpipelined_same_tiles, "unpipelined")?,
        journal: journal.to_owned(),
    })
}

/// A bar on a terminal, a line for each trial elsewhere; on standard error.
struct Progress {
    bar: ProgressBar,
    header: String,
    terminal: bool,
}

impl Progress {
    fn new(op: &OpSpec, target: &GpuTarget, trials: usize) -> Progress {
        let style =
            ProgressStyle::with_template("{wide_bar} {pos}/{len} trials, {elapsed} {msg}").expect("a valid template");
        Progress {
            bar: ProgressBar::new(trials as u64).with_style(style),
            header: format!("{op} on {}", target.name),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn line(&self, line: &str) {
        if self.terminal {
            self.bar.println(line);
        } else {
            eprintln!("{line}");
        }
    }

    fn show(&self, event: TuneEvent<'_>) {
        match event {
            TuneEvent::Started {
                points,
                legal,
                pruned,
                resumed,
            } => {
                self.line(&format!("{}: {legal} of {points} schedules are legal", self.header));
                if !pruned.is_empty() {
                    let summary = alcop_search::space::pruned_summary(pruned, points);
                    self.line(&format!("  pruned: {summary}"));
                }
                if resumed > 0 {
                    self.line(&format!("  {resumed} trials are taken over from the journal"));
                }
            }
            TuneEvent::Trial {
                record,
                done,
                budget,
                best_us,
            } => {
                self.line(&trial_line(record, done, budget));
                self.bar.set_position(done as u64);
                if let Some(best_us) = best_us {
                    self.bar.set_message(format!("best {best_us:.1} µs"));
                }
            }
        }
    }
}

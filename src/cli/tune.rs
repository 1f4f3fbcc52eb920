//! `alcop tune`: the fastest schedule of an operator, its PTX, and the record of the search.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alcop_search::CODE_VERSION;
use alcop_search::cache::{Cache, CacheEntry, CacheError, CacheKey, revalidate, space_name};
use alcop_search::compile::compile_operator;
use alcop_search::cost_model::Model;
use alcop_search::evaluate::ptx_hash;
use alcop_search::journal::{self, Identity, Journal, JournalError, TimeKind, TrialRecord};
use alcop_search::lessons::{Lessons, search_of_journal};
use alcop_search::space::Space;
use alcop_search::strategy::Strategy;
use alcop_search::tune::{
    Effort, StopReason, TrialOutcome, TuneError, TuneEvent, TuneInput, TuneOptions, TuneReport, tune,
};
use alcop_spec::tiles::check_shape;
use alcop_spec::{GpuTarget, OpSpec, Rejection, TileSchedule};
use alcop_system::files;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::device::DeviceName;
use super::operator::OperatorArguments;
use super::report::{Files, json, text, trial_line};
use super::worker::{LimitArguments, job, workers};
use super::{Failure, output};
use crate::launch::{beside, names};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SpaceName {
    /// All schedules that the compiler has: 69 984 points before pruning.
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
    #[arg(long, value_parser = super::worker::seconds)]
    seconds: Option<Duration>,
    /// Which schedules are tried first: analytic, analytic+learned, learned, annealing, random or exhaustive
    #[arg(long, default_value = "analytic")]
    strategy: Strategy,
    /// Seed of the strategy [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Trials between two decisions of the strategy; evaluated in parallel
    #[arg(long, default_value_t = 4)]
    trials_at_once: usize,
    /// Journals of other operators' searches on the device, from which analytic+learned knows where the model errs before
    /// the first trial
    #[arg(long, value_name = "JOURNAL", num_args = 1..)]
    learn_from: Vec<PathBuf>,
    /// The schedules that are searched
    #[arg(long, value_enum, default_value = "wide")]
    space: SpaceName,
    #[command(flatten)]
    limits: LimitArguments,
    /// Folder of tuned schedules: one that is there is verified, timed and handed out without a search; by default the
    /// environment's ALCOP_CACHE
    #[arg(long, value_name = "DIR", conflicts_with = "no_cache")]
    cache: Option<PathBuf>,
    /// Search in any case, and keep nothing, whatever ALCOP_CACHE says
    #[arg(long)]
    no_cache: bool,
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
    if arguments.seed.is_some() && matches!(arguments.strategy, Strategy::Analytic | Strategy::Exhaustive) {
        let why = format!("with --strategy {}, which draws nothing", arguments.strategy);
        return Err(Failure::without_effect("--seed", &why));
    }
    let target = GpuTarget::resolve(&arguments.target).map_err(Failure::usage)?;
    target.rates().map_err(Failure::usage)?;
    possible(&op)?;
    let job = job(&op, &target, &arguments.device, &arguments.target)?;
    writable_folder(&arguments.out)?;
    check_names(arguments)?;
    let (mut journal, history) = open_journal(arguments, &op, &target)?;
    let space = match arguments.space {
        SpaceName::Wide => Space::wide_matmul(),
        SpaceName::Artifact => Space::artifact_matmul(),
    };
    let lessons = lessons(arguments, &target)?;
    let interrupt = interrupt_flag()?;
    let input = TuneInput {
        lessons: lessons.as_ref(),
        ..TuneInput::new(&op, &target, &space, CODE_VERSION)
    };
    let options = TuneOptions {
        strategy: arguments.strategy.with_seed(arguments.seed.unwrap_or(0)),
        trials: arguments.trials,
        batch: arguments.trials_at_once,
        seconds: arguments.seconds.map(|seconds| seconds.as_secs_f64()),
        ..TuneOptions::default()
    };
    let progress = Progress::new(&op, &target, arguments.trials);
    let said = progress.clone();
    let workers = workers(job, &arguments.limits, arguments.trials_at_once, move |line| {
        said.line(line)
    })?;
    let evaluate = |schedule: &TileSchedule, effort: Effort| workers.evaluate(schedule, effort);
    let store = Store::open(arguments, input)?;
    // Whoever goes on with a search wants to search.
    let cached = match &store {
        Some(store) if !arguments.resume => store.look_up(input, options.trials, &interrupt, evaluate, &progress)?,
        _ => None,
    };
    let report = match cached {
        Some(report) => {
            for record in &report.trials {
                journal.append(record).map_err(Failure::usage)?;
            }
            Ok(report)
        }
        None => tune(
            input,
            options,
            history,
            Some(&mut journal),
            &interrupt,
            evaluate,
            &mut |event| progress.show(event),
        ),
    };
    progress.bar.finish_and_clear();
    let report = report.map_err(tune_failure)?;
    let files = write_files(arguments, &op, &target, journal.path(), &report)?;
    if let Some(store) = &store {
        store.keep(&report);
    }
    let answer = if arguments.json {
        format!("{:#}\n", json(&op, &target, &report, &files))
    } else {
        text(&op, &target, &report, &files)
    };
    output::write(Path::new("-"), &answer)?;
    // Also where it came too late to leave something out: whoever waits for this process wants to stop.
    if report.stopped == StopReason::Interrupted || interrupt.load(Ordering::Relaxed) {
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

/// What other searches on the same device taught.
fn lessons(arguments: &Arguments, target: &GpuTarget) -> Result<Option<Lessons>, Failure> {
    if arguments.learn_from.is_empty() {
        return Ok(None);
    }
    if !matches!(arguments.strategy, Strategy::AnalyticLearned { .. }) {
        return Err(Failure::usage(format!(
            "--learn-from is for --strategy analytic+learned; {} does not learn from other operators",
            arguments.strategy
        )));
    }
    let kind = match arguments.device {
        DeviceName::Cuda(_) => TimeKind::Measured,
        _ => TimeKind::Simulated,
    };
    let model = Model::new(target).map_err(Failure::usage)?;
    let mut searches = Vec::new();
    for path in &arguments.learn_from {
        let records = journal::read(path).map_err(Failure::usage)?.records;
        let foreign = |what: String| Err(Failure::usage(format!("cannot learn from {}: {what}", path.display())));
        if let Some(other) = records.iter().find(|record| record.target != target.name) {
            return foreign(format!("it is of {}, and this search of {}", other.target, target.name));
        }
        let of_kind = |record: &&TrialRecord| record.time_kind.is_some_and(|other| other != kind);
        if records.iter().any(|record| of_kind(&record)) {
            return foreign(format!("its times are not {}", kind.name()));
        }
        let search = search_of_journal(&records, &model);
        if search.is_empty() {
            return foreign("it has no successful trial".to_owned());
        }
        searches.push(search);
    }
    Ok(Some(Lessons::of_searches(searches.iter().map(Vec::as_slice))))
}

/// The cache as one search uses it.
struct Store {
    cache: Cache,
    key: CacheKey,
}

impl Store {
    /// `None` where no cache is asked for.
    fn open(arguments: &Arguments, input: TuneInput<'_>) -> Result<Option<Store>, Failure> {
        let from_environment = || std::env::var_os("ALCOP_CACHE").filter(|folder| !folder.is_empty());
        let folder = match &arguments.cache {
            _ if arguments.no_cache => None,
            Some(folder) => Some(folder.clone()),
            None => from_environment().map(PathBuf::from),
        };
        let Some(folder) = folder else { return Ok(None) };
        let device = match &arguments.device {
            DeviceName::Emulator => "emulator".to_owned(),
            DeviceName::Simulator(None) => format!("sim:{}", input.target.name),
            DeviceName::Simulator(Some(named)) => format!("sim:{named}"),
            DeviceName::Cuda(ordinal) => format!("cuda:{ordinal}"),
        };
        let identity = Identity::new(input.op, input.target, input.compiler);
        Ok(Some(Store {
            cache: Cache::open(&folder).map_err(Failure::usage)?,
            key: CacheKey::new(&identity, &device, &space_name(input.space)),
        }))
    }

    /// The answer of an earlier search of at least as many trials, evaluated again; what is refused is said, and the
    /// search goes ahead.
    fn look_up(
        &self,
        input: TuneInput<'_>,
        trials: usize,
        interrupt: &AtomicBool,
        evaluate: impl Fn(&TileSchedule, Effort) -> TrialOutcome + Sync,
        progress: &Progress,
    ) -> Result<Option<TuneReport>, Failure> {
        let found = self.cache.find(&self.key, &input.target.limits);
        let checked = found.and_then(|entry| match entry {
            Some(entry) if entry.covers(trials) => {
                let show = &mut |event: TuneEvent<'_>| progress.show(event);
                revalidate(&self.cache, &entry, input, interrupt, evaluate, show).map(Some)
            }
            Some(entry) => {
                let made = entry.trials;
                progress.line(&format!(
                    "  the cache has the best of {made} trials, and {trials} are asked for"
                ));
                Ok(None)
            }
            None => Ok(None),
        });
        match checked {
            Ok(report) => Ok(report),
            Err(CacheError::Tune(error)) => Err(tune_failure(error)),
            Err(refused) => {
                progress.line(&format!("  not taken from the cache: {refused}"));
                Ok(None)
            }
        }
    }

    /// Keeps what a search found. A cache that cannot be written takes nothing from the answer.
    fn keep(&self, report: &TuneReport) {
        if matches!(report.stopped, StopReason::Cached | StopReason::Interrupted) {
            return;
        }
        if let Some(entry) = CacheEntry::new(self.key.clone(), report)
            && let Err(error) = self.cache.store(&entry)
        {
            output::say(&format!("alcop: the schedule is not in the cache: {error}\n"));
        }
    }
}

fn tune_failure(error: TuneError) -> Failure {
    match error {
        TuneError::Space(_) => Failure::refused(error),
        TuneError::Target(_) | TuneError::Journal(_) | TuneError::EmptyBatch => Failure::usage(error),
    }
}

/// An operator that no schedule can make possible.
fn possible(op: &OpSpec) -> Result<(), Failure> {
    let OpSpec::Matmul(matmul) = op;
    let reasons: Vec<String> = check_shape(matmul).iter().map(Rejection::to_string).collect();
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(Failure::refused(reasons.join("; "))),
    }
}

/// The launch files that are written, by their names in the folder.
const BEST: &str = "best";
const UNPIPELINED: &str = "unpipelined";

/// Found out before the search: the journal and the lessons are none of the files that it ends with.
fn check_names(arguments: &Arguments) -> Result<(), Failure> {
    let written: Vec<(PathBuf, &str)> = [BEST, UNPIPELINED]
        .iter()
        .flat_map(|name| {
            let launch = arguments.out.join(format!("{name}.json"));
            let schedule = (schedule_path(&launch), "a schedule");
            names(&launch).into_iter().chain([schedule])
        })
        .chain([(journal_path(arguments), "the journal")])
        .collect();
    let outputs: Vec<(&Path, &str)> = written.iter().map(|(path, what)| (path.as_path(), *what)).collect();
    let lessons = arguments.learn_from.iter();
    let inputs: Vec<(&Path, &str)> = lessons
        .map(|path| (path.as_path(), "a journal to learn from"))
        .collect();
    output::check_clashes(&outputs, &inputs)
}

fn journal_path(arguments: &Arguments) -> PathBuf {
    let named = arguments.journal.clone();
    named.unwrap_or_else(|| arguments.out.join("journal.jsonl"))
}

fn schedule_path(launch: &Path) -> PathBuf {
    beside(launch, "schedule.json")
}

/// Found out before the search, not after it.
fn writable_folder(folder: &Path) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::usage(format!("cannot write to {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(fail)?;
    files::check_folder(folder).map_err(fail)
}

fn open_journal(
    arguments: &Arguments,
    op: &OpSpec,
    target: &GpuTarget,
) -> Result<(Journal, Vec<TrialRecord>), Failure> {
    let path = journal_path(arguments);
    if arguments.resume {
        let identity = Identity::new(op, target, CODE_VERSION);
        let opened = Journal::resume(&path, &identity).map_err(Failure::usage)?;
        if opened.repaired_bytes > 0 {
            output::say(&format!(
                "alcop: {}: removed a cut-off last line of {} bytes\n",
                path.display(),
                opened.repaired_bytes
            ));
        }
        return Ok((opened.journal, opened.records));
    }
    match Journal::create(&path) {
        Err(JournalError::Exists { .. }) if arguments.journal.is_none() => {
            let kept = set_aside(&path)?;
            output::say(&format!("alcop: the earlier journal is now {}\n", kept.display()));
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
        // A link that leads nowhere is a name that is taken.
        .find(|kept| fs::symlink_metadata(kept).is_err())
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
        output::say("alcop: stopping after the trials that run; Ctrl-C again stops at once\n");
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
        let schedule = serde_json::to_string_pretty(&record.schedule).map_err(Failure::bug)?;
        output::write(&schedule_path(&path), &format!("{schedule}\n"))?;
        output::write_bundle(&path, op, &record.schedule, &kernel).map(Some)
    };
    Ok(Files {
        best: write(&report.best, BEST)?,
        unpipelined: write(&report.baseline_unpipelined_same_tiles, UNPIPELINED)?,
        journal: journal.to_owned(),
    })
}

/// A bar on a terminal, a line for each trial elsewhere; on standard error.
#[derive(Clone)]
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
            output::say(&format!("{line}\n"));
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

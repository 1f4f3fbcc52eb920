//! `alcop journal`: works on the record of a search.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use alcop_search::CODE_VERSION;
use alcop_search::journal::{self, Identity, Journal, Status, TrialRecord};
use alcop_search::tune::Effort;
use alcop_spec::{GpuTarget, TileSchedule};
use clap::{Args, Subcommand};
use serde_json::json;

use super::device::DeviceName;
use super::report::trial_line;
use super::worker::{LimitArguments, job, workers};
use super::{Failure, output};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the fastest trial.
    Best {
        /// The journal
        #[arg(value_name = "JOURNAL.jsonl")]
        journal: PathBuf,
        /// Print JSON: the record
        #[arg(long)]
        json: bool,
    },
    /// Evaluate trials again from their records, and compare times.
    Replay {
        /// The journal
        #[arg(value_name = "JOURNAL.jsonl")]
        journal: PathBuf,
        /// So many of the fastest trials
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        top: u32,
        /// Where they are timed; sim is the journal's own target
        #[arg(long, default_value = "sim")]
        device: DeviceName,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Compare two journals, schedule by schedule; says in what their searches differ.
    Diff {
        /// One journal
        #[arg(value_name = "A.jsonl")]
        a: PathBuf,
        /// The other
        #[arg(value_name = "B.jsonl")]
        b: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the trials of several journals of one search into a new one, each once.
    Merge {
        /// The journals
        #[arg(value_name = "JOURNAL.jsonl", num_args = 2.., required = true)]
        journals: Vec<PathBuf>,
        /// The new journal
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Check every line: format, keys, times, that each trial is there once, and that all belong to one search.
    Validate {
        /// The journal
        #[arg(value_name = "JOURNAL.jsonl")]
        journal: PathBuf,
    },
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Best { journal, json } => best(journal, *json),
        Command::Replay {
            journal,
            top,
            device,
            limits,
        } => replay(journal, *top as usize, device, limits),
        Command::Diff { a, b, json } => diff(a, b, *json),
        Command::Merge { journals, output } => merge(journals, output),
        Command::Validate { journal } => validate(journal),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    output::write(Path::new("-"), text)
}

fn records(path: &Path) -> Result<Vec<TrialRecord>, Failure> {
    let text = journal::read(path).map_err(Failure::usage)?;
    if text.truncated_bytes > 0 {
        output::say(&format!(
            "alcop: {}: a cut-off last line of {} bytes is left out\n",
            path.display(),
            text.truncated_bytes
        ));
    }
    if text.records.is_empty() {
        return Err(Failure::usage(format!("{} has no records", path.display())));
    }
    Ok(text.records)
}

/// The search that a journal's first record belongs to.
fn identity(record: &TrialRecord) -> Identity {
    Identity {
        op: record.op,
        target: record.target.clone(),
        target_hash: record.target_hash.clone(),
        compiler: record.compiler.clone(),
    }
}

/// Successful trials, fastest first, each schedule once.
fn ranking(records: &[TrialRecord]) -> Vec<&TrialRecord> {
    let mut by_schedule: BTreeMap<TileSchedule, &TrialRecord> = BTreeMap::new();
    for record in records.iter().filter(|record| record.status == Status::Ok) {
        // Later records of a schedule are the more thorough ones.
        by_schedule.insert(record.schedule, record);
    }
    let mut ranked: Vec<&TrialRecord> = by_schedule.into_values().collect();
    ranked.sort_by(|a, b| a.ranking(b));
    ranked
}

fn best(path: &Path, json: bool) -> Result<(), Failure> {
    let records = records(path)?;
    let ranked = ranking(&records);
    let Some(best) = ranked.first() else {
        return Err(Failure::refused(format!("no trial in {} succeeded", path.display())));
    };
    if json {
        let text = serde_json::to_string_pretty(best).map_err(Failure::bug)?;
        return print(&format!("{text}\n"));
    }
    print(&format!(
        "{} on {}\n{}\n",
        best.op,
        best.target,
        trial_line(best, best.trial as usize, records.len())
    ))
}

fn replay(path: &Path, top: usize, device: &DeviceName, limits: &LimitArguments) -> Result<(), Failure> {
    let records = records(path)?;
    let ranked = ranking(&records);
    let Some(first) = ranked.first() else {
        return Err(Failure::refused(format!("no trial in {} succeeded", path.display())));
    };
    let target = GpuTarget::resolve(&first.target).map_err(Failure::usage)?;
    let identity = Identity::new(&first.op, &target, CODE_VERSION);
    let same_code = journal::check_identity(path, &records, &identity);
    if let Err(difference) = &same_code {
        output::say(&format!("alcop: {difference}; times may differ\n"));
    }
    let job = job(&first.op, &target, device, &first.target)?;
    let workers = workers(job, limits, 1, |line| output::say(&format!("{line}\n")))?;
    let mut differing = 0;
    for record in ranked.iter().take(top) {
        let evaluated = workers
            .evaluate(&record.schedule, Effort::Sample)
            .map_err(|failure| Failure::refused(format!("{}: {}", record.schedule, failure.reason)))?;
        let recorded = record.time_us.unwrap_or(f64::NAN);
        let same_ptx = record.ptx_hash.as_ref().is_none_or(|hash| *hash == evaluated.ptx_hash);
        print(&format!(
            "{:<42} recorded {recorded:9.2} µs, now {:9.2} µs{}\n",
            record.schedule.to_string(),
            evaluated.time_us,
            if same_ptx { "" } else { ", another PTX" }
        ))?;
        let simulated = evaluated.device.starts_with("sim:") && record.device.as_ref() == Some(&evaluated.device);
        differing += usize::from(!same_ptx || (simulated && recorded != evaluated.time_us));
    }
    if differing > 0 && same_code.is_ok() {
        return Err(Failure::refused(format!("{differing} trial(s) do not repeat")));
    }
    Ok(())
}

fn diff(a: &Path, b: &Path, json: bool) -> Result<(), Failure> {
    let (left, right) = (records(a)?, records(b)?);
    let times = |records: &[TrialRecord]| -> BTreeMap<TileSchedule, f64> {
        ranking(records)
            .into_iter()
            .filter_map(|record| Some((record.schedule, record.time_us?)))
            .collect()
    };
    let (one, other) = (times(&left), times(&right));
    let only = |one: &BTreeMap<TileSchedule, f64>, other: &BTreeMap<TileSchedule, f64>| {
        one.keys().filter(|schedule| !other.contains_key(schedule)).count()
    };
    let mut changed: Vec<(TileSchedule, f64, f64)> = one
        .iter()
        .filter_map(|(schedule, &before)| Some((*schedule, before, *other.get(schedule)?)))
        .collect();
    let both = changed.len();
    changed.retain(|(_, before, after)| before != after);
    changed.sort_by(|a, b| (b.2 / b.1).ln().abs().total_cmp(&(a.2 / a.1).ln().abs()));
    let (only_a, only_b) = (only(&one, &other), only(&other, &one));
    let differences = journal::differences(&left, &right);
    if json {
        let rows: Vec<_> = changed
            .iter()
            .map(|(schedule, before, after)| json!({"schedule": schedule, "a_us": before, "b_us": after}))
            .collect();
        let searches: Vec<_> = differences
            .iter()
            .map(|difference| json!({"what": difference.what, "a": difference.one, "b": difference.other}))
            .collect();
        let document = json!({"schema": 1, "different_searches": searches, "both": both, "only_a": only_a, "only_b": only_b, "changed": rows});
        return print(&format!("{document:#}\n"));
    }
    let mut text = String::new();
    for difference in &differences {
        let said = |values: &[String]| match values {
            [] => "not said".to_owned(),
            values => values.join(" and "),
        };
        let (one, other) = (said(&difference.one), said(&difference.other));
        writeln!(
            text,
            "different searches: the {} is {one} in the first, {other} in the second",
            difference.what
        )
        .map_err(Failure::bug)?;
    }
    text += &format!("{both} schedules in both, {only_a} only in the first, {only_b} only in the second\n");
    for (schedule, before, after) in &changed {
        let line = format!(
            "{:<42} {before:9.2} -> {after:9.2} µs  {:.3}×",
            schedule.to_string(),
            after / before
        );
        writeln!(text, "{line}").map_err(Failure::bug)?;
    }
    if changed.is_empty() {
        text += "no time differs\n";
    }
    print(&text)
}

fn merge(paths: &[PathBuf], merged: &Path) -> Result<(), Failure> {
    let mut all: Vec<TrialRecord> = Vec::new();
    let mut search: Option<Identity> = None;
    for path in paths {
        let own = records(path)?;
        let identity = search.get_or_insert_with(|| identity(&own[0]));
        journal::check_identity(path, &own, identity).map_err(Failure::usage)?;
        for record in own {
            if !all.iter().any(|other| other.repeats(&record)) {
                all.push(record);
            }
        }
    }
    // A journal that is there must be empty, and no search's: it stays locked until it is replaced.
    let existing = merged.is_file().then(|| Journal::create(merged));
    let existing = existing.transpose().map_err(Failure::usage)?;
    let mut text = String::new();
    for (trial, mut record) in (0..).zip(all) {
        record.trial = trial;
        text += &journal::line(&record);
    }
    output::write(merged, &text)?;
    drop(existing);
    Ok(())
}

fn validate(path: &Path) -> Result<(), Failure> {
    let records = records(path)?;
    let identity = identity(&records[0]);
    journal::check_identity(path, &records, &identity).map_err(Failure::usage)?;
    journal::check_unique(path, &records).map_err(Failure::usage)?;
    let failed = records.iter().filter(|record| record.status != Status::Ok).count();
    print(&format!(
        "{}: {} records of one search ({} on {}, code {}), {failed} failed trials\n",
        path.display(),
        records.len(),
        identity.op,
        identity.target,
        identity.compiler
    ))
}

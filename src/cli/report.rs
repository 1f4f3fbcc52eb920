//! What `alcop tune` prints: for people, and as JSON.

use std::fmt::Write;
use std::path::PathBuf;

use alcop_search::evaluate::FULL_WARP_INSTRUCTIONS;
use alcop_search::journal::{Role, Status, TrialRecord, VerifiedBlocks};
use alcop_search::tune::{StopReason, TuneReport};
use alcop_spec::tiles::Placement;
use alcop_spec::{GpuTarget, OpSpec};
use serde_json::{Value, json};

/// What was written.
pub struct Files {
    /// Launch file of the best schedule.
    pub best: Option<PathBuf>,
    /// Launch file of the same tiles without a pipeline.
    pub unpipelined: Option<PathBuf>,
    /// The journal.
    pub journal: PathBuf,
}

/// One trial on one line.
pub fn trial_line(record: &TrialRecord, done: usize, budget: usize) -> String {
    let what = match record.role {
        Role::Search => format!("trial {done}/{budget}"),
        Role::Winner => "winner".to_owned(),
        Role::Baseline => "no pipeline".to_owned(),
        Role::Unpipelined => "no pipeline".to_owned(),
        Role::Repeat => "again".to_owned(),
    };
    let outcome = match (record.status, record.time_us) {
        (Status::Ok, Some(time_us)) => format!("{time_us:9.2} µs  {}", blocks(record)),
        (status, _) => format!(
            "{} {}",
            serde_json::to_value(status)
                .unwrap_or_default()
                .as_str()
                .unwrap_or_default(),
            record.reason.as_deref().unwrap_or_default()
        ),
    };
    format!(
        "  {what:<12} {:<42} {outcome}  ({:.1} s)",
        record.schedule.to_string(),
        record.seconds
    )
}

/// How it was verified: on which blocks, and under which arrivals of copies.
fn blocks(record: &TrialRecord) -> String {
    record.verified.as_ref().map_or_else(String::new, |verified| {
        let all = all_blocks(record);
        let blocks = match &verified.blocks {
            VerifiedBlocks::All => format!("all {all} blocks"),
            VerifiedBlocks::Sample(blocks) => format!("{} of {all} blocks", blocks.len()),
        };
        format!("verified: {blocks}, {} arrival", verified.arrival.join(", "))
    })
}

/// Why a schedule that was verified in full was so on a sample of its blocks.
fn why_a_sample(record: &TrialRecord) -> Option<String> {
    let sample = matches!(record.verified.as_ref()?.blocks, VerifiedBlocks::Sample(_));
    let full = matches!(record.role, Role::Winner | Role::Baseline);
    (sample && full).then(|| {
        format!(
            "a sample: all of them execute more than {} million warp instructions",
            FULL_WARP_INSTRUCTIONS / 1_000_000
        )
    })
}

/// Blocks of a launch.
fn all_blocks(record: &TrialRecord) -> u64 {
    let OpSpec::Matmul(op) = &record.op;
    let placement = Placement::new(op, &record.schedule);
    placement.tiles_m * placement.tiles_n * op.batch * u64::from(record.schedule.split_k)
}

/// What kind of time a record has: `simulated: a100-80gb`.
fn time_kind(record: &TrialRecord) -> String {
    let kind = record.time_kind.map_or("no time", |kind| kind.name());
    let device = record.device.as_deref().unwrap_or_default();
    format!("{kind}: {}", device.strip_prefix("sim:").unwrap_or(device))
}

/// For people.
pub fn text(op: &OpSpec, target: &GpuTarget, report: &TuneReport, files: &Files) -> String {
    let mut text = String::new();
    let mut line = |content: String| writeln!(text, "{content}").expect("writing to a String does not fail");
    line(String::new());
    line(format!("{op} on {}", target.name));
    let Some(best) = &report.best else {
        let what = match report.stopped {
            StopReason::Interrupted => "interrupted before a schedule passed",
            _ => "no schedule passed",
        };
        line(format!("{what} ({} trials)", report.trials.len()));
        line(format!("journal         {}", files.journal.display()));
        return text;
    };
    let time_us = best.time_us.unwrap_or(f64::NAN);
    let OpSpec::Matmul(matmul) = op;
    let tflops = matmul.flops() as f64 / time_us / 1e6;
    line(format!("best schedule   {}", best.schedule));
    line(format!(
        "time            {time_us:.2} µs ({}), {tflops:.1} TFLOP/s",
        time_kind(best)
    ));
    line(format!("                {}", blocks(best)));
    let interrupted = report.stopped == StopReason::Interrupted;
    if interrupted && best.role != Role::Winner && best.role != Role::Baseline {
        line("                interrupted before it was verified in full".to_owned());
    } else if let Some(why) = why_a_sample(best) {
        line(format!("                {why}"));
    }
    let compare = |record: &Option<TrialRecord>, speedup: Option<f64>| match (record, speedup) {
        (Some(record), Some(speedup)) => format!(
            "{speedup:.2}× over {:.2} µs ({})",
            record.time_us.unwrap_or(f64::NAN),
            record.schedule
        ),
        _ if interrupted => "not measured: interrupted".to_owned(),
        _ => "not measured: that schedule did not pass".to_owned(),
    };
    line(format!(
        "pipelining      {}, the same tiles without a pipeline",
        compare(
            &report.baseline_unpipelined_same_tiles,
            report.speedup_over_same_tiles()
        )
    ));
    line(format!(
        "                {}, the best without a pipeline of {} tried",
        compare(&report.best_unpipelined, report.speedup_over_best_unpipelined()),
        report.trials.iter().filter(|record| record.is_unpipelined()).count()
    ));
    let failed = report
        .trials
        .iter()
        .filter(|record| record.status != Status::Ok)
        .count();
    line(format!(
        "trials          {} ({failed} failed), stopped: {}",
        report.trials.len(),
        stopped(report.stopped)
    ));
    if let Some(path) = &files.best {
        line(format!("PTX             {}", path.with_extension("ptx").display()));
        line(format!("launch file     {}", path.display()));
    }
    if let Some(path) = &files.unpipelined {
        line(format!("without         {}", path.display()));
    }
    line(format!("journal         {}", files.journal.display()));
    if let Some(path) = &files.best {
        line(format!("on a GPU        alcop time {} --device cuda:0", path.display()));
    }
    text
}

fn stopped(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Trials => "all trials made",
        StopReason::Seconds => "time is up",
        StopReason::Exhausted => "no schedule is left",
        StopReason::Interrupted => "interrupted",
        StopReason::Cached => "taken from the cache",
    }
}

/// For programs. The best trial's fields stand at the top, as in the journal.
pub fn json(op: &OpSpec, target: &GpuTarget, report: &TuneReport, files: &Files) -> Value {
    let record = |record: &Option<TrialRecord>| serde_json::to_value(record).unwrap_or_default();
    let best = record(&report.best);
    let field = |name: &str| best.get(name).cloned().unwrap_or(Value::Null);
    json!({
        "schema": 1,
        "op": op,
        "target": target.name,
        "time_us": field("time_us"),
        "time_kind": field("time_kind"),
        "device": field("device"),
        "schedule": field("schedule"),
        "verified": field("verified"),
        "speedup_over_same_tiles": report.speedup_over_same_tiles(),
        "speedup_over_best_unpipelined": report.speedup_over_best_unpipelined(),
        "best": best,
        "unpipelined_same_tiles": record(&report.baseline_unpipelined_same_tiles),
        "best_unpipelined": record(&report.best_unpipelined),
        "trials": report.trials.len(),
        "legal": report.legal,
        "pruned": report.pruned,
        "stopped": stopped(report.stopped),
        "cached": report.stopped == StopReason::Cached,
        "files": {
            "launch": files.best,
            "ptx": files.best.as_ref().map(|path| path.with_extension("ptx")),
            "unpipelined_launch": files.unpipelined,
            "journal": files.journal,
        },
    })
}

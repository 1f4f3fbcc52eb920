//! Fits the six overheads of the analytic model to a table of measured kernels, on every second problem; the others
//! judge. Prints the `[overheads]` section of a target file and the figures of merit on both halves.
//!
//! `cargo run --release -p alcop-search --no-default-features --example fit_overheads -- a100 TABLE.csv`
//!
//! Minimised is the mean over problems of the variance of log(predicted / measured), which a constant factor does not
//! change, plus the shares that the figures of merit miss, each in units of what it may miss. The search is Hooke and Jeeves's: a step along each axis
//! (here: a factor), smaller steps once none helps. It starts from multiples of the same
//! round numbers for every device; the lowest point of all searches counts. It takes
//! some minutes.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;

use alcop_search::cost_model::{Model, predict_kernel};
use alcop_search::merit::{Merit, Ranked, merit};
use alcop_search::table::{TableRow, read_table};
use alcop_spec::{GpuTarget, Overheads, TargetError};
use rayon::prelude::*;

type Field = (&'static str, fn(&mut Overheads) -> &mut f64);

const FIELDS: [Field; 6] = [
    ("sync_clk_per_warp", |o| &mut o.sync_clk_per_warp),
    ("loop_issue_slots_per_warp", |o| &mut o.loop_issue_slots_per_warp),
    ("copy_issue_slots", |o| &mut o.copy_issue_slots),
    ("load_extra_clk", |o| &mut o.load_extra_clk),
    ("partial_line_penalty", |o| &mut o.partial_line_penalty),
    ("prologue_clk", |o| &mut o.prologue_clk),
];

/// Searches, each from another multiple of [`START`].
const STARTS: usize = 32;

const START: Overheads = Overheads {
    sync_clk_per_warp: 20.0,
    loop_issue_slots_per_warp: 50.0,
    copy_issue_slots: 40.0,
    load_extra_clk: 1000.0,
    partial_line_penalty: 0.2,
    prologue_clk: 300.0,
};

/// What a figure of merit that misses all that it may weighs against the variance.
const MERIT_WEIGHT: f64 = 0.01;

/// What ρ, top-1, top-5 and the stages' sign may miss.
const MAY_MISS: [f64; 4] = [0.08, 0.035, 0.003, 0.1];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, path] = arguments.as_slice() else {
        return Err("usage: fit_overheads TARGET TABLE.csv".into());
    };
    let target = GpuTarget::resolve(target)?;
    let rows = read_table(File::open(path)?, target.arch)?;
    let mut problems: BTreeMap<&str, Vec<&TableRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.measured_ms.is_some()) {
        problems.entry(&row.problem).or_default().push(row);
    }
    let half = |parity: usize| -> Vec<&TableRow> {
        let chosen = problems.values().enumerate().filter(|(index, _)| index % 2 == parity);
        chosen.flat_map(|(_, rows)| rows.iter().copied()).collect()
    };
    let (fitted_on, judged_on) = (half(0), half(1));
    let with = |overheads: &Overheads| {
        let mut target = target.clone();
        target.overheads = Some(*overheads);
        Model::new(&target)
    };

    let search = |start: usize| {
        let mut overheads = START;
        for (bit, (_, field)) in FIELDS.iter().enumerate() {
            // Some of them doubled, others in each start.
            *field(&mut overheads) *= if ((start * 11) >> bit) & 1 == 0 { 1.0 } else { 2.0 };
        }
        descend(overheads, |overheads| Ok(loss(&with(overheads)?, &fitted_on)))
    };
    let found: Vec<(Overheads, f64)> = (0..STARTS).into_par_iter().map(search).collect::<Result<_, _>>()?;
    let (mut best, _) = found.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).ok_or("no start")?;

    println!("[overheads]");
    for (name, field) in FIELDS {
        println!("{name} = {{ value = {:.4}, source = \"…\" }}", field(&mut best));
    }
    let model = with(&best)?;
    for (name, rows) in [("fitted on", &fitted_on), ("judged on", &judged_on)] {
        if let Some(judged) = merit(&ranked(&model, rows)) {
            println!("{name} {}", line(&judged));
        }
    }
    Ok(())
}

/// Hooke and Jeeves's search: the lowest point that it finds, and its loss.
fn descend(
    start: Overheads,
    loss: impl Fn(&Overheads) -> Result<f64, TargetError>,
) -> Result<(Overheads, f64), TargetError> {
    let mut best = (start, loss(&start)?);
    let mut factor = 1.5;
    while factor > 1.002 {
        let before = best.1;
        for (_, field) in FIELDS {
            for step in [factor, 1.0 / factor] {
                let mut moved = best.0;
                *field(&mut moved) *= step;
                let moved_loss = loss(&moved)?;
                if moved_loss < best.1 {
                    best = (moved, moved_loss);
                    break;
                }
            }
        }
        if best.1 >= before {
            factor = factor.sqrt();
        }
    }
    Ok(best)
}

fn line(judged: &Merit) -> String {
    format!(
        "{} problems: rho {:.4}, top-1 {:.4}, top-3 {:.4}, top-5 {:.4}, stage sign {:.4}",
        judged.problems,
        judged.spearman,
        judged.top1,
        judged.top3,
        judged.top5,
        judged.stage_sign.unwrap_or(f64::NAN)
    )
}

fn ranked(model: &Model, rows: &[&TableRow]) -> Vec<Ranked> {
    let ranked = |row: &&TableRow| {
        let kernel = &row.kernel;
        Some(Ranked {
            problem: row.problem.clone(),
            configuration: [kernel.block_m, kernel.block_n, kernel.block_k, kernel.warps],
            stages: row.stages,
            measured: row.measured_ms?,
            predicted: predict_kernel(model, kernel).time_us,
        })
    };
    rows.iter().filter_map(ranked).collect()
}

fn loss(model: &Model, rows: &[&TableRow]) -> f64 {
    let ranked = ranked(model, rows);
    let mut ratios: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in &ranked {
        ratios
            .entry(&row.problem)
            .or_default()
            .push((row.predicted / row.measured).ln());
    }
    let variances: Vec<f64> = ratios
        .values()
        .map(|logs| {
            let mean = logs.iter().sum::<f64>() / logs.len() as f64;
            logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / logs.len() as f64
        })
        .collect();
    let variance = variances.iter().sum::<f64>() / variances.len() as f64;
    let missed = merit(&ranked).map_or(f64::INFINITY, |m| {
        let figures = [m.spearman, m.top1, m.top5, m.stage_sign.unwrap_or(1.0)];
        figures
            .iter()
            .zip(MAY_MISS)
            .map(|(figure, may_miss)| (1.0 - figure) / may_miss)
            .sum()
    });
    variance + MERIT_WEIGHT * missed
}

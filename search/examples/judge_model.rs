//! Judges the analytic model on a table of measured kernels (columns: see `alcop_search::table`): on all problems, and
//! on every second one, to which `fit_overheads` did not fit when it was given the same table.
//!
//! Where the figures fall below what the project holds itself to ([`BARS`]), it says so and exits with 1.
//!
//! `cargo run --release -p alcop-search --no-default-features --example judge_model -- a100 TABLE.csv`

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::File;

use alcop_search::cost_model::{Model, predict_kernel};
use alcop_search::merit::{Merit, Ranked, merit};
use alcop_search::table::{TableRow, read_table};
use alcop_spec::GpuTarget;

/// What ρ, top-1, top-3, top-5 and the stages' sign must reach, by target.
const BARS: [(&str, [f64; 5]); 2] = [
    ("a100-80gb", [0.93, 0.97, 0.99, 0.997, 0.92]),
    ("h100", [0.91, 0.975, 0.99, 0.997, 0.90]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, path] = arguments.as_slice() else {
        return Err("usage: judge_model TARGET TABLE.csv".into());
    };
    let target = GpuTarget::resolve(target)?;
    let model = Model::new(&target)?;
    let rows = read_table(File::open(path)?, target.arch)?;
    let ranked = |rank: &dyn Fn(&TableRow) -> f64| -> Vec<Ranked> {
        rows.iter()
            .filter_map(|row| {
                let kernel = &row.kernel;
                Some(Ranked {
                    problem: row.problem.clone(),
                    configuration: [kernel.block_m, kernel.block_n, kernel.block_k, kernel.warps],
                    stages: row.stages,
                    measured: row.measured_ms?,
                    predicted: rank(row),
                })
            })
            .collect()
    };
    let print = |name: &str, judged: Option<Merit>| match judged {
        None => println!("{name}: no measured rows"),
        Some(judged) => println!(
            "{name}: {} problems, rho {:.4}, top-1 {:.4}, top-3 {:.4}, top-5 {:.4}, stage sign {}",
            judged.problems,
            judged.spearman,
            judged.top1,
            judged.top3,
            judged.top5,
            judged.stage_sign.map_or("-".to_owned(), |sign| format!("{sign:.4}")),
        ),
    };
    let analytic = ranked(&|row| predict_kernel(&model, &row.kernel).time_us);
    print("analytic model", merit(&analytic));
    let problems: BTreeSet<&str> = analytic.iter().map(|row| row.problem.as_str()).collect();
    let every_second: BTreeSet<&str> = problems.into_iter().skip(1).step_by(2).collect();
    let in_held_out = |row: &&Ranked| every_second.contains(row.problem.as_str());
    let held_out: Vec<Ranked> = analytic.iter().filter(in_held_out).cloned().collect();
    print("analytic model, held-out half", merit(&held_out));
    let fitted: Vec<&Ranked> = analytic.iter().filter(|row| !in_held_out(row)).collect();
    let wins = popularity(&fitted);
    let popular: Vec<Ranked> = held_out
        .iter()
        .map(|row| Ranked {
            predicted: -wins.get(&configuration(row)).copied().unwrap_or(0.0),
            ..row.clone()
        })
        .collect();
    print(
        "most often fastest on the other half first, held-out half",
        merit(&popular),
    );
    // Most rows of a problem share the largest tile, so the tie decides: the earlier row is the shallowest pipeline, which
    // would make this ranking weaker than it is.
    let area = |row: &TableRow| f64::from(row.kernel.block_m) * f64::from(row.kernel.block_n);
    let largest = |row: &TableRow| -area(row) - 1e-3 * f64::from(row.stages);
    print("largest tile first, then more stages", merit(&ranked(&largest)));
    above_bars(&target.name, &analytic)?;
    above_bars(&target.name, &held_out)
}

/// A kernel without its problem: tiles, warps, stages.
fn configuration(row: &Ranked) -> ([u32; 4], u32) {
    (row.configuration, row.stages)
}

/// On how many problems each configuration is the fastest; ties by its mean share of the fastest, which is below 1.
fn popularity(rows: &[&Ranked]) -> BTreeMap<([u32; 4], u32), f64> {
    let mut fastest: BTreeMap<&str, f64> = BTreeMap::new();
    for row in rows {
        let best = fastest.entry(&row.problem).or_insert(f64::INFINITY);
        *best = best.min(row.measured);
    }
    let mut shares: BTreeMap<([u32; 4], u32), Vec<f64>> = BTreeMap::new();
    for row in rows {
        let share = fastest[row.problem.as_str()] / row.measured;
        shares.entry(configuration(row)).or_default().push(share);
    }
    let rank = |shares: Vec<f64>| {
        let wins = shares.iter().filter(|share| **share == 1.0).count();
        wins as f64 + 0.5 * shares.iter().sum::<f64>() / shares.len() as f64
    };
    shares
        .into_iter()
        .map(|(configuration, shares)| (configuration, rank(shares)))
        .collect()
}

/// An error that names the figures below their bars.
fn above_bars(target: &str, rows: &[Ranked]) -> Result<(), Box<dyn Error>> {
    let Some((_, bars)) = BARS.iter().find(|(name, _)| *name == target) else {
        return Ok(());
    };
    let Some(judged) = merit(rows) else { return Ok(()) };
    let figures = [
        ("rho", judged.spearman),
        ("top-1", judged.top1),
        ("top-3", judged.top3),
        ("top-5", judged.top5),
        ("stage sign", judged.stage_sign.unwrap_or(1.0)),
    ];
    let below: Vec<String> = figures
        .iter()
        .zip(bars)
        .filter(|((_, figure), bar)| figure < bar)
        .map(|((name, figure), bar)| format!("{name} is {figure:.4}, and must reach {bar}"))
        .collect();
    if below.is_empty() {
        return Ok(());
    }
    Err(format!("on {} problems: {}", judged.problems, below.join("; ")).into())
}

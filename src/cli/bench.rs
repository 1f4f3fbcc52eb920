//! `alcop bench`: the benchmark harness. `search` replays the strategies on spaces whose times are all known.

use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};

use alcop_search::cost_model::Model;
use alcop_search::journal;
use alcop_search::replay::{Truth, geometric_mean};
use alcop_search::space::{Space, enumerate};
use alcop_search::strategy::Strategy;
use alcop_search::table::read_table;
use alcop_spec::GpuTarget;
use clap::{Args, Subcommand};
use rayon::prelude::*;
use serde_json::json;

use super::plot::line_chart;
use super::{Failure, output};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How good is the best of the first trials of each strategy?
    Search(SearchArguments),
}

#[derive(Args)]
struct SearchArguments {
    /// Journals of exhaustive searches (alcop tune --strategy exhaustive)
    #[arg(value_name = "JOURNAL.jsonl")]
    journals: Vec<PathBuf>,
    /// A table of measured kernels, each problem a space of its own
    #[arg(long, value_name = "CSV")]
    table: Option<PathBuf>,
    /// The device of the table
    #[arg(long, default_value = "a100")]
    target: String,
    /// Trials between two decisions of a strategy
    #[arg(long, default_value_t = 4)]
    batch: usize,
    /// Seeds over which random strategies are averaged
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Write the table as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw the curves
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Numbers of trials in the table.
const PICKS: [usize; 5] = [1, 3, 5, 10, 50];
/// What the paper reports for its analytic model with boosted trees on an A100, of those (ALCOP, section 8).
const PAPER: [(usize, f64); 2] = [(10, 0.95), (50, 0.99)];

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Search(arguments) => search(arguments),
    }
}

struct Row {
    strategy: Strategy,
    /// Geometric means over spaces and seeds, for each of the numbers of trials.
    shares: Vec<f64>,
}

fn search(arguments: &SearchArguments) -> Result<(), Failure> {
    if arguments.batch == 0 || arguments.seeds == 0 {
        return Err(Failure::usage("--batch and --seeds must be at least 1"));
    }
    let mut truths = arguments
        .journals
        .iter()
        .map(|path| of_journal(path))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &arguments.table {
        truths.extend(of_table(path, &arguments.target)?);
    }
    if truths.is_empty() {
        return Err(Failure::usage(
            "name journals of exhaustive searches, or a table of measured kernels (--table)",
        ));
    }
    let most = if arguments.svg.is_some() {
        PICKS[PICKS.len() - 1]
    } else {
        0
    };
    let curve: Vec<usize> = (1..=most).collect();
    let rows = |picks: &[usize]| -> Vec<Row> {
        ["random", "annealing", "learned", "analytic", "analytic+learned"]
            .iter()
            .filter_map(|name| name.parse::<Strategy>().ok())
            .map(|strategy| row(&truths, strategy, picks, arguments))
            .collect()
    };
    let table = rows(&PICKS);
    let correlation = truths.iter().map(Truth::model_correlation).sum::<f64>() / truths.len() as f64;
    if let Some(path) = &arguments.csv {
        output::write(path, &csv(&table))?;
    }
    if let Some(path) = &arguments.svg {
        let curves: Vec<(String, Vec<f64>)> = rows(&curve)
            .into_iter()
            .map(|row| (row.strategy.to_string(), row.shares))
            .collect();
        output::write(
            path,
            &line_chart("trials", "share of the best", &curves).map_err(Failure::bug)?,
        )?;
    }
    let text = if arguments.json {
        let rows: Vec<_> = table
            .iter()
            .map(|row| json!({"strategy": row.strategy.name(), "trials": PICKS, "shares": row.shares}))
            .collect();
        let document =
            json!({"schema": 1, "spaces": truths.len(), "model_correlation": correlation, "strategies": rows});
        format!("{document:#}\n")
    } else {
        text(&truths, correlation, &table).map_err(Failure::bug)?
    };
    output::write(Path::new("-"), &text)
}

fn row(truths: &[Truth], strategy: Strategy, picks: &[usize], arguments: &SearchArguments) -> Row {
    let seeds = match strategy {
        Strategy::Exhaustive | Strategy::Analytic => 1,
        _ => arguments.seeds,
    };
    let runs: Vec<(&Truth, u64)> = truths
        .iter()
        .flat_map(|truth| (0..seeds).map(move |seed| (truth, seed)))
        .collect();
    let shares: Vec<Vec<f64>> = runs
        .into_par_iter()
        .map(|(truth, seed)| truth.shares(strategy.with_seed(seed), picks, arguments.batch))
        .collect();
    let mean = |index: usize| geometric_mean(&shares.iter().map(|one| one[index]).collect::<Vec<_>>());
    Row {
        strategy,
        shares: (0..picks.len()).map(mean).collect(),
    }
}

fn of_journal(path: &Path) -> Result<Truth, Failure> {
    let records = journal::read(path).map_err(Failure::usage)?.records;
    let first = records
        .first()
        .ok_or_else(|| Failure::usage(format!("{} has no records", path.display())))?;
    let target = GpuTarget::resolve(&first.target).map_err(Failure::usage)?;
    let legal = |space: &Space| {
        enumerate(
            space,
            &first.op,
            &target.limits,
            target.rates.map(|rates| rates.sm_count),
        )
        .map_or(0, |found| found.legal.len())
    };
    // The smallest space that the journal may be the exhaustive record of.
    let spaces = [legal(&Space::artifact_matmul()), legal(&Space::wide_matmul())];
    let smallest = spaces.into_iter().min().unwrap_or(0);
    Truth::of_journal(format!("{} on {}", first.op, first.target), &records, smallest)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

fn of_table(path: &Path, target: &str) -> Result<Vec<Truth>, Failure> {
    let target = GpuTarget::resolve(target).map_err(Failure::usage)?;
    let model = Model::new(&target).map_err(Failure::usage)?;
    let file = File::open(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let rows = read_table(file, target.arch).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Ok(Truth::of_table(&rows, &target, &model))
}

fn csv(rows: &[Row]) -> String {
    let mut text = String::from("strategy");
    for picks in PICKS {
        text += &format!(",trials_{picks}");
    }
    text.push('\n');
    for row in rows {
        text += row.strategy.name();
        for share in &row.shares {
            text += &format!(",{share}");
        }
        text.push('\n');
    }
    text
}

fn text(truths: &[Truth], correlation: f64, rows: &[Row]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let candidates: usize = truths.iter().map(|truth| truth.candidates.len()).sum();
    writeln!(
        text,
        "{} space(s), {candidates} schedules; model against times: ρ {correlation:.3}",
        truths.len()
    )?;
    for truth in truths.iter().filter(|_| truths.len() <= 12) {
        let best_us = truth.best_us().unwrap_or(f64::NAN);
        writeln!(
            text,
            "  {}: {} schedules, best {best_us:.2} µs",
            truth.name,
            truth.candidates.len()
        )?;
    }
    writeln!(text, "best of all / best of the first trials, geometric mean")?;
    write!(text, "{:<18}", "trials")?;
    for picks in PICKS {
        write!(text, "{picks:>8}")?;
    }
    writeln!(text)?;
    for row in rows {
        write!(text, "{:<18}", row.strategy.name())?;
        for share in &row.shares {
            write!(text, "{share:>8.4}")?;
        }
        writeln!(text)?;
    }
    write!(text, "{:<18}", "paper (A100)")?;
    for picks in PICKS {
        match PAPER.iter().find(|(trials, _)| *trials == picks) {
            Some((_, share)) => write!(text, "{share:>8.4}")?,
            None => write!(text, "{:>8}", "")?,
        }
    }
    writeln!(text)?;
    Ok(text)
}

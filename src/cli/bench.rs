//! `alcop bench`: the benchmark harness. `search` replays the strategies on spaces whose times are all known; `gpu-pack`
//! makes what is taken to a machine with a GPU.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use alcop_search::cost_model::Model;
use alcop_search::journal;
use alcop_search::replay::{Truth, geometric_mean};
use alcop_search::space::{Space, enumerate};
use alcop_search::strategy::Strategy;
use alcop_search::table::read_table;
use alcop_spec::GpuTarget;
use clap::{Args, Subcommand};
use flate2::read::GzDecoder;
use rayon::prelude::*;
use serde_json::json;

use super::plot::line_chart;
use super::{Failure, gpu_pack, output};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How good is the best of the first trials of each strategy?
    Search(SearchArguments),
    /// Make a folder with kernels, expected outputs, simulated times and a script for a machine with a GPU
    GpuPack(gpu_pack::Arguments),
}

#[derive(Args)]
struct SearchArguments {
    /// Journals of exhaustive searches (alcop tune --strategy exhaustive)
    #[arg(value_name = "JOURNAL.jsonl")]
    journals: Vec<PathBuf>,
    /// A table of measured kernels, each problem a space of its own; a .gz is read as it is
    #[arg(long, value_name = "CSV")]
    table: Option<PathBuf>,
    /// The device of the table
    #[arg(long, default_value = "a100", requires = "table")]
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
        Command::GpuPack(arguments) => gpu_pack::run(arguments),
    }
}

/// The strategy that has learned from the other spaces before its first trial.
const TAUGHT: &str = "analytic+learned+others";

/// One strategy.
struct Row {
    strategy: Strategy,
    name: &'static str,
    /// For each space and number of trials, the geometric mean over seeds.
    of_spaces: Vec<Vec<f64>>,
    /// Geometric means over spaces and seeds, for each of the numbers of trials.
    shares: Vec<f64>,
}

fn search(arguments: &SearchArguments) -> Result<(), Failure> {
    if arguments.batch == 0 || arguments.seeds == 0 {
        return Err(Failure::usage("--batch and --seeds must be at least 1"));
    }
    let outputs = [(&arguments.csv, "the table as CSV"), (&arguments.svg, "the drawing")];
    let outputs: Vec<(&Path, &str)> = outputs
        .iter()
        .filter_map(|(path, what)| Some((path.as_deref()?, *what)))
        .collect();
    let inputs: Vec<(&Path, &str)> = arguments
        .journals
        .iter()
        .map(|path| (path.as_path(), "a journal"))
        .chain(arguments.table.iter().map(|path| (path.as_path(), "the table")))
        .collect();
    output::check_clashes(&outputs, &inputs)?;
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
    let rows = |truths: &[Truth], picks: &[usize]| -> Vec<Row> {
        ["random", "annealing", "learned", "analytic", "analytic+learned"]
            .iter()
            .filter_map(|name| name.parse::<Strategy>().ok())
            .map(|strategy| row(truths, strategy, picks, arguments))
            .chain(taught(truths).map(|truths| Row {
                name: TAUGHT,
                ..row(&truths, Strategy::AnalyticLearned { seed: 0 }, picks, arguments)
            }))
            .collect()
    };
    let report = Report {
        rows: rows(&truths, &PICKS),
        correlations: truths.iter().map(Truth::model_correlation).collect(),
        truths,
    };
    if let Some(path) = &arguments.csv {
        output::write(path, &report.csv())?;
    }
    if let Some(path) = &arguments.svg {
        // Decided anew after each trial, as a curve needs it: not the table's numbers.
        let curve: Vec<usize> = (1..=PICKS[PICKS.len() - 1]).collect();
        let curves: Vec<(String, Vec<f64>)> = rows(&report.truths, &curve)
            .into_iter()
            .map(|row| (row.name.to_owned(), row.shares))
            .collect();
        let chart = line_chart("trials", "share of the best", &curves).map_err(Failure::bug)?;
        output::write(path, &chart)?;
    }
    let text = if arguments.json {
        format!("{:#}\n", report.json())
    } else {
        report.text().map_err(Failure::bug)?
    };
    output::write(Path::new("-"), &text)
}

/// Each space with what the others teach; of the many problems of a table that would take too long.
fn taught(truths: &[Truth]) -> Option<Vec<Truth>> {
    (2..=SPACES_IN_TEXT)
        .contains(&truths.len())
        .then(|| Truth::taught_by_the_others(truths))
}

fn row(truths: &[Truth], strategy: Strategy, picks: &[usize], arguments: &SearchArguments) -> Row {
    let seeds = match strategy {
        Strategy::Exhaustive | Strategy::Analytic => 1,
        _ => arguments.seeds,
    };
    let runs: Vec<(usize, u64)> = (0..truths.len())
        .flat_map(|space| (0..seeds).map(move |seed| (space, seed)))
        .collect();
    let shares: Vec<Vec<f64>> = runs
        .into_par_iter()
        .map(|(space, seed)| truths[space].shares(strategy.with_seed(seed), picks, arguments.batch))
        .collect();
    let means = |runs: &[Vec<f64>]| -> Vec<f64> {
        (0..picks.len())
            .map(|pick| geometric_mean(&runs.iter().map(|one| one[pick]).collect::<Vec<_>>()))
            .collect()
    };
    Row {
        strategy,
        name: strategy.name(),
        of_spaces: shares.chunks(seeds as usize).map(means).collect(),
        shares: means(&shares),
    }
}

/// What `bench search` prints. Rows have the numbers of trials in [`PICKS`].
struct Report {
    truths: Vec<Truth>,
    /// Model against times, of each space.
    correlations: Vec<f64>,
    rows: Vec<Row>,
}

/// Spaces beyond which the text has their means alone.
const SPACES_IN_TEXT: usize = 12;

impl Report {
    fn correlation(&self) -> f64 {
        self.correlations.iter().sum::<f64>() / self.correlations.len() as f64
    }

    fn csv(&self) -> String {
        let mut text = String::from("strategy");
        for picks in PICKS {
            text += &format!(",trials_{picks}");
        }
        text += ",space,schedules,model_correlation\n";
        let mut line = |row: &Row, shares: &[f64], space: &str, schedules: usize, correlation: f64| {
            text += row.name;
            for share in shares {
                text += &format!(",{share}");
            }
            text += &format!(",{space},{schedules},{correlation}\n");
        };
        let schedules = self.truths.iter().map(|truth| truth.candidates.len()).sum();
        for row in &self.rows {
            line(row, &row.shares, "geometric mean", schedules, self.correlation());
        }
        for (space, truth) in self.truths.iter().enumerate() {
            for row in &self.rows {
                let (schedules, correlation) = (truth.candidates.len(), self.correlations[space]);
                line(row, &row.of_spaces[space], &truth.name, schedules, correlation);
            }
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        let strategies: Vec<_> = self
            .rows
            .iter()
            .map(|row| json!({"strategy": row.name, "trials": PICKS, "shares": row.shares}))
            .collect();
        let operators: Vec<_> = (0..self.truths.len())
            .map(|space| {
                let truth = &self.truths[space];
                let shares: serde_json::Map<String, serde_json::Value> = self
                    .rows
                    .iter()
                    .map(|row| (row.name.to_owned(), json!(row.of_spaces[space])))
                    .collect();
                json!({"name": truth.name, "schedules": truth.candidates.len(), "best_us": truth.best_us(),
                    "model_correlation": self.correlations[space], "shares": shares})
            })
            .collect();
        json!({"schema": 1, "spaces": self.truths.len(), "model_correlation": self.correlation(),
            "strategies": strategies, "of_spaces": operators})
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let candidates: usize = self.truths.iter().map(|truth| truth.candidates.len()).sum();
        writeln!(
            text,
            "{} space(s), {candidates} schedules; model against times: ρ {:.3}",
            self.truths.len(),
            self.correlation()
        )?;
        if self.truths.len() <= SPACES_IN_TEXT {
            self.spaces(&mut text)?;
        }
        writeln!(text, "best of all / best of the first trials, geometric mean")?;
        write!(text, "{:<24}", "trials")?;
        for picks in PICKS {
            write!(text, "{picks:>8}")?;
        }
        writeln!(text)?;
        for row in &self.rows {
            write!(text, "{:<24}", row.name)?;
            for share in &row.shares {
                write!(text, "{share:>8.4}")?;
            }
            writeln!(text)?;
        }
        write!(text, "{:<24}", "paper (A100)")?;
        for picks in PICKS {
            match PAPER.iter().find(|(trials, _)| *trials == picks) {
                Some((_, share)) => write!(text, "{share:>8.4}")?,
                None => write!(text, "{:>8}", "")?,
            }
        }
        writeln!(text)?;
        Ok(text)
    }

    /// A line for each space: how good the model is there, and the share of the strategy that uses all there is.
    fn spaces(&self, text: &mut String) -> std::fmt::Result {
        let uses_all = |row: &&Row| matches!(row.strategy, Strategy::AnalyticLearned { .. });
        let Some(last) = self.rows.iter().find(uses_all) else {
            return Ok(());
        };
        let name = last.name;
        let width = self
            .truths
            .iter()
            .map(|truth| truth.name.chars().count())
            .max()
            .unwrap_or(0);
        write!(
            text,
            "{:<width$}{:>11}{:>12}{:>8}   {name} at",
            "", "schedules", "best µs", "ρ"
        )?;
        for picks in PICKS {
            write!(text, "{picks:>7}")?;
        }
        writeln!(text)?;
        for (space, truth) in self.truths.iter().enumerate() {
            let (schedules, best_us) = (truth.candidates.len(), truth.best_us().unwrap_or(f64::NAN));
            let correlation = self.correlations[space];
            write!(
                text,
                "{:<width$}{schedules:>11}{best_us:>12.2}{correlation:>8.3}   ",
                truth.name
            )?;
            write!(text, "{:<indent$}", "", indent = name.len() + 3)?;
            for share in &last.of_spaces[space] {
                write!(text, "{share:>7.3}")?;
            }
            writeln!(text)?;
        }
        Ok(())
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
    let model = Model::new(&target).map_err(Failure::usage)?;
    Truth::of_journal(format!("{} on {}", first.op, first.target), &records, &model, smallest)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

fn of_table(path: &Path, target: &str) -> Result<Vec<Truth>, Failure> {
    let target = GpuTarget::resolve(target).map_err(Failure::usage)?;
    let model = Model::new(&target).map_err(Failure::usage)?;
    let file = File::open(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let file: Box<dyn Read> = match path.extension() {
        Some(extension) if extension == "gz" => Box::new(GzDecoder::new(file)),
        _ => Box::new(file),
    };
    let rows = read_table(file, target.arch).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Ok(Truth::of_table(&rows, &target, &model))
}

//! `alcop predict`: the analytic model's times for a table of kernels.

use std::path::PathBuf;

use alcop_search::table::{TableError, predict_table};
use alcop_spec::GpuTarget;
use clap::Args;

use super::{Failure, output};

#[derive(Args)]
pub struct Arguments {
    /// The table (or - for standard input): columns m, n, k, block_m, block_n, block_k, warps, stages
    #[arg(value_name = "CSV")]
    table: PathBuf,
    /// The device
    #[arg(long, default_value = "a100")]
    target: String,
    /// Where to write the table with predicted_ms and the model's terms; - is standard output
    #[arg(short, long, value_name = "OUT.csv", default_value = "-")]
    output: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = GpuTarget::resolve(&arguments.target).map_err(Failure::usage)?;
    output::check_clashes(&[(&arguments.output, "the output")], &[(&arguments.table, "the table")])?;
    let table = output::read(&arguments.table)?;
    // Whole or not at all: a bad cell far down must not leave half a table.
    let mut predicted = Vec::new();
    predict_table(table.as_bytes(), &target, &mut predicted)
        .map_err(|error: TableError| Failure::usage(format!("{}: {error}", arguments.table.display())))?;
    let text = String::from_utf8(predicted).map_err(Failure::bug)?;
    output::write(&arguments.output, &text)
}

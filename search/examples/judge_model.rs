//! Judges the analytic model on a table of measured kernels (columns: see `alcop_search::table`): on all problems, and
//! on every second one, to which `fit_overheads` did not fit when it was given the same table.
//!
//! `cargo run --release -p alcop-search --no-default-features --example judge_model -- a100 TABLE.csv`

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::File;

use alcop_search::cost_model::{Model, predict_kernel};
use alcop_search::merit::{Merit, Ranked, merit};
use alcop_search::table::{TableRow, read_table};
use alcop_spec::GpuTarget;

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
    let held_out: BTreeSet<&str> = problems.into_iter().skip(1).step_by(2).collect();
    let of_held_out = analytic.iter().filter(|row| held_out.contains(row.problem.as_str()));
    print(
        "analytic model, held-out half",
        merit(&of_held_out.cloned().collect::<Vec<_>>()),
    );
    // Most rows of a problem share the largest tile, so the tie decides: the earlier row is the shallowest pipeline, which
    // would make this ranking weaker than it is.
    let area = |row: &TableRow| f64::from(row.kernel.block_m) * f64::from(row.kernel.block_n);
    let largest = |row: &TableRow| -area(row) - 1e-3 * f64::from(row.stages);
    print("largest tile first, then more stages", merit(&ranked(&largest)));
    Ok(())
}

//! Runs a launch file in the emulator and prints what it found, with the speed of the emulation:
//! `cargo run --release -p alcop-runtime --example emulate -- LAUNCH.json [earliest|latest|random [SEED]] [--no-hazards]`

use std::path::Path;
use std::time::Instant;

use alcop_runtime::launch::{read_launch, write_outputs};
use alcop_runtime::{Arrival, EmulateOptions, emulate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (flags, words): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|word| word.starts_with("--"));
    let Some(path) = words.first() else {
        return Err("usage: emulate LAUNCH.json [earliest|latest|random [SEED]] [--no-hazards]".into());
    };
    let arrival = words.get(1).map_or(Ok(Arrival::Latest), |word| word.parse())?;
    let seed = words.get(2).map_or(Ok(0), |word| word.parse())?;
    let hazards = !flags.iter().any(|flag| *flag == "--no-hazards");
    let mut loaded = read_launch(Path::new(path))?;
    let options = EmulateOptions {
        arrival,
        seed,
        hazards,
        ..EmulateOptions::default()
    };
    let start = Instant::now();
    let report = emulate(&loaded.kernel, &mut loaded.args, &options)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string_pretty(&report)?);
    let total = report.counters.kernel.total;
    println!(
        "{total} warp instructions in {seconds:.3} s: {:.2} million/s",
        total as f64 / seconds / 1e6
    );
    if report.hazards.is_empty() {
        write_outputs(&loaded)?;
    }
    Ok(())
}

//! `alcop run`: executes a PTX kernel and writes its outputs.

use std::path::PathBuf;
use std::sync::Arc;

use alcop_runtime::cuda::CudaDevice;
use alcop_runtime::device::{Device, TimingOptions};
use alcop_runtime::emulator::Program;
use alcop_runtime::launch::{LoadedLaunch, emulate_program, read_launch_with, write_outputs};
use alcop_runtime::{Approximation, Arrival, EmulateOptions, EmulationReport, EmulatorError};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::device::{DeviceName, emulator_failure, failure, outside};
use super::{Failure, output};

#[derive(Args)]
pub struct Arguments {
    /// The launch file
    #[arg(value_name = "LAUNCH.json")]
    launch: PathBuf,
    /// emulator or cuda:N
    #[arg(long, default_value = "emulator")]
    device: DeviceName,
    /// When asynchronous copies land: earliest, latest or random [default: latest]
    #[arg(long)]
    arrival: Option<Arrival>,
    /// Seed of random arrival [default: 0]
    #[arg(long, requires = "arrival")]
    seed: Option<u64>,
    /// Where results of .approx instructions lie in their bounds of the PTX ISA: nearest, low or high [default: nearest]
    #[arg(long)]
    approximations: Option<Approximation>,
    /// Only these blocks of the grid: X,Y,Z, several joined by ; (or their linear numbers)
    #[arg(long, value_name = "LIST")]
    blocks: Option<String>,
    /// Go on after a hazard, and write the outputs all the same
    #[arg(long)]
    keep_going: bool,
    /// Write outputs outside of the launch file's folder as well, where the launch file says so
    #[arg(long)]
    allow_outside: bool,
    /// Take notes as errors
    #[arg(long)]
    strict: bool,
    /// Warp instructions that one block may make before it counts as an endless loop [default: 100000000]
    #[arg(long, value_name = "N")]
    step_limit: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn arrival(&self) -> Arrival {
        self.arrival.unwrap_or(Arrival::Latest)
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut loaded = read_launch_with(&arguments.launch, outside(arguments.allow_outside)).map_err(Failure::usage)?;
    match &arguments.device {
        DeviceName::Emulator => on_emulator(arguments, &mut loaded),
        DeviceName::Cuda(ordinal) => on_gpu(arguments, *ordinal, &mut loaded),
        DeviceName::Simulator(_) => Err(Failure::usage(
            "the timing simulator computes no results; run on the emulator or cuda:N, or use alcop time",
        )),
    }
}

fn on_gpu(arguments: &Arguments, ordinal: u32, loaded: &mut LoadedLaunch) -> Result<(), Failure> {
    if arguments.blocks.is_some() {
        return Err(Failure::usage("--blocks needs the emulator: a GPU runs the whole grid"));
    }
    let of_the_emulator = [
        ("--arrival", arguments.arrival.is_some()),
        ("--approximations", arguments.approximations.is_some()),
        ("--keep-going", arguments.keep_going),
        ("--strict", arguments.strict),
        ("--step-limit", arguments.step_limit.is_some()),
    ];
    if let Some((option, _)) = of_the_emulator.into_iter().find(|(_, given)| *given) {
        return Err(Failure::without_effect(option, "on a GPU: it is for the emulator"));
    }
    let device = CudaDevice::open(ordinal).map_err(failure)?;
    let options = TimingOptions {
        warm_up: 0,
        repeats: 1,
        flush_l2: false,
    };
    device
        .time(&loaded.kernel, &mut loaded.args, &options)
        .map_err(failure)?;
    write_outputs(loaded).map_err(Failure::usage)?;
    if arguments.json {
        let document = json!({"schema": 1, "status": "ok", "device": device.source().device(), "hazards": [], "notes": [],
            "counters": null});
        return output::write(&PathBuf::from("-"), &format!("{document:#}\n"));
    }
    Ok(())
}

fn on_emulator(arguments: &Arguments, loaded: &mut LoadedLaunch) -> Result<(), Failure> {
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{wide_bar} {pos}/{len} blocks, {eta} left").expect("a valid template"),
    );
    let shown = bar.clone();
    let arrival = arguments.arrival();
    if arguments.seed.is_some() && arrival != Arrival::Random {
        let why = format!("with --arrival {}: it is for random arrival", arrival.name());
        return Err(Failure::without_effect("--seed", &why));
    }
    let options = EmulateOptions {
        arrival,
        seed: arguments.seed.unwrap_or(0),
        blocks: arguments
            .blocks
            .as_deref()
            .map(|list| blocks(list, loaded.kernel.grid))
            .transpose()?,
        keep_going: arguments.keep_going,
        strict: arguments.strict,
        step_limit: arguments.step_limit.unwrap_or(EmulateOptions::default().step_limit),
        progress: Some(Arc::new(move |done, total| {
            shown.set_length(total);
            shown.set_position(done);
        })),
        ..EmulateOptions::default()
    };
    let approximation = arguments.approximations.unwrap_or_default();
    let result = alcop_runtime::ptx::parse(&loaded.kernel.ptx)
        .map_err(EmulatorError::from)
        .and_then(|module| Program::with_approximations(Arc::new(module), &loaded.kernel.entry, approximation))
        .and_then(|program| emulate_program(&program, &loaded.kernel, &mut loaded.args, &options));
    bar.finish_and_clear();
    let report = result.map_err(emulator_failure)?;
    let verdict = verdict(&report);
    if verdict.is_none() || arguments.keep_going {
        write_outputs(loaded).map_err(Failure::usage)?;
    }
    let text = if arguments.json {
        let status = if report.hazards.is_empty() { "ok" } else { "hazards" };
        let document = json!({"schema": 1, "status": status, "device": "emulator", "hazards": report.hazards,
            "notes": report.notes, "counters": report.counters});
        format!("{document:#}\n")
    } else {
        table(arguments, loaded, &report, verdict.is_none())
    };
    output::write(&PathBuf::from("-"), &text)?;
    verdict.map_or(Ok(()), |message| Err(Failure::refused(message)))
}

/// Why the run is no success.
fn verdict(report: &EmulationReport) -> Option<String> {
    let hazard = report.hazards.first()?;
    let (count, line) = (report.hazards.len(), hazard.line);
    let detail = hazard
        .detail
        .as_ref()
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    Some(format!(
        "{count} hazard(s), the first at PTX line {line} [{}]{detail}",
        hazard.code.name()
    ))
}

fn table(arguments: &Arguments, loaded: &LoadedLaunch, report: &EmulationReport, clean: bool) -> String {
    let mut text = String::new();
    for hazard in &report.hazards {
        text += &format!("{} ({} time(s))\n", hazard.line(), hazard.count);
    }
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    let kernel = &report.counters.kernel;
    text += &format!(
        "{}: {} blocks, {} warp instructions, {} bank conflicts, {} arrival\n",
        loaded.kernel.entry,
        report.counters.blocks,
        kernel.total,
        kernel.shared_conflicts,
        arguments.arrival().name(),
    );
    for (class, count) in &kernel.instructions {
        let name = serde_json::to_value(class).expect("a name");
        text += &format!("  {:<14}{count}\n", name.as_str().unwrap_or_default());
    }
    if clean || arguments.keep_going {
        for written in &loaded.outputs {
            text += &format!("wrote {}\n", written.path.display());
        }
    }
    text
}

/// `0,0,0;3,5,0` or `0;23`.
fn blocks(list: &str, grid: [u32; 3]) -> Result<Vec<[u32; 3]>, Failure> {
    let [x, y, z] = grid.map(u64::from);
    let bad = |item: &str| {
        Failure::usage(format!(
            "--blocks: {item:?} is no block of the grid {grid:?}; give X,Y,Z or a linear number, several joined by ;"
        ))
    };
    list.split(';')
        .map(|item| {
            let numbers: Result<Vec<u64>, _> = item.split(',').map(|number| number.trim().parse()).collect();
            let block = match numbers.map_err(|_| bad(item))?[..] {
                [index] if index < x * y * z => [index % x, index / x % y, index / (x * y)],
                [i, j, k] if i < x && j < y && k < z => [i, j, k],
                _ => return Err(bad(item)),
            };
            Ok(block.map(|extent| extent as u32))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_lists() {
        let grid = [4, 6, 2];
        let parsed = |list| blocks(list, grid).map_err(|failure| failure.message);
        assert_eq!(parsed("0,0,0;3,5,1"), Ok(vec![[0, 0, 0], [3, 5, 1]]));
        assert_eq!(parsed("0; 5;47"), Ok(vec![[0, 0, 0], [1, 1, 0], [3, 5, 1]]));
        for bad in ["", "48", "4,0,0", "1,2", "a", "0;;1", "-1"] {
            assert!(parsed(bad).is_err_and(|message| message.contains("[4, 6, 2]")), "{bad}");
        }
    }
}

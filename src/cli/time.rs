//! `alcop time`: how long a PTX kernel takes, and where the time goes. It sees the launch file alone.

use std::path::PathBuf;

use alcop_runtime::device::TimingOptions;
use alcop_runtime::launch::read_launch_with;
use alcop_runtime::timing::SimDevice;
use alcop_search::evaluate::answer;
use alcop_spec::GpuTarget;
use clap::Args;
use serde_json::json;

use super::device::{DeviceName, emulator_failure, failure, outside, timing_device};
use super::{Failure, output};

#[derive(Args)]
pub struct Arguments {
    /// The launch file
    #[arg(value_name = "LAUNCH.json")]
    launch: PathBuf,
    /// sim:TARGET or cuda:N; sim alone is sim:a100
    #[arg(long, default_value = "sim")]
    device: DeviceName,
    /// What --device sim stands for [default: a100]
    #[arg(long)]
    target: Option<String>,
    /// Timed runs on a GPU [default: 20]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: Option<u32>,
    /// Take a launch file with outputs outside of its folder (none is written here)
    #[arg(long)]
    allow_outside: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut loaded = read_launch_with(&arguments.launch, outside(arguments.allow_outside)).map_err(Failure::usage)?;
    let of_target = arguments.target.as_deref().unwrap_or("a100");
    if arguments.target.is_some() && arguments.device != DeviceName::Simulator(None) {
        return Err(Failure::without_effect(
            "--target",
            "beside a --device that names its own",
        ));
    }
    let text = if let DeviceName::Simulator(named) = &arguments.device {
        if arguments.repeats.is_some() {
            return Err(Failure::without_effect(
                "--repeats",
                "on the simulator, whose times are always the same",
            ));
        }
        let target = GpuTarget::resolve(named.as_deref().unwrap_or(of_target)).map_err(Failure::usage)?;
        let device = SimDevice::new(&target).map_err(Failure::usage)?;
        let report = device
            .simulate(&loaded.kernel, &loaded.args)
            .map_err(emulator_failure)?;
        if arguments.json {
            let mut document = json!({"schema": 1, "time_us": report.time_us, "time_kind": "simulated"});
            let fields = serde_json::to_value(&report).map_err(Failure::bug)?;
            if let (Some(document), Some(fields)) = (document.as_object_mut(), fields.as_object()) {
                document.extend(fields.clone());
            }
            format!("{document:#}\n")
        } else {
            report.to_string()
        }
    } else {
        let device = timing_device(&arguments.device, of_target)?;
        let options = TimingOptions {
            repeats: arguments.repeats.unwrap_or(TimingOptions::default().repeats),
            ..TimingOptions::default()
        };
        let measurement = device
            .time(&loaded.kernel, &mut loaded.args, &options)
            .map_err(failure)?;
        let (time_us, kind, device) = answer(&measurement);
        if arguments.json {
            let document = json!({"schema": 1, "time_us": time_us, "time_kind": kind.name(), "device": device,
                "samples_us": measurement.samples_us});
            format!("{document:#}\n")
        } else {
            format!(
                "{time_us:.3} µs ({}), median of {}; best {:.3} µs\n",
                measurement.source,
                measurement.samples_us.len(),
                measurement.best_us()
            )
        }
    };
    output::write(&PathBuf::from("-"), &text)
}

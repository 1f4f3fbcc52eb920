//! Trials in processes of their own: `alcop worker`, which `alcop tune` and `alcop journal replay` start from their own
//! binary.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use alcop_search::watch::Timeouts;
use alcop_search::worker::{Job, Limits, Workers, available_mib, serve};
use alcop_spec::{GpuTarget, OpSpec};
use clap::Args;

use super::Failure;
use super::device::{DeviceName, device_spec, timing_device};

/// What a trial may take.
#[derive(Args, Clone, Debug)]
pub struct LimitArguments {
    /// Give a trial up that waits so many seconds for a worker or for the device
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    queue_timeout: Duration,
    /// Give a trial up that compiles for so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    compile_timeout: Duration,
    /// Give a trial up whose kernel is verified and timed for so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    run_timeout: Duration,
    /// Give a trial up whose process takes so many MiB, operands included; by default the trials that run at once share
    /// three quarters of the memory that is available when the search starts
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    memory_limit: Option<u64>,
}

impl LimitArguments {
    /// The limits of trials, so many of them at once.
    fn limits(&self, at_once: usize) -> Limits {
        let share = |available: u64| (available * 3 / 4 / at_once.max(1) as u64).max(1);
        Limits {
            timeouts: Timeouts {
                queue: Some(self.queue_timeout),
                compile: Some(self.compile_timeout),
                run: Some(self.run_timeout),
            },
            memory_mib: self.memory_limit.or_else(|| available_mib().map(share)),
        }
    }
}

/// A positive number of seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok().filter(|number| *number > 0.0);
    number
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .ok_or_else(|| "not a positive number of seconds".to_owned())
}

/// What workers evaluate. The device is there: they open it for themselves, and this process does not keep it.
pub fn job(op: &OpSpec, target: &GpuTarget, device: &DeviceName, of_target: &str) -> Result<Job, Failure> {
    drop(timing_device(device, of_target)?);
    Ok(Job {
        op: *op,
        target: target.clone(),
        device: device_spec(device, of_target)?,
    })
}

/// Workers for trials, at most so many of them at once; the first one is ready. What they print on standard error goes to
/// `listener`, line by line.
pub fn workers(
    job: Job,
    limits: &LimitArguments,
    at_once: usize,
    listener: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Workers, Failure> {
    let limits = limits.limits(at_once.min(rayon::current_num_threads()));
    let program = own_program()?;
    let command = move || {
        let mut command = Command::new(&program);
        command.arg0("alcop").arg("worker");
        command
    };
    let workers = Workers::new(command, job, limits).on_stderr(listener);
    workers.start().map_err(|failure| Failure::refused(failure.reason))?;
    Ok(workers)
}

/// This process's program. On Linux by the name that leads to it even when the file was replaced since.
fn own_program() -> Result<PathBuf, Failure> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    std::env::current_exe().map_err(|error| Failure::bug(format!("the program does not know its own file: {error}")))
}

/// `alcop worker`: ends with the search.
pub fn run() -> Result<(), Failure> {
    serve()
}

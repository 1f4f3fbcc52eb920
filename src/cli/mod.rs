//! The `alcop` command. Exit codes: 0 success, 1 refused, 2 bad usage or input, 3 device absent or lost, 70 a bug of
//! ours, 130 interrupted.

mod assumptions;
mod bench;
mod compile;
mod device;
mod explain;
mod gpu_pack;
mod journal;
mod operator;
mod opt;
mod output;
mod plot;
mod predict;
mod report;
mod run;
mod time;
mod tune;
mod worker;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Overlaps loading and computing in GPU kernels: tiled MLIR in, pipelined and checked PTX out.
#[derive(Parser)]
#[command(name = "alcop", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say of each buffer whether its loads can run ahead, and why not.
    Explain(explain::Arguments),
    /// Run passes by name on an MLIR file, as mlir-opt does: upstream's and ours.
    Opt(opt::Arguments),
    /// Compile a kernel: tile program, plan, pipelined MLIR, LLVM IR, PTX or launch file.
    Compile(compile::Arguments),
    /// Execute a PTX kernel in the emulator (or on a GPU) and write its outputs; hazards are errors.
    Run(run::Arguments),
    /// Say how long a PTX kernel takes, on the timing simulator or on a GPU, and where the time goes.
    Time(time::Arguments),
    /// Add the analytic model's predicted times, and the terms behind them, to a table of kernels.
    Predict(predict::Arguments),
    /// Search the fastest schedule of an operator; each trial is compiled, verified and timed.
    Tune(tune::Arguments),
    /// Work on the record of a search: best, replay, diff, merge, validate.
    Journal(journal::Arguments),
    /// Benchmarks: tables and plots.
    Bench(bench::Arguments),
    /// Evaluate trials for the search that started this process.
    #[command(hide = true)]
    Worker,
}

/// Why a command ends without success.
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// A refused schedule or plan, a hazard, a wrong result: 1.
    fn refused(message: impl ToString) -> Self {
        Failure {
            code: 1,
            message: message.to_string(),
        }
    }

    /// Bad usage, or input that does not parse or verify: 2.
    fn usage(message: impl ToString) -> Self {
        Failure {
            code: 2,
            message: message.to_string(),
        }
    }

    /// An option that would be passed over: 2.
    fn without_effect(option: &str, why: &str) -> Self {
        Failure::usage(format!("{option} has no effect {why}; leave it out"))
    }

    /// A device that is absent, lost or out of time: 3.
    fn device(message: impl ToString) -> Self {
        Failure {
            code: 3,
            message: message.to_string(),
        }
    }

    /// The user stopped it: 130.
    fn interrupted(message: impl ToString) -> Self {
        Failure {
            code: 130,
            message: message.to_string(),
        }
    }

    /// A bug of ours: 70.
    fn bug(message: impl ToString) -> Self {
        Failure {
            code: 70,
            message: message.to_string(),
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ALCOP_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // Colours are for people, and whoever closes the stream early (`2>&1 | head`) is not told of it there.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .log_internal_errors(false)
        .without_time()
        .init();
    alcop_system::files::report_full_files();
    let known = Cli::command();
    let line = opt::with_pass_flags(&known, std::env::args_os().collect());
    let result = match Cli::parse_from(line).command {
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Opt(arguments) => opt::run(&arguments),
        Command::Compile(arguments) => compile::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Time(arguments) => time::run(&arguments),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Tune(arguments) => tune::run(&arguments),
        Command::Journal(arguments) => journal::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Worker => worker::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::say(&format!("alcop: {}\n", failure.message));
            ExitCode::from(failure.code)
        }
    }
}

//! The `alcop` command. Exit codes: 0 success, 1 refused, 2 bad usage or input, 3 device absent or lost, 70 a bug of
//! ours, 130 interrupted.

mod compile;
mod explain;
mod operator;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Compile a kernel: tile program, plan, pipelined MLIR, LLVM IR, PTX or launch file.
    Compile(compile::Arguments),
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
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    let result = match Cli::parse().command {
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Compile(arguments) => compile::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("alcop: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

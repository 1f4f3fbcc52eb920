//! `alcop bench gpu-pack`: makes the folder that is taken to a machine with a GPU.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::gpu_pack::{PackError, pack, write};

#[derive(Args)]
pub struct Arguments {
    /// Where the pack goes; an older one is replaced
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The folder of kernels whose outputs are compared beside those of matmuls
    #[arg(long, value_name = "FOLDER", default_value = "tests/filetests/pipeline")]
    forms: PathBuf,
    /// A few kernels only, to try the script
    #[arg(long)]
    small: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let pack = pack(&arguments.forms, arguments.small).map_err(|error| match error {
        PackError::Read { .. } | PackError::NoForms { .. } => Failure::usage(error),
        PackError::Target { .. } | PackError::Kernel { .. } | PackError::TooLarge { .. } => Failure::bug(error),
    })?;
    write(&pack, &arguments.out).map_err(Failure::usage)?;
    println!(
        "{}: {} kernels of {} forms, {} timed schedules, {:.1} MB",
        arguments.out.display(),
        pack.cases,
        pack.forms,
        pack.schedules,
        pack.bytes() as f64 / 1e6
    );
    println!("on the machine with the GPU: bash run.sh RESULT.json");
    Ok(())
}

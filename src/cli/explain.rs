//! `alcop explain`: a verdict for each buffer, and for each loop.

use std::path::PathBuf;

use alcop_compiler::detect::{DetectOptions, detect, detection_json, detection_table};
use alcop_compiler::ir::Context;
use alcop_compiler::tile_program::tile_program;
use alcop_spec::GpuTarget;
use clap::Args;

use super::operator::{OperatorArguments, ScheduleArguments};
use super::{Failure, output};

#[derive(Args)]
pub struct Arguments {
    /// An MLIR file (or - for standard input) instead of an operator
    #[arg(value_name = "FILE.mlir", conflicts_with = "op")]
    file: Option<PathBuf>,
    #[command(flatten)]
    operator: OperatorArguments,
    #[command(flatten)]
    schedule: ScheduleArguments,
    /// The architecture or device whose limits count
    #[arg(long, default_value = "sm_80")]
    target: String,
    /// Accept operations of dialects that are not registered
    #[arg(long)]
    allow_unregistered_dialect: bool,
    /// Threads of a block, where the kernel does not say
    #[arg(long, value_name = "X,Y,Z", value_delimiter = ',')]
    block_size: Vec<u32>,
    /// Take pointer arguments as not overlapping
    #[arg(long)]
    assume_noalias: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = GpuTarget::resolve(&arguments.target).map_err(Failure::usage)?;
    let block_size = match arguments.block_size[..] {
        [] => None,
        [x, y, z] if x > 0 && y > 0 && z > 0 => Some([x, y, z]),
        _ => return Err(Failure::usage("--block-size needs three positive numbers: X,Y,Z")),
    };
    let context = Context::new();
    context.allow_unregistered_dialects(arguments.allow_unregistered_dialect);
    let module = match (&arguments.file, arguments.operator.op_spec()?) {
        (Some(path), _) => {
            let text = output::read(path)?;
            context
                .parse(&text, &path.display().to_string())
                .map_err(Failure::usage)?
        }
        (None, Some(op)) => {
            tile_program(&context, &op, &arguments.schedule.schedule()?)
                .map_err(Failure::refused)?
                .module
        }
        (None, None) => {
            return Err(Failure::usage(
                "name an MLIR file or an operator (--op matmul --m … --n … --k …)",
            ));
        }
    };
    let options = DetectOptions {
        block_size,
        assume_noalias: arguments.assume_noalias,
        ..crate::detect_options(&target)
    };
    let detection = detect(&module, &options);
    let text = if arguments.json {
        format!("{:#}\n", detection_json(&detection))
    } else {
        detection_table(&detection)
    };
    output::write(&PathBuf::from("-"), &text)
}

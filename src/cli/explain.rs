//! `alcop explain`: a verdict for each buffer, and for each loop. Reads its input and changes nothing.

use std::path::PathBuf;

use alcop_compiler::detect::{DetectOptions, Detection, detection_table, detections_json, remarks};
use alcop_compiler::ir::Context;
use alcop_compiler::tile_program::tile_program;
use alcop_passes::sink::foresee;
use alcop_spec::GpuTarget;
use clap::Args;

use super::assumptions::AssumptionArguments;
use super::operator::{OF_OPERATORS, OperatorArguments, StageArguments, TileArguments, three};
use super::{Failure, output};

#[derive(Args)]
pub struct Arguments {
    /// MLIR files (or - for standard input) instead of an operator
    #[arg(value_name = "FILE.mlir", conflicts_with_all = OF_OPERATORS)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    operator: OperatorArguments,
    #[command(flatten)]
    tiles: TileArguments,
    /// The architecture or device whose limits count
    #[arg(long, default_value = "sm_80")]
    target: String,
    /// Accept operations of dialects that are not registered
    #[arg(long, conflicts_with = "op")]
    allow_unregistered_dialect: bool,
    /// Threads of a block, where the kernel does not say
    #[arg(long, value_name = "X,Y,Z", value_delimiter = ',', conflicts_with = "op")]
    block_size: Vec<u32>,
    #[command(flatten)]
    assumptions: AssumptionArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = GpuTarget::resolve(&arguments.target).map_err(Failure::usage)?;
    arguments.assumptions.check(arguments.operator.op_spec()?.is_some())?;
    let block_size = three(&arguments.block_size, "block-size")?;
    let context = Context::new();
    context.allow_unregistered_dialects(arguments.allow_unregistered_dialect);
    let options = DetectOptions {
        block_size,
        assumptions: arguments.assumptions.assumptions(),
        ..crate::detect_options(&target)
    };
    let mut detections = Vec::new();
    for path in &arguments.files {
        let text = output::read(path)?;
        let module = context
            .parse(&text, &path.display().to_string())
            .map_err(Failure::usage)?;
        let detection = foresee(&module, &options).map_err(Failure::bug)?;
        check_block_size(block_size, &detection)?;
        detections.push(detection);
    }
    match arguments.operator.op_spec()? {
        Some(op) => {
            let program = tile_program(&context, &op, &arguments.tiles.schedule(&StageArguments::default())?)
                .map_err(Failure::refused)?;
            detections.push(foresee(&program.module, &options).map_err(Failure::bug)?);
        }
        None if arguments.files.is_empty() => {
            return Err(Failure::usage(
                "name an MLIR file or an operator (--op matmul --m … --n … --k …)",
            ));
        }
        None => {}
    }
    let text = if arguments.json {
        format!("{:#}\n", detections_json(&detections))
    } else {
        let tables: Vec<String> = detections.iter().map(detection_table).collect();
        let remarks: String = detections.iter().map(remarks).collect();
        format!("{}\n{remarks}", tables.concat())
    };
    output::write(&PathBuf::from("-"), &text)
}

/// A size that is given for a kernel which says another one would be passed over.
fn check_block_size(given: Option<[u32; 3]>, detection: &Detection) -> Result<(), Failure> {
    let other = |said: &[u32; 3]| given.is_some_and(|given| given != *said);
    let contradicts = detection
        .kernels
        .iter()
        .find_map(|kernel| Some((kernel, kernel.block_size.filter(other)?)));
    contradicts.map_or(Ok(()), |(kernel, [x, y, z])| {
        Err(Failure::usage(format!(
            "--block-size is for kernels that do not say it; {} has blocks of {x},{y},{z} threads",
            kernel.name
        )))
    })
}

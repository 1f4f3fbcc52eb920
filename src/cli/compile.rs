//! `alcop compile`: one kernel, from an operator or an MLIR file, to any stage of the road.

use std::path::{Path, PathBuf};

use alcop_compiler::detect::Detection;
use alcop_compiler::ir::{Context, Module};
use alcop_compiler::tile_program::{TileError, tile_program};
use alcop_passes::Error;
use alcop_passes::decide::decide;
use alcop_passes::outline::outline;
use alcop_passes::pipeline::compile;
use alcop_passes::plan::PipelinePlan;
use alcop_passes::sink::sink_and_detect;
use alcop_spec::{GpuTarget, Kernel, LaunchFile, Rejection, TileSchedule};
use alcop_system::files::Output;
use clap::{Args, ValueEnum};

use super::operator::{OperatorArguments, ScheduleArguments, three};
use super::{Failure, output};
use crate::launch::{beside, file_name, launch_output, launch_path, names};
use crate::own_launch::{OwnLaunch, own_launch, set_block_size};
use crate::{check_budgets, depths, detect_options};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// The un-pipelined tile program.
    Tile,
    /// The pipeline plan as JSON.
    Plan,
    /// The pipelined kernel in upstream dialects.
    Mlir,
    /// LLVM IR before optimisation.
    Llvm,
    /// PTX.
    Ptx,
    /// The launch file as JSON; its PTX is written beside it.
    Launch,
}

#[derive(Args)]
pub struct Arguments {
    /// An MLIR file (or - for standard input) instead of an operator
    #[arg(value_name = "FILE.mlir", conflicts_with = "op")]
    file: Option<PathBuf>,
    #[command(flatten)]
    operator: OperatorArguments,
    #[command(flatten)]
    schedule: ScheduleArguments,
    /// Obey this plan instead of making one
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// The architecture or device
    #[arg(long, default_value = "sm_80")]
    target: String,
    /// What to write
    #[arg(long, value_enum, default_value = "ptx")]
    emit: Emit,
    /// Threads of a block of the file's kernel, where it has no known_block_size
    #[arg(long, value_name = "X,Y,Z", value_delimiter = ',')]
    block_size: Vec<u32>,
    /// Blocks that the launch file of the file's kernel launches, where it has no known_grid_size
    #[arg(long, value_name = "X,Y,Z", value_delimiter = ',')]
    grid: Vec<u32>,
    /// Where to write it; - is standard output
    #[arg(short, long, default_value = "-")]
    output: PathBuf,
}

/// A compile error is the user's to mend (1), a broken invariant ours (70).
fn failure(error: Error) -> Failure {
    match error {
        Error::Invalid { .. } | Error::Llvm(_) => Failure::bug(error),
        _ => Failure::refused(error),
    }
}

fn tile_failure(error: TileError) -> Failure {
    match &error {
        TileError::Invalid(_) => Failure::bug(error),
        TileError::Refused(reasons) if matches!(reasons[..], [Rejection::DTypeNotSupported { .. }, ..]) => {
            Failure::usage(error)
        }
        TileError::Refused(_) => Failure::refused(error),
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = GpuTarget::resolve(&arguments.target).map_err(Failure::usage)?;
    let schedule = arguments.schedule.schedule()?;
    let (block, grid) = shape(arguments)?;
    check_names(arguments)?;
    let context = Context::new();
    let (mut module, launch) = match (&arguments.file, arguments.operator.op_spec()?) {
        (Some(path), _) => {
            let text = output::read(path)?;
            let mut module = context
                .parse(&text, &path.display().to_string())
                .map_err(Failure::usage)?;
            outline(&mut module).map_err(failure)?;
            if let Some(block) = block {
                set_block_size(&module, block).map_err(Failure::usage)?;
            }
            (module, None)
        }
        (None, Some(op)) => {
            let program = tile_program(&context, &op, &schedule).map_err(tile_failure)?;
            (program.module, Some((op, program.grid, program.block)))
        }
        (None, None) => {
            return Err(Failure::usage(
                "name an MLIR file or an operator (--op matmul --m … --n … --k …)",
            ));
        }
    };
    if arguments.emit == Emit::Tile {
        return output::write(&arguments.output, &module.to_string());
    }
    let own = match arguments.emit {
        Emit::Launch if launch.is_none() => Some(own_launch(&module, &arguments.output, grid).map_err(Failure::usage)?),
        _ => None,
    };
    let plan = plan(&mut module, arguments, &schedule, &target)?;
    if arguments.emit == Emit::Plan {
        let text = serde_json::to_string_pretty(&plan).map_err(Failure::bug)?;
        return output::write(&arguments.output, &format!("{text}\n"));
    }
    if let Some((op, ..)) = &launch {
        check_budgets(op, &schedule, &target).map_err(Failure::refused)?;
    }
    let compiled = compile(&mut module, &plan, target.arch.name()).map_err(failure)?;
    if compiled.dynamic_shared_bytes > shared_limit(&target) {
        return Err(Failure::refused(format!(
            "the kernel needs {} B of shared memory and {} allows {} B a block; take fewer slots [does-not-fit]",
            compiled.dynamic_shared_bytes,
            target.arch,
            shared_limit(&target)
        )));
    }
    match arguments.emit {
        Emit::Mlir => output::write(&arguments.output, &compiled.pipelined),
        Emit::Llvm => output::write(&arguments.output, &compiled.assembly.llvm),
        Emit::Launch => {
            if let Some(own) = own {
                return write_own_launch(arguments, own, compiled.assembly.ptx, compiled.dynamic_shared_bytes);
            }
            let Some((op, grid, block)) = launch else {
                return Err(Failure::bug("a launch file of neither an operator nor a kernel"));
            };
            let kernel = Kernel {
                ptx: compiled.assembly.ptx,
                entry: op.name().to_owned(),
                grid,
                block,
                dynamic_shared_bytes: compiled.dynamic_shared_bytes as u32,
            };
            output::write_bundle(&arguments.output, &op, &schedule, &kernel).map(|_| ())
        }
        Emit::Tile | Emit::Plan | Emit::Ptx => output::write(&arguments.output, &compiled.assembly.ptx),
    }
}

fn plan(
    module: &mut Module<'_>,
    arguments: &Arguments,
    schedule: &TileSchedule,
    target: &GpuTarget,
) -> Result<PipelinePlan, Failure> {
    // A plan is made of, and for, the module whose copies are pure.
    let detection = sink_and_detect(module, &detect_options(target)).map_err(failure)?;
    if let Some(path) = &arguments.plan {
        return output::read_json(path);
    }
    let depths = depths(schedule);
    let plan = decide(module, &detection, target.arch.name(), &depths).map_err(failure)?;
    if plan.loops.is_empty() && schedule.shared_stages > 1 {
        say_why_nothing_is_pipelined(&detection);
    }
    Ok(plan)
}

/// A kernel that comes out as it went in has a reason for each loop.
fn say_why_nothing_is_pipelined(detection: &Detection) {
    let loops = detection.kernels.iter().flat_map(|kernel| &kernel.loops);
    for reason in loops.flat_map(|verdict| verdict.reasons.first()) {
        let code = serde_json::to_value(reason.code).map_or_else(|_| String::new(), |code| code.to_string());
        tracing::warn!(
            "{}: not pipelined: {} [{}]",
            reason.location,
            reason.message,
            code.trim_matches('"')
        );
    }
}

/// The shape of the launch that the options give: for a kernel from a file, the grid in its launch file alone.
fn shape(arguments: &Arguments) -> Result<(Option<[u32; 3]>, Option<[u32; 3]>), Failure> {
    let block = three(&arguments.block_size, "block-size")?;
    let grid = three(&arguments.grid, "grid")?;
    if arguments.file.is_none() && (block.is_some() || grid.is_some()) {
        return Err(Failure::usage(
            "--block-size and --grid are for a kernel from a file; an operator's follow from its shape and tiles",
        ));
    }
    if grid.is_some() && arguments.emit != Emit::Launch {
        return Err(Failure::usage(
            "--grid is written into the launch file; ask for one with --emit launch",
        ));
    }
    Ok((block, grid))
}

/// No output is an input, and no two outputs are one file; found out before any work.
fn check_names(arguments: &Arguments) -> Result<(), Failure> {
    let inputs = [
        (&arguments.file, "the kernel"),
        (&arguments.plan, "the plan"),
        (&arguments.schedule.schedule, "the schedule"),
    ];
    let inputs: Vec<(&Path, &str)> = inputs
        .iter()
        .filter_map(|(path, what)| Some((path.as_deref()?, *what)))
        .collect();
    if arguments.emit != Emit::Launch {
        return output::check_clashes(&[(&arguments.output, "the output")], &inputs);
    }
    let launch = launch_path(&arguments.output).map_err(output::bundle_failure)?;
    let written = match arguments.file.is_some() {
        true => vec![(launch.clone(), "the launch file"), (beside(&launch, "ptx"), "its PTX")],
        false => names(&launch).to_vec(),
    };
    let outputs: Vec<(&Path, &str)> = written.iter().map(|(path, what)| (path.as_path(), *what)).collect();
    output::check_clashes(&outputs, &inputs)
}

/// The launch file of a kernel from a file: zeros for its arguments, to be replaced.
fn write_own_launch(
    arguments: &Arguments,
    own: OwnLaunch,
    ptx: String,
    dynamic_shared_bytes: u64,
) -> Result<(), Failure> {
    let path = launch_path(&arguments.output).map_err(output::bundle_failure)?;
    let ptx_path = beside(&path, "ptx");
    for argument in &own.unknown {
        tracing::warn!(
            "the extents of argument {argument} are not known: they stand as 1 in {}",
            path.display()
        );
    }
    let launch = LaunchFile {
        ptx: file_name(&ptx_path),
        entry: own.entry,
        grid: own.grid,
        block: own.block,
        dynamic_shared_bytes: dynamic_shared_bytes as u32,
        args: own.args,
    };
    output::write_all(&[Output::new(ptx_path, ptx.into_bytes()), launch_output(&path, &launch)])
}

fn shared_limit(target: &GpuTarget) -> u64 {
    u64::from(target.limits.shared_bytes_per_block)
}

//! `alcop compile`: one kernel, from an operator or an MLIR file, to any stage of the road.

use std::path::{Path, PathBuf};

use alcop_compiler::detect::{Assumptions, DetectOptions, Detection, Level, Reason, attributes, detect};
use alcop_compiler::ir::{Context, Module};
use alcop_compiler::tile_program::{TileError, tile_program};
use alcop_passes::Error;
use alcop_passes::allowed;
use alcop_passes::math::Libdevice;
use alcop_passes::opt::planned;
use alcop_passes::outline::outline;
use alcop_passes::pipeline::{Compiled, compile_with, transform};
use alcop_passes::plan::PipelinePlan;
use alcop_passes::sink::sink_and_detect;
use alcop_spec::{Assumption, GpuTarget, Kernel, LaunchFile, Rejection, TileSchedule};
use alcop_system::files::Output;
use clap::{Args, ValueEnum};

use super::assumptions::AssumptionArguments;
use super::operator::{OF_OPERATORS, OperatorArguments, StageArguments, TileArguments, three};
use super::{Failure, output};
use crate::launch::{beside, file_name, launch_output, launch_path, names};
use crate::own_launch::{OwnLaunch, own_launch, set_block_size};
use crate::{check_budgets, depths, detect_options, plan_operator};

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
    #[arg(value_name = "FILE.mlir", conflicts_with_all = OF_OPERATORS)]
    file: Option<PathBuf>,
    #[command(flatten)]
    operator: OperatorArguments,
    #[command(flatten)]
    tiles: TileArguments,
    #[command(flatten)]
    stages: StageArguments,
    /// Obey this plan instead of making one; of a schedule file the tiles count
    #[arg(long, value_name = "FILE", conflicts_with_all = ["shared_stages", "register_stages"])]
    plan: Option<PathBuf>,
    /// The architecture or device [default: sm_80]
    #[arg(long)]
    target: Option<String>,
    /// What to write
    #[arg(long, value_enum, default_value = "ptx")]
    emit: Emit,
    /// Threads of a block of the file's kernel, where it has no known_block_size
    #[arg(long, value_name = "X,Y,Z", value_delimiter = ',')]
    block_size: Vec<u32>,
    /// Blocks that the launch file of the file's kernel launches, where it has no known_grid_size
    #[arg(long, value_name = "X,Y,Z", value_delimiter = ',')]
    grid: Vec<u32>,
    /// Bytes of dynamic shared memory that the launch file of the file's kernel gives, where it is used at places that are not
    /// constants
    #[arg(long, value_name = "BYTES", requires = "file")]
    dynamic_shared: Option<u32>,
    /// Bitcode with the functions that math operations without a lowering of ours become calls of
    #[arg(long, value_name = "FILE.bc")]
    libdevice: Option<PathBuf>,
    #[command(flatten)]
    assumptions: AssumptionArguments,
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

/// Options that the asked-for stage comes before.
fn check_effects(arguments: &Arguments) -> Result<(), Failure> {
    let later = [
        ("--plan", arguments.plan.is_some()),
        ("--target", arguments.target.is_some()),
        ("--libdevice", arguments.libdevice.is_some()),
        ("--shared-stages", arguments.stages.shared_stages.is_some()),
        ("--register-stages", arguments.stages.register_stages.is_some()),
        ("--assume-aligned", arguments.assumptions.assume_aligned.is_some()),
        ("--assume-noalias", arguments.assumptions.assume_noalias),
    ];
    match later.into_iter().find(|(_, given)| *given) {
        Some((option, _)) if arguments.emit == Emit::Tile => Err(Failure::without_effect(
            option,
            "with --emit tile, which is the kernel before it is planned",
        )),
        _ => Ok(()),
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    check_effects(arguments)?;
    let target = GpuTarget::resolve(arguments.target.as_deref().unwrap_or("sm_80")).map_err(Failure::usage)?;
    let schedule = arguments.tiles.schedule(&arguments.stages)?;
    let (block, grid) = shape(arguments)?;
    arguments.assumptions.check(arguments.file.is_none())?;
    if arguments.libdevice.is_some() && arguments.file.is_none() {
        return Err(Failure::without_effect(
            "--libdevice",
            "on an operator, whose kernel has no math operations: it is for a kernel from a file",
        ));
    }
    let libdevice = arguments.libdevice.as_deref().map(Libdevice::read).transpose();
    let libdevice = libdevice.map_err(Failure::usage)?;
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
    let given = arguments.plan.is_some() || planned::is_in(&module);
    let plan = plan(&mut module, arguments, &schedule, &target, launch.is_some())?;
    if arguments.emit == Emit::Plan {
        if given {
            // What is printed would be obeyed.
            let obeyed = plan.check_target(target.arch.name());
            obeyed
                .and_then(|()| transform(&mut module.duplicate(), &plan))
                .map_err(|error| failure(error.naming_field()))?;
        }
        let text = serde_json::to_string_pretty(&plan).map_err(Failure::bug)?;
        return output::write(&arguments.output, &format!("{text}\n"));
    }
    if let Some((op, ..)) = &launch {
        check_budgets(op, &schedule, &target).map_err(Failure::refused)?;
    }
    let of_plan = |error: Error| match given {
        true => failure(error.naming_field()),
        false => failure(error),
    };
    let compiled = compile_with(&mut module, &plan, target.arch.name(), libdevice.as_ref()).map_err(of_plan)?;
    let dynamic_shared_bytes = dynamic_shared(arguments, &compiled)?;
    if dynamic_shared_bytes > shared_limit(&target) {
        return Err(Failure::refused(format!(
            "the kernel needs {dynamic_shared_bytes} B of shared memory and {} allows {} B a block; take fewer slots \
             [does-not-fit]",
            target.arch,
            shared_limit(&target)
        )));
    }
    match arguments.emit {
        Emit::Mlir => output::write(&arguments.output, &compiled.pipelined),
        Emit::Llvm => output::write(&arguments.output, &compiled.assembly.llvm),
        Emit::Launch => {
            if let Some(own) = own {
                return write_own_launch(
                    arguments,
                    own,
                    (compiled.assembly.ptx, dynamic_shared_bytes),
                    plan.assumes,
                );
            }
            let Some((op, grid, block)) = launch else {
                return Err(Failure::bug("a launch file of neither an operator nor a kernel"));
            };
            let kernel = Kernel {
                ptx: compiled.assembly.ptx,
                entry: op.name().to_owned(),
                grid,
                block,
                dynamic_shared_bytes: dynamic_shared_bytes as u32,
            };
            output::write_bundle(&arguments.output, &op, &schedule, &kernel).map(|_| ())
        }
        Emit::Tile | Emit::Plan | Emit::Ptx => output::write(&arguments.output, &compiled.assembly.ptx),
    }
}

/// What a launch must give: what the kernel says, or where it does not, the option.
fn dynamic_shared(arguments: &Arguments, compiled: &Compiled) -> Result<u64, Failure> {
    let said = compiled.dynamic_shared_bytes;
    match (&compiled.reaches_unknown_place, arguments.dynamic_shared) {
        _ if arguments.emit != Emit::Launch => match arguments.dynamic_shared {
            None => Ok(said),
            Some(_) => Err(Failure::without_effect(
                "--dynamic-shared",
                "without --emit launch, whose launch file says it",
            )),
        },
        (None, None) => Ok(said),
        (None, Some(_)) => Err(Failure::without_effect(
            "--dynamic-shared",
            &format!("on a kernel that says it: {said} bytes"),
        )),
        (Some(_), Some(bytes)) => Ok(said.max(u64::from(bytes))),
        (Some(place), None) => Err(Failure::usage(format!(
            "{place} uses dynamic shared memory at a place that is not a constant, so that it is not known how many bytes a \
             launch must give; say --dynamic-shared BYTES"
        ))),
    }
}

/// The kernel of an operator gets the depths of the schedule or none; of somebody's own kernel what can be pipelined is.
fn plan(
    module: &mut Module<'_>,
    arguments: &Arguments,
    schedule: &TileSchedule,
    target: &GpuTarget,
    of_operator: bool,
) -> Result<PipelinePlan, Failure> {
    if planned::is_in(module) {
        return plan_of_module(module, arguments, target);
    }
    if let Some(path) = &arguments.plan {
        if let Some(option) = arguments.assumptions.given() {
            return Err(Failure::without_effect(
                option,
                "with --plan, which says itself what it assumes",
            ));
        }
        let plan: PipelinePlan = output::read_json(path)?;
        let detection = sink_and_detect(module, &options_of(&plan, target)).map_err(failure)?;
        attributes::strip(module);
        plan.check_is_for(module)
            .and_then(|()| allowed::check(&plan, &detection))
            .map_err(|error| failure(error.naming_field()))?;
        return Ok(plan);
    }
    // A plan is made of, and for, the module whose copies are pure.
    let options = DetectOptions {
        assumptions: arguments.assumptions.assumptions(),
        ..detect_options(target)
    };
    let detection = sink_and_detect(module, &options).map_err(failure)?;
    if of_operator {
        return plan_operator(module, &detection, schedule, target).map_err(failure);
    }
    let depths = depths(schedule);
    let (plan, lowered) = planned::plan(
        module,
        &detection,
        target.arch.name(),
        &depths,
        arguments.stages.asked(),
    )
    .map_err(failure)?;
    attributes::strip(module);
    for lowered in lowered {
        tracing::warn!("{}: {}", lowered.location, lowered.message);
    }
    if schedule.shared_stages > 1 {
        if plan.loops.is_empty() {
            say_why_nothing_is_pipelined(&detection);
        } else if arguments.file.is_some() {
            say_what_is_not_pipelined(&detection, &plan);
        }
    }
    Ok(plan)
}

/// The plan that the module carries, which was made for the module as it is.
fn plan_of_module(module: &mut Module<'_>, arguments: &Arguments, target: &GpuTarget) -> Result<PipelinePlan, Failure> {
    let given = arguments
        .plan
        .as_ref()
        .map(|_| "--plan")
        .or_else(|| arguments.stages.given())
        .or_else(|| arguments.assumptions.given());
    if let Some(option) = given {
        let why = format!(
            "on a module with {}, which is obeyed (alcop opt --alcop-strip removes it)",
            planned::PLAN
        );
        return Err(Failure::without_effect(option, &why));
    }
    let plan = planned::read(module).map_err(failure)?;
    let detection = detect(module, &options_of(&plan, target));
    attributes::strip(module);
    plan.check_is_for(module)
        .and_then(|()| allowed::check(&plan, &detection))
        .map_err(|error| failure(error.naming_field()))?;
    Ok(plan)
}

/// Verdicts on the assumptions that a plan rests on by its own word.
fn options_of(plan: &PipelinePlan, target: &GpuTarget) -> DetectOptions {
    DetectOptions {
        assumptions: Assumptions::of(&plan.assumes),
        ..detect_options(target)
    }
}

/// A kernel that comes out as it went in has a reason for each loop.
fn say_why_nothing_is_pipelined(detection: &Detection) {
    let loops = detection.kernels.iter().flat_map(|kernel| &kernel.loops);
    for reason in loops.flat_map(|verdict| verdict.reasons.first()) {
        say_why(reason);
    }
}

/// So does a buffer that stays as it is beside others, or in one of its loops.
fn say_what_is_not_pipelined(detection: &Detection, plan: &PipelinePlan) {
    let buffers = detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
    for buffer in buffers.filter(|buffer| buffer.level == Level::Shared) {
        let planned = plan.loops.iter().any(|entry| {
            let mine = entry.buffers.iter().any(|planned| planned.buffer == buffer.id);
            Some(entry.loop_index) == buffer.loop_index && mine
        });
        if let Some(reason) = buffer.reasons.first().filter(|_| !planned) {
            say_why(reason);
        }
    }
}

fn say_why(reason: &Reason) {
    let code = serde_json::to_value(reason.code).map_or_else(|_| String::new(), |code| code.to_string());
    tracing::warn!(
        "{}: not pipelined: {} [{}]",
        reason.location,
        reason.message,
        code.trim_matches('"')
    );
}

/// Extents along x, y, z.
type Sizes = [u32; 3];

/// The shape of the launch that the options give: for a kernel from a file, the grid in its launch file alone.
fn shape(arguments: &Arguments) -> Result<(Option<Sizes>, Option<Sizes>), Failure> {
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
        (&arguments.libdevice, "the libdevice"),
        (&arguments.tiles.schedule, "the schedule"),
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
    (ptx, dynamic_shared_bytes): (String, u64),
    assumes: Vec<Assumption>,
) -> Result<(), Failure> {
    let path = launch_path(&arguments.output).map_err(output::bundle_failure)?;
    let ptx_path = beside(&path, "ptx");
    for argument in &own.unknown {
        tracing::warn!(
            "the extents of argument {argument} are not known: they stand as 1 in {}",
            path.display()
        );
    }
    let assumes = own.assumed(&assumes);
    let launch = LaunchFile {
        ptx: file_name(&ptx_path),
        entry: own.entry,
        grid: own.grid,
        block: own.block,
        dynamic_shared_bytes: dynamic_shared_bytes as u32,
        assumes,
        args: own.args,
    };
    output::write_all(&[Output::new(ptx_path, ptx.into_bytes()), launch_output(&path, &launch)])
}

fn shared_limit(target: &GpuTarget) -> u64 {
    u64::from(target.limits.shared_bytes_per_block)
}

//! `alcop compile`: one kernel, from an operator or an MLIR file, to any stage of the road.

use std::path::PathBuf;

use alcop_compiler::detect::{DetectOptions, Detection, attributes, detect};
use alcop_compiler::ir::{Context, Module};
use alcop_compiler::tile_program::{TileError, tile_program};
use alcop_passes::Error;
use alcop_passes::allowed;
use alcop_passes::opt::planned;
use alcop_passes::outline::outline;
use alcop_passes::pipeline::{compile, transform};
use alcop_passes::plan::PipelinePlan;
use alcop_passes::sink::sink_and_detect;
use alcop_spec::{GpuTarget, Kernel, LaunchFile, OpSpec, Rejection, TileSchedule};
use clap::{Args, ValueEnum};

use super::operator::{OF_OPERATORS, OperatorArguments, StageArguments, TileArguments};
use super::{Failure, output};
use crate::own_launch::{OwnLaunch, own_launch};
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
        ("--shared-stages", arguments.stages.shared_stages.is_some()),
        ("--register-stages", arguments.stages.register_stages.is_some()),
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
    let context = Context::new();
    let (mut module, launch) = match (&arguments.file, arguments.operator.op_spec()?) {
        (Some(path), _) => {
            let text = output::read(path)?;
            let mut module = context
                .parse(&text, &path.display().to_string())
                .map_err(Failure::usage)?;
            outline(&mut module).map_err(failure)?;
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
        Emit::Launch if launch.is_none() => Some(own_launch(&module, &arguments.output).map_err(Failure::usage)?),
        _ => None,
    };
    let given = arguments.plan.is_some() || planned::is_in(&module);
    let plan = plan(&mut module, arguments, &schedule, &target)?;
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
    let compiled = compile(&mut module, &plan, target.arch.name()).map_err(of_plan)?;
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
            let Some((op, grid, block)) = launch else {
                return write_own_launch(arguments, own, compiled.assembly.ptx, compiled.dynamic_shared_bytes);
            };
            let kernel = Kernel {
                ptx: compiled.assembly.ptx,
                entry: op.name().to_owned(),
                grid,
                block,
                dynamic_shared_bytes: compiled.dynamic_shared_bytes as u32,
            };
            write_launch(arguments, &op, &schedule, &kernel)
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
    if planned::is_in(module) {
        return plan_of_module(module, arguments, target);
    }
    // A plan is made of, and for, the module whose copies are pure.
    let detection = sink_and_detect(module, &detect_options(target)).map_err(failure)?;
    if let Some(path) = &arguments.plan {
        attributes::strip(module);
        let plan: PipelinePlan = output::read_json(path)?;
        plan.check_is_for(module)
            .and_then(|()| allowed::check(&plan, &detection))
            .map_err(|error| failure(error.naming_field()))?;
        return Ok(plan);
    }
    let depths = depths(schedule);
    let plan = planned::plan(module, &detection, target.arch.name(), &depths).map_err(failure)?;
    attributes::strip(module);
    if plan.loops.is_empty() && schedule.shared_stages > 1 {
        say_why_nothing_is_pipelined(&detection);
    }
    Ok(plan)
}

/// The plan that the module carries, which was made for the module as it is.
fn plan_of_module(module: &mut Module<'_>, arguments: &Arguments, target: &GpuTarget) -> Result<PipelinePlan, Failure> {
    let given = arguments
        .plan
        .as_ref()
        .map(|_| "--plan")
        .or_else(|| arguments.stages.given());
    if let Some(option) = given {
        let why = format!(
            "on a module with {}, which is obeyed (alcop opt --alcop-strip removes it)",
            planned::PLAN
        );
        return Err(Failure::without_effect(option, &why));
    }
    let plan = planned::read(module).map_err(failure)?;
    // The plan may be made by alcop-plan{assume-noalias}.
    let options = DetectOptions {
        assume_noalias: true,
        ..detect_options(target)
    };
    let detection = detect(module, &options);
    attributes::strip(module);
    plan.check_is_for(module)
        .and_then(|()| allowed::check(&plan, &detection))
        .map_err(|error| failure(error.naming_field()))?;
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

/// The launch file of a kernel from a file: zeros for its arguments, to be replaced.
fn write_own_launch(
    arguments: &Arguments,
    own: Option<OwnLaunch>,
    ptx: String,
    dynamic_shared_bytes: u64,
) -> Result<(), Failure> {
    let path = &arguments.output;
    let name = path.with_extension("ptx").file_name().map(PathBuf::from);
    let (Some(own), Some(name), true) = (own, name, path.as_os_str() != "-") else {
        return Err(Failure::usage(
            "--emit launch writes several files; name the launch file with -o",
        ));
    };
    for argument in &own.unknown {
        tracing::warn!(
            "the extents of argument {argument} are not known: they stand as 1 in {}",
            path.display()
        );
    }
    let launch = LaunchFile {
        ptx: name.clone(),
        entry: own.entry,
        grid: own.grid,
        block: own.block,
        dynamic_shared_bytes: dynamic_shared_bytes as u32,
        args: own.args,
    };
    output::write(&path.with_file_name(name), &ptx)?;
    let text = serde_json::to_string_pretty(&launch).map_err(Failure::bug)?;
    output::write(path, &format!("{text}\n"))
}

fn write_launch(arguments: &Arguments, op: &OpSpec, schedule: &TileSchedule, kernel: &Kernel) -> Result<(), Failure> {
    if arguments.output.as_os_str() == "-" {
        return Err(Failure::usage(
            "--emit launch writes several files; name the launch file with -o",
        ));
    }
    output::write_bundle(&arguments.output, op, schedule, kernel)
}

fn shared_limit(target: &GpuTarget) -> u64 {
    u64::from(target.limits.shared_bytes_per_block)
}

//! From an operator to a kernel, in one call.

use alcop_compiler::detect::{DetectOptions, Detection, detect};
use alcop_compiler::ir::{Context, Module};
use alcop_compiler::tile_program::{TileError, TileProgram, tile_program};
use alcop_passes::decide::{Depths, decide};
use alcop_passes::obeyed;
use alcop_passes::pipeline::compile_to_ptx;
use alcop_passes::plan::{PipelinePlan, SharedLayout};
use alcop_spec::{GpuTarget, Kernel, OpSpec, Rejection, Swizzle, TileSchedule, occupancy};

/// Why an operator has no kernel under a schedule.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The tiles do not fit the operator.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// The pipeline was refused, or code generation failed.
    #[error(transparent)]
    Pass(#[from] alcop_passes::Error),
    /// The schedule is over a budget of the target.
    #[error("{} [{}]", reasons(.0), .0.first().map_or("does-not-fit", Rejection::code))]
    Budget(Vec<Rejection>),
}

fn reasons(rejections: &[Rejection]) -> String {
    rejections
        .iter()
        .map(Rejection::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Compiles an operator under a schedule: tile program, verdicts, plan, pipelined loops, hazard check, PTX.
///
/// Needs no GPU. Only the target's limits and architecture matter. The kernel has the depths of the schedule, or there is
/// none.
///
/// # Errors
/// [`CompileError`]; also where the schedule cannot be obeyed (`schedule-not-obeyed`).
pub fn compile_operator(op: &OpSpec, schedule: &TileSchedule, target: &GpuTarget) -> Result<Kernel, CompileError> {
    let context = Context::new();
    compile_program(tile_program(&context, op, schedule)?, op, schedule, target)
}

/// The part of [`compile_operator`] behind the tile program.
pub(crate) fn compile_program(
    mut program: TileProgram<'_>,
    op: &OpSpec,
    schedule: &TileSchedule,
    target: &GpuTarget,
) -> Result<Kernel, CompileError> {
    let detection = detect(&program.module, &detect_options(target));
    let plan = plan_operator(&program.module, &detection, schedule, target)?;
    check_budgets(op, schedule, target)?;
    let compiled = compile_to_ptx(&mut program.module, &plan, target.arch.name())?;
    Ok(Kernel {
        ptx: compiled.assembly.ptx,
        entry: program.entry,
        grid: program.grid,
        block: program.block,
        dynamic_shared_bytes: compiled.dynamic_shared_bytes as u32,
    })
}

/// The plan of an operator's kernel, which gives each buffer and each load the depths of the schedule.
///
/// # Errors
/// `schedule-not-obeyed` with the reason, where a buffer cannot be pipelined as deep as that; otherwise those of [`decide`].
pub fn plan_operator(
    module: &Module<'_>,
    detection: &Detection,
    schedule: &TileSchedule,
    target: &GpuTarget,
) -> Result<PipelinePlan, alcop_passes::Error> {
    let depths = depths(schedule);
    let plan = decide(module, detection, target.arch.name(), &depths)?;
    obeyed::check(detection, &plan, &depths)?;
    Ok(plan)
}

/// Refuses what the module does not show: registers of a thread and of an SM.
///
/// # Errors
/// [`CompileError::Budget`] with all reasons of [`occupancy::check`].
pub fn check_budgets(op: &OpSpec, schedule: &TileSchedule, target: &GpuTarget) -> Result<(), CompileError> {
    occupancy::check(op, schedule, &target.limits)
        .map(|_| ())
        .map_err(CompileError::Budget)
}

/// What detection needs to know of a target.
pub fn detect_options(target: &GpuTarget) -> DetectOptions {
    DetectOptions {
        shared_bytes_per_block: u64::from(target.limits.shared_bytes_per_block),
        block_size: None,
        assumptions: Default::default(),
    }
}

/// The depths that a schedule asks for.
pub fn depths(schedule: &TileSchedule) -> Depths {
    Depths {
        shared_stages: schedule.shared_stages,
        register_stages: schedule.register_stages,
        layout: match schedule.swizzle {
            Swizzle::Xor => SharedLayout::Xor,
            Swizzle::None => SharedLayout::Plain,
        },
    }
}

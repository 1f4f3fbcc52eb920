//! The roads of a program to PTX.

use alcop::compiler::detect::{BufferVerdict, Detection, Level, Verdict};
use alcop::compiler::ir::{Context, Module};
use alcop::passes::decide::{Depths, decide};
use alcop::passes::fit::{Asked, decide_within};
use alcop::passes::pipeline::compile_to_ptx;
use alcop::passes::plan::{Completion, PipelinePlan, SharedLayout, Transport};
use alcop::passes::sink::sink_and_detect;
use alcop::spec::{GpuTarget, Kernel};

use super::program::{Form, Program};

const TARGET: &str = "sm_80";

/// What became of a program.
pub enum Pipelined {
    Kernel(Box<Kernel>, Seen),
    /// Some buffers are not called pipelinable: codes of the reasons, and what they say.
    Refused(Vec<(String, String)>),
    /// A distance or a depth that the reads do not leave.
    TooFar,
}

/// What the plan of a pipelined kernel has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub slots: bool,
    pub read_ahead: bool,
    pub across_loops: bool,
    pub staged: bool,
    pub reused: bool,
    pub in_place: bool,
}

/// The kernel lowered as it is written, by none of our passes.
pub fn plain(program: &Program) -> Result<Kernel, String> {
    let context = Context::new();
    let mut module = parse(&context, program)?;
    alcop_plain::compile(&mut module, TARGET).map_err(|error| error.to_string())
}

/// The kernel without a pipeline.
pub fn as_it_was(program: &Program) -> Result<Kernel, String> {
    let context = Context::new();
    let mut module = parse(&context, program)?;
    let detection = alcop::compiler::detect::detect(&module, &options());
    let depths = Depths {
        shared_stages: 1,
        register_stages: 1,
        layout: SharedLayout::Plain,
    };
    let mut plan = decide(&module, &detection, TARGET, &depths).map_err(|error| error.to_string())?;
    plan.loops.clear();
    assemble(program, &mut module, &plan)
}

/// The kernel at depths that nobody asked for, and whether a buffer has several slots: what cannot be pipelined is left as
/// it was.
pub fn by_default(program: &Program) -> Result<(Kernel, bool), String> {
    let context = Context::new();
    let mut module = parse(&context, program)?;
    let detection = sink_and_detect(&mut module, &options()).map_err(|error| error.to_string())?;
    let depths = depths(program, program.slots.max(2), program.registers);
    let (plan, _) =
        decide_within(&module, &detection, TARGET, &depths, Asked::default()).map_err(|error| error.to_string())?;
    let mut buffers = plan.loops.iter().flat_map(|entry| &entry.buffers);
    let slots = buffers.any(|buffer| buffer.slots > 1);
    Ok((assemble(program, &mut module, &plan)?, slots))
}

/// The kernel as deep as the program says.
pub fn pipelined(program: &Program) -> Result<Pipelined, String> {
    let context = Context::new();
    let mut module = parse(&context, program)?;
    let detection = sink_and_detect(&mut module, &options()).map_err(|error| error.to_string())?;
    let refused = refused(&detection);
    if !refused.is_empty() {
        return Ok(Pipelined::Refused(refused));
    }
    let buffers = detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
    let most = buffers
        .filter(|load| load.level != Level::Shared && load.verdict == Verdict::Pipelinable)
        .filter_map(|load| load.max_depth)
        .min()
        .unwrap_or(1);
    let registers = if program.slots > 1 {
        program.registers.min(most)
    } else {
        1
    };
    let depths = depths(program, program.slots, registers);
    let mut plan = decide(&module, &detection, TARGET, &depths).map_err(|error| error.to_string())?;
    let in_place = edit(program, &mut plan);
    let buffers = || plan.loops.iter().flat_map(|entry| &entry.buffers);
    let seen = Seen {
        slots: program.slots > 1,
        read_ahead: registers > 1,
        across_loops: plan.loops.iter().any(|entry| !entry.around.is_empty()),
        staged: buffers().any(|buffer| buffer.transport == Transport::RegisterStaged),
        reused: buffers().any(|buffer| buffer.reused),
        in_place,
    };
    match assemble(program, &mut module, &plan) {
        Ok(kernel) => Ok(Pipelined::Kernel(Box::new(kernel), seen)),
        Err(error) if error.contains("sync-positions-differ") => Ok(Pipelined::TooFar),
        Err(error) => Err(error),
    }
}

/// Gives each buffer the slots that the program says; whether some stay in place, and others do not.
fn edit(program: &Program, plan: &mut PipelinePlan) -> bool {
    if program.slots == 1 {
        return false;
    }
    let mut in_place = false;
    for entry in &mut plan.loops {
        for (buffer, spec) in entry.buffers.iter_mut().zip(&program.buffers) {
            if spec.in_place && spec.form != Form::Waited {
                buffer.slots = 1;
                buffer.distance = 0;
                buffer.transport = Transport::Synchronous;
                buffer.completion = Completion::Barrier;
            } else {
                buffer.slots += spec.extra;
                buffer.distance = buffer.slots - 1 - u32::from(program.shorter && buffer.slots > 2);
            }
        }
        let all = entry.buffers.iter().all(|buffer| buffer.slots == 1);
        let some = entry.buffers.iter().any(|buffer| buffer.slots == 1);
        in_place |= some && !all;
        entry.renumber_syncs();
        if some {
            entry.around.retain(|_| !all);
            let own = entry.loop_index;
            entry.registers.retain(|registers| registers.loop_index != own);
            for registers in &mut entry.registers {
                (registers.depth, registers.read_ahead) = (1, 0);
            }
        }
    }
    in_place
}

/// Why buffers of shared memory are not pipelined.
fn refused(detection: &Detection) -> Vec<(String, String)> {
    let buffers = detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
    let fine = |buffer: &BufferVerdict| buffer.verdict == Verdict::Pipelinable || buffer.staged_depth.is_some();
    let mut reasons: Vec<(String, String)> = buffers
        .filter(|buffer| buffer.level == Level::Shared && buffer.loop_index.is_some() && !fine(buffer))
        .flat_map(|buffer| match buffer.reasons.is_empty() {
            true => vec![("no-reason".to_owned(), format!("{:?}", buffer.verdict))],
            false => {
                let reasons = buffer.reasons.iter();
                reasons
                    .map(|reason| {
                        (
                            reason.code.to_string(),
                            format!("{}: {}", reason.location, reason.message),
                        )
                    })
                    .collect()
            }
        })
        .collect();
    reasons.sort_unstable();
    reasons.dedup_by(|a, b| a.0 == b.0);
    reasons
}

fn depths(program: &Program, shared_stages: u32, register_stages: u32) -> Depths {
    Depths {
        shared_stages,
        register_stages,
        layout: match program.xor {
            true => SharedLayout::Xor,
            false => SharedLayout::Plain,
        },
    }
}

fn options() -> alcop::compiler::detect::DetectOptions {
    let target = GpuTarget::resolve(TARGET).expect("an architecture");
    alcop::detect_options(&target)
}

fn parse<'c>(context: &'c Context, program: &Program) -> Result<Module<'c>, String> {
    context
        .parse(&program.text(), "random.mlir")
        .map_err(|error| error.to_string())
}

fn assemble(program: &Program, module: &mut Module<'_>, plan: &PipelinePlan) -> Result<Kernel, String> {
    let compiled = compile_to_ptx(module, plan, TARGET).map_err(|error| error.to_string())?;
    Ok(Kernel {
        ptx: compiled.assembly.ptx,
        entry: "k".to_owned(),
        grid: [1, 1, 1],
        block: [program.threads as u32, 1, 1],
        dynamic_shared_bytes: compiled.dynamic_shared_bytes as u32,
    })
}

//! From verdicts to a plan: which buffers, how deep. Pure; changes nothing.

use alcop_compiler::detect::{BufferVerdict, Detection, Level, Verdict};
use alcop_compiler::ir::{BufferId, Module, OpId};

use crate::error::Error;
use crate::plan::{
    BufferPlan, Completion, CopyPlan, LoopPlan, PipelinePlan, RegisterPlan, SCHEMA, SharedLayout, Transport,
    fingerprint,
};

/// What is asked of every loop that can be pipelined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depths {
    /// Slots in shared memory; 1 is no pipeline.
    pub shared_stages: u32,
    /// Fragment sets in registers; 1 is no pipeline.
    pub register_stages: u32,
    /// Where the pieces of a row lie.
    pub layout: SharedLayout,
}

/// Plans every loop whose buffers can be pipelined. Refuses depths that a buffer's verdict does not allow.
pub fn decide(
    module: &Module<'_>,
    detection: &Detection,
    target: &str,
    depths: &Depths,
) -> Result<PipelinePlan, Error> {
    if depths.shared_stages == 0 || depths.register_stages == 0 {
        let message = "0 stages; a level without a pipeline has 1";
        return Err(Error::refused("does-not-fit", "the request", message));
    }
    let mut loops: Vec<LoopPlan> = Vec::new();
    for kernel in &detection.kernels {
        for buffer in &kernel.buffers {
            let Some(loop_index) = buffer.loop_index else { continue };
            if buffer.level != Level::Shared || buffer.verdict != Verdict::Pipelinable {
                continue;
            }
            check_depth(buffer, depths)?;
            let plan = buffer_plan(buffer, depths)?;
            let entry = match loops.iter_mut().find(|entry| entry.loop_index == loop_index) {
                Some(entry) => entry,
                None => {
                    loops.push(LoopPlan {
                        loop_index,
                        buffers: Vec::new(),
                        barriers: Vec::new(),
                        registers: None,
                    });
                    loops.last_mut().expect("just pushed")
                }
            };
            entry.buffers.push(plan);
            for barrier in &buffer.barriers {
                if !entry.barriers.contains(barrier) {
                    entry.barriers.push(barrier.clone());
                }
            }
        }
        for entry in &mut loops {
            if entry.registers.is_none() {
                entry.registers = register_plan(entry, &kernel.buffers, depths);
            }
        }
    }
    Ok(PipelinePlan {
        schema: SCHEMA,
        fingerprint: fingerprint(module),
        target: target.to_owned(),
        loops,
    })
}

fn check_depth(buffer: &BufferVerdict, depths: &Depths) -> Result<(), Error> {
    let most = buffer.max_depth.unwrap_or(1);
    if depths.shared_stages <= most {
        return Ok(());
    }
    let message = format!(
        "cannot give the buffer {} ({} B) {} slots beside the others of its group; at most {most} fit",
        buffer.ty, buffer.bytes, depths.shared_stages
    );
    Err(Error::refused("does-not-fit", &buffer.location, message))
}

fn buffer_plan(buffer: &BufferVerdict, depths: &Depths) -> Result<BufferPlan, Error> {
    let Some(width_bytes) = buffer.copies.first().map(|copy| copy.bytes) else {
        return Err(Error::refused(
            "not-a-pure-copy",
            &buffer.location,
            "a pipelinable buffer without copies",
        ));
    };
    let synchronous = depths.shared_stages == 1;
    Ok(BufferPlan {
        buffer: buffer.id.clone(),
        slots: depths.shared_stages,
        distance: depths.shared_stages - 1,
        transport: if synchronous {
            Transport::Synchronous
        } else {
            Transport::CpAsync
        },
        completion: if synchronous {
            Completion::Barrier
        } else {
            Completion::CommitGroup
        },
        width_bytes,
        layout: depths.layout,
        copies: buffer
            .copies
            .iter()
            .map(|copy| CopyPlan {
                load: copy.load.clone(),
                store: copy.store.clone(),
            })
            .collect(),
    })
}

/// The register loads that the buffers of a loop feed. They are rotated only if all reads of those buffers are, and in
/// one inner loop: a read that stays in its place would find its slot refilled.
fn register_plan(entry: &LoopPlan, buffers: &[BufferVerdict], depths: &Depths) -> Option<RegisterPlan> {
    let reads: Vec<&BufferVerdict> = buffers
        .iter()
        .filter(|load| {
            let source = load.source.as_ref();
            source.is_some_and(|source| entry.buffers.iter().any(|buffer| buffer.buffer == *source))
        })
        .collect();
    let loop_index = reads.first()?.inner_loop?;
    let one_loop = reads.iter().all(|load| load.inner_loop == Some(loop_index));
    if !one_loop || reads.iter().any(|load| load.verdict != Verdict::Pipelinable) {
        return None;
    }
    let loads = reads
        .iter()
        .map(|load| match &load.id {
            BufferId::OpResult { op, index } => Some(OpId {
                op: op.clone(),
                index: *index,
            }),
            _ => None,
        })
        .collect::<Option<Vec<OpId>>>()?;
    let depth = depths.register_stages;
    Some(RegisterPlan {
        loop_index,
        depth,
        read_ahead: depth - 1,
        loads,
    })
}

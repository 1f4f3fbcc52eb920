//! Which buffers of a kernel can be pipelined, and why the others cannot.
//!
//! ```text
//! scf.for %k { vector.load %A -> vector.store %s; gpu.barrier; … nvgpu.ldmatrix %s …; gpu.barrier }
//!   %s     shared    pipelinable, 16 bytes, at most 10 slots
//!   %frag  register  pipelinable, at most 3 fragment sets
//! ```
//!
//! The rules are those of ALCOP (section on detection), made precise: a buffer is filled by pure copies of 4, 8 or 16
//! aligned bytes in one sequential loop, wholly in each iteration and before it is read, from memory that the loop
//! does not write, with barriers between filling and reading. What cannot be proven is a reason, never a guess.
//! [`detect`] is pure: it returns plain data.

mod evaluate;
mod print;
mod registers;
mod shared;
mod verdict;

pub use print::{detection_json, detection_table, remarks};
pub use verdict::{BufferVerdict, CopyOps, Detection, KernelVerdicts, Level, LoopVerdict, Reason, ReasonCode, Verdict};

use std::collections::HashMap;

use crate::ir::{Attr, Module, Op, OpIndex, Value, preorder};

/// What detection assumes beside the IR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectOptions {
    /// Shared memory that a block may use, in bytes.
    pub shared_bytes_per_block: u64,
    /// Threads of a block in x, y, z, where the kernel does not say.
    pub block_size: Option<[u32; 3]>,
    /// Whether different pointer arguments may be taken as not overlapping.
    pub assume_noalias: bool,
}

/// The largest depth that is ever proposed.
pub const MAX_DEPTH: u64 = 32;

/// A verdict for every workgroup buffer, every load from one inside a loop, and every loop of every `gpu.func`.
pub fn detect(module: &Module<'_>, options: &DetectOptions) -> Detection {
    let index = OpIndex::new(module.op());
    let kernels = index
        .named("gpu.func")
        .iter()
        .map(|kernel| verdicts(&index, *kernel, options))
        .collect();
    Detection { kernels }
}

/// What the checks of one kernel share.
pub(crate) struct Scene<'a, 'ir> {
    pub index: &'a OpIndex<'ir>,
    pub kernel: Op<'ir>,
    pub block_size: Option<[u32; 3]>,
    pub assume_noalias: bool,
    /// All operations of the kernel, in textual order.
    pub ops: Vec<Op<'ir>>,
}

impl<'ir> Scene<'_, 'ir> {
    /// A loop's position among all `scf.for` of the file.
    pub fn loop_index(&self, op: Op<'ir>) -> Option<usize> {
        self.index.id(op).filter(|id| id.op == "scf.for").map(|id| id.index)
    }
}

fn verdicts<'ir>(index: &OpIndex<'ir>, kernel: Op<'ir>, options: &DetectOptions) -> KernelVerdicts {
    let known = kernel.attr("known_block_size").and_then(Attr::as_ints);
    let block_size = known
        .and_then(|size| Some([size.first()?, size.get(1)?, size.get(2)?].map(|extent| *extent as u32)))
        .or(options.block_size);
    let scene = Scene {
        index,
        kernel,
        block_size,
        assume_noalias: options.assume_noalias,
        ops: preorder(kernel),
    };
    let found: Vec<shared::SharedBuffer<'ir>> = shared::find(&scene);
    let mut buffers: Vec<BufferVerdict> = found.iter().map(|buffer| shared::judge(&scene, buffer)).collect();
    shared::refuse_shared_barriers(&scene, &found, &mut buffers);
    fit(&found, &mut buffers, options.shared_bytes_per_block);
    let by_value: HashMap<Value<'ir>, usize> = found
        .iter()
        .enumerate()
        .map(|(number, buffer)| (buffer.value, number))
        .collect();
    let loads = registers::judge(&scene, &found, &by_value, &buffers);
    buffers.extend(loads);
    let loops = loop_verdicts(&scene, &buffers);
    let name = kernel.attr("sym_name").and_then(Attr::as_str).unwrap_or("").to_owned();
    KernelVerdicts {
        name,
        block_size,
        buffers,
        loops,
    }
}

/// Numbers the groups, one a loop, and gives each buffer the depth that fits with its whole group.
fn fit(found: &[shared::SharedBuffer<'_>], buffers: &mut [BufferVerdict], limit: u64) {
    let all: u64 = buffers.iter().map(|buffer| buffer.bytes).sum();
    let mut loops: Vec<usize> = buffers
        .iter()
        .filter(|buffer| buffer.verdict == Verdict::Pipelinable)
        .filter_map(|b| b.loop_index)
        .collect();
    loops.sort_unstable();
    loops.dedup();
    for (group, loop_index) in loops.into_iter().enumerate() {
        let members =
            |buffer: &BufferVerdict| buffer.verdict == Verdict::Pipelinable && buffer.loop_index == Some(loop_index);
        let bytes: u64 = buffers
            .iter()
            .filter(|buffer| members(buffer))
            .map(|buffer| buffer.bytes)
            .sum();
        let rest = all - bytes;
        let most = (limit.saturating_sub(rest) / bytes.max(1)).min(MAX_DEPTH);
        for (buffer, place) in buffers.iter_mut().zip(found) {
            if !members(buffer) {
                continue;
            }
            buffer.max_depth = Some(most as u32);
            buffer.group = Some(group);
            if most < 2 {
                let message = format!(
                    "two slots need 2 × {bytes} B for its group beside {rest} B, and a block may use {limit} B; \
                     use smaller tiles"
                );
                buffer.reject(Reason::new(ReasonCode::DoesNotFit, message, place.value.location()));
            }
        }
    }
}

fn loop_verdicts(scene: &Scene<'_, '_>, buffers: &[BufferVerdict]) -> Vec<LoopVerdict> {
    let loops = scene.ops.iter().filter(|op| op.is("scf.for"));
    loops
        .filter_map(|op| {
            let index = scene.loop_index(*op)?;
            let mine = |buffer: &&BufferVerdict| buffer.loop_index == Some(index) || buffer.inner_loop == Some(index);
            let of_loop: Vec<&BufferVerdict> = buffers.iter().filter(mine).collect();
            let pipelinable = of_loop.iter().any(|buffer| buffer.verdict == Verdict::Pipelinable);
            let mut reasons: Vec<Reason> = Vec::new();
            if !pipelinable {
                for reason in of_loop.iter().flat_map(|buffer| &buffer.reasons) {
                    if !reasons.contains(reason) {
                        reasons.push(reason.clone());
                    }
                }
                if of_loop.is_empty() {
                    let message = "the loop fills no buffer in shared memory and loads from none".to_owned();
                    reasons.push(Reason::new(ReasonCode::NotAPureCopy, message, op.location()));
                }
            }
            let verdict = if pipelinable {
                Verdict::Pipelinable
            } else {
                Verdict::Rejected
            };
            Some(LoopVerdict {
                index,
                location: op.location().to_string(),
                verdict,
                reasons,
            })
        })
        .collect()
}

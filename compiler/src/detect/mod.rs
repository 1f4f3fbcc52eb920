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

mod copies;
mod effects;
mod evaluate;
mod graph;
mod order;
mod print;
mod registers;
mod shared;
mod verdict;

pub use print::{detection_json, detection_table, remarks};
pub use verdict::{BufferVerdict, CopyOps, Detection, KernelVerdicts, Level, LoopVerdict, Reason, ReasonCode, Verdict};

use std::collections::{HashMap, HashSet};

use effects::Memory;

use crate::ir::{Attr, BufferId, Module, Op, OpIndex, Value, preorder};

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

/// Rings of slots start at multiples of this.
const RING_ALIGNMENT_BYTES: u64 = 128;
/// Buffers that stay as they are start at multiples of this.
const BUFFER_ALIGNMENT_BYTES: u64 = 16;

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
    pub memory: Memory<'ir>,
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
        .and_then(|size| {
            Some([size.first()?, size.get(1)?, size.get(2)?].map(|extent| u32::try_from(*extent).unwrap_or(0)))
        })
        .or(options.block_size);
    let scene = Scene {
        index,
        kernel,
        block_size,
        memory: Memory {
            kernel,
            assume_noalias: options.assume_noalias,
        },
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
    for buffer in &mut buffers {
        let mine = loads.iter().filter(|load| load.source.as_ref() == Some(&buffer.id));
        buffer.feeds = mine.map(|load| load.id.clone()).collect();
    }
    // Two memref.get_global of one symbol are one buffer.
    let mut globals: HashSet<BufferId> = HashSet::new();
    buffers.retain(|buffer| !matches!(buffer.id, BufferId::Global { .. }) || globals.insert(buffer.id.clone()));
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
    let mut loops: Vec<usize> = buffers
        .iter()
        .filter(|buffer| buffer.verdict == Verdict::Pipelinable)
        .filter_map(|b| b.loop_index)
        .collect();
    loops.sort_unstable();
    loops.dedup();
    for (group, loop_index) in loops.into_iter().enumerate() {
        let member =
            |buffer: &BufferVerdict| buffer.verdict == Verdict::Pipelinable && buffer.loop_index == Some(loop_index);
        // Each ring, and each buffer that stays, starts at its own alignment boundary.
        let needed = |depth: u64| -> u64 {
            let sizes = buffers.iter().map(|buffer| match member(buffer) {
                true => depth
                    .saturating_mul(buffer.bytes)
                    .next_multiple_of(RING_ALIGNMENT_BYTES),
                false => buffer.bytes.next_multiple_of(BUFFER_ALIGNMENT_BYTES),
            });
            sizes.fold(0, u64::saturating_add)
        };
        let most = (1..=MAX_DEPTH).rev().find(|depth| needed(*depth) <= limit).unwrap_or(0);
        let two = needed(2);
        for (buffer, place) in buffers.iter_mut().zip(found) {
            if !member(buffer) {
                continue;
            }
            buffer.max_depth = Some(most as u32);
            buffer.group = Some(group);
            if most < 2 {
                let message = format!(
                    "two slots for its group beside everything else need {two} B, and a block may use {limit} B; use \
                     smaller tiles"
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

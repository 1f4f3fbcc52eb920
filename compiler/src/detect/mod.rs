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

mod affine;
mod alignment;
mod assumptions;
pub mod attributes;
mod candidates;
mod copies;
mod coverage;
mod effects;
mod evaluate;
mod footprint;
mod graph;
mod groups;
mod kernel;
mod linear;
mod memory;
mod nest;
mod order;
mod print;
mod registers;
mod reuse;
mod shared;
mod sink;
mod source;
mod uniform;
mod verdict;
pub mod work;

pub use affine::static_bounds;
pub use assumptions::Assumptions;
pub use print::{Remark, detection_json, detection_table, detections_json, remark_list, remarks};
pub use uniform::copied_together;
pub use verdict::{BufferVerdict, CopyOps, Detection, KernelVerdicts, Level, LoopVerdict, Reason, ReasonCode, Verdict};

use std::collections::{HashMap, HashSet};

use effects::is_loop;
use kernel::Scene;

use crate::ir::{Context, Module, Op, OpIndex, preorder};

/// What detection assumes beside the IR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectOptions {
    /// Shared memory that a block may use, in bytes.
    pub shared_bytes_per_block: u64,
    /// Threads of a block in x, y, z, where the kernel does not say.
    pub block_size: Option<[u32; 3]>,
    /// What a caller promises of the arguments.
    pub assumptions: Assumptions,
}

/// The largest depth that is ever proposed.
pub const MAX_DEPTH: u64 = 32;

/// A verdict for every workgroup buffer, every load from one, and every loop of every kernel: each `gpu.func` and
/// `gpu.launch`, and each `func.func` that holds device code.
pub fn detect(module: &Module<'_>, options: &DetectOptions) -> Detection {
    let index = OpIndex::new(module.op());
    let ops = preorder(module.op());
    let kernels = kernel::kernels(&ops)
        .into_iter()
        .map(|at| verdicts(module.context(), &index, ops[at], options))
        .collect();
    Detection { kernels }
}

fn verdicts<'ir>(context: &Context, index: &OpIndex<'ir>, kernel: Op<'ir>, options: &DetectOptions) -> KernelVerdicts {
    let scene = Scene::new(context, index, kernel, options);
    let mut found = candidates::find(&scene);
    let mut entries = shared::judge(&scene, &found);
    reuse::keep_apart(&scene, &mut found, &mut entries);
    groups::share_barriers(&scene, &found, &mut entries);
    groups::know_the_end(&scene, &found, &mut entries);
    groups::fit(&found, &mut entries, options.shared_bytes_per_block);
    let loads = registers::judge(&scene, &found, &entries);
    let mut buffers: Vec<BufferVerdict> = entries.into_iter().map(|entry| entry.verdict).collect();
    let mut feeds: HashMap<_, Vec<_>> = HashMap::new();
    for load in &loads {
        if let Some(source) = &load.source {
            feeds.entry(source.clone()).or_default().push(load.id.clone());
        }
    }
    for buffer in &mut buffers {
        buffer.feeds = feeds.get(&buffer.id).cloned().unwrap_or_default();
    }
    buffers.extend(loads);
    let loops = loop_verdicts(&scene, &buffers);
    KernelVerdicts {
        name: kernel::name(kernel),
        block_size: scene.block_size,
        buffers,
        loops,
    }
}

fn loop_verdicts<'ir>(scene: &Scene<'_, 'ir>, buffers: &[BufferVerdict]) -> Vec<LoopVerdict> {
    let mut of_loop: HashMap<usize, Vec<&BufferVerdict>> = HashMap::new();
    for buffer in buffers {
        if let Some(index) = buffer.loop_index {
            of_loop.entry(index).or_default().push(buffer);
        }
    }
    let verdict = |op: &Op<'ir>| {
        let index = scene.loop_index(*op);
        let mine = index
            .and_then(|index| of_loop.get(&index))
            .map_or(&[][..], Vec::as_slice);
        let best = [Verdict::Pipelinable, Verdict::AfterSinking]
            .into_iter()
            .find(|verdict| mine.iter().any(|buffer| buffer.verdict == *verdict))
            .unwrap_or(Verdict::Rejected);
        let mut reasons: Vec<Reason> = Vec::new();
        let mut seen = HashSet::new();
        if best == Verdict::Rejected {
            for reason in mine.iter().flat_map(|buffer| &buffer.reasons) {
                if seen.insert((&reason.location, &reason.message)) {
                    reasons.push(reason.clone());
                }
            }
            if index.is_none() {
                let message = format!(
                    "{} is no scf.for, whose iterations run in order and can be counted",
                    op.name()
                );
                reasons.push(Reason::new(ReasonCode::NotSequential, message, op.location()));
            } else if mine.is_empty() {
                // What is not understood may do either.
                reasons.extend(order::effects(scene, *op));
                let message = "the loop fills no buffer in shared memory and loads from none".to_owned();
                reasons.push(Reason::new(ReasonCode::NotAPureCopy, message, op.location()));
            }
        }
        LoopVerdict {
            index,
            loop_op: index.is_none().then(|| op.name().to_owned()),
            location: op.location().to_string(),
            verdict: best,
            reasons,
        }
    };
    scene.ops.iter().filter(|op| is_loop(**op)).map(verdict).collect()
}

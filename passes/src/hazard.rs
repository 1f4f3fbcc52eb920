//! The judge: executes the synchronisation of a kernel and reports every access to shared memory that nothing orders.
//!
//! It runs the IR of one block, all threads side by side, with real addresses: integers are computed, data is not.
//! Commit groups, waits and barriers move a clock; each byte pair of shared memory remembers who wrote and read it
//! when. No code is shared with the passes that are judged, and no plan is read: only the IR counts.
//!
//! What it cannot execute (data-dependent control flow, unknown operations on shared memory) it says so:
//! [`Judgement::not_judged`] is a reason, not an acquittal.

mod evaluate;
mod shadow;

use std::fmt;

use alcop_compiler::ir::{Attr, Module, Op, preorder};

pub use shadow::HazardKind;

use evaluate::Machine;

/// One unordered access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hazard {
    /// What is wrong.
    pub kind: HazardKind,
    /// Name and place of the access that completes the hazard.
    pub second: String,
    /// Name and place of the access it conflicts with, if one was recorded.
    pub first: Option<String>,
    /// The thread of the second access.
    pub thread: usize,
    /// Byte offset in its buffer.
    pub offset: u64,
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: thread {} at byte {}: {}",
            self.kind.code(),
            self.thread,
            self.offset,
            self.second
        )?;
        match &self.first {
            Some(first) => write!(f, ", after {first}"),
            None => Ok(()),
        }
    }
}

/// What the judge found in one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Hazards, the first of each kind and pair of operations, in order of execution.
    pub hazards: Vec<Hazard>,
    /// Why the kernel, or the rest of it, was not judged.
    pub not_judged: Option<String>,
    /// Accesses to shared memory that were checked, over all threads.
    pub accesses: u64,
}

/// Judges every kernel (`gpu.func` with a known block size) of a module in upstream dialects.
pub fn check(module: &Module<'_>) -> Vec<Judgement> {
    preorder(module.op())
        .into_iter()
        .filter(|op| op.is("gpu.func"))
        .map(judge)
        .collect()
}

fn judge(kernel: Op<'_>) -> Judgement {
    let size = kernel.attr("known_block_size").and_then(Attr::as_ints);
    let Some(size) = size.filter(|size| size.len() == 3 && size.iter().all(|extent| (1..=1024).contains(extent)))
    else {
        let reason = "the kernel has no known_block_size".to_owned();
        return Judgement {
            not_judged: Some(reason),
            ..Judgement::default()
        };
    };
    let Some(body) = kernel.body() else {
        let reason = "the kernel's body is not a single block".to_owned();
        return Judgement {
            not_judged: Some(reason),
            ..Judgement::default()
        };
    };
    let mut machine = Machine::new([size[0], size[1], size[2]]);
    let result = machine.run_block(body);
    let (hazards, accesses) = machine.into_findings();
    Judgement {
        hazards,
        not_judged: result.err(),
        accesses,
    }
}

//! The pipeline plan: everything that the rewrite needs to know, as plain data.
//!
//! ```text
//! loop 1 inside 0, one stream: A, B in 3 slots, 2 chunks ahead, by cp.async of 16 bytes, xor layout
//!   registers: the loads of loop 2 in 2 fragment sets, 1 step ahead
//! ```
//!
//! A plan is made by [`crate::decide`], printed as JSON, edited by hand if wanted, and obeyed by
//! [`mod@crate::expand`]. It holds no wait counts: [`crate::waits`] computes those from positions.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use alcop_compiler::detect::{BufferVerdict, Detection, Level};
use alcop_compiler::ir::{BufferId, Module, OpId};
use alcop_spec::Assumption;
use serde::{Deserialize, Serialize};

use crate::error::Error;

mod fields;

/// The version of the plan's JSON.
pub const SCHEMA: u32 = 2;

/// How all loops of a module are pipelined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelinePlan {
    /// Version of this format, [`SCHEMA`].
    pub schema: u32,
    /// Fingerprint of the module the plan was made for: see [`fingerprint`].
    pub fingerprint: String,
    /// The architecture whose limits were kept, e.g. `sm_80`.
    pub target: String,
    /// What the caller must keep to, beside what the module says of its arguments: the widths of copies and their running
    /// ahead rest on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumes: Vec<Assumption>,
    /// One entry a pipelined loop, outermost first.
    pub loops: Vec<LoopPlan>,
}

impl PipelinePlan {
    /// Refuses a plan of another version, or one that was made for another module.
    pub fn check_is_for(&self, module: &Module<'_>) -> Result<(), Error> {
        if self.schema != SCHEMA {
            return Err(Error::PlanSchema { given: self.schema });
        }
        let fingerprint = fingerprint(module);
        if self.fingerprint != fingerprint {
            return Err(Error::StalePlan {
                plan: self.fingerprint.clone(),
                module: fingerprint,
            });
        }
        fields::check(self)
    }

    /// What the verdicts on its buffers rest on, as far as those run ahead.
    pub fn rests_on(&self, detection: &Detection) -> Vec<Assumption> {
        let ahead = |verdict: &&BufferVerdict| {
            let mut loops = self.loops.iter();
            let planned = |buffer: &BufferPlan| buffer.buffer == verdict.id && buffer.slots > 1;
            verdict.level == Level::Shared
                && loops.any(|entry| Some(entry.loop_index) == verdict.loop_index && entry.buffers.iter().any(planned))
        };
        let verdicts = detection
            .kernels
            .iter()
            .flat_map(|kernel| &kernel.buffers)
            .filter(ahead);
        let all: BTreeSet<Assumption> = verdicts.flat_map(|verdict| verdict.assumes.iter().copied()).collect();
        all.into_iter().collect()
    }

    /// Refuses a plan that was made for another architecture.
    pub fn check_target(&self, architecture: &str) -> Result<(), Error> {
        if self.target == architecture {
            return Ok(());
        }
        let message = format!(
            "it was made for {:?}, and this is compiled for {architecture}; compile for that target, or make the plan anew",
            self.target
        );
        Err(Error::refused("target-differs", "the plan", message).within("target"))
    }
}

impl LoopPlan {
    /// Numbers what is waited for apart from 0 on, without gaps and in the old order; what is not waited for has 0.
    pub fn renumber_syncs(&mut self) {
        let mut numbers: Vec<u32> = self.ahead().map(|buffer| buffer.sync).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for buffer in &mut self.buffers {
            let place = numbers.iter().position(|number| *number == buffer.sync);
            buffer.sync = match buffer.transport {
                Transport::Synchronous => 0,
                _ => place.map_or(0, |place| place as u32),
            };
        }
    }

    /// The buffers that are not filled in their places.
    fn ahead(&self) -> impl Iterator<Item = &BufferPlan> {
        self.buffers
            .iter()
            .filter(|buffer| buffer.transport != Transport::Synchronous)
    }
}

/// How one sequential loop is pipelined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopPlan {
    /// Which `scf.for`, counted over the module in preorder.
    #[serde(rename = "loop")]
    pub loop_index: usize,
    /// The loops around it, outermost first, across whose iterations the pipeline runs on: it fills and drains once for
    /// all of them. Empty: it fills and drains each time that the loop runs.
    #[serde(default)]
    pub around: Vec<usize>,
    /// The shared buffers that the loop fills. They share one stream of commit groups.
    pub buffers: Vec<BufferPlan>,
    /// Barriers that ordered only these buffers; the pipeline's own barriers replace them.
    pub barriers: Vec<OpId>,
    /// The loads from these buffers into registers, an entry for each loop that is unrolled.
    #[serde(default)]
    pub registers: Vec<RegisterPlan>,
}

/// How one shared buffer is filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BufferPlan {
    /// The buffer.
    pub buffer: BufferId,
    /// Copies of the buffer in shared memory; 1 is no pipeline.
    pub slots: u32,
    /// Chunks between the one being loaded and the one being used: at most slots − 1.
    pub distance: u32,
    /// Buffers of one number are waited for together, at the first read of any of them.
    #[serde(default)]
    pub sync: u32,
    /// What carries the bytes, where a copy does not say otherwise.
    pub transport: Transport,
    /// How completion is observed.
    pub completion: Completion,
    /// Bytes of one asynchronous copy, where a copy does not say otherwise.
    pub width_bytes: u32,
    /// Where the pieces of a row lie.
    pub layout: SharedLayout,
    /// The load and store of each copy.
    pub copies: Vec<CopyPlan>,
    /// Whether it is used outside of its loops too, by accesses that see nothing of what those leave: they get the first
    /// slot, with barriers between.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
}

/// One copy: a load from global memory and the store of what it loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyPlan {
    /// The load.
    pub load: OpId,
    /// The store.
    pub store: OpId,
    /// Its own width, where it is not the buffer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width_bytes: Option<u32>,
    /// What carries its bytes, where that is not what carries the buffer's: some copies of a buffer may be asynchronous
    /// and others staged through registers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
}

/// What carries bytes from global to shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// `cp.async` (PTX ISA, "Data Movement and Conversion Instructions: cp.async", sm_80 and later).
    CpAsync,
    /// A load to registers one iteration ahead, and a store an iteration later: for what `cp.async` cannot move, such as
    /// 2 bytes.
    RegisterStaged,
    /// A load to registers and a store: nothing overlaps. For a single slot.
    Synchronous,
}

/// How the arrival of a copy is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completion {
    /// `cp.async.commit_group` and `cp.async.wait_group`, then a barrier.
    CommitGroup,
    /// A barrier alone: the store was synchronous.
    Barrier,
}

/// Where the 16-byte pieces of a row lie in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedLayout {
    /// As the buffer's type says.
    Plain,
    /// The piece's index is xor-ed with bits of the row.
    Xor,
}

/// How the register loads of one inner loop are pipelined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterPlan {
    /// Which `scf.for` holds the loads, counted over the module in preorder. It is unrolled, unless it is the pipelined
    /// loop itself: one step a chunk.
    #[serde(rename = "loop")]
    pub loop_index: usize,
    /// Fragment sets alive; 1 is no pipeline.
    pub depth: u32,
    /// Steps between a load and its use: depth − 1.
    pub read_ahead: u32,
    /// The loads of one step.
    pub loads: Vec<OpId>,
}

/// A fingerprint of a module's text, by which a stale plan is recognised.
pub fn fingerprint(module: &Module<'_>) -> String {
    // DefaultHasher::new() has fixed keys: the same text has the same fingerprint in each run.
    let mut hasher = DefaultHasher::new();
    module.to_string().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

//! What a step did, as observers and drivers see it.

use super::lane::Lanes;
use super::program::Strength;
use crate::ptx::Space;

/// What one step did, for observers.
#[derive(Clone, Debug)]
pub struct Step {
    /// Coordinates of the block.
    pub block: [u32; 3],
    /// Warp of the block.
    pub warp: u32,
    /// Index of the instruction in [`Program::code`](super::Program::code).
    pub pc: u32,
    /// Lanes on this path, before the guard.
    pub active: u32,
    /// Lanes that executed it: bit l is lane l.
    pub executed: u32,
    /// Steps of this warp before this one.
    pub serial: u32,
    /// What it did.
    pub effect: Effect,
    /// For memory effects: the first byte that each executing lane accesses, in the effect's space. For matrix
    /// effects the row addresses, of the lanes below 8 × matrices.
    pub addresses: Lanes,
    /// For `cp.async`: each lane's global source address.
    pub sources: Lanes,
    /// For `cp.async`: bytes that each lane reads (less than the copy's size: the rest is zero-filled).
    pub source_bytes: [u32; 32],
    /// For stores to shared memory: lanes whose value another lane of this instruction overwrote with another one.
    pub overwritten: u32,
    /// As `overwritten`, where both values are floats that differ in their last bits only.
    pub nearly_overwritten: u32,
    /// For stores to shared memory: lanes that wrote what was there already.
    pub unchanged: u32,
    /// For stores to global memory: a fingerprint of each lane's bytes.
    pub fingerprints: [u32; 32],
    /// What it orders among other accesses.
    pub order: Order,
    /// What it did to an `mbarrier` object.
    pub mbarrier: Option<MbarrierEvent>,
    /// The data that a lane's address names goes to other lanes (or comes from them).
    pub collective: bool,
    /// It asked for something that has not happened yet (`mbarrier.try_wait`): let others run first.
    pub spins: bool,
    /// An undefined value that was used where it matters.
    pub poison: Option<PoisonUse>,
    /// A barrier that this step completed.
    pub released: Option<Release>,
    /// Whether the warp has ended.
    pub exited: bool,
}

/// What an instruction did to memory or control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing outside registers.
    None,
    /// Load of so many bytes a lane.
    Load {
        /// Memory, never generic.
        space: Space,
        /// Bytes a lane, all vector elements together.
        bytes: u32,
    },
    /// Store of so many bytes a lane.
    Store {
        /// Memory, never generic.
        space: Space,
        /// Bytes a lane, all vector elements together.
        bytes: u32,
    },
    /// Atomic read-modify-write.
    Atomic {
        /// Memory, never generic.
        space: Space,
        /// Bytes a lane.
        bytes: u32,
    },
    /// `cp.async`: `addresses` are shared, `sources` global.
    AsyncCopy {
        /// Bytes written a lane.
        bytes: u32,
    },
    /// `cp.async.commit_group`.
    Commit,
    /// `cp.async.wait_group` or `wait_all`.
    Wait {
        /// Groups that may stay in flight.
        groups: u32,
        /// `wait_all`: the open group is covered too.
        uncommitted: bool,
    },
    /// `ldmatrix`: eight rows of 16 bytes a matrix.
    MatrixLoad {
        /// 1, 2 or 4.
        matrices: u32,
    },
    /// `stmatrix`.
    MatrixStore {
        /// 1, 2 or 4.
        matrices: u32,
    },
    /// Arrival at a block barrier.
    Barrier {
        /// Its number.
        id: u32,
        /// Whether the warp waits for the others.
        waits: bool,
        /// An aligned barrier that not all live lanes of the warp executed.
        divergent: bool,
    },
    /// `bar.warp.sync` of these lanes.
    WarpBarrier {
        /// Member mask.
        mask: u32,
    },
    /// A branch; these lanes took it.
    Branch {
        /// Lanes that jumped.
        taken: u32,
    },
}

/// How an instruction orders memory accesses (PTX ISA 9.0, chapter 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// Not at all.
    #[default]
    None,
    /// A strong access: it may meet other strong ones.
    Strong {
        /// What the release that it reads from came after is seen.
        acquire: bool,
        /// What came before it is seen by who reads from it.
        release: bool,
        /// Whether it writes.
        writes: bool,
    },
    /// `fence`, `membar`.
    Fence {
        /// For the device, not only for the block.
        device: bool,
    },
}

impl Order {
    pub(super) fn of(strength: Strength, writes: bool) -> Order {
        if strength.is_strong() {
            Order::Strong {
                acquire: strength.acquires(),
                release: strength.releases(),
                writes,
            }
        } else {
            Order::None
        }
    }
}

/// What happened to an `mbarrier` object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MbarrierEvent {
    /// Its shared address.
    pub address: u64,
    /// What.
    pub kind: MbarrierKind,
}

/// Kinds of [`MbarrierEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MbarrierKind {
    /// It was made.
    Init,
    /// It was given up.
    Invalidate,
    /// Lanes arrived; whether that completed the phase.
    Arrive {
        /// The phase is complete.
        completed: bool,
    },
    /// Lanes arrive when their earlier copies have landed.
    CopyArrive,
    /// Lanes asked; these saw the phase complete.
    Wait {
        /// The lanes.
        passed: u32,
    },
    /// It was used in a way that has no meaning.
    Misuse(MbarrierMisuse),
}

/// Uses of an `mbarrier` object that have no meaning (PTX ISA 9.0, 9.7.13.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MbarrierMisuse {
    /// No object was made there, or it was given up.
    #[error("no mbarrier was initialised there, or it was invalidated")]
    NotInitialised,
    /// Made again without being given up, while threads use it.
    #[error("it is initialised again while threads use it: invalidate it first")]
    Reinitialised,
    /// A count of 0, or above 2^20 − 1.
    #[error("a count must be from 1 to 1048575")]
    BadCount,
    /// More arrivals than the phase still expects.
    #[error("more arrivals than the phase expects")]
    OverArrival,
    /// A state of a phase that is neither the present nor the one before.
    #[error("the state belongs to a phase that is neither the present one nor the one before")]
    BadPhase,
    /// An ordinary store or copy over the object.
    #[error("an ordinary write over an mbarrier object")]
    Overwritten,
}

/// Where an undefined value had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoisonUse {
    /// The first lane of it.
    pub lane: u32,
    /// How it was used.
    pub sink: PoisonSink,
}

/// Uses of a value that must be defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoisonSink {
    /// Stored to global memory.
    GlobalStore,
    /// An address or a size.
    Address,
    /// The guard of an instruction: a branch or a predicate.
    Guard,
}

/// A completed barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its number.
    pub id: u32,
    /// Warps that took part (bit w is warp w): waiting ones run on.
    pub warps: u32,
}

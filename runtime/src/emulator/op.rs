//! Micro-operations: what an instruction does, with its operands resolved.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::alu::{Modify, PoisonRule};
use super::convert::Convert;
use super::fragments::{Form, Fragment};
use super::lane::WarpFn;
use super::program::{MmaKind, Reg};
use crate::ptx::Space;

/// A source operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Src {
    Reg(Reg),
    Imm(u64),
    Special(Special),
}

/// A special register (PTX ISA, chapter 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    LaneId,
    WarpId,
    NWarpId,
    LaneMaskEq,
    LaneMaskLe,
    LaneMaskLt,
    LaneMaskGe,
    LaneMaskGt,
    DynamicSharedBytes,
    TotalSharedBytes,
    /// Steps that the block has made: monotone, which is all that PTX promises of a clock.
    Clock,
}

/// `[base + offset]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addr {
    pub base: Src,
    pub offset: i64,
}

/// Elements of a load: their width in memory and whether they are sign-extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub bytes: u32,
    pub signed: bool,
}

/// How `setp` combines its comparison with a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BoolOp {
    And,
    Or,
    Xor,
}

/// Read-modify-write operations of `atom` and `red`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AtomicOp {
    Exchange,
    CompareSwap,
    /// Denormals are flushed in global memory and kept in shared memory (PTX ISA 9.0, 9.7.13.5).
    AddF32,
    /// Any two-operand function.
    Apply(WarpScalar),
}

/// A scalar function of two values.
pub(crate) type WarpScalar = fn(u64, u64) -> u64;

/// What an access orders (PTX ISA 9.0, 8.2 to 8.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Strength {
    /// An ordinary access.
    #[default]
    Weak,
    /// `.volatile`, `.relaxed`: may meet other strong accesses, orders nothing by itself.
    Relaxed,
    /// `.acquire`: what the release it reads from came after is seen.
    Acquire,
    /// `.release`.
    Release,
    /// `.acq_rel`.
    AcquireRelease,
}

impl Strength {
    pub(crate) const fn is_strong(self) -> bool {
        !matches!(self, Strength::Weak)
    }

    pub(crate) const fn acquires(self) -> bool {
        matches!(self, Strength::Acquire | Strength::AcquireRelease)
    }

    pub(crate) const fn releases(self) -> bool {
        matches!(self, Strength::Release | Strength::AcquireRelease)
    }
}

/// Modes of `shfl.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

/// Modes of `vote.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteMode {
    All,
    Any,
    Uniform,
    Ballot,
}

pub(crate) type Srcs = SmallVec<[Src; 4]>;
pub(crate) type Dsts = SmallVec<[Option<Reg>; 4]>;

/// Operand types of an integer `mma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct MmaFlags {
    pub a_signed: bool,
    pub b_signed: bool,
    /// `.satfinite`: sums are clamped to s32 instead of wrapping.
    pub saturate: bool,
}

/// Which lanes must execute a warp-wide instruction together: the member mask of `.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Members(pub Src);

/// How a comparison is combined with a predicate (negated or not).
pub(crate) type Combine = Option<(BoolOp, Src, bool)>;

/// What `bar.red` and `redux.sync` compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    /// How many predicates hold.
    PopulationCount,
    And,
    Or,
}

/// Operations on an `mbarrier` object (PTX ISA 9.0, 9.7.13.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MbarrierOp {
    Init,
    Invalidate,
    /// Arrival; `complete` is false for `.noComplete`, `drop` also lowers the expected count, `expect` first expects
    /// so many bytes.
    Arrive {
        complete: bool,
        drop: bool,
        expect: bool,
    },
    ExpectTx,
    CompleteTx,
    /// Whether the phase of a state (or of a parity) has completed. `blocks`: the `try` form may suspend the thread.
    Test {
        parity: bool,
        blocks: bool,
    },
    PendingCount,
    /// Arrival when all earlier copies of the thread have landed; `counted`: it adds to the pending count first.
    CopyArrive {
        counted: bool,
    },
}

/// A micro-operation.
#[derive(Clone)]
pub(crate) enum Op {
    Map {
        function: WarpFn,
        dst: Reg,
        src: Srcs,
        poison: PoisonRule,
        modify: Modify,
    },
    /// An operation that leaves a carry: value and carry are functions of the same sources.
    MapCarry {
        value: WarpFn,
        carry: WarpFn,
        dst: Option<Reg>,
        out: Reg,
        src: Srcs,
    },
    Convert {
        convert: Convert,
        dst: Reg,
        src: Src,
    },
    /// Two floats to a packed pair: the first source goes to the upper half.
    ConvertPair {
        convert: Convert,
        dst: Reg,
        src: [Src; 2],
    },
    SetPredicate {
        compare: WarpFn,
        combine: Combine,
        dst: Option<Reg>,
        complement: Option<Reg>,
        src: [Src; 2],
        /// The comparison gives two bits: the second destination is that of the upper halves.
        packed: bool,
        modify: Modify,
    },
    /// `set`: `value` where the comparison holds, else zero; in halves for packed types.
    Set {
        compare: WarpFn,
        combine: Combine,
        dst: Reg,
        value: u64,
        packed: bool,
        src: [Src; 2],
        modify: Modify,
    },
    /// `lop3` with a predicate: whether the result has a bit set, combined with another.
    LogicTest {
        function: WarpFn,
        dst: Option<Reg>,
        predicate: Option<Reg>,
        src: [Src; 4],
        combine: Combine,
    },
    Pack {
        dst: Reg,
        parts: Srcs,
        part_bytes: u32,
    },
    Unpack {
        dsts: Dsts,
        src: Src,
        part_bytes: u32,
    },
    Load {
        space: Space,
        addr: Addr,
        element: Element,
        dsts: Dsts,
        strength: Strength,
    },
    Store {
        space: Space,
        addr: Addr,
        bytes: u32,
        src: Srcs,
        strength: Strength,
    },
    Atomic {
        space: Space,
        op: AtomicOp,
        bytes: u32,
        addr: Addr,
        dst: Option<Reg>,
        src: Srcs,
        strength: Strength,
    },
    Branch {
        target: u32,
    },
    /// `brx.idx`: each lane jumps to the target with its index.
    BranchTable {
        index: Src,
        targets: Arc<[u32]>,
    },
    /// The lane ends: by `ret`, or by `exit`.
    Exit {
        returns: bool,
    },
    /// Ends the kernel with an error.
    Trap {
        reason: Arc<str>,
    },
    /// `id`, threads expected (`None`: all), whether all lanes of the warp must arrive together, whether it waits.
    Barrier {
        id: Src,
        threads: Option<Src>,
        aligned: bool,
        waits: bool,
    },
    /// `bar.red`: the result is there when the barrier completes.
    BarrierReduce {
        id: Src,
        threads: Option<Src>,
        aligned: bool,
        reduction: Reduction,
        dst: Reg,
        src: Src,
        negated: bool,
    },
    WarpBarrier {
        mask: Members,
    },
    CpAsync {
        bytes: u32,
        dst: Addr,
        src: Addr,
        src_bytes: Option<Src>,
        /// A predicate under which the source is not read: zeros are written.
        ignore: Option<Src>,
    },
    Commit,
    /// Groups that may stay in flight; `uncommitted`: `wait_all` also covers copies that no commit has closed.
    Wait {
        groups: u32,
        uncommitted: bool,
    },
    LoadMatrix {
        matrices: u32,
        transposed: bool,
        space: Space,
        addr: Addr,
        dsts: Dsts,
    },
    StoreMatrix {
        matrices: u32,
        transposed: bool,
        space: Space,
        addr: Addr,
        src: Srcs,
    },
    /// `movmatrix`: an 8×8 matrix in the registers of a warp, transposed.
    TransposeMatrix {
        dst: Reg,
        src: Src,
    },
    Mma {
        kind: MmaKind,
        flags: MmaFlags,
        d: Dsts,
        a: Srcs,
        b: Srcs,
        c: Srcs,
    },
    /// `wmma.mma`, and the forms of `mma` that are rare.
    Product {
        form: Form,
        d: Dsts,
        a: Srcs,
        b: Srcs,
        c: Srcs,
    },
    /// `wmma.load` (to `dsts`) or `wmma.store` (from `src`).
    WmmaMove {
        fragment: Fragment,
        /// A or B: any lane may get an element, and several may. Elements of C and D belong to one lane each.
        operand: bool,
        by_column: bool,
        space: Space,
        addr: Addr,
        /// Elements from a row (or column) to the next.
        stride: Src,
        dsts: Dsts,
        src: Srcs,
    },
    Shuffle {
        mode: ShuffleMode,
        dst: Reg,
        in_range: Option<Reg>,
        src: [Src; 3],
        members: Members,
    },
    Vote {
        mode: VoteMode,
        dst: Reg,
        src: Src,
        negated: bool,
        members: Members,
    },
    /// `match.any` and (`all`) `match.all`: lanes that hold the same value.
    Match {
        all: bool,
        dst: Reg,
        predicate: Option<Reg>,
        src: Src,
        members: Members,
    },
    /// `redux.sync`.
    Redux {
        function: WarpScalar,
        dst: Reg,
        src: Src,
        members: Members,
    },
    /// `elect.sync`: the lowest member is elected.
    Elect {
        dst: Option<Reg>,
        predicate: Option<Reg>,
        members: Members,
    },
    ActiveMask {
        dst: Reg,
    },
    /// `mbarrier.*` at an address of shared memory.
    Mbarrier {
        op: MbarrierOp,
        space: Space,
        addr: Addr,
        dst: Option<Reg>,
        src: Srcs,
    },
    /// `fence`, `membar`: orders the memory accesses of the thread for a whole block (`device` false) or the device.
    Fence {
        device: bool,
    },
    /// Changes no value: prefetches, hints.
    Nothing,
}

impl Op {
    /// Whether blocks may order themselves by it through global memory: they then run one after the other.
    pub(crate) fn orders_blocks(&self) -> bool {
        let outside = |space: &Space| matches!(space, Space::Global | Space::Generic);
        match self {
            Op::Atomic { space, .. } => outside(space),
            Op::Load { space, strength, .. } | Op::Store { space, strength, .. } => {
                strength.is_strong() && outside(space)
            }
            _ => false,
        }
    }

    /// The member mask of a warp-wide instruction.
    pub(crate) fn members(&self) -> Option<Members> {
        match self {
            Op::WarpBarrier { mask } => Some(*mask),
            Op::Shuffle { members, .. }
            | Op::Vote { members, .. }
            | Op::Match { members, .. }
            | Op::Redux { members, .. }
            | Op::Elect { members, .. } => Some(*members),
            _ => None,
        }
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Map { .. } => "Map",
            Op::MapCarry { .. } => "MapCarry",
            Op::Convert { .. } => "Convert",
            Op::ConvertPair { .. } => "ConvertPair",
            Op::SetPredicate { .. } => "SetPredicate",
            Op::Set { .. } => "Set",
            Op::LogicTest { .. } => "LogicTest",
            Op::TransposeMatrix { .. } => "TransposeMatrix",
            Op::Pack { .. } => "Pack",
            Op::Unpack { .. } => "Unpack",
            Op::Load { .. } => "Load",
            Op::Store { .. } => "Store",
            Op::Atomic { .. } => "Atomic",
            Op::Branch { .. } => "Branch",
            Op::BranchTable { .. } => "BranchTable",
            Op::Exit { .. } => "Exit",
            Op::Trap { .. } => "Trap",
            Op::Barrier { .. } => "Barrier",
            Op::BarrierReduce { .. } => "BarrierReduce",
            Op::WarpBarrier { .. } => "WarpBarrier",
            Op::CpAsync { .. } => "CpAsync",
            Op::Commit => "Commit",
            Op::Wait { .. } => "Wait",
            Op::LoadMatrix { .. } => "LoadMatrix",
            Op::StoreMatrix { .. } => "StoreMatrix",
            Op::Mma { .. } => "Mma",
            Op::Product { .. } => "Product",
            Op::WmmaMove { .. } => "WmmaMove",
            Op::Shuffle { .. } => "Shuffle",
            Op::Vote { .. } => "Vote",
            Op::Match { .. } => "Match",
            Op::Redux { .. } => "Redux",
            Op::Elect { .. } => "Elect",
            Op::ActiveMask { .. } => "ActiveMask",
            Op::Mbarrier { .. } => "Mbarrier",
            Op::Fence { .. } => "Fence",
            Op::Nothing => "Nothing",
        })
    }
}

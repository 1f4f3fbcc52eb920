//! Why a schedule is refused. Each reason has a stable code, and a message with the numbers and the way out.

use std::fmt;

use crate::op::{DType, Layout};
use crate::schedule::{Axis, AxisTiles};

/// An operand of a matmul.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Operand {
    A,
    B,
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operand::A => "A",
            Operand::B => "B",
        })
    }
}

/// A level of the pipeline, with the word for one stage of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Slots in shared memory.
    Shared,
    /// Fragment sets in registers.
    Register,
}

/// Why a schedule cannot be used. All are the user's choice of schedule meeting a limit of the hardware or of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    /// Types that have no kernel.
    #[error(
        "no kernel for {dtype} operands with {out_dtype} results; there are kernels for f16 (results f16 or f32), bf16 \
         (bf16 or f32), tf32 (f32) and i8 (i32)"
    )]
    DTypeNotSupported {
        /// Type of A and B.
        dtype: DType,
        /// Type of C.
        out_dtype: DType,
    },
    /// An extent of the operator is zero.
    #[error("the extent of {axis} is 0, so there is nothing to compute; give a positive extent")]
    EmptyShape {
        /// `M`, `N`, `K` or `batch`.
        axis: &'static str,
    },
    /// An operand's bytes cannot be counted in 63 bits, so that no address reaches all of it.
    #[error("{operand} ({batch}x{rows}x{columns}) has more than 2^63 bytes; choose a smaller shape")]
    ShapeTooLarge {
        /// `A`, `B` or `C`.
        operand: &'static str,
        /// Independent products.
        batch: u64,
        /// Rows as stored.
        rows: u64,
        /// Columns as stored.
        columns: u64,
    },
    /// More blocks along an axis than a grid may have (CUDA C++ Programming Guide, "Compute Capabilities").
    #[error("{blocks} blocks along {axis}, and a grid has at most {limit}; choose {remedy}")]
    GridTooLarge {
        /// `M`, `N` or `batch`.
        axis: &'static str,
        /// Blocks that the shape needs.
        blocks: u64,
        /// What the device takes.
        limit: u64,
        /// The way out.
        remedy: &'static str,
    },
    /// A tile extent is zero or not a multiple of what the instructions need.
    #[error("the {what} is {extent}; it must be a positive multiple of {multiple}")]
    TileNotMultiple {
        /// "warp tile's m" and the like.
        what: &'static str,
        /// The extent, in elements.
        extent: u32,
        /// What it must be a multiple of, in elements.
        multiple: u32,
    },
    /// The warp tile has a k, which would split the sum among warps.
    #[error("the warp tile {warp} has a k, but warps split only m and n; leave it out")]
    WarpTilesK {
        /// The warp tile.
        warp: AxisTiles,
    },
    /// The block tile is not made of whole warp tiles.
    #[error(
        "the block tile's {axis} = {block} is not a multiple of the warp tile's {warp}; choose one that is",
        axis = lower(*axis)
    )]
    BlockNotMultipleOfWarp {
        /// The axis.
        axis: Axis,
        /// Extent of the block tile, in elements.
        block: u32,
        /// Extent of the warp tile, in elements.
        warp: u32,
    },
    /// The block has more threads than the target allows.
    #[error(
        "the block has {threads} threads (32 × {warps_m} × {warps_n} warps), and at most {limit} are allowed; choose a larger warp tile or a smaller block tile"
    )]
    TooManyThreads {
        /// Threads of the block.
        threads: u64,
        /// Warps along m.
        warps_m: u32,
        /// Warps along n.
        warps_n: u32,
        /// Threads that the target allows.
        limit: u32,
    },
    /// The xor swizzle needs a power of two of 16-byte pieces in a row.
    #[error(
        "a row of {operand}'s chunk has {pieces} pieces of 16 bytes (layout {layout}), and the xor swizzle needs a power \
         of two; choose a power of two for {axis} of the block tile", axis = lower(*axis)
    )]
    RowNotPowerOfTwo {
        /// The operand.
        operand: Operand,
        /// 16-byte pieces of a row.
        pieces: u64,
        /// The operator's layout.
        layout: Layout,
        /// The axis along which the row lies.
        axis: Axis,
    },
    /// A number of stages is outside what is supported on any chunk.
    #[error("{stages} {} are not supported; choose 1 to {limit}", match level { Level::Shared => "shared stages", Level::Register => "register stages" })]
    StagesNotSupported {
        /// The level.
        level: Level,
        /// The stages asked for.
        stages: u32,
        /// The most that are supported.
        limit: u32,
    },
    /// Fragments cannot be read so far ahead.
    #[error(
        "register depth {register_stages} exceeds what a chunk of {k_steps} k-steps with {shared_stages} shared stage(s) \
         allows: at most {limit}{}", if *shared_stages == 1 {
            "; use at least 2 shared stages, so that fragments can be read ahead"
        } else {
            "; use a longer chunk of k, or fewer register stages"
        }
    )]
    RegisterDepthExceedsChunk {
        /// k-steps of a chunk.
        k_steps: u32,
        /// Slots in shared memory.
        shared_stages: u32,
        /// Fragment sets asked for.
        register_stages: u32,
        /// The most fragment sets that are legal here.
        limit: u32,
    },
    /// The slots are more than the shared memory of a block.
    #[error(
        "cannot give the chunks {stages} slots: {stages} × ({a_bytes} + {b_bytes}) B = {} B, and a block may use {limit_bytes} B; {}",
        u128::from(*stages) * (u128::from(*a_bytes) + u128::from(*b_bytes)), at_most(*limit_bytes, a_bytes.saturating_add(*b_bytes))
    )]
    SharedDoesNotFit {
        /// Slots asked for.
        stages: u32,
        /// One chunk of A, in bytes.
        a_bytes: u64,
        /// One chunk of B, in bytes.
        b_bytes: u64,
        /// Shared memory that a block may use, in bytes.
        limit_bytes: u32,
    },
    /// Accumulators and fragments are more than a thread's registers.
    #[error(
        "a thread needs {accumulators} registers for accumulators + {register_stages} × {fragment} for fragments = {}, and \
         may have {limit}; choose fewer register stages or a smaller warp tile",
         u64::from(*accumulators) + u64::from(*register_stages) * u64::from(*fragment)
    )]
    RegistersDoNotFit {
        /// 32-bit registers of the accumulators.
        accumulators: u32,
        /// 32-bit registers of one fragment set.
        fragment: u32,
        /// Fragment sets.
        register_stages: u32,
        /// 32-bit registers that a thread may have.
        limit: u32,
    },
    /// Not even one block is resident on an SM, although each limit of a block holds.
    #[error(
        "no block fits on an SM: {threads} threads with about {registers} registers each, and an SM has {registers_per_sm}; choose fewer warps or a smaller warp tile"
    )]
    BlockDoesNotFitSm {
        /// Threads of the block.
        threads: u32,
        /// Registers of a thread, estimated.
        registers: u32,
        /// Registers of an SM.
        registers_per_sm: u32,
    },
    /// Groups of no tile rows.
    #[error("blocks in groups of 0 tile rows; give at least 1, which walks whole columns of tiles")]
    EmptyRaster,
    /// The sum over k has too few chunks for each of a tile's blocks to get one.
    #[error(
        "the sum over K = {k} has {chunks} chunks of {chunk}, which {split_k} blocks cannot share so that each gets some: \
         they take {} each; choose split-k 1 to {chunks}, or one that leaves none without", chunks.div_ceil(u64::from(*split_k).max(1))
    )]
    SplitLeavesNothing {
        /// Length of the sums.
        k: u64,
        /// Chunks of k.
        chunks: u64,
        /// Elements of a chunk.
        chunk: u32,
        /// Blocks that were to share them.
        split_k: u32,
    },
}

impl Rejection {
    /// All codes that [`Rejection::code`] may answer, in alphabetical order.
    pub const CODES: [&'static str; 7] = [
        "does-not-fit",
        "dtype-not-supported",
        "empty-shape",
        "register-depth-exceeds-chunk",
        "split-k-not-supported",
        "stages-not-supported",
        "tile-not-supported",
    ];

    /// The stable kebab-case code of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Rejection::DTypeNotSupported { .. } => "dtype-not-supported",
            Rejection::EmptyShape { .. } => "empty-shape",
            Rejection::TileNotMultiple { .. }
            | Rejection::BlockNotMultipleOfWarp { .. }
            | Rejection::TooManyThreads { .. }
            | Rejection::RowNotPowerOfTwo { .. }
            | Rejection::WarpTilesK { .. }
            | Rejection::ShapeTooLarge { .. }
            | Rejection::GridTooLarge { .. }
            | Rejection::EmptyRaster => "tile-not-supported",
            Rejection::SplitLeavesNothing { .. } => "split-k-not-supported",
            Rejection::StagesNotSupported { .. } => "stages-not-supported",
            Rejection::RegisterDepthExceedsChunk { .. } => "register-depth-exceeds-chunk",
            Rejection::SharedDoesNotFit { .. }
            | Rejection::RegistersDoNotFit { .. }
            | Rejection::BlockDoesNotFitSm { .. } => "does-not-fit",
        }
    }
}

fn lower(axis: Axis) -> &'static str {
    match axis {
        Axis::M => "m",
        Axis::N => "n",
        Axis::K => "k",
    }
}

fn at_most(limit_bytes: u32, slot_bytes: u64) -> String {
    match u64::from(limit_bytes) / slot_bytes.max(1) {
        0 => "not even one slot fits: choose a smaller tile".to_owned(),
        slots => format!("at most {slots}, or a smaller tile"),
    }
}

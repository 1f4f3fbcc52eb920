//! Why an operator is not tiled as asked.

use alcop_spec::{AxisTiles, DType};

use super::PIECE_BYTES;
use crate::ir::Diagnostic;

/// Why an operator cannot be tiled as asked. The code in brackets is that of the schedule rules of the spec crate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TileError {
    /// An extent of the operator is 0 (the user's mistake).
    #[error("the extent of {axis} is 0, so there is nothing to compute; give a positive extent [empty-shape]")]
    EmptyShape {
        /// `M`, `N`, `K` or `batch`.
        axis: &'static str,
    },
    /// A tile does not divide the shape (a limit of ours: there are no partial tiles).
    #[error(
        "{axis} = {extent} is not a multiple of the block tile's {tile}; choose a tile that divides it [shape-not-divisible]"
    )]
    ShapeNotDivisible {
        /// `M`, `N` or `K`.
        axis: &'static str,
        /// The operator's extent.
        extent: u64,
        /// The tile's extent.
        tile: u32,
    },
    /// An operand's bytes cannot be counted in 63 bits, so that no address reaches all of it (the user's mistake).
    #[error(
        "{operand} ({batch}x{rows}x{columns}) has more than 2^63 bytes; choose a smaller shape [tile-not-supported]"
    )]
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
    #[error("{blocks} blocks along {axis}, and a grid has at most {limit}; choose {remedy} [tile-not-supported]")]
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
    /// A tile extent that the tensor cores cannot cover (the user's mistake).
    #[error("the {what} is {extent}; it must be a positive multiple of {multiple} [tile-not-supported]")]
    TileNotMultiple {
        /// "warp tile's m" and the like.
        what: &'static str,
        /// The extent, in elements.
        extent: u32,
        /// What it must be a multiple of, in elements.
        multiple: u32,
    },
    /// The warp tile has a k, which would split the sum among warps (a limit of ours).
    #[error("the warp tile {warp} has a k, but warps split only m and n; leave it out [tile-not-supported]")]
    WarpTilesK {
        /// The warp tile.
        warp: AxisTiles,
    },
    /// The block tile is not made of whole warp tiles (the user's mistake).
    #[error(
        "block {block} is not a whole number of warp tiles {warp}; choose a block tile that is a multiple of the warp \
         tile along m and n [tile-not-supported]"
    )]
    BlockNotWholeWarps {
        /// The block tile.
        block: AxisTiles,
        /// The warp tile.
        warp: AxisTiles,
    },
    /// A block has more threads than a device takes (the user's mistake).
    #[error(
        "block {block} with warp {warp} has {threads} threads, and a block has at most {limit}; choose a larger warp \
         tile or a smaller block tile [tile-not-supported]"
    )]
    TooManyThreads {
        /// The block tile.
        block: AxisTiles,
        /// The warp tile.
        warp: AxisTiles,
        /// Threads of a block.
        threads: u64,
        /// What a device takes.
        limit: u64,
    },
    /// Blocks in groups of tile rows (a limit of ours).
    #[error("a raster of {rows} tile rows is not supported; use 1 [tile-not-supported]")]
    RasterNotSupported {
        /// Tile rows of a group.
        rows: u32,
    },
    /// A row of a chunk is not a power of two of 16-byte pieces (a limit of ours: threads are laid over rows by shifts
    /// and masks, and so is the shared layout).
    #[error(
        "a row of the {operand} chunk ({rows}x{columns}) has {pieces} pieces of {PIECE_BYTES} bytes; choose a block tile \
         with a power of two there [tile-not-supported]"
    )]
    RowNotPowerOfTwo {
        /// `A` or `B`.
        operand: &'static str,
        /// Rows of the chunk as stored.
        rows: u32,
        /// Columns of the chunk as stored.
        columns: u32,
        /// 16-byte pieces of a row.
        pieces: u32,
    },
    /// The threads cannot share the copies evenly (a limit of ours).
    #[error(
        "{threads} threads cannot share the {pieces} {PIECE_BYTES}-byte pieces of the {operand} chunk ({rows}x{columns}) \
         evenly in whole rows; choose {remedy} [copy-not-distributable]"
    )]
    CopyNotDistributable {
        /// `A` or `B`.
        operand: &'static str,
        /// Rows of the chunk as stored.
        rows: u32,
        /// Columns of the chunk as stored.
        columns: u32,
        /// 16-byte pieces of the chunk.
        pieces: u64,
        /// Threads of a block.
        threads: u32,
        /// The way out: more threads where a row outnumbers them, else fewer.
        remedy: &'static str,
    },
    /// A type that has no kernel (a limit of ours).
    #[error(
        "no kernel for {dtype} operands with {out_dtype} results; f16 operands with f16 or f32 results are supported \
         [dtype-not-supported]"
    )]
    DTypeNotSupported {
        /// Operands.
        dtype: DType,
        /// Result.
        out_dtype: DType,
    },
    /// The emitted module does not verify (a bug of ours).
    #[error("internal error: the tile program is invalid: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Diagnostic>),
}

//! The un-pipelined tiled kernel of an operator, in upstream dialects only.
//!
//! ```mlir
//! scf.for %k = 0 to K step 32 iter_args(accumulators) {
//!   vector.load A, B -> vector.store into shared memory   // 16 bytes a thread and piece
//!   gpu.barrier
//!   scf.for %ki = 0 to 32 step 16 { nvgpu.ldmatrix …; nvgpu.mma.sync … }
//!   gpu.barrier
//! }
//! ```
//!
//! Plain synchronous copies and no hints: the analysis that follows sees what anybody else's compiler would give it.

pub mod fragments;
mod matmul;

use alcop_spec::{DType, Matmul, OpSpec, TileSchedule};

use crate::ir::{Context, Diagnostic, Module};

/// A kernel as MLIR, with the launch shape that it was written for.
pub struct TileProgram<'c> {
    /// A `builtin.module` with one `gpu.module` with one kernel.
    pub module: Module<'c>,
    /// The kernel's name.
    pub entry: String,
    /// Blocks in x (tiles along m), y (tiles along n), z (batch).
    pub grid: [u32; 3],
    /// Threads in x, y, z.
    pub block: [u32; 3],
}

/// Why an operator cannot be tiled as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TileError {
    /// A tile does not divide the shape (a limit of ours).
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
    /// A tile that the tensor cores or the warps cannot cover (the user's mistake).
    #[error("{what} [tile-not-supported]")]
    TileNotSupported {
        /// The rule, the numbers, the way out.
        what: String,
    },
    /// The threads cannot share the copies evenly (a limit of ours).
    #[error(
        "{threads} threads cannot share the {pieces} 16-byte pieces of the {operand} chunk ({rows}x{columns}) evenly; \
         use fewer warps or a larger tile [copy-not-distributable]"
    )]
    CopyNotDistributable {
        /// `A` or `B`.
        operand: &'static str,
        /// Rows of the chunk as stored.
        rows: u32,
        /// Columns of the chunk as stored.
        columns: u32,
        /// 16-byte pieces of the chunk.
        pieces: u32,
        /// Threads of a block.
        threads: u32,
    },
    /// A type that has no kernel (a limit of ours).
    #[error(
        "no kernel for {dtype} operands with {out_dtype} results; f16 operands with f16 or f32 results are supported"
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

/// Emits the kernel of an operator under a schedule. Of the schedule only the tiles matter: depths and the shared
/// layout are the pipeline's.
pub fn tile_program<'c>(
    context: &'c Context,
    op: &OpSpec,
    schedule: &TileSchedule,
) -> Result<TileProgram<'c>, TileError> {
    let OpSpec::Matmul(mm) = op;
    check_matmul(mm, schedule)?;
    let module = matmul::emit(context, mm, schedule);
    module.verify().map_err(TileError::Invalid)?;
    let grid = [
        (mm.m / u64::from(schedule.block.m)) as u32,
        (mm.n / u64::from(schedule.block.n)) as u32,
        mm.batch as u32,
    ];
    Ok(TileProgram {
        module,
        entry: op.name().to_owned(),
        grid,
        block: [schedule.threads(), 1, 1],
    })
}

/// Bytes of the pieces that one thread copies at once: the widest `cp.async`.
pub const PIECE_BYTES: u32 = 16;

fn check_matmul(mm: &Matmul, schedule: &TileSchedule) -> Result<(), TileError> {
    let unsupported = |what: String| Err(TileError::TileNotSupported { what });
    if mm.dtype != DType::F16 {
        return Err(TileError::DTypeNotSupported {
            dtype: mm.dtype,
            out_dtype: mm.out_dtype,
        });
    }
    let (block, warp, block_k) = (schedule.block, schedule.warp, schedule.block_k());
    if [block.m, block.n, block_k, warp.m, warp.n].contains(&0) {
        return unsupported(format!(
            "block {block} and warp {warp} need an extent of at least 16 along each axis"
        ));
    }
    if !warp.m.is_multiple_of(16) || !warp.n.is_multiple_of(16) || !block_k.is_multiple_of(16) {
        return unsupported(format!(
            "warp {warp} and chunk k = {block_k} must be multiples of 16 along each axis"
        ));
    }
    if !block.m.is_multiple_of(warp.m) || !block.n.is_multiple_of(warp.n) {
        return unsupported(format!("block {block} is not a whole number of warp tiles {warp}"));
    }
    let threads = schedule.threads();
    if threads > 1024 {
        return unsupported(format!(
            "block {block} with warp {warp} has {threads} threads; a block has at most 1024"
        ));
    }
    if schedule.raster_rows != 1 {
        return unsupported(format!(
            "a raster of {} rows is not supported; use 1",
            schedule.raster_rows
        ));
    }
    for (axis, extent, tile) in [("M", mm.m, block.m), ("N", mm.n, block.n), ("K", mm.k, block_k)] {
        if extent == 0 || !extent.is_multiple_of(u64::from(tile)) {
            return Err(TileError::ShapeNotDivisible { axis, extent, tile });
        }
    }
    for (operand, rows, columns) in matmul::chunks(mm, schedule) {
        let per_row = columns * 2 / PIECE_BYTES;
        let pieces = rows * per_row;
        if !per_row.is_power_of_two() || !pieces.is_multiple_of(threads) || !threads.is_multiple_of(per_row) {
            return Err(TileError::CopyNotDistributable {
                operand,
                rows,
                columns,
                pieces,
                threads,
            });
        }
    }
    Ok(())
}

//! Whether a matmul can be tiled as asked: all of it before anything is built.

use alcop_spec::schedule::{MMA_K, MMA_M};
use alcop_spec::{DType, Matmul, TileSchedule};

use super::{PIECE_BYTES, TileError};

/// Threads of a block, on every architecture (CUDA C++ Programming Guide, "Compute Capabilities").
const THREAD_LIMIT: u64 = 1024;
/// Blocks in x, and in y or z (same table).
const GRID_LIMITS: [u64; 3] = [(1 << 31) - 1, 65_535, 65_535];

/// The chunk of an operand in shared memory, as stored.
pub(super) struct Chunk {
    /// `A` or `B`.
    pub operand: &'static str,
    /// Its rows walk along k, its columns along m or n.
    pub k_in_rows: bool,
    /// Rows.
    pub rows: u32,
    /// Columns, contiguous in memory.
    pub columns: u32,
}

impl Chunk {
    /// 16-byte pieces of a row.
    pub fn pieces_per_row(&self) -> u32 {
        self.columns / (PIECE_BYTES / 2)
    }

    /// 16-byte pieces of the chunk.
    pub fn pieces(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.pieces_per_row())
    }
}

/// The chunks of A and B.
pub(super) fn chunks(mm: &Matmul, schedule: &TileSchedule) -> [Chunk; 2] {
    let k = schedule.block_k();
    let chunk = |operand, other, k_in_rows| Chunk {
        operand,
        k_in_rows,
        rows: if k_in_rows { k } else { other },
        columns: if k_in_rows { other } else { k },
    };
    [
        chunk("A", schedule.block.m, mm.layout.a_transposed()),
        chunk("B", schedule.block.n, !mm.layout.b_transposed()),
    ]
}

/// Checks everything that emission relies on; answers the grid.
pub(super) fn check_matmul(mm: &Matmul, schedule: &TileSchedule) -> Result<[u32; 3], TileError> {
    check_dtypes(mm)?;
    check_tiles(schedule)?;
    for (axis, extent, tile) in [
        ("M", mm.m, schedule.block.m),
        ("N", mm.n, schedule.block.n),
        ("K", mm.k, schedule.block_k()),
        ("batch", mm.batch, 1),
    ] {
        if extent == 0 {
            return Err(TileError::EmptyShape { axis });
        }
        if !extent.is_multiple_of(u64::from(tile)) {
            return Err(TileError::ShapeNotDivisible { axis, extent, tile });
        }
    }
    check_sizes(mm)?;
    for chunk in chunks(mm, schedule) {
        check_copy(&chunk, schedule.threads())?;
    }
    grid(mm, schedule)
}

fn check_dtypes(mm: &Matmul) -> Result<(), TileError> {
    match (mm.dtype, mm.out_dtype) {
        (DType::F16, DType::F16 | DType::F32) => Ok(()),
        (dtype, out_dtype) => Err(TileError::DTypeNotSupported { dtype, out_dtype }),
    }
}

fn check_tiles(schedule: &TileSchedule) -> Result<(), TileError> {
    let (block, warp) = (schedule.block, schedule.warp);
    // ldmatrix.x4 brings B fragments for two tiles of n = 8 at once, hence 16 on every axis.
    for (what, extent, multiple) in [
        ("warp tile's m", warp.m, MMA_M),
        ("warp tile's n", warp.n, 16),
        ("block tile's m", block.m, MMA_M),
        ("block tile's n", block.n, 16),
        ("block tile's k", schedule.block_k(), MMA_K),
    ] {
        if extent == 0 || !extent.is_multiple_of(multiple) {
            return Err(TileError::TileNotMultiple { what, extent, multiple });
        }
    }
    if warp.k.is_some() {
        return Err(TileError::WarpTilesK { warp });
    }
    if !block.m.is_multiple_of(warp.m) || !block.n.is_multiple_of(warp.n) {
        return Err(TileError::BlockNotWholeWarps { block, warp });
    }
    let (warps_m, warps_n) = schedule.warps();
    // At most 2^28 warps along each axis (tiles are multiples of 16), so this fits.
    let threads = 32 * u64::from(warps_m) * u64::from(warps_n);
    if threads > THREAD_LIMIT {
        return Err(TileError::TooManyThreads {
            block,
            warp,
            threads,
            limit: THREAD_LIMIT,
        });
    }
    if schedule.raster_rows != 1 {
        return Err(TileError::RasterNotSupported {
            rows: schedule.raster_rows,
        });
    }
    Ok(())
}

fn check_sizes(mm: &Matmul) -> Result<(), TileError> {
    let batch = mm.batch;
    for (operand, [rows, columns], dtype) in [
        ("A", mm.a_shape(), mm.dtype),
        ("B", mm.b_shape(), mm.dtype),
        ("C", mm.c_shape(), mm.out_dtype),
    ] {
        let bytes = [rows, columns, dtype.bytes()]
            .into_iter()
            .try_fold(batch, u64::checked_mul);
        if bytes.is_none_or(|bytes| i64::try_from(bytes).is_err()) {
            return Err(TileError::ShapeTooLarge {
                operand,
                batch,
                rows,
                columns,
            });
        }
    }
    Ok(())
}

fn check_copy(chunk: &Chunk, threads: u32) -> Result<(), TileError> {
    let &Chunk {
        operand, rows, columns, ..
    } = chunk;
    let (per_row, pieces) = (chunk.pieces_per_row(), chunk.pieces());
    if !per_row.is_power_of_two() {
        return Err(TileError::RowNotPowerOfTwo {
            operand,
            rows,
            columns,
            pieces: per_row,
        });
    }
    // With whole rows among the threads, a thread's pieces lie in one column, a constant number of rows apart.
    if !threads.is_multiple_of(per_row) || !pieces.is_multiple_of(u64::from(threads)) {
        return Err(TileError::CopyNotDistributable {
            operand,
            rows,
            columns,
            pieces,
            threads,
            remedy: if threads < per_row {
                "more warps (a smaller warp tile), or a narrower block tile"
            } else {
                "a power of two of warps, fewer warps (a larger warp tile), or a larger block tile"
            },
        });
    }
    Ok(())
}

fn grid(mm: &Matmul, schedule: &TileSchedule) -> Result<[u32; 3], TileError> {
    let wanted = [
        ("M", mm.m / u64::from(schedule.block.m), "a larger block tile"),
        ("N", mm.n / u64::from(schedule.block.n), "a larger block tile"),
        ("batch", mm.batch, "a smaller batch and launch again for the rest"),
    ];
    let mut grid = [0; 3];
    for (place, ((axis, blocks, remedy), limit)) in grid.iter_mut().zip(wanted.into_iter().zip(GRID_LIMITS)) {
        *place = u32::try_from(blocks)
            .ok()
            .filter(|_| blocks <= limit)
            .ok_or(TileError::GridTooLarge {
                axis,
                blocks,
                limit,
                remedy,
            })?;
    }
    Ok(grid)
}

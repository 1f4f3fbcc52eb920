//! Which tiles an operator can be cut into: every rule that emission relies on, in one place.
//!
//! ```text
//! matmul nn 500×768×3072 f16, block 128x128x32 warp 64x64  ->  grid [4, 6, 1]: the last row of blocks is partial
//! the same with block 128x120x32                           ->  the block tile's n is 120; it must be a multiple of 16
//! ```
//!
//! Depths, budgets and occupancy are [`crate::occupancy`]'s.

use crate::occupancy::{chunk_bytes, fragment_registers};
use crate::op::{DType, Matmul};
use crate::rejection::{Operand, Rejection};
use crate::schedule::{Axis, MMA_M, Swizzle, TileSchedule, mma_k};

/// Bytes of the pieces in which chunks are swizzled: the widest `cp.async`, one row of an `ldmatrix` matrix.
pub const PIECE_BYTES: u32 = 16;

/// Threads of a block, on every architecture (CUDA C++ Programming Guide, "Compute Capabilities").
pub const THREAD_LIMIT: u32 = 1024;
/// Shared memory of a block, on the architecture that gives it most (sm_90; same table).
const SHARED_LIMIT: u64 = 232_448;
/// Registers of a thread (same table), and accumulators beyond which a program is not even emitted: it would have
/// thousands of operations, for a budget that refuses it.
const REGISTER_LIMIT: u32 = 255;
const MOST_ACCUMULATORS: u64 = 4 * 256;
/// Blocks in x, and in y or z (same table).
const GRID_LIMITS: [u64; 3] = [(1 << 31) - 1, 65_535, 65_535];

/// The chunk of an operand in shared memory, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Whose.
    pub operand: Operand,
    /// Its rows walk along k, its columns along m or n.
    pub k_in_rows: bool,
    /// Rows.
    pub rows: u32,
    /// Columns, contiguous in memory.
    pub columns: u32,
    /// The axis along its columns.
    pub column_axis: Axis,
    /// Bytes of an element.
    pub element_bytes: u32,
    /// Bytes of one copy; see [`Matmul::copy_bytes`].
    pub copy_bytes: u32,
}

impl Chunk {
    /// Copies of a row.
    pub const fn copies_per_row(&self) -> u64 {
        // A tile may have up to 2^32 − 16 columns.
        self.columns as u64 * self.element_bytes as u64 / self.copy_bytes as u64
    }

    /// Copies of the chunk.
    pub const fn copies(&self) -> u64 {
        self.rows as u64 * self.copies_per_row()
    }
}

/// The chunks of A and B. The block tile must be one of [`check`].
pub fn chunks(matmul: &Matmul, schedule: &TileSchedule) -> [Chunk; 2] {
    let k = schedule.block_k();
    let chunk = |operand, other, axis, k_in_rows| Chunk {
        operand,
        k_in_rows,
        rows: if k_in_rows { k } else { other },
        columns: if k_in_rows { other } else { k },
        column_axis: if k_in_rows { axis } else { Axis::K },
        element_bytes: matmul.dtype.bytes() as u32,
        copy_bytes: matmul.copy_bytes(operand),
    };
    [
        chunk(Operand::A, schedule.block.m, Axis::M, matmul.layout.a_transposed()),
        chunk(Operand::B, schedule.block.n, Axis::N, !matmul.layout.b_transposed()),
    ]
}

/// Checks everything that emission relies on, for a block of at most `thread_limit` threads: the grid, or every reason
/// against it.
///
/// Where a reason makes later arithmetic meaningless (a tile of extent 0), only the reasons up to there are given.
pub fn check(matmul: &Matmul, schedule: &TileSchedule, thread_limit: u32) -> Result<[u32; 3], Vec<Rejection>> {
    let mut reasons = Vec::new();
    check_dtypes(matmul, &mut reasons);
    check_extents(matmul, schedule, &mut reasons);
    if !reasons.is_empty() {
        return Err(reasons);
    }
    check_sizes(matmul, schedule, &mut reasons);
    if !reasons.is_empty() {
        return Err(reasons);
    }
    check_shape(matmul, &mut reasons);
    let (warps_m, warps_n) = schedule.warps();
    // At most 2^28 warps along each axis (tiles are multiples of 16), so this fits.
    let threads = 32 * u64::from(warps_m) * u64::from(warps_n);
    if threads > u64::from(thread_limit) {
        reasons.push(Rejection::TooManyThreads {
            threads,
            warps_m,
            warps_n,
            limit: thread_limit,
        });
    } else {
        check_rows(matmul, schedule, &mut reasons);
    }
    let grid = grid(matmul, schedule, &mut reasons);
    if reasons.is_empty() { Ok(grid) } else { Err(reasons) }
}

fn check_dtypes(matmul: &Matmul, reasons: &mut Vec<Rejection>) {
    match (matmul.dtype, matmul.out_dtype) {
        (DType::F16, DType::F16 | DType::F32)
        | (DType::Bf16, DType::Bf16 | DType::F32)
        | (DType::Tf32, DType::F32)
        | (DType::I8, DType::I32) => {}
        (dtype, out_dtype) => reasons.push(Rejection::DTypeNotSupported { dtype, out_dtype }),
    }
}

/// Tile extents on their own: whole tensor-core tiles in a warp, whole warps in a block.
fn check_extents(matmul: &Matmul, schedule: &TileSchedule, reasons: &mut Vec<Rejection>) {
    let (block, warp) = (schedule.block, schedule.warp);
    // ldmatrix.x4 brings B fragments for two tiles of n = 8 at once, hence 16 on both axes.
    for (what, extent, multiple) in [
        ("warp tile's m", warp.m, MMA_M),
        ("warp tile's n", warp.n, 16),
        ("block tile's m", block.m, MMA_M),
        ("block tile's n", block.n, 16),
        ("block tile's k", schedule.block_k(), mma_k(matmul.dtype)),
    ] {
        if extent == 0 || !extent.is_multiple_of(multiple) {
            reasons.push(Rejection::TileNotMultiple { what, extent, multiple });
        }
    }
    if warp.k.is_some() {
        reasons.push(Rejection::WarpTilesK { warp });
    }
    for (axis, block, warp) in [(Axis::M, block.m, warp.m), (Axis::N, block.n, warp.n)] {
        if warp != 0 && !block.is_multiple_of(warp) {
            reasons.push(Rejection::BlockNotMultipleOfWarp { axis, block, warp });
        }
    }
    if schedule.raster_rows != 1 {
        let rows = schedule.raster_rows;
        reasons.push(Rejection::RasterNotSupported { rows });
    }
}

/// Tiles that fit nowhere.
fn check_sizes(matmul: &Matmul, schedule: &TileSchedule, reasons: &mut Vec<Rejection>) {
    let (a_bytes, b_bytes) = chunk_bytes(matmul.dtype, schedule);
    if a_bytes.saturating_add(b_bytes) > SHARED_LIMIT {
        reasons.push(Rejection::SharedDoesNotFit {
            stages: schedule.shared_stages,
            a_bytes,
            b_bytes,
            limit_bytes: SHARED_LIMIT as u32,
        });
    }
    let (warp_m, warp_n) = (u64::from(schedule.warp.m), u64::from(schedule.warp.n));
    let accumulators = warp_m * warp_n / 32;
    if accumulators > MOST_ACCUMULATORS {
        reasons.push(Rejection::RegistersDoNotFit {
            accumulators: u32::try_from(accumulators).unwrap_or(u32::MAX),
            fragment: fragment_registers(schedule),
            register_stages: schedule.register_stages,
            limit: REGISTER_LIMIT,
        });
    }
}

fn check_shape(matmul: &Matmul, reasons: &mut Vec<Rejection>) {
    let batch = matmul.batch;
    for (axis, extent) in [("M", matmul.m), ("N", matmul.n), ("K", matmul.k), ("batch", batch)] {
        if extent == 0 {
            reasons.push(Rejection::EmptyShape { axis });
        }
    }
    for (operand, [rows, columns], dtype) in [
        ("A", matmul.a_shape(), matmul.dtype),
        ("B", matmul.b_shape(), matmul.dtype),
        ("C", matmul.c_shape(), matmul.out_dtype),
    ] {
        let bytes = [rows, columns, dtype.bytes()]
            .into_iter()
            .try_fold(batch, u64::checked_mul);
        if bytes.is_none_or(|bytes| i64::try_from(bytes).is_err()) {
            reasons.push(Rejection::ShapeTooLarge {
                operand,
                batch,
                rows,
                columns,
            });
        }
    }
}

fn check_rows(matmul: &Matmul, schedule: &TileSchedule, reasons: &mut Vec<Rejection>) {
    for chunk in chunks(matmul, schedule) {
        // In u64: a tile of up to 2^32 − 16 elements.
        let pieces = u64::from(chunk.columns) * u64::from(chunk.element_bytes) / u64::from(PIECE_BYTES);
        if schedule.swizzle == Swizzle::Xor && !pieces.is_power_of_two() {
            reasons.push(Rejection::RowNotPowerOfTwo {
                operand: chunk.operand,
                pieces,
                layout: matmul.layout,
                axis: chunk.column_axis,
            });
        }
    }
}

/// Blocks along m, n and the batch, partial ones included.
fn grid(matmul: &Matmul, schedule: &TileSchedule, reasons: &mut Vec<Rejection>) -> [u32; 3] {
    let wanted = [
        (
            "M",
            matmul.m.div_ceil(u64::from(schedule.block.m)),
            "a larger block tile",
        ),
        (
            "N",
            matmul.n.div_ceil(u64::from(schedule.block.n)),
            "a larger block tile",
        ),
        ("batch", matmul.batch, "a smaller batch and launch again for the rest"),
    ];
    let mut grid = [0; 3];
    for (place, ((axis, blocks, remedy), limit)) in grid.iter_mut().zip(wanted.into_iter().zip(GRID_LIMITS)) {
        match u32::try_from(blocks) {
            Ok(fits) if blocks <= limit => *place = fits,
            _ => reasons.push(Rejection::GridTooLarge {
                axis,
                blocks,
                limit,
                remedy,
            }),
        }
    }
    grid
}

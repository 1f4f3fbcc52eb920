//! Which tiles an operator can be cut into: every rule that emission relies on, in one place.
//!
//! ```text
//! matmul nn 500×768×3072 f16, block 128x128x32 warp 64x64  ->  grid [4, 6, 1]: the last row of blocks is partial
//! the same with block 128x120x32                           ->  the block tile's n is 120; it must be a multiple of 16
//! ```
//!
//! Depths, budgets and occupancy are [`crate::occupancy`]'s.

use crate::kernel::Zeros;
use crate::occupancy::{chunk_bytes, fragment_registers};
use crate::op::{DType, Matmul};
use crate::rejection::{Operand, Rejection};
use crate::schedule::{Axis, MMA_M, MMA_N, Swizzle, TileSchedule, mma_k};

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
    reasons.extend(check_shape(matmul));
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
    reasons.extend(check_split(matmul, schedule));
    let grid = grid(matmul, schedule, &mut reasons);
    if reasons.is_empty() { Ok(grid) } else { Err(reasons) }
}

/// Each of a tile's blocks must have a chunk of k: equal runs of chunks, the last one perhaps shorter.
pub fn check_split(matmul: &Matmul, schedule: &TileSchedule) -> Option<Rejection> {
    let split_k = schedule.split_k;
    if split_k == 1 {
        return None;
    }
    let chunks = matmul.k.div_ceil(u64::from(schedule.block_k().max(1)));
    let before_the_last = u64::from(split_k.saturating_sub(1)).saturating_mul(schedule.chunks_of_a_block(matmul.k));
    (split_k == 0 || before_the_last >= chunks).then_some(Rejection::SplitLeavesNothing {
        k: matmul.k,
        chunks,
        chunk: schedule.block_k(),
        split_k,
    })
}

/// What one block computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Index of the product.
    pub batch: u64,
    /// Row of the tile, in tiles.
    pub row: u64,
    /// Column of the tile, in tiles.
    pub column: u64,
    /// Which run of the sum's chunks.
    pub split: u64,
}

/// How the blocks of a grid are placed on the tiles of C.
///
/// ```text
/// raster 2, 3×2 tiles: block x + 3·y   ->  (row, column)
/// 0 1 2 3 4 5                          ->  (0,0) (1,0) (0,1) (1,1) (2,0) (2,1)     the last group has a row less
/// ```
///
/// Block (x, y, z) is number x + tiles_m·y of the tiles of product z / split_k, and has run z mod split_k of its sum.
/// Tiles are numbered down the columns of a group of `raster_rows` tile rows, group after group (Triton's `GROUP_M`,
/// after which 1 stands for all rows: whole columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    /// Tiles along m.
    pub tiles_m: u64,
    /// Tiles along n.
    pub tiles_n: u64,
    /// Tile rows of a group: 1 to `tiles_m`, which is one group.
    pub group_rows: u64,
    /// Blocks of a tile.
    pub split_k: u64,
}

impl Placement {
    /// That of an operator under a schedule that [`check`] accepted.
    pub fn new(matmul: &Matmul, schedule: &TileSchedule) -> Placement {
        let tiles_m = matmul.m.div_ceil(u64::from(schedule.block.m));
        let rows = u64::from(schedule.raster_rows);
        Placement {
            tiles_m,
            tiles_n: matmul.n.div_ceil(u64::from(schedule.block.n)),
            group_rows: if rows <= 1 { tiles_m } else { rows.min(tiles_m) },
            split_k: u64::from(schedule.split_k),
        }
    }

    /// What a block computes.
    pub fn of(&self, [x, y, z]: [u32; 3]) -> Place {
        let number = u64::from(x) + self.tiles_m * u64::from(y);
        let of_a_group = self.group_rows * self.tiles_n;
        let (group, within) = (number / of_a_group, number % of_a_group);
        let first = group * self.group_rows;
        let rows = self.group_rows.min(self.tiles_m - first);
        Place {
            batch: u64::from(z) / self.split_k,
            row: first + within % rows,
            column: within / rows,
            split: u64::from(z) % self.split_k,
        }
    }

    /// All blocks of a block's tile, in order.
    pub fn blocks_of_the_tile(&self, [x, y, z]: [u32; 3]) -> impl Iterator<Item = [u32; 3]> {
        let split_k = self.split_k as u32;
        let first = z / split_k * split_k;
        (first..first + split_k).map(move |z| [x, y, z])
    }
}

/// Arrays of zeros that a kernel takes after A, B and C; none where each tile has one block. A launch leaves the last
/// one zero, so that it can be launched again.
///
/// They are the partial sums, by tile, run, piece of a thread's accumulators, thread and element, and how many runs have
/// arrived, by tile and thread.
pub fn workspace(matmul: &Matmul, schedule: &TileSchedule) -> Vec<Zeros> {
    if schedule.split_k == 1 {
        return Vec::new();
    }
    let placement = Placement::new(matmul, schedule);
    let tiles = (placement.tiles_m * placement.tiles_n * matmul.batch) as usize;
    let threads = schedule.threads() as usize;
    vec![
        Zeros {
            dtype: matmul.dtype.accumulator().into(),
            shape: vec![tiles, schedule.split_k as usize, pieces(schedule), threads, PIECE_SUMS],
        },
        Zeros {
            dtype: DType::I32.into(),
            shape: vec![tiles, threads],
        },
    ]
}

/// Sums of a thread in a tile of 16×8, the result of one tensor-core instruction.
pub const PIECE_SUMS: usize = 4;

/// Tiles of 16×8 in a warp's tile.
pub const fn pieces(schedule: &TileSchedule) -> usize {
    (schedule.warp.m / MMA_M) as usize * (schedule.warp.n / MMA_N) as usize
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
    if schedule.raster_rows == 0 {
        reasons.push(Rejection::EmptyRaster);
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

/// What speaks against an operator's extents under any schedule: one is zero, or an operand is beyond all memory.
pub fn check_shape(matmul: &Matmul) -> Vec<Rejection> {
    let mut reasons = Vec::new();
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
    reasons
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
        (
            "batch",
            matmul.batch.saturating_mul(u64::from(schedule.split_k)),
            if schedule.split_k > 1 {
                "fewer blocks a tile (split-k)"
            } else {
                "a smaller batch and launch again for the rest"
            },
        ),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Layout;
    use crate::schedule::AxisTiles;

    fn matmul([m, n, k]: [u64; 3], batch: u64) -> Matmul {
        let (dtype, out_dtype, layout) = (DType::F16, DType::F32, Layout::Nn);
        Matmul {
            m,
            n,
            k,
            batch,
            dtype,
            out_dtype,
            layout,
        }
    }

    fn schedule(raster_rows: u32, split_k: u32) -> TileSchedule {
        TileSchedule {
            block: AxisTiles::mnk(64, 32, 32),
            warp: AxisTiles::mn(32, 32),
            shared_stages: 2,
            register_stages: 1,
            swizzle: Swizzle::Xor,
            raster_rows,
            split_k,
        }
    }

    #[test]
    fn every_order_places_each_run_of_each_tile_once() {
        for (shape, batch) in [([448, 160, 320], 1), ([64, 96, 320], 3), ([130, 33, 300], 2)] {
            for raster_rows in [1, 2, 3, 4, 7, 100] {
                for split_k in [1, 2, 5] {
                    let (op, schedule) = (matmul(shape, batch), schedule(raster_rows, split_k));
                    let [x, y, z] = check(&op, &schedule, THREAD_LIMIT).unwrap();
                    let placement = Placement::new(&op, &schedule);
                    let mut places: Vec<Place> = (0..z)
                        .flat_map(|z| (0..y).flat_map(move |y| (0..x).map(move |x| [x, y, z])))
                        .map(|block| placement.of(block))
                        .collect();
                    let count = places.len();
                    places.sort_unstable();
                    places.dedup();
                    assert_eq!(places.len(), count, "{shape:?} {schedule}");
                    let last = places[count - 1];
                    assert_eq!(
                        [last.row, last.column, last.batch, last.split],
                        [u64::from(x) - 1, u64::from(y) - 1, batch - 1, u64::from(split_k) - 1]
                    );
                }
            }
        }
    }

    #[test]
    fn a_group_is_walked_down_its_columns_and_the_last_one_is_shorter() {
        let order = |raster_rows| {
            let placement = Placement::new(&matmul([192, 64, 32], 1), &schedule(raster_rows, 1));
            let blocks = (0..6).map(|number| placement.of([number % 3, number / 3, 0]));
            blocks.map(|place| (place.row, place.column)).collect::<Vec<_>>()
        };
        assert_eq!(order(2), [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (2, 1)]);
        assert_eq!(order(1), [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]);
        for all in [3, 4, 1000] {
            assert_eq!(order(all), order(1), "as many rows as there are: one group");
        }
    }

    #[test]
    fn a_split_must_leave_each_block_a_chunk() {
        // 10 chunks: 5 blocks of 2, 4 of 3, 3, 3 and 1; but 6 blocks would have 2, 2, 2, 2, 2 and none.
        let op = matmul([64, 32, 320], 1);
        for (split_k, fits) in [
            (1, true),
            (2, true),
            (4, true),
            (5, true),
            (6, false),
            (10, true),
            (11, false),
            (0, false),
        ] {
            let answer = check(&op, &schedule(1, split_k), THREAD_LIMIT);
            assert_eq!(answer.is_ok(), fits, "{split_k}: {answer:?}");
        }
        let reason = check_split(&op, &schedule(1, 6)).unwrap();
        assert_eq!(reason.code(), "split-k-not-supported");
        assert_eq!(
            reason.to_string(),
            "the sum over K = 320 has 10 chunks of 32, which 6 blocks cannot share so that each gets some: they take 2 each; \
             choose split-k 1 to 10, or one that leaves none without"
        );
        assert_eq!(
            check(&op, &schedule(0, 1), THREAD_LIMIT).unwrap_err()[0].code(),
            "tile-not-supported"
        );
        // The grid's z holds both the products and the blocks of a tile.
        let many = check(&matmul([64, 32, 320], 20_000), &schedule(1, 4), THREAD_LIMIT);
        assert!(matches!(
            many.unwrap_err()[..],
            [Rejection::GridTooLarge { blocks: 80_000, .. }]
        ));
    }

    #[test]
    fn workspaces_hold_every_accumulator_of_every_run() {
        let op = matmul([130, 33, 320], 2);
        assert_eq!(workspace(&op, &schedule(3, 1)), []);
        let [partials, arrived] = &workspace(&op, &schedule(3, 4))[..] else {
            panic!("two arrays")
        };
        // 3×2 tiles of 64×32 in two products, four runs each; 64 threads.
        assert_eq!(partials.shape.iter().product::<usize>(), 12 * 4 * 64 * 32);
        assert_eq!(arrived.shape, [12, 64]);
    }
}

//! Waves of blocks: how many and of how many blocks, what they share, and how long they take.

use alcop_spec::Occupancy;

use super::numbers::{Pair, div_ceil, divide, max, min};
use super::tile::Tile;
use super::{Model, Prediction, Terms};

/// Stores of C take so many times their bytes: their rows are shorter than those of copies. The same for all devices.
const EPILOGUE_TRAFFIC: f64 = 1.5;
/// Bytes of a partial sum.
const SUM_BYTES: f64 = 4.0;
/// Re-read share of the lines from L2 for each unit of (open chunks / L2) × (panels / L2), see [`evicted_share`]. The
/// same for all devices.
const EVICTION: f64 = 0.15;
/// Panels larger than so many times L2 evict no more than these: then nothing outlives the chunk that it came with.
const EVICTION_SATURATION: f64 = 4.0;
/// Slow-down per register of a thread that does not fit and is spilled. The same for all devices.
const SPILL_SLOWDOWN: f64 = 4.0 / 255.0;

/// What schedules of the same tile differ in.
#[derive(Clone, Copy)]
pub(super) struct Depths {
    pub(super) prefetch_distance: u32,
    pub(super) register_stages: u32,
    pub(super) registers: u32,
    pub(super) resident: Occupancy,
}

/// How many blocks run, in which order, and how many an SM holds at a time.
#[derive(Clone, Copy)]
pub(super) struct Order {
    /// At least 1.
    pub(super) blocks_per_sm: u32,
    /// Tile rows that are launched as a group; `u32::MAX` for whole columns.
    pub(super) raster_rows: u32,
    pub(super) split_k: u32,
}

impl Tile {
    /// Inlined into callers that may want the time alone.
    #[inline(always)]
    pub(super) fn predict(&self, model: &Model, depths: Depths, launch: &Launch) -> Prediction {
        let Tile { grid, costs } = self;
        let Model { limits, derived, .. } = model;
        let use_clk = costs.use_clk(depths.register_stages);
        let load_clk = (derived.load_latency_clk + use_clk) / f64::from(depths.prefetch_distance.max(1));

        let open_bytes = launch.chunk_bytes * f64::from(depths.prefetch_distance + 1);
        let evicted = evicted_share(derived.l2_share_per_byte, open_bytes, launch.panels);
        let memory_clk = (launch.l2_clk * (evicted + 1.0)).max_of(launch.dram_clk);
        let floor_clk = launch.inner_floor_clk.max_of(memory_clk);
        // The outer pipe. Without a prefetch the load and the use follow one another.
        let iteration_clk = if depths.prefetch_distance == 0 {
            floor_clk.max(load_clk)
        } else {
            soft_max(floor_clk, use_clk, load_clk)
        };
        let wave_clk =
            iteration_clk * launch.iterations + derived.prologue_clk + launch.epilogue_clk + launch.reduction_clk;

        let [first_clk, second_clk] = (wave_clk * launch.count).0;
        let spilled_registers = depths.registers.saturating_sub(limits.registers_per_thread);
        let clk = (first_clk + second_clk) * (1.0 + SPILL_SLOWDOWN * f64::from(spilled_registers));
        let time_us = max(clk * derived.us_per_clk + derived.launch_us, grid.dram_floor_us);

        let blocks_per_sm = depths.resident.blocks_per_sm.max(1);
        let resident = launch.resident.first();
        let terms = Terms {
            blocks_per_sm,
            limiter: depths.resident.limiter,
            waves: launch.blocks * derived.share_per_sm / f64::from(blocks_per_sm),
            iterations: launch.iterations,
            compute_clk: resident * costs.compute_clk,
            shared_clk: resident * costs.shared_clk,
            memory_clk: memory_clk.first(),
            issue_clk: resident * costs.issue_clk,
            use_clk,
            load_clk,
            iteration_clk: iteration_clk.first(),
            prologue_clk: derived.prologue_clk,
            epilogue_clk: launch.epilogue_clk.first(),
            reduction_clk: launch.reduction_clk.first(),
            launch_us: derived.launch_us,
            dram_floor_us: grid.dram_floor_us,
        };
        Prediction { time_us, terms }
    }
}

/// What does not change with a tile's depths, for all blocks that an SM holds together: of a full wave and of the rest, or
/// of the only wave there is.
pub(super) struct Launch {
    pub(super) blocks: f64,
    pub(super) iterations: f64,
    /// Blocks that an SM holds.
    pub(super) resident: Pair,
    /// How many waves there are of each.
    pub(super) count: Pair,
    /// Bytes of a chunk of A and one of B for each block.
    pub(super) chunk_bytes: Pair,
    /// What streams through L2 while the wave lasts, as a share of L2: see [`evicted_share`].
    pub(super) panels: Pair,
    /// Floors of an iteration.
    pub(super) l2_clk: Pair,
    pub(super) dram_clk: Pair,
    /// The highest of the units inside an SM.
    pub(super) inner_floor_clk: Pair,
    pub(super) epilogue_clk: Pair,
    pub(super) reduction_clk: Pair,
}

impl Launch {
    #[inline(always)]
    pub(super) fn new(model: &Model, tile: &Tile, order: Order) -> Launch {
        let Model { rates, derived, .. } = model;
        let Tile { grid, costs } = tile;
        let sm_count = f64::from(rates.sm_count);
        let (blocks, blocks_of_an_sm, iterations) = if order.split_k == 1 {
            (grid.tiles_of_all_f64, grid.tiles_of_an_sm, grid.chunks_f64)
        } else {
            let blocks = grid.tiles_of_all.saturating_mul(u64::from(order.split_k));
            let of_an_sm = div_ceil(blocks, rates.sm_count);
            (blocks as f64, of_an_sm, div_ceil(grid.chunks, order.split_k) as f64)
        };
        let (full_waves, rest) = divide(blocks_of_an_sm, order.blocks_per_sm);
        let (resident, count) = if full_waves > 0 {
            // Where nothing is left, the second wave counts nothing.
            (
                [order.blocks_per_sm, rest.max(1)],
                [full_waves as f64, f64::from(u8::from(rest > 0))],
            )
        } else {
            ([rest; 2], [1.0, 0.0])
        };
        let resident = Pair(resident.map(f64::from));

        // The rows of A and columns of B that the wave's blocks touch; together they are read once from DRAM.
        let concurrent = (resident * sm_count).min(blocks);
        let in_a_product = concurrent.min(grid.tiles);
        let products = concurrent / in_a_product;
        let rows = in_a_product.min(min(grid.tiles_m, f64::from(order.raster_rows)));
        let columns = (in_a_product / rows).ceil().min(grid.tiles_n).max(1.0);
        let rows = rows.max_of((in_a_product / columns).ceil());
        let dram_bytes = (rows * costs.row_bytes + columns * costs.column_bytes) * products;

        let shared_tile = order.split_k > 1;
        let out_bytes = costs.elements * if shared_tile { SUM_BYTES } else { costs.out_bytes };
        // The wave's stores share DRAM; few blocks are bound by what one SM can send.
        let active_sms = concurrent.min(sm_count);
        let store_bytes = resident * out_bytes * EPILOGUE_TRAFFIC;
        let reduction_clk = if shared_tile {
            // Of an SM's blocks one in so many is the last of its tile; the SM that is done last has at least one.
            let split_k = f64::from(order.split_k);
            let last_ones = (resident / split_k).max(1.0);
            let bytes = costs.elements * (split_k * SUM_BYTES + costs.out_bytes * EPILOGUE_TRAFFIC);
            // The counter's answer, then the parts: two ways to L2.
            last_ones * bytes * derived.clk_per_l2_byte + 2.0 * rates.l2_latency_clk()
        } else {
            Pair([0.0; 2])
        };
        Launch {
            blocks,
            iterations,
            resident,
            count: Pair(count),
            chunk_bytes: concurrent * costs.chunk_bytes,
            panels: (dram_bytes * iterations * derived.l2_share_per_byte).min(EVICTION_SATURATION),
            l2_clk: resident * costs.l2_clk,
            dram_clk: dram_bytes * derived.clk_per_dram_byte,
            inner_floor_clk: resident * max(max(costs.compute_clk, costs.shared_clk), costs.issue_clk),
            epilogue_clk: (store_bytes * active_sms * derived.clk_per_dram_byte)
                .max_of(store_bytes * derived.clk_per_l2_byte),
            reduction_clk,
        }
    }
}

/// The share of a wave's lines that L2 has lost before the last block that shares them comes for them.
///
/// Blocks that share rows of A or columns of B drift apart by as many chunks as each has open (those under way and the
/// one in use), so L2 must hold all open chunks; what it loses of them grows with the bytes that stream through it while
/// the wave lasts, its `panel_bytes`: the rows and columns of A and B over the whole of k. This is what more stages cost,
/// and more blocks an SM: with long sums and many waves, fewer of both are faster.
#[inline(always)]
pub(super) fn evicted_share(per_l2: f64, open_bytes: Pair, panels: Pair) -> Pair {
    open_bytes * per_l2 * EVICTION * panels
}

/// The 4-norm: the largest of three, and a little more where they are close. A bound that is nearly reached delays some
/// of the iterations; a sharp maximum would call depths equal that measured sweeps tell apart.
#[inline(always)]
pub(super) fn soft_max(a: Pair, b: f64, c: f64) -> Pair {
    let (a, b, c) = (a * a, b * b, c * c);
    (a * a + b * b + c * c).sqrt().sqrt()
}

//! What a tile costs, whatever its depths: the grid of tiles, and what an iteration of a block takes of each unit of an SM.

use alcop_spec::Rates;
use alcop_spec::schedule::MMA_K;

use super::numbers::max;
use super::{MmaKind, Model, PipelinedMatmul};

/// Bytes of a cache line, the unit in which L2 and DRAM are used well.
const LINE_BYTES: f64 = 128.0;
/// Bytes that one warp-wide copy or `ldmatrix.x4` moves.
const WARP_ACCESS_BYTES: f64 = 512.0;
/// Issue slots of an `ldmatrix.x4` with its share of address arithmetic.
const LDMATRIX_ISSUE_SLOTS: f64 = 1.5;

/// What does not change with a kernel's depths and with the number and order of its blocks.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub(super) grid: Grid,
    pub(super) costs: BlockCosts,
}

impl Tile {
    pub(super) fn new(model: &Model, kernel: &PipelinedMatmul) -> Tile {
        Tile {
            grid: Grid::new(model, kernel),
            costs: BlockCosts::new(model, kernel),
        }
    }
}

/// The kernel's tiles.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// Of one product.
    pub(super) tiles: f64,
    pub(super) tiles_m: f64,
    pub(super) tiles_n: f64,
    /// Of all products.
    pub(super) tiles_of_all: u64,
    pub(super) tiles_of_all_f64: f64,
    /// Of the SM with the most of them.
    pub(super) tiles_of_an_sm: u64,
    /// Chunks of k.
    pub(super) chunks: u64,
    pub(super) chunks_f64: f64,
    /// A and B read once, C written once.
    pub(super) dram_floor_us: f64,
}

impl Grid {
    pub(super) fn new(model: &Model, kernel: &PipelinedMatmul) -> Grid {
        let tiles_m = kernel.m.div_ceil(u64::from(kernel.block_m));
        let tiles_n = kernel.n.div_ceil(u64::from(kernel.block_n));
        let (m, n, k) = (kernel.m as f64, kernel.n as f64, kernel.k as f64);
        let tiles_of_all = tiles_m.saturating_mul(tiles_n).saturating_mul(kernel.batch);
        let chunks = kernel.k.div_ceil(u64::from(kernel.block_k));
        let operand_bytes = kernel.batch as f64 * (2.0 * (m * k + k * n) + f64::from(kernel.out_bytes) * m * n);
        Grid {
            tiles: tiles_m as f64 * tiles_n as f64,
            tiles_m: tiles_m as f64,
            tiles_n: tiles_n as f64,
            tiles_of_all,
            chunks,
            tiles_of_all_f64: tiles_of_all as f64,
            tiles_of_an_sm: tiles_of_all.div_ceil(u64::from(model.rates.sm_count)),
            chunks_f64: chunks as f64,
            dram_floor_us: operand_bytes * model.derived.us_per_dram_byte,
        }
    }
}

/// What one iteration of one block costs each unit of an SM, in clk.
#[derive(Clone, Debug)]
pub(super) struct BlockCosts {
    pub(super) compute_clk: f64,
    pub(super) shared_clk: f64,
    pub(super) l2_clk: f64,
    pub(super) issue_clk: f64,
    pub(super) chain: FragmentPipe,
    /// k-steps of a chunk.
    pub(super) k_steps: f64,
    /// What waiting for a chunk adds.
    pub(super) sync_clk: f64,
    /// Bytes of a chunk of A and of B in the lines that they lie in, as far as the operands reach.
    pub(super) row_bytes: f64,
    /// Bytes of a chunk of A and one of B.
    pub(super) chunk_bytes: f64,
    pub(super) column_bytes: f64,
    /// Elements of C.
    pub(super) elements: f64,
    /// Bytes of an element of C.
    pub(super) out_bytes: f64,
}

impl BlockCosts {
    #[inline]
    pub(super) fn new(model: &Model, kernel: &PipelinedMatmul) -> BlockCosts {
        let Model {
            limits,
            rates,
            overheads,
            derived,
        } = model;
        let (block_m, block_n, block_k) = (
            f64::from(kernel.block_m),
            f64::from(kernel.block_n),
            f64::from(kernel.block_k),
        );
        let (warp_m, warp_n, warps) = (
            f64::from(kernel.warp_m),
            f64::from(kernel.warp_n),
            f64::from(kernel.warps),
        );
        let k_steps = block_k / f64::from(MMA_K);

        let penalty =
            |run_bytes: u32| 1.0 + overheads.partial_line_penalty * (LINE_BYTES / f64::from(run_bytes) - 1.0).max(0.0);
        let (a_traffic, b_traffic) = (penalty(kernel.a_run_bytes), penalty(kernel.b_run_bytes));
        let chunk_bytes = 2.0 * block_k * (block_m + block_n);
        let traffic_bytes = 2.0 * block_k * (block_m * a_traffic + block_n * b_traffic);

        // Warps may hold more than the block's tile where it is narrower than all of them together.
        let computed = (block_m * block_n).max(warp_m * warp_n * warps) * block_k;
        let (clk_per_fma, fragment_bytes, math_slots, chain) = match kernel.mma {
            MmaKind::Sync => {
                let mma_of_a_step = (warp_m / 16.0) * (warp_n / 8.0);
                let bytes = 2.0 * block_k * (warp_m + warp_n) * warps * f64::from(kernel.bank_conflict_ways);
                let slots = bytes / WARP_ACCESS_BYTES * LDMATRIX_ISSUE_SLOTS + mma_of_a_step * k_steps * warps;
                let warps_of_a_sub_core = kernel.warps.div_ceil(limits.sub_cores_per_sm);
                let chain = FragmentPipe::new(rates, kernel, mma_of_a_step, f64::from(warps_of_a_sub_core));
                (derived.clk_per_mma_fma, bytes, slots, chain)
            }
            MmaKind::Warpgroup => {
                let clk_per_fma = derived.clk_per_wgmma_fma;
                // A warpgroup reads 64 rows of A, and for every 64 rows all of its columns of B.
                let groups = warps / 4.0;
                let groups_m = groups.min(block_m / 64.0).max(1.0);
                let groups_n = (groups / groups_m).max(1.0);
                let bytes = block_m / 64.0 * groups_n * (block_n / groups_n + 64.0) * block_k * 2.0;
                let chain = FragmentPipe {
                    floor_clk: computed * clk_per_fma / k_steps,
                    serial_clk: 0.0,
                    load_clk: 0.0,
                };
                (clk_per_fma, bytes, k_steps * warps, chain)
            }
        };
        let slots = overheads.loop_issue_slots_per_warp * warps
            + overheads.copy_issue_slots * traffic_bytes / WARP_ACCESS_BYTES
            + math_slots;
        BlockCosts {
            compute_clk: computed * clk_per_fma,
            shared_clk: (fragment_bytes + chunk_bytes) * derived.clk_per_shared_byte,
            l2_clk: traffic_bytes * derived.clk_per_l2_byte,
            issue_clk: slots * derived.share_per_sub_core,
            chain,
            k_steps,
            sync_clk: overheads.sync_clk_per_warp * warps,
            row_bytes: block_m.min(kernel.m as f64) * a_traffic * 2.0 * block_k,
            column_bytes: block_n.min(kernel.n as f64) * b_traffic * 2.0 * block_k,
            chunk_bytes,
            elements: block_m * block_n,
            out_bytes: f64::from(kernel.out_bytes),
        }
    }
}

impl BlockCosts {
    /// One block's chain from a chunk's arrival to its last product, with so many fragment sets. With one set, all warps
    /// wait for their first fragments behind the chunk's barrier; with more, those are loaded before the chunk before ends.
    #[inline]
    pub(super) fn use_clk(&self, register_stages: u32) -> f64 {
        let exposed_clk = if register_stages == 1 { self.chain.load_clk } else { 0.0 };
        self.chain.step_clk(register_stages) * self.k_steps + self.sync_clk + exposed_clk
    }
}

/// The inner pipe: one k-step of a sub-core's warps. Loads of fragments are hidden behind the products of the other fragment
/// sets and of the other warps.
#[derive(Clone, Copy, Debug)]
pub(super) struct FragmentPipe {
    /// What it takes at least, in clk.
    pub(super) floor_clk: f64,
    /// One after the other: load and products, in clk.
    pub(super) serial_clk: f64,
    /// The load alone, in clk.
    pub(super) load_clk: f64,
}

impl FragmentPipe {
    pub(super) fn new(
        rates: &Rates,
        kernel: &PipelinedMatmul,
        mma_of_a_step: f64,
        warps_of_a_sub_core: f64,
    ) -> FragmentPipe {
        let products_clk = mma_of_a_step * rates.mma_issue_interval_clk;
        let load_bytes = f64::from((kernel.warp_m + kernel.warp_n) * MMA_K * 2 * kernel.bank_conflict_ways);
        let load_clk = rates.ldmatrix_x4_latency_clk
            + (load_bytes / WARP_ACCESS_BYTES - 1.0).max(0.0) * rates.ldmatrix_x4_issue_clk;
        FragmentPipe {
            floor_clk: (products_clk * warps_of_a_sub_core).max(rates.mma_latency_clk),
            serial_clk: load_clk + products_clk,
            load_clk,
        }
    }

    #[inline]
    pub(super) fn step_clk(&self, register_stages: u32) -> f64 {
        max(self.floor_clk, self.serial_clk / f64::from(register_stages))
    }
}

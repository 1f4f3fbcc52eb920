//! The pipeline-aware analytic model: the time of a tiled, pipelined matmul from its schedule and a target's constants.
//!
//! After ALCOP (MLSys 2023, arXiv 2210.16691), section 5: waves of thread blocks, each a prologue, a main loop and an
//! epilogue, where the main loop is `pipe(load of a chunk, use of a chunk, slots)` and the use of a chunk is itself
//! `pipe(load of fragments, tensor-core instructions, fragment sets)`. Beyond it: occupancy with registers, floors of
//! the units that resident blocks share, rows shorter than a cache line, lines that L2 loses between the blocks that share
//! them, and the partial last wave.
//!
//! Plain arithmetic: no allocation, no lock, no input but the kernel and the target.

use alcop_spec::occupancy::occupancy;
use alcop_spec::op::Matmul;
use alcop_spec::schedule::MMA_K;
use alcop_spec::{
    AxisTiles, GpuTarget, Limiter, Limits, Occupancy, OpSpec, Overheads, Rates, Resources, Swizzle, TargetError,
    TileSchedule,
};
use serde::{Deserialize, Serialize};

/// Bytes of a cache line, the unit in which L2 and DRAM are used well.
const LINE_BYTES: f64 = 128.0;
/// Bytes that one warp-wide copy or `ldmatrix.x4` moves.
const WARP_ACCESS_BYTES: f64 = 512.0;
/// Issue slots of an `ldmatrix.x4` with its share of address arithmetic.
const LDMATRIX_ISSUE_SLOTS: f64 = 1.5;
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

/// What the model needs of a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    limits: Limits,
    rates: Rates,
    overheads: Overheads,
    derived: Derived,
}

/// What is computed once for a device: mostly one over what is divided by, since a division takes as long as several
/// products.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Derived {
    mma_fma_per_clk: f64,
    wgmma_fma_per_clk: f64,
    shared_bytes_per_clk: f64,
    l2_bytes_per_clk: f64,
    l2_bytes: f64,
    dram_bytes_per_clk: f64,
    sub_cores: f64,
    /// Microseconds of a clock.
    clk_us: f64,
    /// Microseconds of a byte of DRAM.
    dram_byte_us: f64,
    sm_count: f64,
    /// From a chunk's request to its arrival, in clk.
    load_latency_clk: f64,
    /// From a block's start to its first chunk's arrival, in clk.
    prologue_clk: f64,
    /// Time of an empty kernel, in microseconds.
    launch_us: f64,
}

impl Model {
    /// The model of a device; a bare architecture has no rates and is refused.
    pub fn new(target: &GpuTarget) -> Result<Model, TargetError> {
        let (rates, overheads) = (*target.rates()?, *target.overheads()?);
        let load_latency_clk = rates.l2_latency_clk() + overheads.load_extra_clk;
        Ok(Model {
            limits: target.limits,
            overheads,
            derived: Derived {
                mma_fma_per_clk: 1.0 / rates.mma_fma_per_clk_per_sm,
                wgmma_fma_per_clk: 1.0 / rates.wgmma_fma_per_clk_per_sm.unwrap_or(rates.mma_fma_per_clk_per_sm),
                shared_bytes_per_clk: 1.0 / rates.shared_bytes_per_clk,
                l2_bytes_per_clk: 1.0 / rates.l2_bytes_per_clk_per_sm,
                l2_bytes: 1.0 / f64::from(rates.l2_bytes),
                dram_bytes_per_clk: 1.0 / rates.dram_bytes_per_clk(),
                sub_cores: 1.0 / f64::from(target.limits.sub_cores_per_sm),
                clk_us: 1e6 / rates.clock_hz,
                dram_byte_us: 1e6 / rates.dram_bytes_per_s,
                sm_count: 1.0 / f64::from(rates.sm_count),
                load_latency_clk,
                prologue_clk: load_latency_clk + rates.dram_latency_clk + overheads.prologue_clk,
                launch_us: rates.launch_overhead_s * 1e6,
            },
            rates,
        })
    }

    /// Streaming multiprocessors of the device.
    pub const fn sm_count(&self) -> u32 {
        self.rates.sm_count
    }

    /// The device's limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// Which tensor-core instructions compute a block's tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmaKind {
    /// `mma.sync`: a warp's own, fragments in registers.
    Sync,
    /// `wgmma`: four warps together, operands in shared memory.
    Warpgroup,
}

/// A pipelined matmul kernel as the model sees it, whoever generated it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PipelinedMatmul {
    /// Rows of C.
    pub m: u64,
    /// Columns of C.
    pub n: u64,
    /// Length of the sums, in units of 2 bytes of an operand: elements of f16 and bf16, half of tf32's, two of i8's. An
    /// `mma` takes 16 of these in the same time whatever the type.
    pub k: u64,
    /// Independent products.
    pub batch: u64,
    /// Block tile along m, in elements.
    pub block_m: u32,
    /// Block tile along n, in elements.
    pub block_n: u32,
    /// Chunk of k in shared memory, in units of 2 bytes.
    pub block_k: u32,
    /// Warp tile along m, in elements.
    pub warp_m: u32,
    /// Warp tile along n, in elements.
    pub warp_n: u32,
    /// Warps of a block.
    pub warps: u32,
    /// Chunks that shared memory holds.
    pub shared_slots: u32,
    /// Chunks by which a load runs ahead of its use; 0: it does not.
    pub prefetch_distance: u32,
    /// Fragment sets in registers.
    pub register_stages: u32,
    /// 32-bit registers that a thread would like to have; what exceeds the limit is spilled.
    pub registers: u32,
    /// Contiguous bytes of a chunk of A in global memory.
    pub a_run_bytes: u32,
    /// Contiguous bytes of a chunk of B in global memory.
    pub b_run_bytes: u32,
    /// How many times a fragment load from shared memory is replayed; 1 without bank conflicts.
    pub bank_conflict_ways: u32,
    /// Bytes of an element of C.
    pub out_bytes: u32,
    /// Tile rows that are launched as a group; `None`: whole columns of tiles.
    pub raster_rows: Option<u32>,
    /// Blocks that share the sum of a tile; the last one adds up what the others left.
    pub split_k: u32,
    /// The tensor-core instructions.
    pub mma: MmaKind,
}

impl PipelinedMatmul {
    /// Our kernel for an operator and a schedule that [`alcop_spec::occupancy::check`] accepted with `resources`.
    pub fn from_schedule(op: &OpSpec, schedule: &TileSchedule, resources: &Resources) -> PipelinedMatmul {
        let OpSpec::Matmul(Matmul {
            m,
            n,
            k,
            batch,
            dtype,
            out_dtype,
            layout,
        }) = *op;
        let element_bytes = dtype.bytes() as u32;
        let block_k = schedule.block_k();
        let a_run = if layout.a_transposed() {
            schedule.block.m
        } else {
            block_k
        };
        let b_run = if layout.b_transposed() {
            block_k
        } else {
            schedule.block.n
        };
        // Eight rows of 16 bytes are read at once; unswizzled, they lie a row apart in 128 bytes of banks.
        let conflicts = match schedule.swizzle {
            Swizzle::Xor => 1,
            Swizzle::None => (a_run.max(b_run) * element_bytes / 16).clamp(1, 8),
        };
        let (warps_m, warps_n) = schedule.warps();
        PipelinedMatmul {
            m,
            n,
            k: (k * u64::from(element_bytes)).div_ceil(2),
            batch,
            block_m: schedule.block.m,
            block_n: schedule.block.n,
            block_k: block_k * element_bytes / 2,
            warp_m: schedule.warp.m,
            warp_n: schedule.warp.n,
            warps: warps_m * warps_n,
            shared_slots: schedule.shared_stages,
            prefetch_distance: schedule.shared_stages - 1,
            register_stages: schedule.register_stages,
            registers: resources.registers_estimate,
            a_run_bytes: a_run * element_bytes,
            b_run_bytes: b_run * element_bytes,
            bank_conflict_ways: conflicts,
            out_bytes: out_dtype.bytes() as u32,
            raster_rows: (schedule.raster_rows > 1).then_some(schedule.raster_rows),
            split_k: schedule.split_k,
            mma: MmaKind::Sync,
        }
    }
}

/// What schedules of the same tile differ in.
#[derive(Clone, Copy)]
struct Depths {
    prefetch_distance: u32,
    register_stages: u32,
    registers: u32,
    resident: Occupancy,
}

/// How many blocks run, in which order, and how many an SM holds at a time.
#[derive(Clone, Copy)]
struct Order {
    /// At least 1.
    blocks_per_sm: u32,
    /// Tile rows that are launched as a group; `u32::MAX` for whole columns.
    raster_rows: u32,
    split_k: u32,
}

/// What a prediction is made of. Clocks are those of the SM; per-iteration terms are of a full wave, for all blocks that
/// an SM holds together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Blocks that an SM holds at a time.
    pub blocks_per_sm: u32,
    /// What keeps an SM from holding more.
    pub limiter: Limiter,
    /// Waves of blocks, the partial last one by its share of blocks.
    pub waves: f64,
    /// Chunks of k.
    pub iterations: f64,
    /// Floor of the tensor cores, in clk an iteration.
    pub compute_clk: f64,
    /// Floor of shared memory's bandwidth, in clk an iteration.
    pub shared_clk: f64,
    /// Floor of L2's and DRAM's bandwidth, with what L2 loses and reads again, in clk an iteration.
    pub memory_clk: f64,
    /// Floor of the issue slots, in clk an iteration.
    pub issue_clk: f64,
    /// One block's own chain from a chunk's arrival to its last product (the inner pipe), in clk an iteration.
    pub use_clk: f64,
    /// The chunk's load and use, shared out over the prefetch distance, in clk an iteration.
    pub load_clk: f64,
    /// An iteration of the main loop (the outer pipe), in clk.
    pub iteration_clk: f64,
    /// From the block's start to its first chunk's arrival, in clk.
    pub prologue_clk: f64,
    /// Stores of C or of partial sums, in clk.
    pub epilogue_clk: f64,
    /// Where several blocks share a tile: from the last one's stores to C's, in clk.
    #[serde(default)]
    pub reduction_clk: f64,
    /// Time of an empty kernel, in microseconds.
    pub launch_us: f64,
    /// Time to read A and B and to write C once, in microseconds; a lower bound of the whole.
    pub dram_floor_us: f64,
}

/// Names of the terms, in the order of [`Terms::values`].
pub const TERM_NAMES: [&str; 15] = [
    "blocks_per_sm",
    "waves",
    "iterations",
    "compute_clk",
    "shared_clk",
    "memory_clk",
    "issue_clk",
    "use_clk",
    "load_clk",
    "iteration_clk",
    "prologue_clk",
    "epilogue_clk",
    "reduction_clk",
    "launch_us",
    "dram_floor_us",
];

impl Terms {
    /// The numeric terms in the order of [`TERM_NAMES`].
    pub fn values(&self) -> [f64; TERM_NAMES.len()] {
        [
            f64::from(self.blocks_per_sm),
            self.waves,
            self.iterations,
            self.compute_clk,
            self.shared_clk,
            self.memory_clk,
            self.issue_clk,
            self.use_clk,
            self.load_clk,
            self.iteration_clk,
            self.prologue_clk,
            self.epilogue_clk,
            self.reduction_clk,
            self.launch_us,
            self.dram_floor_us,
        ]
    }
}

/// A predicted time, with the terms behind it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// Predicted time of the kernel, in microseconds.
    pub time_us: f64,
    /// What it is made of.
    pub terms: Terms,
}

/// The predicted time of our kernel for a legal schedule. For many schedules of one operator, a [`Predictor`] is faster.
#[inline]
pub fn predict(model: &Model, op: &OpSpec, schedule: &TileSchedule, resources: &Resources) -> Prediction {
    let kernel = PipelinedMatmul::from_schedule(op, schedule, resources);
    predict_resident(model, &kernel, resources.occupancy)
}

/// Predicts many schedules of one operator: what schedules of the same tile have in common is computed once, if they come
/// one after the other as [`crate::space::enumerate`] gives them. In any order the predictions are those of [`predict`], bit
/// for bit.
#[derive(Clone, Debug)]
pub struct Predictor<'m> {
    model: &'m Model,
    op: OpSpec,
    tile: Option<(TileKey, Tile)>,
}

/// What a [`Tile`] of an operator depends on.
type TileKey = (AxisTiles, AxisTiles, Swizzle);

impl<'m> Predictor<'m> {
    /// For an operator on a device.
    pub fn new(model: &'m Model, op: &OpSpec) -> Predictor<'m> {
        let op = *op;
        Predictor { model, op, tile: None }
    }

    /// The predicted time of our kernel for a schedule that [`alcop_spec::occupancy::check`] accepted with `resources`.
    #[inline(always)]
    pub fn predict(&mut self, schedule: &TileSchedule, resources: &Resources) -> Prediction {
        let key = (schedule.block, schedule.warp, schedule.swizzle);
        let tile = match &mut self.tile {
            Some((known, tile)) if *known == key => tile,
            other => {
                let kernel = PipelinedMatmul::from_schedule(&self.op, schedule, resources);
                &mut other.insert((key, Tile::new(self.model, &kernel))).1
            }
        };
        let depths = Depths {
            prefetch_distance: schedule.shared_stages - 1,
            register_stages: schedule.register_stages,
            registers: resources.registers_estimate,
            resident: resources.occupancy,
        };
        let order = Order {
            blocks_per_sm: resources.occupancy.blocks_per_sm.max(1),
            raster_rows: if schedule.raster_rows > 1 {
                schedule.raster_rows
            } else {
                u32::MAX
            },
            split_k: schedule.split_k,
        };
        tile.predict(self.model, depths, &Launch::new(self.model, tile, order))
    }
}

/// The predicted time of any pipelined matmul kernel. Tiles may be ragged: whole tiles are computed.
///
/// All extents, tiles and warps must be positive.
pub fn predict_kernel(model: &Model, kernel: &PipelinedMatmul) -> Prediction {
    let limits = &model.limits;
    let chunk_bytes = (kernel.block_m + kernel.block_n) * kernel.block_k * 2;
    let resident = occupancy(
        limits,
        32 * kernel.warps,
        kernel.registers.clamp(32, limits.registers_per_thread),
        kernel.shared_slots.saturating_mul(chunk_bytes),
    );
    predict_resident(model, kernel, resident)
}

#[inline]
fn predict_resident(model: &Model, kernel: &PipelinedMatmul, resident: Occupancy) -> Prediction {
    let tile = Tile::new(model, kernel);
    let depths = Depths {
        prefetch_distance: kernel.prefetch_distance,
        register_stages: kernel.register_stages,
        registers: kernel.registers,
        resident,
    };
    let order = Order {
        blocks_per_sm: resident.blocks_per_sm.max(1),
        raster_rows: kernel.raster_rows.unwrap_or(u32::MAX),
        split_k: kernel.split_k,
    };
    tile.predict(model, depths, &Launch::new(model, &tile, order))
}

/// What does not change with a kernel's depths and with the number and order of its blocks.
#[derive(Clone, Debug)]
struct Tile {
    grid: Grid,
    costs: BlockCosts,
}

impl Tile {
    fn new(model: &Model, kernel: &PipelinedMatmul) -> Tile {
        Tile {
            grid: Grid::new(model, kernel),
            costs: BlockCosts::new(model, kernel),
        }
    }

    /// Inlined into callers that may want the time alone.
    #[inline(always)]
    fn predict(&self, model: &Model, depths: Depths, launch: &Launch) -> Prediction {
        let Tile { grid, costs } = self;
        let Model { limits, derived, .. } = model;
        let use_clk = costs.use_clk(depths.register_stages);
        let load_clk = (derived.load_latency_clk + use_clk) / f64::from(depths.prefetch_distance.max(1));

        let open_bytes = launch.chunk_bytes * f64::from(depths.prefetch_distance + 1);
        let evicted = evicted_share(derived.l2_bytes, open_bytes, launch.panels);
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
        let time_us = max(clk * derived.clk_us + derived.launch_us, grid.dram_floor_us);

        let blocks_per_sm = depths.resident.blocks_per_sm.max(1);
        let resident = launch.resident.first();
        let terms = Terms {
            blocks_per_sm,
            limiter: depths.resident.limiter,
            waves: launch.blocks * derived.sm_count / f64::from(blocks_per_sm),
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

/// The larger of two numbers, neither of them NaN; `f64::max` spends five more instructions on NaN.
#[inline(always)]
fn max(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// The smaller of two numbers, see [`max`].
#[inline(always)]
fn min(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

/// Of numbers of 32 bits in less time.
#[inline]
fn div_ceil(a: u64, b: u32) -> u64 {
    let (quotient, rest) = divide(a, b);
    quotient + u64::from(rest > 0)
}

/// Quotient and remainder; of numbers of 32 bits in less time.
#[inline]
fn divide(a: u64, b: u32) -> (u64, u32) {
    match u32::try_from(a) {
        Ok(a) => (u64::from(a / b), a % b),
        Err(_) => (a / u64::from(b), (a % u64::from(b)) as u32),
    }
}

/// The kernel's tiles.
#[derive(Clone, Debug)]
struct Grid {
    /// Of one product.
    tiles: f64,
    tiles_m: f64,
    tiles_n: f64,
    /// Of all products.
    tiles_of_all: u64,
    tiles_of_all_f64: f64,
    /// Of the SM with the most of them.
    tiles_of_an_sm: u64,
    /// Chunks of k.
    chunks: u64,
    chunks_f64: f64,
    /// A and B read once, C written once.
    dram_floor_us: f64,
}

impl Grid {
    fn new(model: &Model, kernel: &PipelinedMatmul) -> Grid {
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
            dram_floor_us: operand_bytes * model.derived.dram_byte_us,
        }
    }
}

/// What one iteration of one block costs each unit of an SM, in clk.
#[derive(Clone, Debug)]
struct BlockCosts {
    compute_clk: f64,
    shared_clk: f64,
    l2_clk: f64,
    issue_clk: f64,
    chain: FragmentPipe,
    /// k-steps of a chunk.
    k_steps: f64,
    /// What waiting for a chunk adds.
    sync_clk: f64,
    /// Bytes of a chunk of A and of B in the lines that they lie in, as far as the operands reach.
    row_bytes: f64,
    /// Bytes of a chunk of A and one of B.
    chunk_bytes: f64,
    column_bytes: f64,
    /// Elements of C.
    elements: f64,
    /// Bytes of an element of C.
    out_bytes: f64,
}

impl BlockCosts {
    #[inline]
    fn new(model: &Model, kernel: &PipelinedMatmul) -> BlockCosts {
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
                (derived.mma_fma_per_clk, bytes, slots, chain)
            }
            MmaKind::Warpgroup => {
                let clk_per_fma = derived.wgmma_fma_per_clk;
                // A warpgroup reads 64 rows of A, and for every 64 rows all of its columns of B.
                let groups = warps / 4.0;
                let groups_m = groups.min(block_m / 64.0).max(1.0);
                let groups_n = (groups / groups_m).max(1.0);
                let bytes = block_m / 64.0 * groups_n * (block_n / groups_n + 64.0) * block_k * 2.0;
                let chain = FragmentPipe {
                    floor_clk: computed * clk_per_fma / k_steps,
                    serial_clk: 0.0,
                };
                (clk_per_fma, bytes, k_steps * warps, chain)
            }
        };
        let slots = overheads.loop_issue_slots_per_warp * warps
            + overheads.copy_issue_slots * traffic_bytes / WARP_ACCESS_BYTES
            + math_slots;
        BlockCosts {
            compute_clk: computed * clk_per_fma,
            shared_clk: (fragment_bytes + chunk_bytes) * derived.shared_bytes_per_clk,
            l2_clk: traffic_bytes * derived.l2_bytes_per_clk,
            issue_clk: slots * derived.sub_cores,
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
    /// One block's chain from a chunk's arrival to its last product, with so many fragment sets.
    #[inline]
    fn use_clk(&self, register_stages: u32) -> f64 {
        self.chain.step_clk(register_stages) * self.k_steps + self.sync_clk
    }
}

/// The inner pipe: one k-step of a sub-core's warps. Loads of fragments are hidden behind the products of the other fragment
/// sets and of the other warps.
#[derive(Clone, Copy, Debug)]
struct FragmentPipe {
    /// What it takes at least, in clk.
    floor_clk: f64,
    /// One after the other: load and products, in clk.
    serial_clk: f64,
}

impl FragmentPipe {
    fn new(rates: &Rates, kernel: &PipelinedMatmul, mma_of_a_step: f64, warps_of_a_sub_core: f64) -> FragmentPipe {
        let products_clk = mma_of_a_step * rates.mma_issue_interval_clk;
        let load_bytes = f64::from((kernel.warp_m + kernel.warp_n) * MMA_K * 2 * kernel.bank_conflict_ways);
        let load_clk = rates.ldmatrix_x4_latency_clk
            + (load_bytes / WARP_ACCESS_BYTES - 1.0).max(0.0) * rates.ldmatrix_x4_issue_clk;
        FragmentPipe {
            floor_clk: (products_clk * warps_of_a_sub_core).max(rates.mma_latency_clk),
            serial_clk: load_clk + products_clk,
        }
    }

    #[inline]
    fn step_clk(&self, register_stages: u32) -> f64 {
        max(self.floor_clk, self.serial_clk / f64::from(register_stages))
    }
}

/// What does not change with a tile's depths, for all blocks that an SM holds together: of a full wave and of the rest, or
/// of the only wave there is.
struct Launch {
    blocks: f64,
    iterations: f64,
    /// Blocks that an SM holds.
    resident: Pair,
    /// How many waves there are of each.
    count: Pair,
    /// Bytes of a chunk of A and one of B for each block.
    chunk_bytes: Pair,
    /// What streams through L2 while the wave lasts, as a share of L2: see [`evicted_share`].
    panels: Pair,
    /// Floors of an iteration.
    l2_clk: Pair,
    dram_clk: Pair,
    /// The highest of the units inside an SM.
    inner_floor_clk: Pair,
    epilogue_clk: Pair,
    reduction_clk: Pair,
}

impl Launch {
    #[inline(always)]
    fn new(model: &Model, tile: &Tile, order: Order) -> Launch {
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
            last_ones * bytes * derived.l2_bytes_per_clk + 2.0 * rates.l2_latency_clk()
        } else {
            Pair([0.0; 2])
        };
        Launch {
            blocks,
            iterations,
            resident,
            count: Pair(count),
            chunk_bytes: concurrent * costs.chunk_bytes,
            panels: (dram_bytes * iterations * derived.l2_bytes).min(EVICTION_SATURATION),
            l2_clk: resident * costs.l2_clk,
            dram_clk: dram_bytes * derived.dram_bytes_per_clk,
            inner_floor_clk: resident * max(max(costs.compute_clk, costs.shared_clk), costs.issue_clk),
            epilogue_clk: (store_bytes * active_sms * derived.dram_bytes_per_clk)
                .max_of(store_bytes * derived.l2_bytes_per_clk),
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
fn evicted_share(per_l2: f64, open_bytes: Pair, panels: Pair) -> Pair {
    open_bytes * per_l2 * EVICTION * panels
}

/// The 4-norm: the largest of three, and a little more where they are close. A bound that is nearly reached delays some
/// of the iterations; a sharp maximum would call depths equal that measured sweeps tell apart.
#[inline(always)]
fn soft_max(a: Pair, b: f64, c: f64) -> Pair {
    let (a, b, c) = (a * a, b * b, c * c);
    (a * a + b * b + c * c).sqrt().sqrt()
}

/// Two numbers that go the same way, in one instruction each step.
#[derive(Clone, Copy, Debug)]
struct Pair([f64; 2]);

impl Pair {
    fn first(self) -> f64 {
        self.0[0]
    }

    #[inline(always)]
    fn zip(self, other: Pair, of: impl Fn(f64, f64) -> f64) -> Pair {
        Pair([of(self.0[0], other.0[0]), of(self.0[1], other.0[1])])
    }

    #[inline(always)]
    fn max_of(self, other: Pair) -> Pair {
        self.zip(other, max)
    }

    #[inline(always)]
    fn max(self, other: f64) -> Pair {
        self.max_of(Pair([other; 2]))
    }

    #[inline(always)]
    fn min(self, other: f64) -> Pair {
        self.zip(Pair([other; 2]), min)
    }

    #[inline(always)]
    fn sqrt(self) -> Pair {
        Pair(self.0.map(f64::sqrt))
    }

    /// Of numbers from 0 to 2⁵¹, without a branch; without SSE 4.1, which x86-64 need not have, `f64::ceil` is a call.
    #[inline(always)]
    fn ceil(self) -> Pair {
        // From here on doubles are whole numbers.
        const WHOLE: f64 = (1_u64 << 52) as f64;
        let nearest = self + WHOLE + -WHOLE;
        nearest + nearest.zip(self, |nearest, number| if nearest < number { 1.0 } else { 0.0 })
    }
}

macro_rules! pairwise {
    ($($operation:ident $function:ident),*) => {$(
        impl std::ops::$operation for Pair {
            type Output = Pair;

            #[inline(always)]
            fn $function(self, other: Pair) -> Pair {
                self.zip(other, std::ops::$operation::$function)
            }
        }

        impl std::ops::$operation<f64> for Pair {
            type Output = Pair;

            #[inline(always)]
            fn $function(self, other: f64) -> Pair {
                std::ops::$operation::$function(self, Pair([other; 2]))
            }
        }
    )*};
}
pairwise!(Add add, Mul mul, Div div);

#[cfg(test)]
mod tests;

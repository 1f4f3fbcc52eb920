//! A pipelined matmul kernel as the model sees it.

use alcop_spec::op::Matmul;
use alcop_spec::{OpSpec, Resources, Swizzle, TileSchedule};

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

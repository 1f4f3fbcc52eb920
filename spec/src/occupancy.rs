//! Budgets of a schedule and occupancy: shared memory, registers, threads, resident blocks.
//!
//! Exact where the hardware is exact (granules, reserved bytes, limits); the registers of a thread are an estimate,
//! since only the assembler knows them.

use serde::{Deserialize, Serialize};

use crate::op::{DType, OpSpec};
use crate::rejection::Rejection;
use crate::schedule::{TileSchedule, stage_legality};
use crate::target::Limits;
use crate::tiles;

/// 32-bit registers of a thread beyond accumulators and fragments: addresses, counters, predicates. An estimate: the
/// assembler (ptxas 13.5) gives other compilers' and our 128×128×32 kernels with four warps 209 to 254 registers, of
/// which 192 are accumulators and two fragment sets.
pub const ADDRESSING_REGISTERS: u32 = 40;

/// What keeps an SM from holding one block more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limiter {
    /// Shared memory of the SM, what is reserved included.
    SharedMemory,
    /// Registers of the SM.
    Registers,
    /// Resident warps (or threads) of the SM.
    Warps,
    /// Resident blocks of the SM.
    Blocks,
}

impl Limiter {
    /// The name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Limiter::SharedMemory => "shared_memory",
            Limiter::Registers => "registers",
            Limiter::Warps => "warps",
            Limiter::Blocks => "blocks",
        }
    }
}

/// How many blocks an SM holds at a time, and what keeps it from holding more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Occupancy {
    /// Resident blocks of an SM; 0: the block does not fit at all.
    pub blocks_per_sm: u32,
    /// The tightest limit; the first in the order of [`Limiter`] where several are equally tight.
    pub limiter: Limiter,
}

/// Occupancy of blocks of `threads_per_block` threads with `registers_per_thread` 32-bit registers each and
/// `shared_bytes_per_block` bytes of shared memory (static and dynamic, without what is reserved).
///
/// The rules are those of NVIDIA's occupancy calculator (`cuda_occupancy.h`): shared memory in granules plus the
/// reserved bytes; registers in granules per warp, a warp's registers within one sub-core; and a block whose warps,
/// rounded up to the sub-cores, exceed the registers of the SM does not launch.
#[inline]
pub fn occupancy(
    limits: &Limits,
    threads_per_block: u32,
    registers_per_thread: u32,
    shared_bytes_per_block: u32,
) -> Occupancy {
    let warps = threads_per_block.div_ceil(32).max(1);
    let shared = (shared_bytes_per_block.saturating_add(limits.shared_bytes_reserved_per_block))
        .div_ceil(limits.shared_granule_bytes)
        .saturating_mul(limits.shared_granule_bytes);
    let by_shared = if shared_bytes_per_block > limits.shared_bytes_per_block {
        0
    } else {
        limits.shared_bytes_per_sm / shared.max(1)
    };
    let by_registers = blocks_by_registers(limits, warps, registers_per_thread);
    let by_warps = if threads_per_block > limits.threads_per_block {
        0
    } else {
        (limits.warps_per_sm / warps).min(limits.threads_per_sm / (32 * warps))
    };
    let mut tightest = Occupancy {
        blocks_per_sm: by_shared,
        limiter: Limiter::SharedMemory,
    };
    for (blocks_per_sm, limiter) in [
        (by_registers, Limiter::Registers),
        (by_warps, Limiter::Warps),
        (limits.blocks_per_sm, Limiter::Blocks),
    ] {
        if blocks_per_sm < tightest.blocks_per_sm {
            tightest = Occupancy { blocks_per_sm, limiter };
        }
    }
    tightest
}

#[inline]
fn blocks_by_registers(limits: &Limits, warps_per_block: u32, registers_per_thread: u32) -> u32 {
    if registers_per_thread == 0 {
        return u32::MAX;
    }
    if registers_per_thread > limits.registers_per_thread {
        return 0;
    }
    let per_warp =
        (32 * registers_per_thread).div_ceil(limits.register_granule_per_warp) * limits.register_granule_per_warp;
    let sub_cores = limits.sub_cores_per_sm;
    if per_warp * warps_per_block.div_ceil(sub_cores) * sub_cores > limits.registers_per_sm {
        return 0;
    }
    let warps_per_sub_core = limits.registers_per_sm / sub_cores / per_warp;
    warps_per_sub_core * sub_cores / warps_per_block
}

/// What a schedule takes of a block, a thread and an SM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Dynamic shared memory of a block, in bytes: slots × chunk.
    pub shared_bytes: u32,
    /// Threads of a block.
    pub threads: u32,
    /// 32-bit registers of a thread that hold accumulators.
    pub accumulator_registers: u32,
    /// 32-bit registers of a thread that hold fragments, all sets together.
    pub fragment_registers: u32,
    /// 32-bit registers of a thread in all, estimated, at most what a thread may have.
    pub registers_estimate: u32,
    /// Occupancy under that estimate.
    pub occupancy: Occupancy,
}

/// Bytes of one chunk of A and one of B, for operands of `dtype`.
#[inline]
pub fn chunk_bytes(dtype: DType, schedule: &TileSchedule) -> (u64, u64) {
    let k_bytes = u64::from(schedule.block_k()) * dtype.bytes();
    (
        u64::from(schedule.block.m).saturating_mul(k_bytes),
        u64::from(schedule.block.n).saturating_mul(k_bytes),
    )
}

/// Dynamic shared memory of a block in bytes: slots × (chunk of A + chunk of B).
#[inline]
pub fn shared_bytes(op: &OpSpec, schedule: &TileSchedule) -> u64 {
    let OpSpec::Matmul(matmul) = op;
    let (a_bytes, b_bytes) = chunk_bytes(matmul.dtype, schedule);
    u64::from(schedule.shared_stages).saturating_mul(a_bytes.saturating_add(b_bytes))
}

/// 32-bit registers of a thread for the accumulators of its warp's tile (f32 or i32).
#[inline]
pub const fn accumulator_registers(schedule: &TileSchedule) -> u32 {
    (schedule.warp.m as u64 * schedule.warp.n as u64 / 32) as u32
}

/// 32-bit registers of a thread for one fragment set: 32 bytes of k for the warp's rows of A and columns of B, whatever
/// their type ([`mma_k`](crate::schedule::mma_k)).
#[inline]
pub const fn fragment_registers(schedule: &TileSchedule) -> u32 {
    ((schedule.warp.m as u64 + schedule.warp.n as u64) * 32 / (32 * 4)) as u32
}

/// Checks a schedule against an operator and a target's limits: its resources, or every reason against it.
///
/// Where a reason makes later arithmetic meaningless (a tile of extent 0), only the reasons up to there are given.
pub fn check(op: &OpSpec, schedule: &TileSchedule, limits: &Limits) -> Result<Resources, Vec<Rejection>> {
    let OpSpec::Matmul(matmul) = op;
    let mut reasons = match tiles::check(matmul, schedule, limits.threads_per_block) {
        Ok(_) => Vec::new(),
        Err(reasons) if !has_usable_tiles(&reasons) => return Err(reasons),
        Err(reasons) => reasons,
    };
    let k_steps = schedule.k_steps_of(matmul.dtype);
    if let Err(reason) = stage_legality(k_steps, schedule.shared_stages, schedule.register_stages) {
        reasons.push(reason);
    }
    let (a_bytes, b_bytes) = chunk_bytes(matmul.dtype, schedule);
    let shared = shared_bytes(op, schedule);
    if shared > u64::from(limits.shared_bytes_per_block) {
        let (stages, limit_bytes) = (schedule.shared_stages, limits.shared_bytes_per_block);
        reasons.push(Rejection::SharedDoesNotFit {
            stages,
            a_bytes,
            b_bytes,
            limit_bytes,
        });
    }
    let accumulators = accumulator_registers(schedule);
    let fragment = fragment_registers(schedule);
    let held = u64::from(accumulators) + u64::from(schedule.register_stages) * u64::from(fragment);
    if held > u64::from(limits.registers_per_thread) {
        let (register_stages, limit) = (schedule.register_stages, limits.registers_per_thread);
        reasons.push(Rejection::RegistersDoNotFit {
            accumulators,
            fragment,
            register_stages,
            limit,
        });
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    // Everything is within a block's limits from here on, so the narrowing loses nothing.
    let (threads, held) = (schedule.threads(), held as u32);
    let registers_estimate = (held + ADDRESSING_REGISTERS).min(limits.registers_per_thread);
    let occupancy = occupancy(limits, threads, registers_estimate, shared as u32);
    if occupancy.blocks_per_sm == 0 {
        let registers_per_sm = limits.registers_per_sm;
        return Err(vec![Rejection::BlockDoesNotFitSm {
            threads,
            registers: registers_estimate,
            registers_per_sm,
        }]);
    }
    Ok(Resources {
        shared_bytes: shared as u32,
        threads,
        accumulator_registers: accumulators,
        fragment_registers: held - accumulators,
        registers_estimate,
        occupancy,
    })
}

/// Whether budgets can be computed from the tiles, and have not been exceeded already.
fn has_usable_tiles(reasons: &[Rejection]) -> bool {
    !reasons.iter().any(|reason| {
        matches!(
            reason,
            Rejection::TileNotMultiple { .. }
                | Rejection::WarpTilesK { .. }
                | Rejection::BlockNotMultipleOfWarp { .. }
                | Rejection::EmptyRaster
                | Rejection::DTypeNotSupported { .. }
                | Rejection::SharedDoesNotFit { .. }
                | Rejection::RegistersDoNotFit { .. }
        )
    })
}

#[cfg(test)]
mod tests;

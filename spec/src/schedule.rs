//! Schedules: how an operator is tiled over blocks and warps, and how deep each level is pipelined.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::op::DType;
use crate::rejection::{Level, Rejection};

/// A loop axis of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// Rows of the output.
    M,
    /// Columns of the output.
    N,
    /// The axis summed over.
    K,
}

impl Axis {
    /// All axes, in the order in which tiles are written (`128x64x32`).
    pub const ALL: [Axis; 3] = [Axis::M, Axis::N, Axis::K];
}

/// Tile extents by axis name, in elements. An axis that is not tiled here has no entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AxisTiles {
    /// Extent along [`Axis::M`].
    pub m: u32,
    /// Extent along [`Axis::N`].
    pub n: u32,
    /// Extent along [`Axis::K`]; `None` where the level does not tile it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<u32>,
}

impl AxisTiles {
    /// A tile over all three axes.
    pub const fn mnk(m: u32, n: u32, k: u32) -> Self {
        AxisTiles { m, n, k: Some(k) }
    }

    /// A tile over the output's axes.
    pub const fn mn(m: u32, n: u32) -> Self {
        AxisTiles { m, n, k: None }
    }

    /// The extent along an axis, if this level tiles it.
    pub const fn get(&self, axis: Axis) -> Option<u32> {
        match axis {
            Axis::M => Some(self.m),
            Axis::N => Some(self.n),
            Axis::K => self.k,
        }
    }
}

impl fmt::Display for AxisTiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.m, self.n)?;
        self.k.map_or(Ok(()), |k| write!(f, "x{k}"))
    }
}

impl fmt::Debug for AxisTiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Where the 16-byte pieces of a row lie in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Swizzle {
    /// Rows as they are.
    None,
    /// The index of a piece is xor-ed with bits of the row, so that `ldmatrix` and `cp.async` meet no bank conflict.
    #[default]
    Xor,
}

/// How one operator is tiled and pipelined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TileSchedule {
    /// Tile of one thread block: m, n, and the chunk of k that is in shared memory at a time.
    pub block: AxisTiles,
    /// Tile of one warp: m and n.
    pub warp: AxisTiles,
    /// Slots in shared memory; 1 is no pipeline.
    pub shared_stages: u32,
    /// Fragment sets in registers; 1 is no pipeline.
    pub register_stages: u32,
    /// Layout of the chunks in shared memory.
    #[serde(default)]
    pub swizzle: Swizzle,
    /// Blocks are launched in groups of this many tile rows (for reuse in L2); 1 walks whole columns of tiles.
    #[serde(default = "one")]
    pub raster_rows: u32,
    /// Blocks that share the sum over k of one tile, each with an equal run of its chunks; 1: each tile has one block.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub split_k: u32,
}

fn one() -> u32 {
    1
}

/// What is written for schedules of one block a tile stays what it was before there were others.
fn is_one(value: &u32) -> bool {
    *value == 1
}

/// m extent of one tensor-core instruction (PTX ISA, "Matrix multiply-accumulate": `mma.m16n8k16` and its like).
pub const MMA_M: u32 = 16;
/// n extent of one; see [`MMA_M`].
pub const MMA_N: u32 = 8;
/// k extent of one for 16-bit operands; see [`mma_k`].
pub const MMA_K: u32 = mma_k(DType::F16);

/// k extent of one tensor-core instruction, in elements: 32 bytes of k whatever the type (`m16n8k16` for 16-bit operands,
/// `m16n8k8` for tf32, `m16n8k32` for 8-bit integers).
pub const fn mma_k(dtype: DType) -> u32 {
    32 / dtype.bytes() as u32
}

impl TileSchedule {
    /// The chunk of k in shared memory, in elements.
    pub fn block_k(&self) -> u32 {
        self.block.k.unwrap_or(0)
    }

    /// Warps along m and along n.
    pub const fn warps(&self) -> (u32, u32) {
        (self.block.m / self.warp.m, self.block.n / self.warp.n)
    }

    /// Threads of a block.
    pub const fn threads(&self) -> u32 {
        let (m, n) = self.warps();
        32 * m * n
    }

    /// k-steps of a chunk of 16-bit operands: tensor-core instructions along k between two chunks (Ki in the docs).
    pub fn k_steps(&self) -> u32 {
        self.block_k() / MMA_K
    }

    /// k-steps of a chunk of operands of a type.
    pub fn k_steps_of(&self, dtype: DType) -> u32 {
        self.block_k() / mma_k(dtype)
    }

    /// Chunks of a sum over `k` elements that one block computes, the last one of a tile perhaps fewer.
    pub fn chunks_of_a_block(&self, k: u64) -> u64 {
        let chunks = k.div_ceil(u64::from(self.block_k().max(1)));
        chunks.div_ceil(u64::from(self.split_k.max(1)))
    }

    /// The same tiles without a pipeline on either level.
    pub const fn unpipelined(mut self) -> Self {
        self.shared_stages = 1;
        self.register_stages = 1;
        self
    }
}

impl fmt::Display for TileSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "block {} warp {} stages {}/{}",
            self.block, self.warp, self.shared_stages, self.register_stages
        )?;
        if self.swizzle == Swizzle::None {
            f.write_str(" unswizzled")?;
        }
        if self.raster_rows != 1 {
            write!(f, " raster {}", self.raster_rows)?;
        }
        if self.split_k != 1 {
            write!(f, " split-k {}", self.split_k)?;
        }
        Ok(())
    }
}

/// The most slots in shared memory that are supported.
pub const MAX_SHARED_STAGES: u32 = 8;
/// The most fragment sets in registers that are supported.
pub const MAX_REGISTER_STAGES: u32 = 4;

/// Whether a chunk of `k_steps` k-steps may be pipelined with these slots in shared memory and fragment sets in registers.
///
/// Reading R−1 k-steps ahead reaches at most one chunk ahead, so R ≤ Ki + 1; with a single slot nothing overlaps (a plain
/// copy between two barriers), so R = 1.
pub fn stage_legality(k_steps: u32, shared_stages: u32, register_stages: u32) -> Result<(), Rejection> {
    if !(1..=MAX_SHARED_STAGES).contains(&shared_stages) {
        let (level, stages, limit) = (Level::Shared, shared_stages, MAX_SHARED_STAGES);
        return Err(Rejection::StagesNotSupported { level, stages, limit });
    }
    if !(1..=MAX_REGISTER_STAGES).contains(&register_stages) {
        let (level, stages, limit) = (Level::Register, register_stages, MAX_REGISTER_STAGES);
        return Err(Rejection::StagesNotSupported { level, stages, limit });
    }
    let limit = if shared_stages == 1 {
        1
    } else {
        k_steps.saturating_add(1)
    };
    if register_stages > limit {
        return Err(Rejection::RegisterDepthExceedsChunk {
            k_steps,
            shared_stages,
            register_stages,
            limit,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stage_legality_over_the_whole_table() {
        for k_steps in [1, 2, 4] {
            for shared in 1..=6 {
                for register in 1..=4 {
                    let legal = register <= if shared == 1 { 1 } else { k_steps + 1 };
                    let answer = stage_legality(k_steps, shared, register);
                    assert_eq!(answer.is_ok(), legal, "Ki {k_steps}, S {shared}, R {register}");
                    if let Err(reason) = answer {
                        assert_eq!(reason.code(), "register-depth-exceeds-chunk");
                    }
                }
            }
        }
    }

    #[test]
    fn one_slot_names_the_second_as_the_way_out() {
        assert_eq!(
            stage_legality(1, 1, 2).unwrap_err().to_string(),
            "register depth 2 exceeds what a chunk of 1 k-steps with 1 shared stage(s) allows: at most 1; use at \
             least 2 shared stages, so that fragments can be read ahead"
        );
    }

    #[test]
    fn stages_out_of_range_are_refused() {
        for (shared, register) in [(0, 1), (9, 1), (1, 0), (2, 5), (u32::MAX, u32::MAX)] {
            assert_eq!(
                stage_legality(4, shared, register).unwrap_err().code(),
                "stages-not-supported"
            );
        }
    }
}

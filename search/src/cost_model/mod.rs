//! The pipeline-aware analytic model: the time of a tiled, pipelined matmul from its schedule and a target's constants.
//!
//! After ALCOP (MLSys 2023, arXiv 2210.16691), section 5: waves of thread blocks, each a prologue, a main loop and an
//! epilogue, where the main loop is `pipe(load of a chunk, use of a chunk, slots)` and the use of a chunk is itself
//! `pipe(load of fragments, tensor-core instructions, fragment sets)`. Beyond it: occupancy with registers, floors of
//! the units that resident blocks share, rows shorter than a cache line, lines that L2 loses between the blocks that share
//! them, and the partial last wave.
//!
//! Plain arithmetic: no allocation, no lock, no input but the kernel and the target.

mod kernel;
mod model;
mod numbers;
mod prediction;
mod tile;
mod wave;

use alcop_spec::occupancy::occupancy;
use alcop_spec::{AxisTiles, Occupancy, OpSpec, Resources, Swizzle, TileSchedule};

pub use self::kernel::{MmaKind, PipelinedMatmul};
pub use self::model::Model;
pub use self::prediction::{Prediction, TERM_NAMES, Terms};
use self::tile::Tile;
use self::wave::{Depths, Launch, Order};

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

#[cfg(test)]
mod tests;

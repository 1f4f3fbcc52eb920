//! The un-pipelined tiled kernel of an operator, in upstream dialects only.
//!
//! ```text
//!  1  gpu.func @matmul(%A, %B, %C) workgroup(%As, %Bs) kernel {
//!  2    scf.for %k = 0 to K step bk iter_args(accumulators) {
//!  3      vector.load %A …  4  vector.load %B          // a thread's pieces, as wide as the rows are aligned
//!         vector.store %As …   vector.store %Bs
//!  5      gpu.barrier
//!  6      scf.for %ki = 0 to bk step 16 iter_args(accumulators) {
//!  7        nvgpu.ldmatrix %As
//!  8        nvgpu.ldmatrix %Bs
//!  9        nvgpu.mma.sync
//!       }
//! 10      gpu.barrier
//!     }
//! 11    vector.store accumulators, %C
//!     }
//! ```
//!
//! Where a tile reaches beyond an operand, the load stands in an `scf.if` that yields zeros on its other side, and a
//! store to C in an `scf.if`. Pieces are as wide as divides a row ([`alcop_spec::Matmul::copy_bytes`]), so that each
//! lies wholly inside or wholly outside. Shapes that the tiles divide have no condition anywhere.
//!
//! Where several blocks share the sum of a tile (`split_k`), each leaves its part in a workspace, and the last one adds
//! them up (`reduction.rs`).
//!
//! Plain synchronous copies and no hints: the analysis that follows sees what anybody else's compiler would give it.
//! The numbers are those of the locations `matmul.tile:line:column`, by which diagnostics and `.loc` name a statement.

mod copies;
mod epilogue;
mod error;
pub mod fragments;
mod matmul;
mod reduction;
#[cfg(test)]
mod simulate;
mod steps;
#[cfg(test)]
mod tests;

use alcop_spec::tiles::{self, THREAD_LIMIT};
use alcop_spec::{OpSpec, TileSchedule};

pub use self::error::TileError;
use crate::ir::{Context, Module};

/// A kernel as MLIR, with the launch shape that it was written for.
pub struct TileProgram<'c> {
    /// A `builtin.module` with one `gpu.module` with one kernel.
    pub module: Module<'c>,
    /// The kernel's name.
    pub entry: String,
    /// Blocks in x (tiles along m), y (tiles along n), z (batch).
    pub grid: [u32; 3],
    /// Threads in x, y, z.
    pub block: [u32; 3],
}

/// Emits the kernel of an operator under a schedule. Of the schedule only the tiles and the order and number of blocks
/// matter: depths and the shared layout are the pipeline's. Its arguments are A, B, C and
/// [`tiles::workspace`]'s.
///
/// # Errors
/// Everything is checked before anything is built; see [`TileError`] for the reasons.
pub fn tile_program<'c>(
    context: &'c Context,
    op: &OpSpec,
    schedule: &TileSchedule,
) -> Result<TileProgram<'c>, TileError> {
    let OpSpec::Matmul(mm) = op;
    let grid = tiles::check(mm, schedule, THREAD_LIMIT).map_err(TileError::Refused)?;
    let block = [schedule.threads(), 1, 1];
    let module = matmul::emit(context, mm, schedule, op.name(), grid);
    module.verify().map_err(TileError::Invalid)?;
    Ok(TileProgram {
        module,
        entry: op.name().to_owned(),
        grid,
        block,
    })
}

//! The stores of C.
//!
//! ```mlir
//! %pair = vector.extract %sums[0]; vector.store %pair, %C[%row, %column]       // two neighbouring columns
//! scf.if %inside { vector.store … }                                            // where a tile reaches beyond M or N
//! scf.if %inside { memref.store … }                                            // where rows of C are odd
//! ```

use alcop_spec::{DType, Matmul, TileSchedule};

use super::copies::{both, plus};
use super::fragments::accumulator_position;
use super::matmul::{alignment, element_type};
use super::steps::{TILE, TILE_N};
use crate::ir::{Attr, Builder, CmpPredicate, Type, Value};

/// What is stored, and where.
pub(super) struct Epilogue<'a, 'c> {
    pub mm: &'a Matmul,
    pub schedule: &'a TileSchedule,
    /// C.
    pub global: Value<'c>,
    /// Row and column where the warp's tile starts.
    pub origin: [Value<'c>; 2],
    /// Index of the product, where there are several.
    pub batch: Option<Value<'c>>,
}

impl<'c> Epilogue<'_, 'c> {
    /// Stores the sums, tile after tile along n, those of a row of tiles together.
    pub fn emit(&self, b: &Builder<'c>, lane: Value<'c>, sums: &[Value<'c>]) {
        let (lane_row, lane_column) = accumulator_position(b, lane);
        let (row, column) = (b.add(self.origin[0], lane_row), b.add(self.origin[1], lane_column));
        let n_tiles = i64::from(self.schedule.warp.n) / TILE_N;
        let partial = |extent: u64, tile: u32| !extent.is_multiple_of(u64::from(tile));
        let (partial_m, partial_n) = (
            partial(self.mm.m, self.schedule.block.m),
            partial(self.mm.n, self.schedule.block.n),
        );
        // A lane's two columns are both inside or both outside where N is even; then C's rows are aligned to both, too.
        let width = if self.mm.n.is_multiple_of(2) { 2 } else { 1 };
        let below = |place: Value<'c>, extent: u64| b.cmp(CmpPredicate::Slt, place, b.index(extent as i64));
        for (number, &sum) in (0..).zip(sums) {
            let (tile_row, tile_column) = (number / n_tiles * TILE, number % n_tiles * TILE_N);
            for half in 0..2 {
                for first in (0..2).step_by(width as usize) {
                    let value = self.emit_value(b, sum, half, first, width);
                    let (row, column) = (plus(b, row, tile_row + 8 * half), plus(b, column, tile_column + first));
                    let inside = both(
                        b,
                        partial_m.then(|| below(row, self.mm.m)),
                        partial_n.then(|| below(column, self.mm.n)),
                    );
                    match inside {
                        None => self.emit_store(b, value, row, column, width),
                        Some(inside) => {
                            b.if_then(inside, |then| self.emit_store(then, value, row, column, width));
                        }
                    }
                }
            }
        }
    }

    /// Both or one of the two columns of a row of a tile, as C has them.
    fn emit_value(&self, b: &Builder<'c>, sum: Value<'c>, half: i64, first: i64, width: i64) -> Value<'c> {
        let context = b.context();
        let of = |dtype| {
            let element = element_type(context, dtype);
            if width == 1 {
                element
            } else {
                Type::vector(&[width], element)
            }
        };
        let position = if width == 1 { &[half, first][..] } else { &[half] };
        let wide = b
            .op("vector.extract")
            .operands(&[sum])
            .attr("static_position", Attr::dense_i64(context, position))
            .result(of(self.mm.dtype.accumulator()))
            .value();
        match self.mm.out_dtype {
            narrow @ (DType::F16 | DType::Bf16) => b.op("arith.truncf").operands(&[wide]).result(of(narrow)).value(),
            DType::F32 | DType::Tf32 | DType::I8 | DType::I32 => wide,
        }
    }

    fn emit_store(&self, b: &Builder<'c>, value: Value<'c>, row: Value<'c>, column: Value<'c>, width: i64) {
        let mut operands = vec![value, self.global];
        operands.extend(self.batch);
        operands.extend([row, column]);
        let name = if width == 1 { "memref.store" } else { "vector.store" };
        b.op(name)
            .operands(&operands)
            .attr(
                "alignment",
                alignment(b.context(), width * self.mm.out_dtype.bytes() as i64),
            )
            .build();
    }
}

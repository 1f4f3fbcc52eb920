//! The k-steps of a chunk: fragments from shared memory, and their products.
//!
//! ```text
//! 16-bit, any layout; other widths with contiguous k     nvgpu.ldmatrix, four 8×16-byte matrices at once
//! tf32, 8-bit with k along the rows                      memref.load of each element, vector.from_elements
//! ```
//!
//! `ldmatrix` transposes elements of 16 bits only (PTX ISA, ldmatrix, `.trans`).

use alcop_spec::DType;
use alcop_spec::schedule::mma_k;

use super::copies::plus;
use super::fragments::{a_offset, b_offset};
use super::matmul::{MMA, Statement, at};
use crate::ir::{Attr, Builder, Type, Value};

/// Lines of a tile of either operand: rows of A, columns of B.
pub(super) const TILE: i64 = 16;
/// Columns of C of one tensor-core instruction.
pub(super) const TILE_N: i64 = 8;

/// How a lane gets its fragment of a tile.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// `nvgpu.ldmatrix`.
    Matrices {
        /// 8×8 matrices are transposed on the way to the registers.
        transpose: bool,
    },
    /// One load for each element, at these offsets (line, k) of an element of a register.
    Elements {
        /// From register, element and elements of a register.
        offset: fn(i64, i64, i64) -> (i64, i64),
    },
}

impl Access {
    /// Of A (or else B) whose k walks along rows, or else lies contiguous.
    pub fn new(dtype: DType, is_a: bool, k_in_rows: bool) -> Access {
        match (dtype.bytes(), k_in_rows) {
            (2, transpose) => Access::Matrices { transpose },
            (_, false) => Access::Matrices { transpose: false },
            (_, true) => Access::Elements {
                offset: if is_a { a_offset } else { b_offset },
            },
        }
    }
}

/// The tiles of one operand that a warp reads: 16 lines × 32 bytes of k each.
pub(super) struct Tiles<'c> {
    pub statement: Statement,
    pub shared: Value<'c>,
    /// Type of an element.
    pub element: Type<'c>,
    /// Elements of a register.
    pub per_register: i64,
    /// Row and column in the chunk that this lane addresses for the warp's first tile at k = 0.
    pub first: [Value<'c>; 2],
    pub k_in_rows: bool,
    pub access: Access,
    pub count: i64,
}

/// One k-step: all fragments, then all products, those of a row of A tiles together. Answers the new sums.
pub(super) fn emit_step<'c>(
    step: &Builder<'c>,
    dtype: DType,
    [a, b]: &[Tiles<'c>; 2],
    ki: Value<'c>,
    sums: &[Value<'c>],
) -> Vec<Value<'c>> {
    let a_fragments = emit_loads(&at(step, a.statement), a, ki);
    let b_fragments = emit_loads(&at(step, b.statement), b, ki);
    let mma = at(step, MMA);
    let b_halves: Vec<Value<'c>> = b_fragments
        .iter()
        .flat_map(|&tile| [emit_half(&mma, b, tile, 0), emit_half(&mma, b, tile, 2)])
        .collect();
    let shape = Attr::i64_attrs(mma.context(), &[TILE, TILE_N, i64::from(mma_k(dtype))]);
    let pairs = a_fragments.iter().flat_map(|&a| b_halves.iter().map(move |&b| (a, b)));
    pairs
        .zip(sums)
        .map(|((a, b), &sum)| {
            let mut op = mma.op("nvgpu.mma.sync").operands(&[a, b, sum]).attr("mmaShape", shape);
            if dtype == DType::Tf32 {
                op = op.attr("tf32Enabled", Attr::unit(mma.context()));
            }
            op.result(sum.ty()).value()
        })
        .collect()
}

/// The fragments of all tiles of an operand for one k-step.
fn emit_loads<'c>(b: &Builder<'c>, tiles: &Tiles<'c>, ki: Value<'c>) -> Vec<Value<'c>> {
    let fragment = Type::vector(&[4, tiles.per_register], tiles.element);
    let load = |tile: i64| match tiles.access {
        Access::Matrices { transpose } => emit_matrices(b, tiles, ki, tile, transpose, fragment),
        Access::Elements { offset } => emit_elements(b, tiles, ki, tile, offset, fragment),
    };
    (0..tiles.count).map(load).collect()
}

fn emit_matrices<'c>(
    b: &Builder<'c>,
    tiles: &Tiles<'c>,
    ki: Value<'c>,
    tile: i64,
    transpose: bool,
    fragment: Type<'c>,
) -> Value<'c> {
    let context = b.context();
    let [first_row, first_column] = tiles.first;
    let [row, column] = if tiles.k_in_rows {
        [b.add(first_row, ki), plus(b, first_column, tile * TILE)]
    } else {
        [plus(b, first_row, tile * TILE), b.add(first_column, ki)]
    };
    b.op("nvgpu.ldmatrix")
        .operands(&[tiles.shared, row, column])
        .attr("transpose", Attr::bool(context, transpose))
        .attr("numTiles", Attr::int(Type::int(context, 32), 4))
        .result(fragment)
        .value()
}

/// k walks along the rows: the first index is k's, the second the line's.
fn emit_elements<'c>(
    b: &Builder<'c>,
    tiles: &Tiles<'c>,
    ki: Value<'c>,
    tile: i64,
    offset: fn(i64, i64, i64) -> (i64, i64),
    fragment: Type<'c>,
) -> Value<'c> {
    let [first_k, first_line] = tiles.first;
    let k = b.add(first_k, ki);
    let places = (0..4).flat_map(|register| (0..tiles.per_register).map(move |element| (register, element)));
    let elements: Vec<Value<'c>> = places
        .map(|(register, element)| {
            let (line, along_k) = offset(register, element, tiles.per_register);
            let indices = [plus(b, k, along_k), plus(b, first_line, tile * TILE + line)];
            b.op("memref.load")
                .operands(&[tiles.shared, indices[0], indices[1]])
                .result(tiles.element)
                .value()
        })
        .collect();
    b.op("vector.from_elements")
        .operands(&elements)
        .result(fragment)
        .value()
}

/// Two of the four registers of a B tile: those of one n-tile.
fn emit_half<'c>(builder: &Builder<'c>, tiles: &Tiles<'c>, tile: Value<'c>, first: i64) -> Value<'c> {
    let context = builder.context();
    builder
        .op("vector.extract_strided_slice")
        .operands(&[tile])
        .attr("offsets", Attr::i64_attrs(context, &[first]))
        .attr("sizes", Attr::i64_attrs(context, &[2]))
        .attr("strides", Attr::i64_attrs(context, &[1]))
        .result(Type::vector(&[2, tiles.per_register], tiles.element))
        .value()
}

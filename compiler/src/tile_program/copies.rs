//! The copies of a chunk from global to shared memory.
//!
//! ```mlir
//! %row = …, %column = …, %inside = arith.cmpi slt, %row, %M        // this thread's, before the loops
//! scf.for %k = … {
//!   %v = scf.if %inside -> (vector<8xf16>) {                       // only where tiles reach beyond M, N or K
//!     %loaded = vector.load %A[%row, %column + %k]; scf.yield %loaded
//!   } else { scf.yield %zeros }
//!   vector.store %v, %As[…]
//! ```
//!
//! A copy is as wide as every row is aligned, so that it lies wholly inside a row or wholly outside: one condition
//! decides about it.

use alcop_spec::tiles::Chunk;

use super::fragments::LaneArithmetic;
use super::matmul::{Statement, alignment, at};
use crate::ir::{Builder, CmpPredicate, Type, Value};

/// Pieces that are loaded before the first of them is stored, where they are narrow and hence many.
const NARROW_GROUP: usize = 16;

/// `base + constant`, where there is something to add.
pub(super) fn plus<'c>(builder: &Builder<'c>, base: Value<'c>, constant: i64) -> Value<'c> {
    match constant {
        0 => base,
        _ => builder.add(base, builder.index(constant)),
    }
}

/// A row or a column: a value that many pieces share, and a constant.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Coordinate<'c> {
    base: Value<'c>,
    constant: i64,
}

impl<'c> Coordinate<'c> {
    fn value(self, builder: &Builder<'c>) -> Value<'c> {
        plus(builder, self.base, self.constant)
    }
}

/// Values that were computed from coordinates before, so that pieces share them.
type Computed<'c> = Vec<(Coordinate<'c>, Value<'c>)>;

fn once<'c>(known: &mut Computed<'c>, of: Coordinate<'c>, compute: impl FnOnce() -> Value<'c>) -> Value<'c> {
    if let Some((_, value)) = known.iter().find(|(other, _)| *other == of) {
        return *value;
    }
    let value = compute();
    known.push((of, value));
    value
}

/// One copy of one thread.
struct Piece<'c> {
    /// Row and column in the chunk.
    in_chunk: [Coordinate<'c>; 2],
    /// The same in global memory, for the chunk at k = 0.
    in_global: [Coordinate<'c>; 2],
    /// Whether this thread has the piece at all; `None`: each has.
    mine: Option<Value<'c>>,
    /// What is known before the loop of whether it is loaded: that it is mine, and within M or N.
    loaded: Option<Value<'c>>,
}

/// Where a block's tile starts.
#[derive(Clone, Copy)]
pub(super) struct BlockOrigin<'c> {
    /// Along m or n.
    pub line: Value<'c>,
    /// Along k, where several blocks share a tile.
    pub k: Option<Value<'c>>,
}

/// What the copies of an operand are between.
pub(super) struct Transfer<'c> {
    pub statement: Statement,
    pub global: Value<'c>,
    pub shared: Value<'c>,
    /// Type of an element.
    pub element: Type<'c>,
    /// Index of the product, where there are several.
    pub batch: Option<Value<'c>>,
    /// Where the block's tile starts.
    pub origin: BlockOrigin<'c>,
    /// Extent of m or n, where the block tile does not divide it.
    pub partial: Option<i64>,
    /// Extent of k, where the chunk does not divide it.
    pub partial_k: Option<i64>,
}

/// All copies of one operand.
pub(super) struct Copies<'c> {
    transfer: Transfer<'c>,
    k_in_rows: bool,
    copy_bytes: i64,
    /// What one copy moves.
    piece_type: Type<'c>,
    /// Of that type, where a condition may leave the load out.
    zeros: Option<Value<'c>>,
    pieces: Vec<Piece<'c>>,
}

impl<'c> Copies<'c> {
    /// Lays the copies of a chunk over `threads` threads; emits what depends on the thread only.
    pub fn new(b: &Builder<'c>, chunk: &Chunk, transfer: Transfer<'c>, thread: Value<'c>, threads: i64) -> Self {
        let b = &at(b, transfer.statement);
        let elements = i64::from(chunk.copy_bytes / chunk.element_bytes);
        let piece_type = match elements {
            1 => transfer.element,
            _ => Type::vector(&[elements], transfer.element),
        };
        let rest = (chunk.copies() as i64) % threads;
        let places = places(b, chunk, elements, thread, threads);
        let last = places.len() - 1;
        let mine = (rest != 0).then(|| b.cmp(CmpPredicate::Slt, thread, b.index(rest)));
        let conditional = mine.is_some() || transfer.partial.is_some() || transfer.partial_k.is_some();
        let (mut origins, mut starts) = (Computed::new(), Computed::new());
        let mut within = Computed::new();
        // Rows or columns: which of them walk along m or n.
        let outer = usize::from(chunk.k_in_rows);
        let pieces = places.into_iter().enumerate().map(|(number, in_chunk)| {
            let mut in_global = in_chunk;
            let zero = Coordinate {
                constant: 0,
                ..in_chunk[outer]
            };
            in_global[outer].base = once(&mut origins, zero, || b.add(transfer.origin.line, zero.base));
            if let Some(start) = transfer.origin.k {
                let zero = Coordinate {
                    constant: 0,
                    ..in_chunk[1 - outer]
                };
                in_global[1 - outer].base = once(&mut starts, zero, || b.add(start, zero.base));
            }
            let mine = mine.filter(|_| number == last);
            let inside = transfer.partial.map(|extent| {
                once(&mut within, in_global[outer], || {
                    b.cmp(CmpPredicate::Slt, in_global[outer].value(b), b.index(extent))
                })
            });
            Piece {
                in_chunk,
                in_global,
                mine,
                loaded: both(b, mine, inside),
            }
        });
        Copies {
            k_in_rows: chunk.k_in_rows,
            copy_bytes: i64::from(chunk.copy_bytes),
            piece_type,
            pieces: pieces.collect(),
            zeros: conditional.then(|| b.zero(piece_type)),
            transfer,
        }
    }

    /// Pieces in the order of their numbers, those together that are loaded before the first is stored.
    pub fn groups(&self) -> Vec<std::ops::Range<usize>> {
        let count = self.pieces.len();
        let most = if self.copy_bytes == 16 { count } else { NARROW_GROUP };
        let starts = (0..count).step_by(most);
        starts.map(|start| start..count.min(start + most)).collect()
    }

    /// Loads some of this thread's pieces of the chunk at `k`.
    pub fn emit_loads(&self, b: &Builder<'c>, k: Value<'c>, pieces: std::ops::Range<usize>) -> Vec<Value<'c>> {
        let b = &at(b, self.transfer.statement);
        let along_k = usize::from(!self.k_in_rows);
        let (mut advanced, mut within) = (Computed::new(), Computed::new());
        let load = |piece: &Piece<'c>| {
            let mut place = piece.in_global;
            let zero = Coordinate {
                constant: 0,
                ..place[along_k]
            };
            place[along_k].base = once(&mut advanced, zero, || b.add(zero.base, k));
            let indices = place.map(|coordinate| coordinate.value(b));
            let inside = self.transfer.partial_k.map(|extent| {
                once(&mut within, place[along_k], || {
                    b.cmp(CmpPredicate::Slt, indices[along_k], b.index(extent))
                })
            });
            match both(b, piece.loaded, inside) {
                None => self.emit_load(b, indices),
                Some(condition) => b.if_else(
                    condition,
                    |then| self.emit_load(then, indices),
                    |_| self.zeros.expect("made where there are conditions"),
                ),
            }
        };
        self.pieces[pieces].iter().map(load).collect()
    }

    fn emit_load(&self, b: &Builder<'c>, indices: [Value<'c>; 2]) -> Value<'c> {
        let mut from = vec![self.transfer.global];
        from.extend(self.transfer.batch);
        from.extend(indices);
        let name = if self.is_vector() { "vector.load" } else { "memref.load" };
        b.op(name)
            .operands(&from)
            .attr("alignment", alignment(b.context(), self.copy_bytes))
            .result(self.piece_type)
            .value()
    }

    /// Stores what [`Copies::emit_loads`] loaded to shared memory.
    pub fn emit_stores(&self, b: &Builder<'c>, pieces: std::ops::Range<usize>, values: &[Value<'c>]) {
        let b = &at(b, self.transfer.statement);
        for (piece, &value) in self.pieces[pieces].iter().zip(values) {
            let indices = piece.in_chunk.map(|coordinate| coordinate.value(b));
            let store = |b: &Builder<'c>| {
                let name = if self.is_vector() {
                    "vector.store"
                } else {
                    "memref.store"
                };
                b.op(name)
                    .operands(&[value, self.transfer.shared, indices[0], indices[1]])
                    .attr("alignment", alignment(b.context(), self.copy_bytes))
                    .build();
            };
            match piece.mine {
                None => store(b),
                Some(mine) => {
                    b.if_then(mine, store);
                }
            }
        }
    }

    fn is_vector(&self) -> bool {
        self.piece_type != self.transfer.element
    }
}

/// Row and column of each of a thread's pieces. Where a row's pieces divide the threads, or the threads them, all
/// pieces of a thread lie constants apart; otherwise each is computed by itself.
fn places<'c>(
    b: &Builder<'c>,
    chunk: &Chunk,
    elements: i64,
    thread: Value<'c>,
    threads: i64,
) -> Vec<[Coordinate<'c>; 2]> {
    let (per_row, count) = (chunk.copies_per_row() as i64, chunk.copies() as i64);
    let rounds = (count + threads - 1) / threads;
    let at = |base, constant| Coordinate { base, constant };
    if threads % per_row == 0 {
        let row = LaneArithmetic::div(b, thread, per_row);
        let column = LaneArithmetic::mul(b, LaneArithmetic::rem(b, thread, per_row), elements);
        let rows_apart = threads / per_row;
        (0..rounds)
            .map(|round| [at(row, round * rows_apart), at(column, 0)])
            .collect()
    } else if per_row % threads == 0 {
        let rounds_per_row = per_row / threads;
        let (row, column) = (b.index(0), LaneArithmetic::mul(b, thread, elements));
        (0..rounds)
            .map(|round| {
                let columns = round % rounds_per_row * threads * elements;
                [at(row, round / rounds_per_row), at(column, columns)]
            })
            .collect()
    } else {
        let place = |round| {
            let number = plus(b, thread, round * threads);
            let row = LaneArithmetic::div(b, number, per_row);
            let column = LaneArithmetic::mul(b, LaneArithmetic::rem(b, number, per_row), elements);
            [at(row, 0), at(column, 0)]
        };
        (0..rounds).map(place).collect()
    }
}

/// Whether both conditions hold; `None` holds always.
pub(super) fn both<'c>(b: &Builder<'c>, one: Option<Value<'c>>, other: Option<Value<'c>>) -> Option<Value<'c>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(b.and(one, other)),
        (one, other) => one.or(other),
    }
}

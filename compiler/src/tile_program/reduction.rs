//! The end of a block that shares its tile's sum with others (`split_k`).
//!
//! ```mlir
//! gpu.barrier
//! vector.store %sums, %partials[%tile, %split, …, %thread, …]          // this block's part
//! llvm.fence acq_rel
//! %before = memref.atomic_rmw addi %one, %arrived[%tile, %thread]
//! scf.if %before == split_k - 1 {                                      // the others' parts are there
//!   llvm.fence acq_rel
//!   %whole = partials of split 0 + partials of split 1 + …             // always in that order
//!   store %whole to C; memref.atomic_rmw assign 0, %arrived[%tile, %thread]
//! ```
//!
//! The parts are added in the order of their chunks by whoever comes last, so that the result does not depend on who
//! that is: `red.global.add` straight into C would differ from run to run, round f16 results after each part, and want
//! a C of zeros. A second kernel would cost a launch, more than most of these matmuls take.
//!
//! The barrier ends the loop over chunks: a fence may order any access, also those of the loop's last iteration, and what
//! only the loop's own barriers order keeps the loop from being pipelined.
//!
//! Each thread has a counter of its own, and reads what the threads of its number in the other blocks wrote. Their fences
//! and atomics release it, its own acquire it (PTX ISA, "Memory Consistency Model"); no shared memory is needed.
//! The fences stand by themselves since LLVM (22) makes a relaxed `atom` of an `atomicrmw acq_rel`. The counters are zero
//! again afterwards.

use alcop_spec::tiles::PIECE_SUMS;

use super::matmul::alignment;
use crate::ir::{Attr, Builder, CmpPredicate, Type, Value};

/// What the blocks of a tile share.
pub(super) struct Reduction<'c> {
    pub split_k: i64,
    /// Tiles × splits × pieces × threads × sums.
    pub partials: Value<'c>,
    /// Tiles × threads.
    pub arrived: Value<'c>,
    /// The tile's number.
    pub tile: Value<'c>,
    /// The block's run of chunks.
    pub split: Value<'c>,
    pub thread: Value<'c>,
}

impl<'c> Reduction<'c> {
    /// Stores the block's sums; where all blocks of the tile have done so, `store` gets the whole ones.
    pub fn emit(&self, b: &Builder<'c>, sums: &[Value<'c>], store: impl FnOnce(&Builder<'c>, &[Value<'c>])) {
        let context = b.context();
        let (element, zero) = (sums[0].ty().as_vector().expect("sums are vectors").1, b.index(0));
        let row = Type::vector(&[PIECE_SUMS as i64], element);
        let bytes = PIECE_SUMS as i64 * 4;
        b.op("gpu.barrier").build();
        for (piece, &sum) in (0..).zip(sums) {
            let flat = b.op("vector.shape_cast").operands(&[sum]).result(row).value();
            let place = [self.tile, self.split, b.index(piece), self.thread, zero];
            b.op("vector.store")
                .operands(&[&[flat, self.partials][..], &place].concat())
                .attr("alignment", alignment(context, bytes))
                .build();
        }
        let counter = Type::int(context, 32);
        let number = |value: i64| b.constant(Attr::int(counter, value), counter);
        fence(b);
        let before = b
            .op("memref.atomic_rmw")
            .operands(&[number(1), self.arrived, self.tile, self.thread])
            // arith::AtomicRMWKind::addi
            .attr("kind", Attr::int(Type::int(context, 64), 1))
            .result(counter)
            .value();
        let last = b.cmp(CmpPredicate::Eq, before, number(self.split_k - 1));
        b.if_then(last, |b| {
            fence(b);
            let wholes: Vec<Value<'c>> = (0..)
                .zip(sums)
                .map(|(piece, sum)| {
                    let part = |split: i64| {
                        let place = [self.tile, b.index(split), b.index(piece), self.thread, zero];
                        b.op("vector.load")
                            .operands(&[&[self.partials][..], &place].concat())
                            .attr("alignment", alignment(context, bytes))
                            .result(row)
                            .value()
                    };
                    let parts: Vec<Value<'c>> = (0..self.split_k).map(part).collect();
                    let whole = parts.into_iter().reduce(|whole, part| add(b, whole, part));
                    let whole = whole.expect("at least two parts");
                    b.op("vector.shape_cast").operands(&[whole]).result(sum.ty()).value()
                })
                .collect();
            store(b, &wholes);
            // Atomic as well: a plain store would race with the others' atomics, which come after their fences.
            b.op("memref.atomic_rmw")
                .operands(&[number(0), self.arrived, self.tile, self.thread])
                // arith::AtomicRMWKind::assign
                .attr("kind", Attr::int(Type::int(context, 64), 2))
                .result(counter)
                .build();
        });
    }
}

/// Orders this thread's accesses before and behind it, for all threads of the device (`fence.acq_rel.gpu`).
fn fence(b: &Builder<'_>) {
    let context = b.context();
    // llvm::AtomicOrdering::AcquireRelease
    let ordering = Attr::int(Type::int(context, 64), 6);
    b.op("llvm.fence")
        .attr("ordering", ordering)
        .attr("syncscope", Attr::string(context, "device"))
        .build();
}

/// The sum of two vectors; that of integers stops at the largest and smallest, as those of the tensor cores do.
fn add<'c>(b: &Builder<'c>, one: Value<'c>, other: Value<'c>) -> Value<'c> {
    let ty = one.ty();
    let (shape, element) = ty.as_vector().expect("a vector");
    let of = |name, operands: &[Value<'c>], ty| b.op(name).operands(operands).result(ty).value();
    if element.is_float() {
        return of("arith.addf", &[one, other], ty);
    }
    let long = Type::int(b.context(), 64);
    let wide = Type::vector(&shape, long);
    let splat = |number: i32| b.constant(Attr::splat(wide, Attr::int(long, number.into())), wide);
    let [one, other] = [one, other].map(|value| of("arith.extsi", &[value], wide));
    let sum = of("arith.addi", &[one, other], wide);
    let bounded = of("arith.minsi", &[sum, splat(i32::MAX)], wide);
    let bounded = of("arith.maxsi", &[bounded, splat(i32::MIN)], wide);
    of("arith.trunci", &[bounded], ty)
}

//! A loop whose buffers have one slot each: nothing overlaps, and its barriers and copies stay.
//!
//! ```text
//! for k { copy A[k] -> S; barrier; for i { f = load S[i]; mma f }; barrier }
//! // becomes, in the ring's memory and layout,
//! for k { copy A[k] -> S'; barrier; f = load S'[0]; mma f; f = load S'[1]; mma f; barrier }
//! ```

use alcop_compiler::ir::{Builder, Context, Mapping, Op, Type, Value, clone_op, preorder};

use super::check::PipelineLoop;
use super::copies::Site;
use super::fill;
use super::items::Registers;
use crate::slice::usable_before;

/// One slot: the loop as it was, with its own barriers and plain copies, in the ring's memory and layout. Register loops
/// are unrolled.
pub fn single_slot<'ir>(context: &'ir Context, pipelined: &PipelineLoop<'ir>, rings: &[Value<'ir>]) {
    let outer = pipelined.outer();
    let builder = Builder::before(context, outer);
    let mut map = Mapping::new();
    for (planned, ring) in pipelined.buffers.iter().zip(rings) {
        let view = planned.slot(&builder, *ring, builder.index(0));
        for value in &planned.buffer.values {
            map.insert(*value, view);
        }
        for view in planned
            .buffer
            .views
            .iter()
            .filter(|view| usable_before(view.result(0), outer))
        {
            clone_op(&builder, *view, &mut map);
        }
    }
    for op in preorder(outer) {
        for (operand, value) in op.operands().enumerate().collect::<Vec<_>>() {
            op.set_operand(operand, map.get(value));
        }
    }
    for site in pipelined.sites.iter().filter(|site| site.store.is("memref.copy")) {
        spell_copy(context, pipelined.kernel, site, site.store);
    }
    for registers in &pipelined.registers {
        if registers.inner == pipelined.inner() {
            continue;
        }
        let place = Builder::before(context, registers.inner);
        let mut values: Vec<Value<'ir>> = registers.inner.operands().skip(3).collect();
        for step in 0..registers.steps {
            values = unroll(
                &place,
                registers,
                step,
                &values,
                &mut Mapping::new(),
                |builder, op, map| {
                    clone_op(builder, op, map);
                },
            );
        }
        for (old, new) in registers.inner.results().zip(values) {
            old.replace_all_uses_with(new);
        }
        registers.inner.erase();
    }
}

/// Pieces that a thread's own copy is unrolled into at most; where there are more, it stays, to become loops.
const MAX_OWN_PIECES: u64 = 64;

/// A `memref.copy` becomes plain loads and stores: of each thread's share, where all do it together, otherwise of all of
/// it. `copy` is that of the site, or its clone.
pub fn spell_copy<'ir>(context: &'ir Context, kernel: Op<'ir>, site: &Site<'ir>, copy: Op<'ir>) {
    if !site.together && site.pieces(kernel) > MAX_OWN_PIECES {
        return;
    }
    let builder = Builder::before(context, copy);
    let (source, target) = (copy.operand(0), copy.operand(1));
    let parts = target.ty().as_memref().expect("checked to be a memref");
    let element = parts.element.bytes().expect("checked to be whole bytes");
    let piece = Type::vector(&[(u64::from(site.width_bytes) / element) as i64], parts.element);
    for (indices, inside) in fill::parts(&builder, kernel, site, &parts) {
        let move_piece = |builder: &Builder<'ir>| {
            let load = [&[source][..], &indices].concat();
            let value = builder.op("vector.load").operands(&load).result(piece).value();
            let store = [&[value, target][..], &indices].concat();
            builder.op("vector.store").operands(&store).build();
        };
        match inside {
            Some(inside) => {
                builder.if_then(inside, move_piece);
            }
            None => move_piece(&builder),
        }
    }
    copy.erase();
}

/// The operations of one step of a register loop, each handed to `emit`. Returns what the step yields.
pub fn unroll<'ir>(
    body: &Builder<'ir>,
    registers: &Registers<'ir>,
    number: usize,
    values: &[Value<'ir>],
    map: &mut Mapping<'ir>,
    mut emit: impl FnMut(&Builder<'ir>, Op<'ir>, &mut Mapping<'ir>),
) -> Vec<Value<'ir>> {
    let block = registers.inner.body().expect("scf.for has one block");
    map.insert(
        block.argument(0),
        body.index(registers.lower + number as i64 * registers.step),
    );
    for (old, new) in block.arguments().skip(1).zip(values) {
        map.insert(old, *new);
    }
    for op in block.ops() {
        if op.is("scf.yield") {
            return op.operands().map(|value| map.get(value)).collect();
        }
        emit(&body.with_location(op.location()), op, map);
    }
    unreachable!("scf.for ends in a yield")
}

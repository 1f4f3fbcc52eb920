//! Re-materialising values elsewhere: the address arithmetic behind a load or a store, cloned for another iteration.

use alcop_compiler::ir::{Block, Builder, Def, Mapping, Op, Value, clone_op};

/// Whether an operation may be executed again, anywhere its operands are known: no effect, no region.
pub fn is_pure(op: Op<'_>) -> bool {
    if op.num_regions() != 0 {
        return false;
    }
    match op.dialect() {
        "arith" | "affine" | "index" => !op.name().starts_with("affine.load") && !op.name().starts_with("affine.store"),
        "gpu" => matches!(
            op.name(),
            "gpu.thread_id" | "gpu.block_id" | "gpu.block_dim" | "gpu.grid_dim" | "gpu.lane_id" | "gpu.subgroup_id"
        ),
        "memref" => matches!(
            op.name(),
            "memref.subview"
                | "memref.cast"
                | "memref.reinterpret_cast"
                | "memref.expand_shape"
                | "memref.collapse_shape"
                | "memref.view"
                | "memref.dim"
                | "memref.get_global"
        ),
        "vector" => matches!(
            op.name(),
            "vector.extract"
                | "vector.insert"
                | "vector.broadcast"
                | "vector.extract_strided_slice"
                | "vector.insert_strided_slice"
                | "vector.shape_cast"
                | "vector.bitcast"
        ),
        _ => false,
    }
}

/// The first operation inside `scope` on which `value` depends and which cannot be cloned elsewhere: neither pure nor
/// accepted by `known` (values that the caller maps itself).
pub fn blocker<'ir>(value: Value<'ir>, scope: Op<'ir>, known: &dyn Fn(Value<'ir>) -> bool) -> Option<Op<'ir>> {
    if known(value) {
        return None;
    }
    match value.def() {
        Def::Argument(block, _) => {
            let owner = block.parent()?;
            owner.is_within(scope).then_some(owner)
        }
        Def::Result(op, _) => {
            if !op.is_within(scope) {
                return None;
            }
            if !is_pure(op) {
                return Some(op);
            }
            op.operands().find_map(|operand| blocker(operand, scope, known))
        }
    }
}

/// What stands for `value` here: its mapping, itself when it is defined outside of `scope`, or a clone of the pure
/// operations behind it. [`blocker`] must have found nothing.
pub fn materialize<'ir>(
    builder: &Builder<'ir>,
    value: Value<'ir>,
    scope: Op<'ir>,
    map: &mut Mapping<'ir>,
) -> Value<'ir> {
    if map.contains(value) {
        return map.get(value);
    }
    let Def::Result(op, _) = value.def() else { return value };
    if !op.is_within(scope) {
        return value;
    }
    assert!(is_pure(op), "{op:?} was checked to be pure before the rewrite");
    for operand in op.operands() {
        materialize(builder, operand, scope, map);
    }
    clone_op(builder, op, map);
    map.get(value)
}

/// Erases the pure operations of a block whose results nobody uses, last first.
pub fn erase_dead(block: Block<'_>) {
    for op in block.ops().into_iter().rev() {
        if op.num_results() > 0 && !op.is_used() && is_pure(op) {
            op.erase();
        }
    }
}

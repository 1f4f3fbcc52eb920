//! Re-materialising values elsewhere: the address arithmetic behind a load or a store, cloned for another iteration.

use std::collections::HashSet;

pub use alcop_compiler::ir::usable_before;
use alcop_compiler::ir::{Block, Builder, Def, Mapping, Op, Value, clone_op};

/// Whether an operation may be executed again, anywhere its operands are known: no effect, no region.
pub fn is_pure(op: Op<'_>) -> bool {
    if op.num_regions() != 0 {
        return false;
    }
    match op.dialect() {
        // An operation of `math` that nothing uses any more goes, too: work that has moved out of a copy.
        "arith" | "affine" | "index" | "math" => {
            !op.name().starts_with("affine.load") && !op.name().starts_with("affine.store")
        }
        "gpu" => matches!(
            op.name(),
            "gpu.thread_id"
                | "gpu.block_id"
                | "gpu.block_dim"
                | "gpu.grid_dim"
                | "gpu.lane_id"
                | "gpu.subgroup_id"
                | "gpu.subgroup_size"
                | "gpu.num_subgroups"
                | "gpu.global_id"
                | "gpu.dynamic_shared_memory"
        ),
        "memref" => is_view(op) || matches!(op.name(), "memref.dim" | "memref.get_global"),
        "vector" => matches!(
            op.name(),
            "vector.extract"
                | "vector.insert"
                | "vector.broadcast"
                | "vector.splat"
                | "vector.extract_strided_slice"
                | "vector.insert_strided_slice"
                | "vector.shape_cast"
                | "vector.bitcast"
                | "vector.create_mask"
                | "vector.constant_mask"
        ),
        _ => op.is("builtin.unrealized_conversion_cast"),
    }
}

/// Whether an operation's result is a part of its first operand's memory, under another type.
pub fn is_view(op: Op<'_>) -> bool {
    matches!(
        op.name(),
        "memref.subview"
            | "memref.view"
            | "memref.cast"
            | "memref.reinterpret_cast"
            | "memref.expand_shape"
            | "memref.collapse_shape"
            | "memref.memory_space_cast"
            | "memref.assume_alignment"
            | "memref.transpose"
    ) && op.num_results() == 1
}

/// Whether an operation reads memory and does nothing else.
pub fn is_load(op: Op<'_>) -> bool {
    matches!(
        op.name(),
        "vector.load" | "memref.load" | "vector.transfer_read" | "vector.maskedload" | "nvgpu.ldmatrix"
    )
}

/// Whether an operation reads one value from global memory, as an address that is looked up there does.
pub fn is_lookup(op: Op<'_>) -> bool {
    matches!(op.name(), "memref.load" | "vector.load")
        && op
            .operand(0)
            .ty()
            .as_memref()
            .is_some_and(|memref| !memref.is_workgroup)
}

/// The first operation inside `scope` on which `value` depends and which cannot be cloned elsewhere: neither pure, nor
/// a lookup, nor accepted by `known` (values that the caller maps itself).
pub fn blocker<'ir>(value: Value<'ir>, scope: Op<'ir>, known: &dyn Fn(Value<'ir>) -> bool) -> Option<Op<'ir>> {
    let mut seen = HashSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if known(value) || !seen.insert(value) {
            continue;
        }
        match value.def() {
            Def::Argument(block, _) => {
                let owner = block.parent()?;
                if owner.is_within(scope) {
                    return Some(owner);
                }
            }
            Def::Result(op, _) if !op.is_within(scope) => {}
            Def::Result(op, _) if is_pure(op) || is_lookup(op) => open.extend(op.operands()),
            Def::Result(op, _) => return Some(op),
        }
    }
    None
}

/// Puts clones of the computation behind a value wherever it is needed: for another iteration, into another slot.
pub struct Materializer<'a, 'ir> {
    /// Values that are computed inside of it are cloned; those outside are taken as they are.
    pub scope: Op<'ir>,
    /// Views of buffers that become rings: cloned wherever they were defined.
    pub views: &'a HashSet<Value<'ir>>,
}

impl<'ir> Materializer<'_, 'ir> {
    /// What stands for `value` here. [`blocker`] must have found nothing; a lookup is what `lookup` makes of it.
    pub fn get(
        &self,
        builder: &Builder<'ir>,
        value: Value<'ir>,
        map: &mut Mapping<'ir>,
        lookup: &mut dyn FnMut(&Builder<'ir>, Op<'ir>, &mut Mapping<'ir>) -> Value<'ir>,
    ) -> Value<'ir> {
        if map.contains(value) {
            return map.get(value);
        }
        let Def::Result(op, _) = value.def() else { return value };
        if !op.is_within(self.scope) && !self.views.contains(&value) {
            return value;
        }
        for operand in op.operands() {
            self.get(builder, operand, map, lookup);
        }
        if is_lookup(op) {
            let found = lookup(builder, op, map);
            map.insert(value, found);
            return found;
        }
        assert!(is_pure(op), "{op:?} was checked to be pure before the rewrite");
        clone_op(builder, op, map);
        map.get(value)
    }
}

/// Erases what a block computes or reads for nobody, last first, and what became empty by it.
pub fn erase_dead(block: Block<'_>) {
    for op in block.ops().into_iter().rev() {
        for inner in op.regions().flat_map(|region| region.blocks().collect::<Vec<_>>()) {
            erase_dead(inner);
        }
        if !op.is_used() && is_idle(op) {
            op.erase();
        }
    }
}

/// Whether executing an operation changes nothing but its results.
fn is_idle(op: Op<'_>) -> bool {
    if matches!(op.name(), "scf.if" | "scf.for" | "affine.for") {
        let mut inside = op
            .regions()
            .flat_map(|region| region.blocks().flat_map(Block::ops).collect::<Vec<_>>());
        return inside.all(|op| matches!(op.name(), "scf.yield" | "affine.yield") || is_idle(op));
    }
    op.num_results() > 0 && (is_pure(op) || is_load(op))
}

//! Cloning with a map from old values to new ones.

use std::collections::HashMap;

use mlir_sys::mlirOperationClone;

use super::builder::Builder;
use super::handles::{Op, Value};
use super::walk::preorder;

/// Old values and what stands for them in a copy.
#[derive(Clone, Default)]
pub struct Mapping<'ir>(HashMap<Value<'ir>, Value<'ir>>);

impl<'ir> Mapping<'ir> {
    /// Nothing is replaced.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses of `old` become uses of `new` in what is cloned from now on.
    pub fn insert(&mut self, old: Value<'ir>, new: Value<'ir>) {
        self.0.insert(old, new);
    }

    /// What stands for a value: itself, unless it was mapped.
    pub fn get(&self, old: Value<'ir>) -> Value<'ir> {
        self.0.get(&old).copied().unwrap_or(old)
    }

    /// Whether a value was mapped.
    pub fn contains(&self, old: Value<'ir>) -> bool {
        self.0.contains_key(&old)
    }
}

/// Clones an operation with everything inside it, replaces mapped operands, and maps its results to the clone's.
pub fn clone_op<'ir>(builder: &Builder<'ir>, op: Op<'ir>, map: &mut Mapping<'ir>) -> Op<'ir> {
    // SAFETY: the clone is owned by nobody until it is inserted.
    let clone = unsafe { Op::from_raw(mlirOperationClone(op.raw())) };
    builder.insert(clone);
    for inner in preorder(clone) {
        for (index, operand) in inner.operands().enumerate().collect::<Vec<_>>() {
            let mapped = map.get(operand);
            if mapped != operand {
                inner.set_operand(index, mapped);
            }
        }
    }
    for (old, new) in op.results().zip(clone.results()) {
        map.insert(old, new);
    }
    clone
}

/// Clones operations in order.
pub fn clone_ops<'ir>(builder: &Builder<'ir>, ops: &[Op<'ir>], map: &mut Mapping<'ir>) -> Vec<Op<'ir>> {
    ops.iter().map(|&op| clone_op(builder, op, map)).collect()
}

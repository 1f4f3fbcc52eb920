//! Walks, and names for operations that survive printing and parsing.

use std::collections::HashMap;

use super::attributes::Attr;
use super::handles::{Op, OpId, Value};

/// The operation and everything inside it, parents before children, in textual order.
pub fn preorder(root: Op<'_>) -> Vec<Op<'_>> {
    let mut out = Vec::new();
    visit(root, &mut out);
    out
}

fn visit<'ir>(op: Op<'ir>, out: &mut Vec<Op<'ir>>) {
    out.push(op);
    for region in op.regions() {
        for block in region.blocks() {
            for inner in block.ops() {
                visit(inner, out);
            }
        }
    }
}

/// The nearest operation of a name around this one.
pub fn enclosing<'ir>(op: Op<'ir>, name: &str) -> Option<Op<'ir>> {
    let mut parent = op.parent();
    while let Some(current) = parent {
        if current.is(name) {
            return Some(current);
        }
        parent = current.parent();
    }
    None
}

/// Whether a value is there before an operation of its kernel.
pub fn usable_before<'ir>(value: Value<'ir>, op: Op<'ir>) -> bool {
    let Some(def) = value.def_op() else { return true };
    let mut place = Some(op);
    while let Some(current) = place {
        if current.block() == def.block() {
            return def.is_before(current);
        }
        place = current.parent();
    }
    false
}

/// The value of an integer constant (`arith.constant`, index or integer).
pub fn constant_index(value: Value<'_>) -> Option<i64> {
    let op = value.def_op()?;
    if !op.is("arith.constant") {
        return None;
    }
    op.attr("value")?.as_int()
}

/// Whether a value is a constant of which every bit is zero, as `cp.async` fills.
pub fn is_zero(value: Value<'_>) -> bool {
    let Some(op) = value.def_op() else { return false };
    match op.name() {
        "arith.constant" => op.attr("value").is_some_and(Attr::is_zero),
        "vector.broadcast" | "vector.splat" => is_zero(op.operand(0)),
        _ => false,
    }
}

/// Both directions between operations and their [`OpId`]s, for one state of a module.
pub struct OpIndex<'ir> {
    by_name: HashMap<&'ir str, Vec<Op<'ir>>>,
    ids: HashMap<Op<'ir>, usize>,
}

impl<'ir> OpIndex<'ir> {
    /// Numbers all operations below (and including) `root`.
    pub fn new(root: Op<'ir>) -> Self {
        let mut by_name: HashMap<&'ir str, Vec<Op<'ir>>> = HashMap::new();
        let mut ids = HashMap::new();
        for op in preorder(root) {
            let same = by_name.entry(op.name()).or_default();
            ids.insert(op, same.len());
            same.push(op);
        }
        OpIndex { by_name, ids }
    }

    /// The plain-data name of an operation of this module.
    pub fn id(&self, op: Op<'ir>) -> Option<OpId> {
        Some(OpId {
            op: op.name().to_owned(),
            index: *self.ids.get(&op)?,
        })
    }

    /// The operation of a name.
    pub fn find(&self, id: &OpId) -> Option<Op<'ir>> {
        self.by_name.get(id.op.as_str())?.get(id.index).copied()
    }

    /// All operations of a name, in textual order.
    pub fn named(&self, name: &str) -> &[Op<'ir>] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }
}

//! Dynamic shared memory: the windows into it whose place is known, and what keeps its end unknown.
//!
//! ```mlir
//! %all = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
//! %a = memref.view %all[%c0][] : … to memref<32x4xf32, …>      bytes 0 to 512
//! %b = memref.view %all[%off][] : … to memref<32x4xf32, …>     no place: nothing is known to be free
//! ```

use std::collections::HashSet;

use super::handles::{Op, Value};
use super::walk::{constant_index, preorder};

/// A view of dynamic shared memory at a constant place: the value, its first byte and the byte behind it.
pub type Window<'ir> = (Value<'ir>, u64, u64);

/// The view's place, if an operation makes one of static size at a constant place.
pub fn window<'ir>(op: Op<'ir>) -> Option<Window<'ir>> {
    if !op.is("memref.view") || !op.operand(0).def_op()?.is("gpu.dynamic_shared_memory") {
        return None;
    }
    let start = u64::try_from(constant_index(op.operand(1))?).ok()?;
    let bytes = op.result(0).ty().as_memref()?.static_bytes()?;
    Some((op.result(0), start, start.checked_add(bytes)?))
}

/// Every window below `root`, in textual order.
pub fn windows<'ir>(root: Op<'ir>) -> Vec<Window<'ir>> {
    preorder(root).into_iter().filter_map(window).collect()
}

/// A use of dynamic shared memory below `root` that is no [`window`] and none of the given views: it may reach anywhere.
pub fn use_at_unknown_place<'ir>(root: Op<'ir>, without: &HashSet<Value<'ir>>) -> Option<Op<'ir>> {
    let all = preorder(root)
        .into_iter()
        .filter(|op| op.is("gpu.dynamic_shared_memory"));
    let mut uses = all.flat_map(|op| op.result(0).uses()).map(|used| used.op);
    let own = |op: &Op<'ir>| op.results().next().is_some_and(|result| without.contains(&result));
    uses.find(|op| !own(op) && window(*op).is_none())
}

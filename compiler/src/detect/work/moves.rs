//! What must hold of a buffer and its reads before work moves behind them.
//!
//! ```text
//! %x = vector.load %s[…]                       can be followed by the work
//! %x = vector.transfer_read %s[…], %padding    cannot, where it pads
//! ```

use super::Problem;
use super::Work;
use crate::ir::{Attr, Def, Op, Type, Value, usable_before};

/// Whether the work may be done on what an operation reads.
pub fn can_follow<'ir>(work: &Work<'ir>, read: Op<'ir>) -> Result<(), Problem<'ir>> {
    let refuse = |message: String| {
        Err(Problem {
            op: Some(read),
            message,
        })
    };
    let (from, to) = work.types();
    let names: Vec<&str> = work.chain.iter().map(|op| op.name()).collect();
    let names = names.join(", ");
    let whole = match read.name() {
        "vector.load" | "memref.load" => true,
        "nvgpu.ldmatrix" if from == to => true,
        "vector.transfer_read" if from == to => {
            let rank = read.operand(0).ty().memref_rank().unwrap_or(0);
            let bounds = read.attr("in_bounds").and_then(Attr::as_array).unwrap_or_default();
            let inside = bounds.iter().all(|one| one.as_bool() == Some(true));
            if !inside || bounds.is_empty() || read.num_operands() != rank + 2 {
                let message = format!(
                    "the element-wise work of the copies ({names}) cannot move behind a read with a mask or out of \
                     bounds, whose padding it would change"
                );
                return refuse(message);
            }
            true
        }
        _ => false,
    };
    if !whole || read.num_results() != 1 {
        let why = match read.name() {
            "nvgpu.ldmatrix" | "vector.transfer_read" => format!(", which would read {from} instead of {to}"),
            _ => String::new(),
        };
        let message = format!(
            "the element-wise work of the copies ({names}) cannot move behind {}{why}",
            read.name()
        );
        return refuse(message);
    }
    if work.scalars.iter().any(|scalar| !usable_before(*scalar, read)) {
        let message = format!(
            "the element-wise work of the copies ({names}) uses a value that is not there where the buffer is read; \
             compute it before the loop"
        );
        return refuse(message);
    }
    Ok(())
}

/// Whether a buffer of `to` can become one of `from`: an allocation or attribution of the kernel, whose views count
/// elements, and whose accesses are loads and stores.
pub fn can_hold<'ir>(buffer: Value<'ir>, from: Type<'ir>, to: Type<'ir>) -> Result<(), Problem<'ir>> {
    let refuse = |op: Option<Op<'ir>>, what: &str| {
        let message = format!(
            "once the element-wise work has moved, the buffer would hold {from} instead of {to}, which {what} does not \
             allow"
        );
        Err(Problem { op, message })
    };
    let movable = match buffer.def() {
        Def::Argument(..) => true,
        Def::Result(op, _) => op.is("memref.alloc"),
    };
    if !movable {
        return refuse(None, "memory that is not an allocation of the kernel");
    }
    if from.bytes().is_none() || to.bytes().is_none() {
        return refuse(None, "the size of its elements");
    }
    let mut open = vec![buffer];
    while let Some(value) = open.pop() {
        if value.ty().memref_element() != Some(to) {
            return refuse(value.def_op(), "a view of other elements");
        }
        for used in value.uses() {
            let op = used.op;
            match op.name() {
                "memref.subview"
                | "memref.cast"
                | "memref.expand_shape"
                | "memref.collapse_shape"
                | "memref.transpose"
                | "memref.reinterpret_cast"
                | "memref.memory_space_cast"
                    if used.operand == 0 =>
                {
                    open.push(op.result(0));
                }
                "memref.assume_alignment" if value == buffer => open.push(op.result(0)),
                "vector.load" | "memref.load" | "memref.dealloc" | "memref.dim" => {}
                "vector.store" | "memref.store" | "vector.transfer_write" if used.operand == 1 => {}
                name => return refuse(Some(op), name),
            }
        }
    }
    Ok(())
}

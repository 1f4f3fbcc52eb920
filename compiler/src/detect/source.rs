//! Where a stored value comes from: one load, whatever element-wise work stands between, and what fills in for it.
//!
//! ```text
//! %v = vector.load …; %w = arith.mulf %v, %scale; vector.store %w     the load, and a chain of one operation
//! %v = scf.if %in { vector.load … } else { zeros }                     the load, guarded by %in
//! ```

use super::effects::{Transfer, accesses, transfer};
use super::footprint::loops_between;
use super::kernel::Touch;
use super::shared::Case;
use super::uniform::is_uniform;
use super::verdict::ReasonCode;
use super::work::{self, Problem, Work};
use crate::ir::{Def, Op, Value, is_zero};

impl<'ir> Case<'_, 'ir> {
    /// The load behind a value of the loop, with guards and element-wise work on it.
    pub fn trace(&self, value: Value<'ir>, scope: Op<'ir>) -> Result<Work<'ir>, Problem<'ir>> {
        work::trace(self.scene.context, value, scope, &|scalar| {
            self.is_same_everywhere(scalar, scope)
        })
    }

    /// Whether every thread of the block computes the same in every iteration of a loop.
    fn is_same_everywhere(&self, value: Value<'ir>, scope: Op<'ir>) -> bool {
        let mut open = vec![value];
        // A bound for expressions that share parts.
        for _ in 0..100 {
            let Some(value) = open.pop() else { return true };
            let inside = match value.def() {
                Def::Result(op, _) => Some(op).filter(|op| self.scene.is_inside(*op, scope)),
                Def::Argument(block, _) => {
                    let owner = block.parent();
                    if owner.is_some_and(|owner| owner == scope || self.scene.is_inside(owner, scope)) {
                        return false;
                    }
                    None
                }
            };
            match inside {
                Some(op) => {
                    let pure = matches!(op.dialect(), "arith" | "math" | "index") && op.num_regions() == 0;
                    if !pure && !matches!(op.name(), "vector.broadcast" | "vector.splat") {
                        return false;
                    }
                    open.extend(op.operands());
                }
                None if is_uniform(self.scene, value) => {}
                None => return false,
            }
        }
        false
    }

    /// The load stands in the same iteration, feeds nothing else, and reads memory that `cp.async` can read: global
    /// memory that every thread sees.
    pub fn source(&mut self, work: &Work<'ir>, store: &Touch<'ir>, scope: Op<'ir>) -> Option<Touch<'ir>> {
        let load = work.load;
        let access = accesses(load).into_iter().next()?;
        let touch = Touch {
            op: load,
            at: self.scene.at(load)?,
            access,
            place: self.scene.memory.place(load.operand(access.memref)),
            writes: false,
        };
        let mut fine = true;
        let elsewhere = work.used_elsewhere(store.op).is_some();
        if loops_between(load, scope) != loops_between(store.op, scope) || elsewhere {
            let message = "the load does not stand beside the store, or its value is used elsewhere too";
            self.refuse(ReasonCode::NotAPureCopy, store.op, message);
            fine = false;
        }
        if !self.scene.memory.is_global(&touch.place) {
            let message = "the load is not from an argument or a global in global memory";
            self.refuse(ReasonCode::NotAPureCopy, load, message);
            fine = false;
        }
        let fill = match load.name() {
            "vector.transfer_read" => {
                let Transfer {
                    in_bounds,
                    mask,
                    padding,
                    straight,
                } = transfer(load, access);
                if !straight {
                    self.refuse(
                        ReasonCode::NotAPureCopy,
                        load,
                        "the read permutes or broadcasts dimensions",
                    );
                    return None;
                }
                (!in_bounds || mask.is_some()).then_some((padding, mask))
            }
            "vector.maskedload" => Some((
                load.operands().last(),
                load.operands().nth(load.num_operands().saturating_sub(2)),
            )),
            _ => None,
        };
        if let Some((padding, mask)) = fill {
            if !padding.is_some_and(is_zero) {
                let message = "what the mask or the bounds leave out is filled with something else than zeros, and \
                               cp.async fills with zeros";
                self.refuse(ReasonCode::NotAPureCopy, load, message);
                fine = false;
            }
            if !mask.is_none_or(is_prefix) {
                let message = "the mask is not known to be a prefix (vector.create_mask), and cp.async copies the first \
                               bytes";
                self.refuse(ReasonCode::NotAPureCopy, load, message);
                fine = false;
            }
        }
        fine.then_some(touch)
    }
}

/// Whether a value is what the iteration before loaded.
pub fn carries_load<'ir>(value: Value<'ir>, scope: Op<'ir>) -> bool {
    let Def::Argument(block, number @ 1..) = value.def() else {
        return false;
    };
    let yielded = block.terminator().and_then(|end| end.operands().nth(number - 1));
    block.parent() == Some(scope) && yielded.and_then(Value::def_op).is_some_and(work::is_source)
}

/// Whether a mask is on for the first elements and off for the others.
fn is_prefix(mask: Value<'_>) -> bool {
    let flat = mask.ty().as_vector().is_some_and(|(shape, _)| shape.len() == 1);
    flat && mask
        .def_op()
        .is_some_and(|op| matches!(op.name(), "vector.create_mask" | "vector.constant_mask"))
}

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
use crate::ir::{Def, Op, Value, is_zero};

/// Where a stored value comes from.
pub struct Traced<'ir> {
    pub load: Op<'ir>,
    pub chain: Vec<Op<'ir>>,
    /// Conditions that replace it by zeros, and the operations that do so.
    pub guards: Vec<Value<'ir>>,
    pub passed: Vec<Op<'ir>>,
}

impl<'ir> Case<'_, 'ir> {
    /// The load behind a value: itself, or behind element-wise operations on it and on what is the same everywhere.
    pub fn trace(&self, value: Value<'ir>, scope: Op<'ir>) -> Option<Traced<'ir>> {
        let mut traced: Option<Traced<'ir>> = None;
        let (mut chain, mut guards, mut passed) = (Vec::new(), Vec::new(), Vec::new());
        let mut open = vec![value];
        // More operations than any element-wise chain has; a bound for expressions that share parts.
        for _ in 0..200 {
            let Some(value) = open.pop() else {
                let mut traced = traced?;
                (traced.chain, traced.guards, traced.passed) = (chain, guards, passed);
                return Some(traced);
            };
            let op = value.def_op().filter(|op| self.scene.is_inside(*op, scope));
            let Some(op) = op else {
                if !is_uniform(self.scene, value) {
                    return None;
                }
                continue;
            };
            match op.name() {
                "vector.load" | "memref.load" | "vector.transfer_read" | "vector.maskedload" => {
                    if traced.as_ref().is_some_and(|other| other.load != op) {
                        return None;
                    }
                    traced = Some(Traced {
                        load: op,
                        chain: Vec::new(),
                        guards: Vec::new(),
                        passed: Vec::new(),
                    });
                }
                "arith.constant" => {}
                // Zeros in place of what must not be loaded. Element-wise work on the loaded side alone would have to
                // keep zeros.
                "scf.if" | "arith.select" => match guarded(op, value) {
                    Some((guard, loaded)) if loaded_directly(loaded) => {
                        guards.push(guard);
                        passed.push(op);
                        open.push(loaded);
                    }
                    _ if op.is("arith.select")
                        && is_uniform(self.scene, op.operand(0))
                        && !self.is_inside_value(op.operand(0), scope) =>
                    {
                        chain.push(op);
                        open.extend(op.operands().skip(1));
                    }
                    _ => return None,
                },
                _ if matches!(op.dialect(), "arith" | "math") && op.num_results() == 1 && op.num_regions() == 0 => {
                    if is_invariant(self, op, scope) {
                        continue;
                    }
                    chain.push(op);
                    open.extend(op.operands());
                }
                "vector.broadcast" | "vector.splat" if is_invariant(self, op, scope) => {}
                _ => return None,
            }
        }
        None
    }

    pub fn is_inside_value(&self, value: Value<'ir>, scope: Op<'ir>) -> bool {
        value.def_op().is_some_and(|op| self.scene.is_inside(op, scope))
            || matches!(value.def(), Def::Argument(block, _) if block.parent() == Some(scope))
    }

    /// The load stands in the same iteration, feeds nothing else, and reads memory that `cp.async` can read: global
    /// memory that every thread sees.
    pub fn source(&mut self, traced: &Traced<'ir>, store: &Touch<'ir>, scope: Op<'ir>) -> Option<Touch<'ir>> {
        let load = traced.load;
        let access = accesses(load).into_iter().next()?;
        let touch = Touch {
            op: load,
            at: self.scene.at(load)?,
            access,
            place: self.scene.memory.place(load.operand(access.memref)),
            writes: false,
        };
        let mut fine = true;
        let passed = |op: Op<'ir>| traced.chain.contains(&op) || traced.passed.contains(&op);
        let mine = |user: Op<'ir>| {
            user == store.op || passed(user) || user.is("scf.yield") && user.parent().is_some_and(passed)
        };
        let values = traced
            .chain
            .iter()
            .chain(&traced.passed)
            .chain([&load])
            .flat_map(|op| op.results());
        let elsewhere = values.flat_map(Value::uses).any(|used| !mine(used.op));
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
    block.parent() == Some(scope) && yielded.is_some_and(loaded_directly)
}

/// The condition of a value that is zero on one side, and its other side.
pub fn guarded<'ir>(op: Op<'ir>, value: Value<'ir>) -> Option<(Value<'ir>, Value<'ir>)> {
    let (a, b) = if op.is("scf.if") {
        let Def::Result(_, number) = value.def() else {
            return None;
        };
        let mut sides = op.regions().filter_map(|region| {
            let block = region.blocks().next()?;
            block.terminator()?.operands().nth(number)
        });
        (sides.next()?, sides.next()?)
    } else {
        // A vector of conditions is no prefix.
        op.operand(0).ty().scalar_bits()?;
        (op.operand(1), op.operand(2))
    };
    match (is_zero(a), is_zero(b)) {
        (false, true) => Some((op.operand(0), a)),
        (true, false) => Some((op.operand(0), b)),
        _ => None,
    }
}

fn loaded_directly(value: Value<'_>) -> bool {
    value.def_op().is_some_and(|op| {
        matches!(
            op.name(),
            "vector.load" | "memref.load" | "vector.transfer_read" | "vector.maskedload"
        )
    })
}

/// Whether a mask is on for the first elements and off for the others.
fn is_prefix(mask: Value<'_>) -> bool {
    let flat = mask.ty().as_vector().is_some_and(|(shape, _)| shape.len() == 1);
    flat && mask
        .def_op()
        .is_some_and(|op| matches!(op.name(), "vector.create_mask" | "vector.constant_mask"))
}

/// Whether an operation of the loop computes the same in every iteration and thread.
fn is_invariant<'ir>(case: &Case<'_, 'ir>, op: Op<'ir>, scope: Op<'ir>) -> bool {
    let mut open: Vec<Value<'ir>> = op.operands().collect();
    for _ in 0..100 {
        let Some(value) = open.pop() else { return true };
        match value.def() {
            Def::Result(op, _) if case.scene.is_inside(op, scope) => {
                let pure = matches!(op.dialect(), "arith" | "math") && op.num_regions() == 0;
                if !pure && !matches!(op.name(), "vector.broadcast" | "vector.splat") {
                    return false;
                }
                open.extend(op.operands());
            }
            Def::Argument(block, _)
                if block.parent() == Some(scope)
                    || block.parent().is_some_and(|op| case.scene.is_inside(op, scope)) =>
            {
                return false;
            }
            _ if is_uniform(case.scene, value) => {}
            _ => return false,
        }
    }
    false
}

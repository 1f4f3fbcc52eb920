//! From a stored value back to its load: what is a guard, what is work, and what is neither.
//!
//! ```text
//! %v = load; %w = addf %v, 1; %g = select %in, %w, 1     a guard: one is what the work inside makes of zero
//! %v = load; %w = addf %v, 1; %g = select %in, %w, 0     work, where all threads agree on %in; otherwise neither
//! ```

use std::collections::{HashMap, HashSet};

use super::{Guard, Leaf, Problem, Work, is_elementwise, is_source, leaf, number};
use crate::ir::{Context, Def, Op, Value};

/// More operations than any element-wise chain has: a bound for expressions that share parts.
const MAX_OPS: usize = 200;

/// The load behind a stored value, and the work on it. `is_same` says of a scalar whether every thread has the same in
/// every iteration of `scope`.
pub fn trace<'ir>(
    context: &Context,
    stored: Value<'ir>,
    scope: Op<'ir>,
    is_same: &dyn Fn(Value<'ir>) -> bool,
) -> Result<Work<'ir>, Problem<'ir>> {
    let mut tracer = Tracer {
        context,
        scope,
        is_same,
        load: None,
        guards: Vec::new(),
        chain: Vec::new(),
        seen: HashMap::new(),
        left: MAX_OPS,
    };
    let behind = tracer.visit(stored)?;
    let (Some(load), Some(guards)) = (tracer.load, behind) else {
        return Err(Problem::of_nothing());
    };
    let guards: Vec<Guard<'ir>> = guards.iter().map(|number| tracer.guards[*number].clone()).collect();
    let mut work = Work {
        load,
        outcome: stored,
        guards,
        chain: tracer.chain,
        scalars: Vec::new(),
    };
    work.scalars = work.scalars_of(stored);
    match work.scalars.iter().find(|scalar| !is_same(**scalar)) {
        None => Ok(work),
        Some(_) => Err(Problem {
            op: work.chain.first().copied(),
            message:
                "element-wise work in the copy uses a value that is not known to be the same for every thread and \
                      iteration, and whoever reads would use their own"
                    .to_owned(),
        }),
    }
}

struct Tracer<'a, 'ir> {
    context: &'a Context,
    scope: Op<'ir>,
    is_same: &'a dyn Fn(Value<'ir>) -> bool,
    load: Option<Op<'ir>>,
    guards: Vec<Guard<'ir>>,
    chain: Vec<Op<'ir>>,
    /// Of each value the guards between it and the load; `None` where it does not depend on the load.
    seen: HashMap<Value<'ir>, Option<Vec<usize>>>,
    left: usize,
}

type Behind = Option<Vec<usize>>;

impl<'ir> Tracer<'_, 'ir> {
    fn visit(&mut self, value: Value<'ir>) -> Result<Behind, Problem<'ir>> {
        if let Some(behind) = self.seen.get(&value) {
            return Ok(behind.clone());
        }
        self.left = self.left.checked_sub(1).ok_or_else(Problem::of_nothing)?;
        let behind = match value.def_op().filter(|op| op.is_within(self.scope)) {
            Some(op) => self.visit_op(op, value)?,
            None => None,
        };
        self.seen.insert(value, behind.clone());
        Ok(behind)
    }

    fn visit_op(&mut self, op: Op<'ir>, value: Value<'ir>) -> Result<Behind, Problem<'ir>> {
        if is_source(op) {
            if self.load.is_some_and(|other| other != op) {
                let message = "what is stored is made of two loads, and a copy has one".to_owned();
                return Err(Problem { op: Some(op), message });
            }
            self.load = Some(op);
            return Ok(Some(Vec::new()));
        }
        if let Some(sides) = sides(op, value) {
            return self.choice(op, value, sides);
        }
        if !is_elementwise(op) {
            return Ok(None);
        }
        self.join(op, op.operands().collect())
    }

    /// An operation on values: a link of the chain, where one of them was loaded.
    fn join(&mut self, op: Op<'ir>, operands: Vec<Value<'ir>>) -> Result<Behind, Problem<'ir>> {
        let mut found: Behind = None;
        let mut others = Vec::new();
        for operand in operands {
            match (self.visit(operand)?, &found) {
                (None, _) => others.push(operand),
                (Some(guards), None) => found = Some(guards),
                (Some(guards), Some(known)) if guards == *known => {}
                (Some(_), Some(_)) => {
                    let message = "the loaded value is used with and without its guard, and a copy has one fill";
                    let message = message.to_owned();
                    return Err(Problem { op: Some(op), message });
                }
            }
        }
        if found.is_some() {
            for other in others {
                self.expect_alike(op, other)?;
            }
            self.chain.push(op);
        }
        Ok(found)
    }

    /// What is combined with the loaded value must be the same in all elements: who reads other pieces than were stored
    /// cannot tell which of them it gets.
    fn expect_alike(&mut self, op: Op<'ir>, value: Value<'ir>) -> Result<(), Problem<'ir>> {
        let mut open = vec![value];
        let mut seen = HashSet::new();
        while let Some(value) = open.pop() {
            if !seen.insert(value) {
                continue;
            }
            self.left = self.left.checked_sub(1).ok_or_else(Problem::of_nothing)?;
            match leaf(value) {
                Some(Leaf::Computed(inner)) => open.extend(inner.operands()),
                Some(_) => {}
                None => {
                    let message = format!(
                        "{} has an operand whose elements differ, and a read cannot tell which of them it gets",
                        op.name()
                    );
                    return Err(Problem { op: Some(op), message });
                }
            }
        }
        Ok(())
    }

    /// `arith.select` and `scf.if`: a guard, where one side is what the work so far makes of zeros.
    fn choice(&mut self, op: Op<'ir>, value: Value<'ir>, sides: [Value<'ir>; 2]) -> Result<Behind, Problem<'ir>> {
        let behind = [self.visit(sides[0])?, self.visit(sides[1])?];
        let chosen_by_it = self.load.is_some_and(|load| depends_on(op.operand(0), load));
        if op.is("arith.select") && (chosen_by_it || behind == [None, None]) {
            // A choice by what was loaded is work like other work: a ReLU that is spelled out.
            return self.join(op, op.operands().collect());
        }
        if chosen_by_it {
            return self.select(op, "its condition was loaded");
        }
        let (loaded_side, mut guards) = match behind {
            [None, None] => return Ok(None),
            [Some(guards), None] => (0, guards),
            [None, Some(guards)] => (1, guards),
            [Some(_), Some(_)] => return self.select(op, "both sides of it were loaded"),
        };
        let (loaded, other) = (sides[loaded_side], sides[1 - loaded_side]);
        let condition = op.operand(0);
        if condition.ty().as_vector().is_some() {
            return self.select(op, "its condition is a vector, and zero fill fills a whole copy");
        }
        let Some(filled) = number(other) else {
            return self.select(op, "its other side is not one constant");
        };
        let inner = Work {
            load: self.load.ok_or_else(Problem::of_nothing)?,
            outcome: loaded,
            guards: guards.iter().map(|number| self.guards[*number].clone()).collect(),
            chain: self.chain.clone(),
            scalars: Vec::new(),
        };
        if !inner.makes_of_zeros(self.context, filled) {
            return self.select(
                op,
                "its other side is not known to be what the work inside makes of zeros, which are what cp.async fills in",
            );
        }
        guards.push(self.guards.len());
        self.guards.push(Guard {
            op,
            value,
            condition,
            loaded_side,
            loaded,
        });
        Ok(Some(guards))
    }

    /// A choice that is not a guard: work like other work, where all threads choose alike in all iterations.
    fn select(&mut self, op: Op<'ir>, why: &str) -> Result<Behind, Problem<'ir>> {
        let condition = op.operand(0);
        let scalar = match leaf(condition) {
            Some(Leaf::Scalar(scalar)) => Some(scalar),
            _ => None,
        };
        let same = number(condition).is_some() || scalar.is_some_and(|scalar| (self.is_same)(scalar));
        if op.is("arith.select") && same {
            return self.join(op, op.operands().collect());
        }
        let rest = match op.name() {
            "arith.select" => "its condition is not known to be the same for every thread and iteration",
            _ => "it is no arith.select that could move",
        };
        let message = format!(
            "{} chooses between what was loaded and something else: {why}, and {rest}",
            op.name()
        );
        Err(Problem { op: Some(op), message })
    }
}

/// Whether a value is computed element by element from what an operation loads, be it behind a guard.
fn depends_on<'ir>(value: Value<'ir>, load: Op<'ir>) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        let Some(op) = value.def_op() else { continue };
        if op == load {
            return true;
        }
        if !seen.insert((op, value)) {
            continue;
        }
        if let Some(sides) = sides(op, value) {
            open.extend(sides);
        }
        if matches!(op.dialect(), "arith" | "math" | "vector") || op.is("scf.if") {
            open.extend(op.operands());
        }
    }
    false
}

/// What a choice chooses between.
fn sides<'ir>(op: Op<'ir>, value: Value<'ir>) -> Option<[Value<'ir>; 2]> {
    match op.name() {
        "arith.select" => Some([op.operand(1), op.operand(2)]),
        "scf.if" => {
            let Def::Result(_, number) = value.def() else {
                return None;
            };
            let mut sides = op.regions().filter_map(|region| {
                let block = region.blocks().next()?;
                block.terminator()?.operands().nth(number)
            });
            Some([sides.next()?, sides.next()?])
        }
        _ => None,
    }
}

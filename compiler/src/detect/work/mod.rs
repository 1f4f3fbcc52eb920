//! The element-wise work between the load and the store of a copy: what it is, whether two copies do the same, and what
//! it makes of the zeros that a guard fills in.
//!
//! ```text
//! %v = load %a; %g = select %in, %v, 0; %y = maximumf %g, 0; store %y, %s
//!   load %a     guard %in (zeros on the other side)     work: maximumf(·, 0)
//! ```
//!
//! A guard stays at the copy, as zero fill. What follows it is done by whoever reads, for zeros as well. Work inside of a
//! guard can follow only if it makes of zeros what the guard's other side has.

mod moves;
mod trace;

use std::collections::{HashMap, HashSet};

pub use moves::{can_follow, can_hold};
pub use trace::trace;

use crate::ir::{Attr, Builder, Context, Location, Module, Op, PassManager, Type, Value, preorder};

/// Operations of two scalars that are compared; what is larger is taken as different.
const MAX_SCALAR_OPS: usize = 200;

/// A load that is stored after element-wise work.
#[derive(Clone, Debug)]
pub struct Work<'ir> {
    /// The load.
    pub load: Op<'ir>,
    /// What is stored.
    pub outcome: Value<'ir>,
    /// What replaces the load's value by zeros, the innermost first.
    pub guards: Vec<Guard<'ir>>,
    /// The element-wise operations on the loaded value, operands first.
    pub chain: Vec<Op<'ir>>,
    /// What else they use, but for constants: scalars that every element shares.
    pub scalars: Vec<Value<'ir>>,
}

/// A choice between what was loaded and a constant.
#[derive(Clone, Debug)]
pub struct Guard<'ir> {
    /// `arith.select` or `scf.if`.
    pub op: Op<'ir>,
    /// Its result.
    pub value: Value<'ir>,
    /// The condition.
    pub condition: Value<'ir>,
    /// The number of the side that was loaded.
    pub loaded_side: usize,
    /// That side.
    pub loaded: Value<'ir>,
}

/// Why what is stored is not a load and work that can move.
#[derive(Clone, Debug)]
pub struct Problem<'ir> {
    /// Where; `None` for the store or the buffer itself.
    pub op: Option<Op<'ir>>,
    /// What, and what would help.
    pub message: String,
}

impl Problem<'_> {
    fn of_nothing() -> Self {
        let message = "what is stored is not what one load loaded, be it with element-wise work on it that is the same \
                       for every thread and iteration";
        Problem {
            op: None,
            message: message.to_owned(),
        }
    }
}

/// The element type of a vector; a scalar's own.
pub fn element(ty: Type<'_>) -> Type<'_> {
    ty.as_vector().map_or(ty, |(_, element)| element)
}

/// The same vector with elements of another type, or that type for a scalar.
pub fn reshaped<'ir>(like: Type<'ir>, element: Type<'ir>) -> Type<'ir> {
    match like.as_vector() {
        Some((shape, _)) => Type::vector(&shape, element),
        None => element,
    }
}

/// Whether an operation loads what a copy may store.
pub fn is_source(op: Op<'_>) -> bool {
    matches!(
        op.name(),
        "vector.load" | "memref.load" | "vector.transfer_read" | "vector.maskedload"
    )
}

fn is_elementwise(op: Op<'_>) -> bool {
    matches!(op.dialect(), "arith" | "math")
        && !op.is("arith.constant")
        && op.num_regions() == 0
        && op.num_results() == 1
        && op.num_operands() > 0
}

/// What is the same in every element: a number, a scalar, or element-wise work on such.
enum Leaf<'ir> {
    Number(Attr<'ir>),
    Scalar(Value<'ir>),
    Computed(Op<'ir>),
}

fn leaf(value: Value<'_>) -> Option<Leaf<'_>> {
    let op = value.def_op();
    if let Some(number) = number(value) {
        return Some(Leaf::Number(number));
    }
    if value.ty().as_vector().is_none() {
        return Some(Leaf::Scalar(value));
    }
    let op = op?;
    match op.name() {
        "vector.broadcast" | "vector.splat" => {
            let source = op.operand(0);
            source.ty().as_vector().is_none().then_some(Leaf::Scalar(source))
        }
        _ => is_elementwise(op).then_some(Leaf::Computed(op)),
    }
}

/// The number that a value has in every element.
pub fn number(value: Value<'_>) -> Option<Attr<'_>> {
    let op = value.def_op()?;
    match op.name() {
        "arith.constant" => {
            let attr = op.attr("value")?;
            match value.ty().as_vector() {
                Some(_) => attr.splat_value(),
                None => Some(attr),
            }
        }
        "vector.broadcast" | "vector.splat" => number(op.operand(0)),
        _ => None,
    }
}

impl<'ir> Work<'ir> {
    /// The element type of what is loaded, and of what is stored.
    pub fn types(&self) -> (Type<'ir>, Type<'ir>) {
        (element(self.load.result(0).ty()), element(self.outcome.ty()))
    }

    /// Whether nothing is done to what is loaded.
    pub fn is_none(&self) -> bool {
        self.chain.is_empty()
    }

    /// What stands behind the guards of a value.
    pub fn unguarded(&self, value: Value<'ir>) -> Value<'ir> {
        let mut value = value;
        while let Some(guard) = self.guards.iter().find(|guard| guard.value == value) {
            value = guard.loaded;
        }
        value
    }

    /// A use of a value on the way that is no part of the way to the store: a rewrite would change what it sees.
    pub fn used_elsewhere(&self, store: Op<'ir>) -> Option<Op<'ir>> {
        let guards: Vec<Op<'ir>> = self.guards.iter().map(|guard| guard.op).collect();
        let passed = |op: Op<'ir>| self.chain.contains(&op) || guards.contains(&op);
        let mine =
            |user: Op<'ir>| user == store || passed(user) || user.is("scf.yield") && user.parent().is_some_and(passed);
        let values = self.chain.iter().map(|op| op.result(0));
        let values = values
            .chain(self.guards.iter().map(|guard| guard.value))
            .chain([self.load.result(0)]);
        let mut users = values.flat_map(Value::uses).map(|used| used.op);
        users.find(|user| !mine(*user))
    }

    /// Whether both do the same to what they load, in operations, attributes, types and operands. Guards, which stay at
    /// the copies, may differ.
    pub fn is_same(&self, other: &Work<'ir>) -> bool {
        let mut compared = HashSet::new();
        let mut open = vec![(self.outcome, other.outcome)];
        while let Some((a, b)) = open.pop() {
            let (a, b) = (self.unguarded(a), other.unguarded(b));
            if !compared.insert((a, b)) {
                continue;
            }
            if element(a.ty()) != element(b.ty()) {
                return false;
            }
            let starts = [a == self.load.result(0), b == other.load.result(0)];
            match starts {
                [true, true] => continue,
                [false, false] => {}
                _ => return false,
            }
            let links = [a, b].map(|value| value.def_op());
            if let [Some(one), Some(two)] = links
                && self.chain.contains(&one)
                && other.chain.contains(&two)
            {
                if !alike(one, two) {
                    return false;
                }
                open.extend(one.operands().zip(two.operands()));
                continue;
            }
            match (leaf(a), leaf(b)) {
                (Some(Leaf::Number(one)), Some(Leaf::Number(two))) if one == two => {}
                (Some(Leaf::Scalar(one)), Some(Leaf::Scalar(two))) if is_same_scalar(one, two) => {}
                (Some(Leaf::Computed(one)), Some(Leaf::Computed(two))) if alike(one, two) => {
                    open.extend(one.operands().zip(two.operands()));
                }
                _ => return false,
            }
        }
        true
    }

    /// Whether the work makes this number of zeros, bit for bit, whatever its scalars are.
    pub fn makes_of_zeros(&self, context: &Context, number: Attr<'ir>) -> bool {
        if self.unguarded(self.outcome) == self.load.result(0) {
            return number.is_zero();
        }
        // Which NaN an operation makes is the device's choice.
        !number.is_nan() && self.order().iter().all(|op| is_exact(context, *op)) && self.folds_to(context, number)
    }

    /// Everything that the outcome is computed from but the load, operands first: links of the chain, and what is
    /// computed of the same for all elements.
    fn order(&self) -> Vec<Op<'ir>> {
        let mut done: HashSet<Value<'ir>> = HashSet::new();
        let mut order = Vec::new();
        let mut open = vec![(self.outcome, false)];
        while let Some((value, ready)) = open.pop() {
            let value = self.unguarded(value);
            let Some(op) = self.computed(value) else { continue };
            if ready {
                if done.insert(value) {
                    order.push(op);
                }
            } else if !done.contains(&value) {
                open.push((value, true));
                open.extend(op.operands().map(|operand| (operand, false)));
            }
        }
        order
    }

    /// The operation of a value that is computed anew wherever the work is done.
    fn computed(&self, value: Value<'ir>) -> Option<Op<'ir>> {
        if value == self.load.result(0) {
            return None;
        }
        match leaf(value) {
            Some(Leaf::Computed(op)) => Some(op),
            _ => value.def_op().filter(|op| self.chain.contains(op)),
        }
    }

    fn scalars_of(&self, outcome: Value<'ir>) -> Vec<Value<'ir>> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut open = vec![outcome];
        while let Some(value) = open.pop() {
            let value = self.unguarded(value);
            if value == self.load.result(0) || !seen.insert(value) {
                continue;
            }
            match (self.computed(value), leaf(value)) {
                (Some(op), _) => open.extend(op.operands()),
                (None, Some(Leaf::Scalar(scalar))) if !found.contains(&scalar) => found.push(scalar),
                _ => {}
            }
        }
        found
    }

    /// Does the work on `loaded`, in its shape; where it is a constant of one element, the outcome is one too.
    pub fn apply<'to>(
        &self,
        builder: &Builder<'to>,
        loaded: Value<'to>,
        scalar: &mut dyn FnMut(Value<'ir>) -> Value<'to>,
    ) -> Value<'to>
    where
        'ir: 'to,
    {
        let is_vector = loaded.ty().as_vector().is_some();
        let shaped = |element: Type<'to>| reshaped(loaded.ty(), element);
        let mut map: HashMap<Value<'ir>, Value<'to>> = HashMap::from([(self.load.result(0), loaded)]);
        for op in self.order() {
            let builder = builder.with_location(op.location());
            let choice = op.is("arith.select");
            let mut operands: Vec<Value<'to>> = Vec::new();
            for (number, operand) in op.operands().enumerate() {
                let operand = self.unguarded(operand);
                if let Some(mapped) = map.get(&operand) {
                    operands.push(*mapped);
                    continue;
                }
                // A scalar condition chooses whole vectors.
                let spread = is_vector && !(choice && number == 0 && operand.ty().as_vector().is_none());
                operands.push(match leaf(operand).expect("checked to be the same in every element") {
                    Leaf::Number(number) if spread => {
                        let ty = shaped(element(operand.ty()));
                        builder.constant(Attr::splat(ty, number), ty)
                    }
                    Leaf::Number(number) => builder.constant(number, element(operand.ty())),
                    Leaf::Scalar(value) if spread => {
                        let ty = shaped(value.ty());
                        let value = scalar(value);
                        builder.op("vector.broadcast").operands(&[value]).result(ty).value()
                    }
                    Leaf::Scalar(value) => scalar(value),
                    Leaf::Computed(_) => unreachable!("comes before its users"),
                });
            }
            let mut new = builder
                .op(op.name())
                .operands(&operands)
                .result(shaped(element(op.result(0).ty())));
            for (name, attr) in op.attrs() {
                new = new.attr(name, attr);
            }
            map.insert(op.result(0), new.value());
        }
        map[&self.unguarded(self.outcome)]
    }

    /// MLIR's own folding of the work on one zero.
    fn folds_to(&self, context: &Context, number: Attr<'ir>) -> bool {
        let mut scratch = Module::empty(context, Location::unknown(context));
        {
            let (from, to) = self.types();
            let scalars = self.scalars_of(self.outcome);
            let types: Vec<Type<'_>> = scalars.iter().map(|scalar| scalar.ty()).collect();
            let builder = Builder::at_end(context, scratch.body(), Location::unknown(context));
            let (region, block) = builder.region(&types);
            let inside = Builder::at_end(context, block, Location::unknown(context));
            let zero = inside.zero(from);
            let outcome = self.apply(&inside, zero, &mut |scalar| {
                let at = scalars.iter().position(|other| *other == scalar).expect("one of them");
                block.argument(at)
            });
            inside.op("func.return").operands(&[outcome]).build();
            builder
                .op("func.func")
                .attr("sym_name", Attr::string(context, "of_zero"))
                .attr("function_type", Attr::ty(Type::function(context, &types, &[to])))
                .region(region)
                .build();
        }
        let mut manager = PassManager::new(context, "builtin.module");
        if manager.top().add_upstream("canonicalize").is_err() || !manager.run(&mut scratch) {
            return false;
        }
        let ops = preorder(scratch.op());
        let end = ops.into_iter().find(|op| op.is("func.return"));
        let folded = end.and_then(|end| self::number(end.operand(0)));
        folded.is_some_and(|folded| folded.raw().ptr == number.raw().ptr)
    }
}

/// Whether an operation has one right result, which folding and every device agree on.
fn is_exact(context: &Context, op: Op<'_>) -> bool {
    let rounded_alike = op.dialect() == "arith"
        || matches!(
            op.name(),
            "math.absf"
                | "math.absi"
                | "math.ceil"
                | "math.floor"
                | "math.trunc"
                | "math.roundeven"
                | "math.copysign"
                | "math.fma"
        );
    // Flags such as `arcp` allow other results.
    let strict = op.attr("fastmath").is_none_or(|flags| {
        ["none", "contract", "nnan", "ninf"]
            .iter()
            .filter_map(|name| Attr::parse(context, &format!("#arith.fastmath<{name}>")))
            .any(|known| known.raw().ptr == flags.raw().ptr)
    });
    rounded_alike && strict
}

/// Whether two operations are the same but for their operands and the shape that they work on.
fn alike(one: Op<'_>, two: Op<'_>) -> bool {
    one.name() == two.name()
        && one.attrs() == two.attrs()
        && one.num_operands() == two.num_operands()
        && one.num_results() == 1
        && two.num_results() == 1
        && one.num_regions() == 0
        && two.num_regions() == 0
        && element(one.result(0).ty()) == element(two.result(0).ty())
}

/// Whether two scalars are one value, or the same arithmetic on the same values. Two loads are not: memory may change
/// between them.
fn is_same_scalar<'ir>(a: Value<'ir>, b: Value<'ir>) -> bool {
    let mut compared = HashSet::new();
    let mut open = vec![(a, b)];
    while let Some((a, b)) = open.pop() {
        if a == b || !compared.insert((a, b)) {
            continue;
        }
        let (Some(one), Some(two)) = (a.def_op(), b.def_op()) else {
            return false;
        };
        let pure = matches!(one.dialect(), "arith" | "math" | "index")
            || matches!(one.name(), "gpu.block_id" | "gpu.block_dim" | "gpu.grid_dim");
        if !pure || !alike(one, two) || a.ty() != b.ty() || compared.len() > MAX_SCALAR_OPS {
            return false;
        }
        open.extend(one.operands().zip(two.operands()));
    }
    true
}

//! Index arithmetic that is done here where its operands are constants: the prologue of a loop with static bounds then
//! needs no comparison, and LLVM less work.

use alcop_compiler::ir::{Attr, Builder, CmpPredicate, Value, constant_index};

/// A condition that may be known.
#[derive(Clone, Copy, Debug)]
pub enum Condition<'ir> {
    /// Always so.
    Known(bool),
    /// An `i1`.
    Value(Value<'ir>),
}

impl<'ir> Condition<'ir> {
    /// Both.
    pub fn and(self, builder: &Builder<'ir>, other: Condition<'ir>) -> Condition<'ir> {
        match (self, other) {
            (Condition::Known(true), rest) | (rest, Condition::Known(true)) => rest,
            (Condition::Known(false), _) | (_, Condition::Known(false)) => Condition::Known(false),
            (Condition::Value(a), Condition::Value(b)) => Condition::Value(builder.and(a, b)),
        }
    }

    /// Either value.
    pub fn select(self, builder: &Builder<'ir>, yes: Value<'ir>, no: Value<'ir>) -> Value<'ir> {
        match self {
            Condition::Known(true) => yes,
            Condition::Known(false) => no,
            Condition::Value(_) if yes == no => yes,
            Condition::Value(condition) => builder.select(condition, yes, no),
        }
    }
}

/// An `i1`, or what it is known to be.
pub fn condition(value: Value<'_>) -> Condition<'_> {
    let constant = value.def_op().filter(|op| op.is("arith.constant"));
    match constant.and_then(|op| op.attr("value")).and_then(Attr::as_bool) {
        Some(known) => Condition::Known(known),
        None => Condition::Value(value),
    }
}

/// The sum of two indices.
pub fn add<'ir>(builder: &Builder<'ir>, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
    match (constant_index(a), constant_index(b)) {
        (Some(a), Some(b)) if a.checked_add(b).is_some() => builder.index(a + b),
        (Some(0), _) => b,
        (_, Some(0)) => a,
        _ => builder.add(a, b),
    }
}

/// The product of two indices.
pub fn mul<'ir>(builder: &Builder<'ir>, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
    match (constant_index(a), constant_index(b)) {
        (Some(a), Some(b)) if a.checked_mul(b).is_some() => builder.index(a * b),
        (Some(1), _) => b,
        (_, Some(1)) => a,
        _ => builder.mul(a, b),
    }
}

/// The quotient of two indices that are not negative.
pub fn div<'ir>(builder: &Builder<'ir>, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
    match (constant_index(a), constant_index(b)) {
        (Some(a), Some(b)) if b > 0 => builder.index(a / b),
        (_, Some(1)) => a,
        _ => builder.div(a, b),
    }
}

/// What is left of that division.
pub fn rem<'ir>(builder: &Builder<'ir>, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
    match (constant_index(a), constant_index(b)) {
        (Some(a), Some(b)) if b > 0 => builder.index(a % b),
        (_, Some(1)) => builder.index(0),
        _ => builder.rem(a, b),
    }
}

/// Whether one index is less than another, both signed.
pub fn less<'ir>(builder: &Builder<'ir>, a: Value<'ir>, b: Value<'ir>) -> Condition<'ir> {
    match (constant_index(a), constant_index(b)) {
        (Some(a), Some(b)) => Condition::Known(a < b),
        _ => Condition::Value(builder.cmp(CmpPredicate::Slt, a, b)),
    }
}

/// Whether two indices are equal.
pub fn equal<'ir>(builder: &Builder<'ir>, a: Value<'ir>, b: Value<'ir>) -> Condition<'ir> {
    match (constant_index(a), constant_index(b)) {
        (Some(a), Some(b)) => Condition::Known(a == b),
        _ => Condition::Value(builder.cmp(CmpPredicate::Eq, a, b)),
    }
}

//! 1 / (1 + e^-x), written out, as one operation: where e^-x overflows the result is not 0 but what it is.
//!
//! ```mlir
//! %n = arith.negf %x           %e = math.exp %n
//! %s = arith.addf %e, %one     %y = arith.divf %one, %s     ->   %y = llvm.call @__alcop_sigmoid(%x)
//! ```

use alcop_compiler::ir::{Op, Value};

/// The operations of one logistic function.
#[derive(Clone, Copy)]
pub(super) struct Sigmoid<'ir> {
    pub x: Value<'ir>,
    pub division: Op<'ir>,
    pub addition: Op<'ir>,
    pub exponential: Op<'ir>,
}

/// The function that an exponential belongs to, if nothing else uses it.
pub(super) fn around(exponential: Op<'_>) -> Option<Sigmoid<'_>> {
    let negation = exponential.operand(0).def_op().filter(|op| op.is("arith.negf"))?;
    let addition = only_user(exponential.result(0)).filter(|op| op.is("arith.addf"))?;
    if !addition.operands().any(is_one) {
        return None;
    }
    let division = only_user(addition.result(0)).filter(|op| op.is("arith.divf"))?;
    let fits = is_one(division.operand(0)) && division.operand(1) == addition.result(0);
    fits.then(|| Sigmoid {
        x: negation.operand(0),
        division,
        addition,
        exponential,
    })
}

fn only_user(value: Value<'_>) -> Option<Op<'_>> {
    match &value.uses()[..] {
        [only] => Some(only.op),
        _ => None,
    }
}

/// Whether a value is the constant 1, or a vector of it.
fn is_one(value: Value<'_>) -> bool {
    let constant = value.def_op().filter(|op| op.is("arith.constant"));
    let attr = constant.and_then(|op| op.attr("value"));
    let scalar = attr.map(|attr| attr.splat_value().unwrap_or(attr));
    scalar.is_some_and(|scalar| scalar.as_float() == Some(1.0))
}

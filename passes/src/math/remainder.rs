//! The remainder of a division of floats, exactly, as C's `fmod`.
//!
//! ```text
//! t = |y| · 2^k, the last such that t ≤ |x|
//! while t ≥ |y|:  if r ≥ t: r −= t;  t /= 2          no step is rounded
//! ```

use alcop_compiler::ir::{Builder, Type, Value};

use super::emit::{Compare, Emit};

/// A loop that goes on while `test` holds of what it carries.
pub(super) fn while_loop<'ir>(
    e: Emit<'ir>,
    start: &[Value<'ir>],
    test: impl FnOnce(Emit<'ir>, &[Value<'ir>]) -> Value<'ir>,
    step: impl FnOnce(Emit<'ir>, &[Value<'ir>]) -> Vec<Value<'ir>>,
) -> Vec<Value<'ir>> {
    let context = e.builder.context();
    let types: Vec<Type<'ir>> = start.iter().map(|value| value.ty()).collect();
    let (before, block) = e.builder.region(&types);
    let inner = Emit {
        builder: Builder::at_end(context, block, e.builder.location()),
    };
    let carried: Vec<Value<'ir>> = block.arguments().collect();
    let mut passed = vec![test(inner, &carried)];
    passed.extend_from_slice(&carried);
    inner.builder.op("scf.condition").operands(&passed).build();
    let (after, block) = e.builder.region(&types);
    let inner = Emit {
        builder: Builder::at_end(context, block, e.builder.location()),
    };
    let carried: Vec<Value<'ir>> = block.arguments().collect();
    let next = step(inner, &carried);
    inner.builder.op("scf.yield").operands(&next).build();
    let whole = e
        .builder
        .op("scf.while")
        .operands(start)
        .results(&types)
        .region(before)
        .region(after);
    whole.build().results().collect()
}

pub(super) fn remf<'ir>(e: Emit<'ir>, x: Value<'ir>, y: Value<'ir>) -> Value<'ir> {
    let constant = |value: f64| e.float_of(x.ty(), value);
    let (size, divisor) = (e.abs(x), e.abs(y));
    let finite = e.compare(Compare::Olt, size, constant(f64::INFINITY));
    let divides = e.compare(Compare::Ogt, divisor, constant(0.0));
    let valid = e.builder.and(finite, divides);
    let size = e.select(valid, size, constant(0.0));
    let divisor = e.select(valid, divisor, constant(1.0));
    let largest = while_loop(
        e,
        &[divisor],
        |e, at| e.compare(Compare::Oge, e.sub(size, at[0]), at[0]),
        |e, at| vec![e.add(at[0], at[0])],
    );
    let ended = while_loop(
        e,
        &[size, largest[0]],
        |e, at| e.compare(Compare::Oge, at[0], divisor),
        |e, at| {
            let fits = e.compare(Compare::Oge, at[0], at[1]);
            let rest = e.select(fits, e.sub(at[0], at[1]), at[0]);
            vec![rest, e.mul(at[1], e.float_of(at[1].ty(), 0.5))]
        },
    );
    let result = e.select(valid, ended[0], constant(f64::NAN));
    e.copysign(result, x)
}

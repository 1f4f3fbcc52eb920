//! log, log2, log10, log1p.
//!
//! ```text
//! x = 2^i (1 + f), f in [−1/3, 1/3]        log(x) = i·ln 2 + f + f² P(f)
//! ```

use alcop_compiler::ir::Value;

use super::emit::{Compare, Emit};

/// (log(1 + f) − f) / f² for |f| ≤ 1/3, to 2^-27.6 of the logarithm.
const LOG: [f32; 9] = [
    -0.5,
    3.333_321_2e-1,
    -2.499_982_3e-1,
    2.001_058_6e-1,
    -1.667_939_6e-1,
    1.400_329_8e-1,
    -1.219_891_1e-1,
    1.399_591_1e-1,
    -1.282_980_7e-1,
];

/// The bits of 2/3: what they are taken from leaves the exponent of x / (2/3).
const TWO_THIRDS: i32 = 0x3f2a_aaab;
/// The exponent of a float.
const EXPONENT: i32 = 0xff80_0000_u32 as i32;

/// i·2^23 of x = 2^i (1 + f), f in [−1/3, 1/3].
fn exponent<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let above = e.int_op("arith.subi", e.bits(x), TWO_THIRDS);
    e.int_op("arith.andi", above, EXPONENT)
}

fn to_float<'ir>(e: Emit<'ir>, exponent: Value<'ir>) -> Value<'ir> {
    let whole = e.cast("arith.sitofp", exponent, e.f32());
    e.mul(whole, e.float(1.0 / 8_388_608.0))
}

/// f² P(f).
fn tail<'ir>(e: Emit<'ir>, f: Value<'ir>) -> Value<'ir> {
    e.mul(e.polynomial(f, &LOG), e.mul(f, f))
}

/// i and f of a positive x; denormals too.
fn parts<'ir>(e: Emit<'ir>, x: Value<'ir>) -> (Value<'ir>, Value<'ir>) {
    let denormal = e.is(Compare::Olt, x, f32::MIN_POSITIVE);
    let normal = e.select(denormal, e.mul(x, e.float(8_388_608.0)), x);
    let lift = e.select(denormal, e.float(-23.0), e.float(0.0));
    let exponent = exponent(e, normal);
    let mantissa = e.of_bits(e.op("arith.subi", &[e.bits(normal), exponent]));
    let i = e.add(to_float(e, exponent), lift);
    (i, e.sub(mantissa, e.float(1.0)))
}

/// What a logarithm is outside of the positive finite numbers: −∞ at 0, not-a-number below, x itself above.
fn with_ends<'ir>(e: Emit<'ir>, x: Value<'ir>, inside: Value<'ir>) -> Value<'ir> {
    let finite = e.is(Compare::Olt, x, f32::INFINITY);
    let result = e.select(finite, inside, e.add(x, x));
    let result = e.select(e.is(Compare::Oeq, x, 0.0), e.float(f32::NEG_INFINITY), result);
    e.select(e.is(Compare::Olt, x, 0.0), e.float(f32::NAN), result)
}

pub(super) fn log<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let (i, f) = parts(e, x);
    let mantissa = e.add(f, tail(e, f));
    let inside = e.fma(i, e.float(std::f32::consts::LN_2), mantissa);
    with_ends(e, x, inside)
}

/// i·`unit` + log(1 + f)·(`high` + `low`): the logarithm of another base.
fn log_of_base<'ir>(e: Emit<'ir>, x: Value<'ir>, unit: [f32; 2], base: [f32; 2]) -> Value<'ir> {
    let (i, f) = parts(e, x);
    let tail = tail(e, f);
    let small = match unit[1] {
        0.0 => e.mul(f, e.float(base[1])),
        low => e.fma(f, e.float(base[1]), e.mul(i, e.float(low))),
    };
    let small = e.fma(tail, e.float(base[0]), small);
    let mantissa = e.fma(f, e.float(base[0]), small);
    let inside = e.fma(i, e.float(unit[0]), mantissa);
    with_ends(e, x, inside)
}

pub(super) fn log2<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    log_of_base(e, x, [1.0, 0.0], [std::f32::consts::LOG2_E, LOG2_E_LOW])
}

pub(super) fn log10<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let unit = [std::f32::consts::LOG10_2, LOG10_2_LOW];
    log_of_base(e, x, unit, [std::f32::consts::LOG10_E, LOG10_E_LOW])
}

/// What the constants of f32 lack.
const LOG2_E_LOW: f32 = 1.925_963e-8;
const LOG10_2_LOW: f32 = -1.432_098_9e-8;
const LOG10_E_LOW: f32 = -1.010_305e-8;

pub(super) fn log1p<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let one = e.float(1.0);
    let exponent = exponent(e, e.add(x, one));
    // 1 + x = 2^i (1 + f) with f = 2^-i x + (2^-i − 1), where 1 + x may have lost what x has. 2^(2−i) is no denormal.
    let scaled = e.of_bits(e.op("arith.subi", &[e.bits(x), exponent]));
    let power = e.of_bits(e.op("arith.subi", &[e.bits(e.float(4.0)), exponent]));
    let f = e.add(scaled, e.fma(power, e.float(0.25), e.float(-1.0)));
    let i = to_float(e, exponent);
    let mantissa = e.add(f, tail(e, f));
    let inside = e.fma(i, e.float(std::f32::consts::LN_2), mantissa);
    let finite = e.is(Compare::Olt, x, f32::INFINITY);
    let result = e.select(finite, inside, e.add(x, x));
    let result = e.select(e.is(Compare::Oeq, x, -1.0), e.float(f32::NEG_INFINITY), result);
    let result = e.select(e.is(Compare::Olt, x, -1.0), e.float(f32::NAN), result);
    e.copysign(result, x)
}

//! exp, exp2, expm1, and the logistic function.
//!
//! ```text
//! exp(x)     = 2^j · ex2.approx(x·log2e − j)                j the nearest integer to x·log2e, from −126 to 126
//! expm1(x)   = 2 (2^(j−1) · (e^f − 1) + (2^(j−1) − ½))       f = x − j·ln 2, e^f − 1 a polynomial
//! 1/(1+e^-x) = 1/(1+t) or t/(1+t)                           t = e^-|x|, which cannot overflow
//! ```
//! Coefficients here and in the other files of this folder: least maximum error relative to the function, fitted in 120
//! bits, rounded to f32 one after the other from the lowest power on.

use alcop_compiler::ir::Value;

use super::emit::{Compare, Emit};

pub(super) const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// What `LOG2_E` lacks.
const LOG2_E_LOW: f32 = 1.925_963e-8;
const LN_2: f32 = std::f32::consts::LN_2;
/// What `LN_2` lacks.
const LN_2_LOW: f32 = -1.904_654_2e-9;
/// 1.5 · 2^23: what is added to a number below 2^22 rounds it to an integer, in the low bits of the sum.
const ROUNDER: f32 = 12_582_912.0;

/// (e^f − 1 − f) / f² for |f| ≤ ln 2 / 2, to 2^-31.
const EXPM1: [f32; 6] = [
    0.5,
    1.666_666_6e-1,
    4.166_649e-2,
    8.333_561e-3,
    1.393_266_4e-3,
    1.974_820_8e-4,
];

/// The nearest integer to a number below 2^22 in magnitude, as a float, and a word whose low bits it is.
pub(super) fn nearest_integer<'ir>(e: Emit<'ir>, x: Value<'ir>) -> (Value<'ir>, Value<'ir>) {
    let rounder = e.float(ROUNDER);
    let sum = e.add(x, rounder);
    (e.sub(sum, rounder), e.bits(sum))
}

/// x · 2^j for any j from −252 to 254; rounded once or, in a denormal result, twice.
pub(super) fn scale<'ir>(e: Emit<'ir>, x: Value<'ir>, j: Value<'ir>) -> Value<'ir> {
    let power = |j: Value<'ir>| {
        let shifted = e.int_op("arith.shli", j, 23);
        e.of_bits(e.int_op("arith.addi", shifted, 127 << 23))
    };
    let half = e.int_op("arith.shrsi", j, 1);
    let rest = e.op("arith.subi", &[j, half]);
    e.mul(e.mul(x, power(half)), power(rest))
}

/// The low bits of a rounded sum as a signed number.
pub(super) fn signed<'ir>(e: Emit<'ir>, word: Value<'ir>) -> Value<'ir> {
    let up = e.int_op("arith.shli", word, 16);
    e.int_op("arith.shrsi", up, 16)
}

pub(super) fn exp<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let log2e = e.float(LOG2_E);
    // At the ends 2^(x·log2e − j) has what is left of the exponent, and the product underflows or overflows.
    let clamped = e.lesser_number(e.mul(x, log2e), e.float(126.0));
    let clamped = e.greater_number(clamped, e.float(-126.0));
    // With the bias in it, the low bits of the sum are those of a float's exponent.
    let rounder = e.float(ROUNDER + 127.0);
    let sum = e.add(clamped, rounder);
    let j = e.sub(sum, rounder);
    let fraction = e.fma(x, log2e, e.neg(j));
    let fraction = e.fma(x, e.float(LOG2_E_LOW), fraction);
    let power = e.of_bits(e.int_op("arith.shli", e.bits(sum), 23));
    e.mul(e.ex2_flushed(fraction), power)
}

/// j and e^f − 1 of e^x = 2^j e^f. |x| is at most 128.
fn reduced<'ir>(e: Emit<'ir>, x: Value<'ir>) -> (Value<'ir>, Value<'ir>, Value<'ir>) {
    let (j, word) = nearest_integer(e, e.mul(x, e.float(LOG2_E)));
    let fraction = e.fma(j, e.float(-LN_2), x);
    let fraction = e.fma(j, e.float(-LN_2_LOW), fraction);
    let square = e.mul(fraction, fraction);
    let less_one = e.fma(e.polynomial(fraction, &EXPM1), square, fraction);
    (j, signed(e, word), less_one)
}

/// 2^`shift` e^x for |x| at most 128, to less than an ulp.
pub(super) fn accurate_exp<'ir>(e: Emit<'ir>, x: Value<'ir>, shift: i32) -> Value<'ir> {
    let (_, j, less_one) = reduced(e, x);
    let whole = e.add(less_one, e.float(1.0));
    scale(e, whole, e.int_op("arith.addi", j, shift))
}

pub(super) fn expm1<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    // Beyond 89 the result is infinite, below −26 it is −1: both ends come out of the sequence.
    let inside = e.maximum(e.minimum(x, e.float(89.0)), e.float(-26.0));
    let (_, j, less_one) = reduced(e, inside);
    let half_power = e.int_op("arith.shli", e.int_op("arith.addi", j, 126), 23);
    let half_power = e.of_bits(half_power);
    let half = e.fma(less_one, half_power, e.sub(half_power, e.float(0.5)));
    let result = e.add(half, half);
    // With j = 0 nothing is to be scaled, and the least results are x itself.
    let unscaled = e.builder.cmp(alcop_compiler::ir::CmpPredicate::Eq, j, e.int(0));
    e.copysign(e.select(unscaled, less_one, result), x)
}

/// 1/(1 + e^-x).
pub(super) fn sigmoid<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let away = e.maximum(e.neg(e.abs(x)), e.float(-104.5));
    let t = accurate_exp(e, away, 0);
    // One step of Newton's makes up for the error of the instruction: below 0 it would count twice.
    let whole = e.add(t, e.float(1.0));
    let rest = e.rcp_flushed(whole);
    let left = e.fma(e.neg(whole), rest, e.float(1.0));
    logistic(e, x, t, e.fma(left, rest, rest))
}

/// 1/(1 + e^-x), to be rounded to 16 bits.
pub(super) fn narrow_sigmoid<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let away = e.mul(e.neg(e.abs(x)), e.float(LOG2_E));
    let t = e.ex2(away);
    logistic(e, x, t, e.rcp_flushed(e.add(t, e.float(1.0))))
}

/// `rest` is 1/(1 + t), t = e^-|x|.
fn logistic<'ir>(e: Emit<'ir>, x: Value<'ir>, t: Value<'ir>, rest: Value<'ir>) -> Value<'ir> {
    let below = e.is(Compare::Olt, x, 0.0);
    e.select(below, e.mul(t, rest), rest)
}

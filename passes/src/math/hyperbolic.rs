//! tanh, sinh, cosh, erf: near 0 a polynomial, elsewhere by an exponential that loses nothing.
//!
//! ```text
//! tanh(x) = 1 − 2/(e^2x + 1)        |x| > 0.8
//! cosh(x) = 2t + 1/(8t)             t = e^|x| / 4, which overflows later than the result
//! erf(x)  = 1 − 2^-(x·Q(x))         |x| > 1
//! ```
//! All are odd or even, and are made from |x|.

use alcop_compiler::ir::Value;

use super::emit::{Compare, Emit};
use super::exponential::{LOG2_E, accurate_exp};

/// (tanh(x) − x) / x³ in x² for |x| ≤ 0.8, to 2^-28.
const TANH: [f32; 6] = [
    -3.333_33e-1,
    1.333_224_2e-1,
    -5.385_358_6e-2,
    2.130_645_5e-2,
    -7.414_025_3e-3,
    1.586_942_6e-3,
];
/// (sinh(x) − x) / x³ in x² for |x| ≤ 1, to 2^-31.6.
const SINH: [f32; 4] = [1.666_666_7e-1, 8.333_310_5e-3, 1.984_289_4e-4, 2.782_229_3e-6];
/// (erf(x) − x) / x in x² for |x| ≤ 1, to 2^-29.
const ERF: [f32; 7] = [
    1.283_791_7e-1,
    -3.761_262_6e-1,
    1.128_358_2e-1,
    -2.685_359_5e-2,
    5.187_852e-3,
    -8.005_718_7e-4,
    7.838_526e-5,
];
/// −log2(1 − erf(x)) / x for 1 ≤ x ≤ 4, to 2^-31 of erf(x).
const ERFC_EXPONENT: [f32; 7] = [
    1.628_353_7,
    9.160_984e-1,
    1.536_424_9e-1,
    -3.459_869_7e-2,
    5.402_485_4e-3,
    -5.014_351_3e-4,
    1.972_251_4e-5,
];

/// x + x³ P(x²).
fn odd<'ir>(e: Emit<'ir>, x: Value<'ir>, coefficients: &[f32]) -> Value<'ir> {
    let square = e.mul(x, x);
    let cube = e.mul(square, x);
    e.fma(e.polynomial(square, coefficients), cube, x)
}

pub(super) fn tanh<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let magnitude = e.abs(x);
    let power = e.ex2_flushed(e.mul(magnitude, e.float(2.0 * LOG2_E)));
    let rest = e.rcp_flushed(e.add(power, e.float(1.0)));
    let far = e.fma(rest, e.float(-2.0), e.float(1.0));
    let is_far = e.is(Compare::Ogt, magnitude, 0.8);
    e.copysign(e.select(is_far, far, odd(e, magnitude, &TANH)), x)
}

/// 2t and 1/(8t) with t = e^x / 4, for x ≥ 0.
fn halves<'ir>(e: Emit<'ir>, magnitude: Value<'ir>) -> (Value<'ir>, Value<'ir>) {
    let t = accurate_exp(e, e.minimum(magnitude, e.float(90.0)), -2);
    (e.add(t, t), e.mul(e.rcp_flushed(t), e.float(0.125)))
}

pub(super) fn cosh<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let (growing, falling) = halves(e, e.abs(x));
    e.add(growing, falling)
}

pub(super) fn sinh<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let magnitude = e.abs(x);
    let (growing, falling) = halves(e, magnitude);
    let is_far = e.is(Compare::Ogt, magnitude, 1.0);
    let far = e.sub(growing, falling);
    e.copysign(e.select(is_far, far, odd(e, magnitude, &SINH)), x)
}

pub(super) fn erf<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let magnitude = e.abs(x);
    let near = e.fma(e.polynomial(e.mul(x, x), &ERF), magnitude, magnitude);
    // At 4, erf is 1.
    let inside = e.minimum(magnitude, e.float(4.0));
    let exponent = e.mul(e.polynomial(inside, &ERFC_EXPONENT), e.neg(inside));
    let far = e.sub(e.float(1.0), e.ex2_flushed(exponent));
    let is_far = e.is(Compare::Ogt, magnitude, 1.0);
    e.copysign(e.select(is_far, far, near), x)
}

//! powf, cbrt, and integer powers.
//!
//! ```text
//! x^y    = 2^(y·log2 |x|), the logarithm and its product with y in pairs of floats
//! cbrt x = t − (t − |x|/t²)/3, t = 2^(log2 |x| / 3)
//! x^n    = the product of x^(2^k) for each bit k of n
//! ```

use alcop_compiler::ir::{Attr, CmpPredicate, Type, Value};

use super::emit::{Compare, Emit};
use super::exponential::{nearest_integer, scale, signed};
use super::remainder::while_loop;

/// (atanh(s) − s) / s³ in s² for |s| ≤ 0.172, to 2^-35.
const ATANH: [f32; 4] = [3.333_333e-1, 2.000_048_5e-1, 1.424_956e-1, 1.213_540_2e-1];
/// 2/ln 2, and what that lacks.
const TWO_OVER_LN_2: [f32; 2] = [2.885_39, 3.851_926e-8];
/// (2^f − 1) / f for |f| ≤ ½, to 2^-28.3.
const EX2: [f32; 6] = [
    6.931_472e-1,
    2.402_264_8e-1,
    5.550_359_6e-2,
    9.618_502e-3,
    1.339_099_6e-3,
    1.532_823_2e-4,
];
/// The bits of √½.
const ROOT_HALF: i32 = 0x3f35_04f3;

/// log2 of a positive finite number as a sum of two floats, to 2^-29.
fn log2_pair<'ir>(e: Emit<'ir>, x: Value<'ir>) -> (Value<'ir>, Value<'ir>) {
    let denormal = e.is(Compare::Olt, x, f32::MIN_POSITIVE);
    let normal = e.select(denormal, e.mul(x, e.float(16_777_216.0)), x);
    let lift = e.select(denormal, e.int(-24), e.int(0));
    let above = e.int_op("arith.subi", e.bits(normal), ROOT_HALF);
    let exponent = e.int_op("arith.andi", above, 0xff80_0000_u32 as i32);
    let mantissa = e.of_bits(e.op("arith.subi", &[e.bits(normal), exponent]));
    let i = e.op("arith.addi", &[e.int_op("arith.shrsi", exponent, 23), lift]);
    let i = e.cast("arith.sitofp", i, e.f32());
    // s = f / (2 + f) in two parts: what the quotient leaves, divided once more.
    let f = e.sub(mantissa, e.float(1.0));
    let sum = e.add(mantissa, e.float(1.0));
    let sum_low = e.sub(f, e.sub(sum, e.float(2.0)));
    let inverse = e.rcp_flushed(sum);
    let s = e.mul(f, inverse);
    let left = e.fma(e.neg(s), sum, f);
    let left = e.fma(e.neg(s), sum_low, left);
    let s_low = e.mul(left, inverse);
    let square = e.mul(s, s);
    // The derivative of atanh is 1 + s² and some.
    let s_low = e.fma(s_low, square, s_low);
    let cubic = e.mul(e.mul(e.polynomial(square, &ATANH), square), s);
    let small = e.add(s_low, cubic);
    // (s + small) · 2/ln 2 + i
    let [unit, lacking] = TWO_OVER_LN_2.map(|part| e.float(part));
    let product = e.mul(s, unit);
    let product_low = e.fma(s, unit, e.neg(product));
    let product_low = e.fma(s, lacking, product_low);
    let product_low = e.fma(small, unit, product_low);
    two_sum(e, i, product, product_low)
}

/// a + b + c as a sum of two floats, where |a| ≥ |b| or a is 0, and c is small beside them.
fn two_sum<'ir>(e: Emit<'ir>, a: Value<'ir>, b: Value<'ir>, c: Value<'ir>) -> (Value<'ir>, Value<'ir>) {
    let sum = e.add(a, b);
    let lost = e.sub(b, e.sub(sum, a));
    let low = e.add(lost, c);
    let high = e.add(sum, low);
    (high, e.add(low, e.sub(sum, high)))
}

/// x^y for x > 0, both finite.
fn positive_power<'ir>(e: Emit<'ir>, x: Value<'ir>, y: Value<'ir>) -> Value<'ir> {
    let (high, low) = log2_pair(e, x);
    let product = e.mul(y, high);
    let product_low = e.fma(y, low, e.fma(y, high, e.neg(product)));
    // Beyond ±200 the result overflows or underflows, and what the product lost does not matter.
    let inside = e.is(Compare::Olt, e.abs(product), 200.0);
    let product_low = e.select(inside, product_low, e.float(0.0));
    let product = e.lesser_number(product, e.float(200.0));
    let product = e.greater_number(product, e.float(-200.0));
    let (j, word) = nearest_integer(e, product);
    let fraction = e.add(e.sub(product, j), product_low);
    let power = e.fma(e.polynomial(fraction, &EX2), fraction, e.float(1.0));
    scale(e, power, signed(e, word))
}

/// Ends as C's `pow` has them (ISO C, annex F.10.4.4).
pub(super) fn powf<'ir>(e: Emit<'ir>, x: Value<'ir>, y: Value<'ir>) -> Value<'ir> {
    let (size, power) = (e.abs(x), e.abs(y));
    let and = |a: Value<'ir>, b: Value<'ir>| e.builder.and(a, b);
    let or = |a: Value<'ir>, b: Value<'ir>| e.op("arith.ori", &[a, b]);
    let (zero, one) = (e.float(0.0), e.float(1.0));
    let inside = positive_power(e, size, y);
    // 0 and ∞: which of the two, by the sign of y.
    let y_below = e.is(Compare::Olt, y, 0.0);
    let extreme = or(e.is(Compare::Oeq, size, 0.0), e.is(Compare::Oeq, size, f32::INFINITY));
    let grows = e.builder.xor(
        e.is(Compare::Oeq, size, 0.0),
        e.builder.xor(y_below, e.builder.bool(true)),
    );
    let infinity = e.float(f32::INFINITY);
    let result = e.select(extreme, e.select(grows, infinity, zero), inside);
    // y = ±∞
    let y_extreme = e.is(Compare::Oeq, power, f32::INFINITY);
    let falls = e.builder.xor(e.is(Compare::Olt, size, 1.0), y_below);
    let at_one = e.is(Compare::Oeq, size, 1.0);
    let limit = e.select(at_one, one, e.select(falls, zero, infinity));
    let result = e.select(y_extreme, limit, result);
    // A negative x: the sign of an odd power, not-a-number of one that is no integer.
    let whole = e.compare(Compare::Oeq, e.intrinsic("llvm.trunc", &[power]), power);
    let half = e.mul(power, e.float(0.5));
    let odd = and(whole, e.compare(Compare::Une, e.intrinsic("llvm.trunc", &[half]), half));
    let negative = e.builder.cmp(CmpPredicate::Slt, e.bits(x), e.int(0));
    let result = e.select(and(negative, odd), e.neg(result), result);
    let broken = e.builder.xor(whole, e.builder.bool(true));
    let below = and(e.is(Compare::Olt, x, 0.0), e.is(Compare::Une, x, f32::NEG_INFINITY));
    let result = e.select(and(below, broken), e.float(f32::NAN), result);
    // Not-a-number, except x^0 and 1^y.
    let unordered = e.compare(Compare::Uno, x, y);
    let result = e.select(unordered, e.add(x, y), result);
    let is_one = or(e.is(Compare::Oeq, x, 1.0), e.is(Compare::Oeq, y, 0.0));
    e.select(is_one, one, result)
}

pub(super) fn cbrt<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let size = e.abs(x);
    let small = e.is(Compare::Olt, size, 1e-30);
    let normal = e.select(small, e.mul(size, e.float(1_073_741_824.0)), size);
    let t = e.mul(e.lg2_flushed(normal), e.float(1.0 / 3.0));
    let t = e.ex2_flushed(t);
    let quotient = e.mul(normal, e.rcp_flushed(e.mul(t, t)));
    let t = e.fma(e.sub(t, quotient), e.float(-1.0 / 3.0), t);
    let t = e.select(small, e.mul(t, e.float(1.0 / 1024.0)), t);
    let inside = e.builder.xor(
        e.is(Compare::Une, size, 0.0),
        e.compare(Compare::Oge, size, e.float(f32::INFINITY)),
    );
    e.copysign(e.select(inside, t, e.add(x, x)), x)
}

/// The magnitude of an integer: of the least one, 2^(bits − 1) as an unsigned number.
fn magnitude<'ir>(e: Emit<'ir>, n: Value<'ir>) -> (Value<'ir>, Value<'ir>) {
    let zero = e.int_of(n.ty(), 0);
    let below = e.builder.cmp(CmpPredicate::Slt, n, zero);
    (below, e.select(below, e.op("arith.subi", &[zero, n]), n))
}

/// The product of x^(2^k) for each bit k of n, by `multiply`.
fn by_squaring<'ir>(e: Emit<'ir>, x: Value<'ir>, n: Value<'ir>, one: Value<'ir>, multiply: &'static str) -> Value<'ir> {
    let ended = while_loop(
        e,
        &[one, x, n],
        |e, at| e.builder.cmp(CmpPredicate::Ne, at[2], e.int_of(at[2].ty(), 0)),
        |e, at| {
            let bit = e.cast("arith.trunci", at[2], Type::int(e.builder.context(), 1));
            let product = e.select(bit, e.op(multiply, &[at[0], at[1]]), at[0]);
            let square = e.op(multiply, &[at[1], at[1]]);
            vec![product, square, e.int_op("arith.shrui", at[2], 1)]
        },
    );
    ended[0]
}

/// A float to an integer power.
pub(super) fn fpowi<'ir>(e: Emit<'ir>, x: Value<'ir>, n: Value<'ir>) -> Value<'ir> {
    let one = e.float_of(x.ty(), 1.0);
    let (below, count) = magnitude(e, n);
    let power = by_squaring(e, x, count, one, "arith.mulf");
    e.select(below, e.div(one, power), power)
}

/// An integer to an integer power: to a negative one 0, unless the base is 1 or −1.
pub(super) fn ipowi<'ir>(e: Emit<'ir>, x: Value<'ir>, n: Value<'ir>) -> Value<'ir> {
    let constant = |value: i64| e.builder.constant(Attr::int(x.ty(), value), x.ty());
    let (zero, one) = (constant(0), constant(1));
    let (below, count) = magnitude(e, n);
    let unit = |value: Value<'ir>| e.builder.cmp(CmpPredicate::Eq, x, value);
    let is_unit = e.op("arith.ori", &[unit(one), unit(constant(-1))]);
    let power = by_squaring(e, x, count, one, "arith.muli");
    let inverse = e.select(is_unit, power, zero);
    e.select(below, inverse, power)
}

//! sin, cos, tan.
//!
//! ```text
//! |x| < 2^16    r = x − q·π/2, π/2 in three parts, each product exact in its fma
//! otherwise     r from x·(2/π) in integers of 256 bits (Payne and Hanek), in a function that is not inlined
//! sin, cos      a polynomial in r, by the two low bits of q
//! ```

use alcop_compiler::ir::{CmpPredicate, Value};

use super::emit::{Compare, Emit};
use super::exponential::nearest_integer;
use super::functions::{Functions, Kind};

/// (sin(r) − r) / r³ in r² for |r| ≤ π/4, to 2^-27.9.
const SIN: [f32; 3] = [-1.666_665_5e-1, 8.332_188e-3, -1.951_81e-4];
/// (cos(r) − 1) / r² in r² for |r| ≤ π/4, to 2^-33.
const COS: [f32; 4] = [-0.5, 4.166_664_6e-2, -1.388_731_1e-3, 2.443_255_3e-5];
/// (tan(r) − r) / r³ in r² for |r| ≤ π/4, to 2^-29.5.
const TAN: [f32; 7] = [
    3.333_335e-1,
    1.333_267_5e-1,
    5.405_894e-2,
    2.128_592_1e-2,
    1.082_856_3e-2,
    9.638_882e-5,
    4.373_810_7e-3,
];
/// π/2 in parts that are rounded down: all have one sign, so that −0 minus nothing stays −0.
const HALF_PI: [f32; 3] = [f32::from_bits(0x3fc9_0fda), 7.549_789_4e-8, 5.390_302_5e-15];
const TWO_OVER_PI: f32 = std::f32::consts::FRAC_2_PI;
/// 224 bits of 2/π behind the point, most significant first.
const TWO_OVER_PI_BITS: [u32; 7] = [
    0xa2f9_836e,
    0x4e44_1529,
    0xfc27_57d1,
    0xf534_ddc0,
    0xdb62_9599,
    0x3c43_9041,
    0xfe51_63ab,
];
/// π/2 · 2^-64, and what that lacks.
const HALF_PI_OF_FRACTION: [f32; 2] = [8.515_304e-20, -2.369_599_1e-27];
/// From here on an angle is reduced in integers.
const FAR: f32 = 65_536.0;

/// r and q of x = q·π/2 + r, |r| ≤ π/4. Only the two low bits of q count.
fn reduce<'ir>(e: Emit<'ir>, functions: &mut Functions<'ir>, x: Value<'ir>) -> (Value<'ir>, Value<'ir>) {
    let far = functions.get(Kind::FarAngle);
    let is_near = e.is(Compare::Olt, e.abs(x), FAR);
    let both = e.builder.if_values(
        is_near,
        |yes| {
            let e = Emit { builder: *yes };
            let (j, word) = nearest_integer(e, e.mul(x, e.float(TWO_OVER_PI)));
            let r = HALF_PI.iter().fold(x, |r, part| e.fma(j, e.float(-part), r));
            vec![r, word]
        },
        |no, _| {
            let e = Emit { builder: *no };
            let packed = e.call(&far, &[x], e.i64());
            let r = e.of_bits(e.cast("arith.trunci", packed, e.i32()));
            let q = e.cast("arith.trunci", e.int_op("arith.shrui", packed, 32), e.i32());
            vec![r, q]
        },
    );
    (both.result(0), both.result(1))
}

fn sin_of<'ir>(e: Emit<'ir>, r: Value<'ir>, square: Value<'ir>) -> Value<'ir> {
    // With + 0 the cube of −0 is +0, so that the sum below is −0.
    let cube = e.fma(square, r, e.float(0.0));
    e.fma(e.polynomial(square, &SIN), cube, r)
}

fn has_bit<'ir>(e: Emit<'ir>, word: Value<'ir>, bit: i32) -> Value<'ir> {
    let masked = e.int_op("arith.andi", word, bit);
    e.builder.cmp(CmpPredicate::Ne, masked, e.int(0))
}

/// The sine of r + q·π/2.
fn sine<'ir>(e: Emit<'ir>, r: Value<'ir>, q: Value<'ir>) -> Value<'ir> {
    let square = e.mul(r, r);
    let cos = e.fma(e.polynomial(square, &COS), square, e.float(1.0));
    let value = e.select(has_bit(e, q, 1), cos, sin_of(e, r, square));
    e.select(has_bit(e, q, 2), e.neg(value), value)
}

pub(super) fn sin<'ir>(e: Emit<'ir>, functions: &mut Functions<'ir>, x: Value<'ir>) -> Value<'ir> {
    let (r, q) = reduce(e, functions, x);
    sine(e, r, q)
}

pub(super) fn cos<'ir>(e: Emit<'ir>, functions: &mut Functions<'ir>, x: Value<'ir>) -> Value<'ir> {
    let (r, q) = reduce(e, functions, x);
    sine(e, r, e.int_op("arith.addi", q, 1))
}

pub(super) fn tan<'ir>(e: Emit<'ir>, functions: &mut Functions<'ir>, x: Value<'ir>) -> Value<'ir> {
    let (r, q) = reduce(e, functions, x);
    let square = e.mul(r, r);
    let tan = e.fma(e.polynomial(square, &TAN), e.mul(square, r), r);
    let turned = e.div(e.float(-1.0), tan);
    e.select(has_bit(e, q, 1), turned, tan)
}

/// r in the low word and q in the high one, for |x| ≥ 2^16. Not-a-number for what is not finite.
pub(super) fn far_angle<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let wide = |value: Value<'ir>| e.cast("arith.extui", value, e.i64());
    let narrow = |value: Value<'ir>| e.cast("arith.trunci", value, e.i32());
    let bits = e.bits(e.abs(x));
    // x = mantissa · 2^(exponent − 158), the mantissa with its top bit at bit 31.
    let exponent = e.int_op("arith.shrui", bits, 23);
    let mantissa = e.int_op("arith.ori", e.int_op("arith.shli", bits, 8), i32::MIN);
    // The product with 2/π in 8 words, the least significant first; 224 bits of them behind the point.
    let mut carry = e.int_of(e.i64(), 0);
    let mut words = Vec::new();
    for part in TWO_OVER_PI_BITS.iter().rev() {
        let product = e.op("arith.muli", &[wide(mantissa), e.int_of(e.i64(), i64::from(*part))]);
        let sum = e.op("arith.addi", &[product, carry]);
        words.push(narrow(sum));
        carry = e.int_op("arith.shrui", sum, 32);
    }
    words.push(narrow(carry));
    // Shifted left by exponent − 128, the bit worth 2 is the top one: by words first, then by bits.
    let shift = e.int_op("arith.subi", exponent, 128);
    let mut top: Vec<Value<'ir>> = words.into_iter().rev().collect();
    for (bit, count) in [(64, 2), (32, 1)] {
        let moves = has_bit(e, shift, bit);
        top = (0..top.len() - count)
            .map(|at| e.select(moves, top[at + count], top[at]))
            .collect();
    }
    let bits_left = e.int_op("arith.andi", shift, 31);
    let funnel = |high: Value<'ir>, low: Value<'ir>| e.op("llvm.intr.fshl", &[high, low, bits_left]);
    let high = funnel(top[0], top[1]);
    let middle = funnel(top[1], top[2]);
    let low = funnel(top[2], top[3]);
    // Two bits of q, then the fraction as a signed number: from a half on it belongs to the next q.
    let two = e.int(2);
    let upper = e.op("llvm.intr.fshl", &[high, middle, two]);
    let lower = e.op("llvm.intr.fshl", &[middle, low, two]);
    let quadrant = e.int_op("arith.shrui", high, 30);
    let next = e.int_op("arith.shrui", upper, 31);
    let quadrant = e.op("arith.addi", &[quadrant, next]);
    let shifted = e.int_op("arith.shli", wide(upper), 32);
    let fraction = e.op("arith.ori", &[shifted, wide(lower)]);
    let fraction = e.cast("arith.sitofp", fraction, e.f32());
    let [unit, lacking] = HALF_PI_OF_FRACTION.map(|part| e.float(part));
    let angle = e.fma(fraction, unit, e.mul(fraction, lacking));
    // −x has −r and −q.
    let below = e.is(Compare::Olt, x, 0.0);
    let angle = e.select(below, e.neg(angle), angle);
    let quadrant = e.select(below, e.op("arith.subi", &[e.int(0), quadrant]), quadrant);
    let finite = e.is(Compare::Olt, e.abs(x), f32::INFINITY);
    let angle = e.select(finite, angle, e.float(f32::NAN));
    let packed = e.int_op("arith.shli", wide(quadrant), 32);
    e.op("arith.ori", &[packed, wide(e.bits(angle))])
}

//! Floating-point operations (PTX ISA 9.0, 9.7.3 to 9.7.5).
//!
//! Sums, products, quotients, roots and fused multiply-adds are rounded once, in the mode that the opcode names.
//! Approximations (`.approx`, `.full`, transcendental functions) return the correctly rounded value of the f64
//! function, which lies inside every bound of the ISA. Not-a-number results are the canonical one.

use half::{bf16, f16};

use super::super::convert::Rounding;
use super::super::lane::{Float, Lanes, WarpFn, canonical, float_max, float_min};
use super::soft;
use super::{Alu, Clamp, Flush, Modify, PoisonRule, without};

/// The same expression, in f64, for every float type; packed types run it on both halves.
macro_rules! floats {
    ($ty:expr, |$a:ident, $b:ident| $e:expr) => {
        every_float!($ty, |$a, $b, c| |T| canonical(T::narrow($e)))
    };
}

/// An expression that gives bits, for every float type `T`; packed types run it on both halves.
macro_rules! every_float {
    ($ty:expr, |$a:ident, $b:ident, $c:ident| |$t:ident| $e:expr) => {{
        fn one<$t: Float>(s: &[Lanes; 4], out: &mut Lanes) {
            for i in 0..32 {
                #[allow(unused_variables)]
                let ($a, $b, $c) = ($t::of(s[0][i]).wide(), $t::of(s[1][i]).wide(), $t::of(s[2][i]).wide());
                out[i] = $e;
            }
        }
        fn two<$t: Float>(s: &[Lanes; 4], out: &mut Lanes) {
            for i in 0..32 {
                let half = |shift: u32| {
                    #[allow(unused_variables)]
                    let ($a, $b, $c) = (
                        $t::of(s[0][i] >> shift).wide(),
                        $t::of(s[1][i] >> shift).wide(),
                        $t::of(s[2][i] >> shift).wide(),
                    );
                    let bits: u64 = $e;
                    bits << shift
                };
                out[i] = half(0) | half(16);
            }
        }
        match $ty {
            "f16" => Some(one::<f16> as WarpFn),
            "bf16" => Some(one::<bf16> as WarpFn),
            "f32" => Some(one::<f32> as WarpFn),
            "f64" => Some(one::<f64> as WarpFn),
            "f16x2" => Some(two::<f16> as WarpFn),
            "bf16x2" => Some(two::<bf16> as WarpFn),
            _ => None,
        }
    }};
}

/// An operation of `soft` in each directed mode, for f32 and f64 (the only types that have them).
macro_rules! directed {
    ($ty:expr, $rounding:expr, |$a:ident, $b:ident, $c:ident, $format:ident, $mode:ident| $e:expr) => {{
        fn run<T: Float, const MODE: u8>(s: &[Lanes; 4], out: &mut Lanes) {
            let $mode = [Rounding::Zero, Rounding::Down, Rounding::Up][MODE as usize];
            let $format = T::FORMAT;
            for i in 0..32 {
                #[allow(unused_variables)]
                let ($a, $b, $c) = (T::of(s[0][i]).wide(), T::of(s[1][i]).wide(), T::of(s[2][i]).wide());
                out[i] = $e;
            }
        }
        match ($ty, $rounding) {
            ("f32", Rounding::Zero) => Some(run::<f32, 0> as WarpFn),
            ("f32", Rounding::Down) => Some(run::<f32, 1> as WarpFn),
            ("f32", Rounding::Up) => Some(run::<f32, 2> as WarpFn),
            ("f64", Rounding::Zero) => Some(run::<f64, 0> as WarpFn),
            ("f64", Rounding::Down) => Some(run::<f64, 1> as WarpFn),
            ("f64", Rounding::Up) => Some(run::<f64, 2> as WarpFn),
            _ => None,
        }
    }};
}

/// A float operation.
pub(super) fn float(base: &str, modifiers: &[&str], ty: &str) -> Option<Alu> {
    let half = !matches!(ty, "f32" | "f64");
    let (rest, [flush, saturate, relu]) = without(modifiers, ["ftz", "sat", "relu"]);
    let clamped = matches!(base, "add" | "sub" | "mul" | "fma" | "mad");
    if flush && ty == "f64" {
        // Of f64 only these flush, and do so themselves.
        let known = matches!(base, "rcp" | "rsqrt") && matches!(rest[..], ["approx"]);
        return known.then(|| Alu::float(upper_half(base), 1, ty).map(Alu::slow))?;
    }
    if ((saturate || relu) && !clamped) || (relu && (base != "fma" || !half)) {
        return None;
    }
    let mut alu = match base {
        "add" | "sub" | "mul" | "fma" | "mad" => arithmetic(base, &rest, ty)?,
        "min" | "max" => extremum(base, &rest, ty)?,
        "neg" if rest.is_empty() => Alu::float(negate(ty)?, 1, ty)?,
        "abs" if rest.is_empty() => Alu::float(magnitude(ty)?, 1, ty)?,
        "copysign" if rest.is_empty() => Alu::float(copy_sign(ty)?, 2, ty)?,
        "testp" => test_property(&rest, ty)?,
        _ => special(base, &rest, ty)?,
    };
    if flush {
        alu.modify.flush = Some(Flush::of(ty)?);
    }
    if saturate {
        alu.modify.clamp = Some(Clamp::Unit(Flush::of(ty)?));
    }
    if relu {
        alu.modify.clamp = Some(Clamp::Positive(Flush::of(ty)?));
    }
    if matches!(base, "neg" | "abs" | "copysign" | "testp") {
        // Sign operations and tests leave denormals as the flush of their sources makes them.
        alu.modify = Modify {
            flush: alu.modify.flush,
            clamp: None,
        };
    }
    Some(alu)
}

fn rounding(modifiers: &[&str]) -> Option<Rounding> {
    Some(match modifiers {
        [] | ["rn"] => Rounding::Nearest,
        ["rz"] => Rounding::Zero,
        ["rm"] => Rounding::Down,
        ["rp"] => Rounding::Up,
        _ => return None,
    })
}

fn arithmetic(base: &str, modifiers: &[&str], ty: &str) -> Option<Alu> {
    let rounding = rounding(modifiers)?;
    let sources = if matches!(base, "fma" | "mad") { 3 } else { 2 };
    let function = if rounding == Rounding::Nearest {
        nearest(base, ty)?
    } else {
        match base {
            "add" => directed!(ty, rounding, |a, b, c, format, mode| soft::add(a, b, format, mode))?,
            "sub" => directed!(ty, rounding, |a, b, c, format, mode| soft::add(a, -b, format, mode))?,
            "mul" => directed!(ty, rounding, |a, b, c, format, mode| soft::multiply(a, b, format, mode))?,
            _ => directed!(ty, rounding, |a, b, c, format, mode| soft::multiply_add(
                a, b, c, format, mode
            ))?,
        }
    };
    Alu::float(function, sources, ty)
}

/// f32 and f64 run on the CPU's own operations. f16 and bf16 are formed in f64, where sums and products of them are
/// exact, but a fused multiply-add of bf16 is not: its exponents are too far apart.
fn nearest(base: &str, ty: &str) -> Option<WarpFn> {
    match (base, ty) {
        ("add", "f32") => Some(lanes!(f32, |a, b, c, d| canonical(a + b))),
        ("sub", "f32") => Some(lanes!(f32, |a, b, c, d| canonical(a - b))),
        ("mul", "f32") => Some(lanes!(f32, |a, b, c, d| canonical(a * b))),
        ("fma" | "mad", "f32") => Some(lanes!(f32, |a, b, c, d| canonical(a.mul_add(b, c)))),
        ("fma" | "mad", "f64") => Some(lanes!(f64, |a, b, c, d| canonical(a.mul_add(b, c)))),
        ("add", _) => floats!(ty, |a, b| a + b),
        ("sub", _) => floats!(ty, |a, b| a - b),
        ("mul", _) => floats!(ty, |a, b| a * b),
        _ => every_float!(ty, |a, b, c| |T| soft::multiply_add(
            a,
            b,
            c,
            T::FORMAT,
            Rounding::Nearest
        )),
    }
}

/// `min`, `max` with `.NaN` (a not-a-number wins) and `.xorsign.abs` (of magnitudes, with the product's sign).
fn extremum(base: &str, modifiers: &[&str], ty: &str) -> Option<Alu> {
    let (rest, [nan, sign, abs]) = without(modifiers, ["NaN", "xorsign", "abs"]);
    if !rest.is_empty() || sign != abs || (ty == "f64" && (nan || sign)) {
        return None;
    }
    let function = match (base == "min", nan, sign) {
        (true, false, false) => floats!(ty, |a, b| float_min(a, b)),
        (false, false, false) => floats!(ty, |a, b| float_max(a, b)),
        (true, true, false) => floats!(ty, |a, b| propagate(a, b, float_min(a, b))),
        (false, true, false) => floats!(ty, |a, b| propagate(a, b, float_max(a, b))),
        (true, false, true) => floats!(ty, |a, b| xor_sign(a, b, float_min(a.abs(), b.abs()))),
        (false, false, true) => floats!(ty, |a, b| xor_sign(a, b, float_max(a.abs(), b.abs()))),
        (true, true, true) => floats!(ty, |a, b| propagate(a, b, xor_sign(a, b, float_min(a.abs(), b.abs())))),
        (false, true, true) => floats!(ty, |a, b| propagate(a, b, xor_sign(a, b, float_max(a.abs(), b.abs())))),
    };
    Alu::float(function?, 2, ty)
}

fn propagate(a: f64, b: f64, otherwise: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { otherwise }
}

fn xor_sign(a: f64, b: f64, magnitude: f64) -> f64 {
    if a.is_sign_negative() == b.is_sign_negative() {
        magnitude
    } else {
        -magnitude
    }
}

/// Division, roots, reciprocals and transcendental functions.
fn special(base: &str, modifiers: &[&str], ty: &str) -> Option<Alu> {
    let approximate = matches!(modifiers, ["approx"]);
    let sources = if base == "div" { 2 } else { 1 };
    let wide = matches!(ty, "f32" | "f64");
    let function = match (base, modifiers) {
        ("div", ["full" | "approx"]) if ty == "f32" => floats!(ty, |a, b| a / b),
        ("rsqrt", ["approx"]) if ty == "f64" => floats!(ty, |a, b| 1.0 / a.sqrt()),
        ("div" | "rcp" | "sqrt", _) if wide && !approximate => {
            let rounding = rounding(modifiers)?;
            match (base, rounding) {
                ("div", Rounding::Nearest) => floats!(ty, |a, b| a / b),
                ("rcp", Rounding::Nearest) => floats!(ty, |a, b| 1.0 / a),
                ("sqrt", Rounding::Nearest) => floats!(ty, |a, b| a.sqrt()),
                ("div", _) => directed!(ty, rounding, |a, b, c, format, mode| soft::divide(a, b, format, mode)),
                ("rcp", _) => directed!(ty, rounding, |a, b, c, format, mode| soft::divide(1.0, a, format, mode)),
                _ => directed!(ty, rounding, |a, b, c, format, mode| soft::square_root(a, format, mode)),
            }
        }
        ("rcp", ["approx"]) if ty == "f32" => floats!(ty, |a, b| 1.0 / a),
        ("sqrt", ["approx"]) if ty == "f32" => floats!(ty, |a, b| a.sqrt()),
        ("rsqrt", ["approx"]) if ty == "f32" => floats!(ty, |a, b| 1.0 / a.sqrt()),
        ("sin", ["approx"]) if ty == "f32" => floats!(ty, |a, b| a.sin()),
        ("cos", ["approx"]) if ty == "f32" => floats!(ty, |a, b| a.cos()),
        ("lg2", ["approx"]) if ty == "f32" => floats!(ty, |a, b| a.log2()),
        ("ex2", ["approx"]) if ty != "f64" => floats!(ty, |a, b| a.exp2()),
        ("tanh", ["approx"]) if ty != "f64" => floats!(ty, |a, b| a.tanh()),
        _ => return None,
    };
    Some(Alu::float(function?, sources, ty)?.slow())
}

/// `rcp.approx.ftz.f64` and `rsqrt.approx.ftz.f64` give the upper 32 bits of a result and zeros below (PTX ISA 9.0,
/// 9.7.3.14 and 9.7.3.18).
fn upper_half(base: &str) -> WarpFn {
    fn flushed(value: f64) -> f64 {
        if value.is_subnormal() {
            0f64.copysign(value)
        } else {
            value
        }
    }
    if base == "rcp" {
        lanes!(f64, |a, b, c, d| canonical(flushed(1.0 / flushed(a))) & !0xffff_ffff)
    } else {
        lanes!(f64, |a, b, c, d| canonical(1.0 / flushed(a).sqrt()) & !0xffff_ffff)
    }
}

fn negate(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "f16" | "bf16" => lanes!(u16, |a, b, c, d| a ^ 0x8000),
        "f16x2" | "bf16x2" => lanes!(u32, |a, b, c, d| a ^ 0x8000_8000),
        "f32" => lanes!(u32, |a, b, c, d| a ^ 0x8000_0000),
        "f64" => lanes!(u64, |a, b, c, d| a ^ (1 << 63)),
        _ => return None,
    })
}

fn magnitude(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "f16" | "bf16" => lanes!(u16, |a, b, c, d| a & 0x7fff),
        "f16x2" | "bf16x2" => lanes!(u32, |a, b, c, d| a & 0x7fff_7fff),
        "f32" => lanes!(u32, |a, b, c, d| a & 0x7fff_ffff),
        "f64" => lanes!(u64, |a, b, c, d| a & !(1 << 63)),
        _ => return None,
    })
}

/// `copysign d, a, b`: the sign of a, the magnitude of b.
fn copy_sign(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "f32" => lanes!(u32, |a, b, c, d| (b & 0x7fff_ffff) | (a & 0x8000_0000)),
        "f64" => lanes!(u64, |a, b, c, d| (b & !(1 << 63)) | (a & (1 << 63))),
        _ => return None,
    })
}

/// `testp.op p, a` (PTX ISA 9.0, 9.7.3.1).
fn test_property(modifiers: &[&str], ty: &str) -> Option<Alu> {
    macro_rules! test {
        (|$a:ident| $e:expr) => {
            match ty {
                "f32" => lanes!(f32, |$a, b, c, d| u8::from($e)),
                "f64" => lanes!(f64, |$a, b, c, d| u8::from($e)),
                _ => return None,
            }
        };
    }
    let function = match modifiers {
        ["finite"] => test!(|a| a.is_finite()),
        ["infinite"] => test!(|a| a.is_infinite()),
        ["number"] => test!(|a| !a.is_nan()),
        ["notanumber"] => test!(|a| a.is_nan()),
        ["normal"] => test!(|a| a.is_normal()),
        ["subnormal"] => test!(|a| a.is_subnormal()),
        _ => return None,
    };
    Some(Alu::float(function, 1, ty)?.poison(PoisonRule::Any))
}

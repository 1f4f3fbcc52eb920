//! Integer arithmetic (PTX ISA 9.0, 9.7.1).

use super::super::lane::{Lanes, WarpFn};
use super::{Alu, type_bits};

/// An integer operation.
pub(super) fn integer(base: &str, modifiers: &[&str], ty: &str) -> Option<Alu> {
    if matches!(base, "dp4a" | "dp2a") {
        return dot_product(base, modifiers, ty);
    }
    let bits = type_bits(ty)?;
    let simple = |function: Option<WarpFn>, sources: usize| function.map(|f| Alu::integer(f, sources, bits));
    let typed = matches!(ty, "u16" | "s16" | "u32" | "s32" | "u64" | "s64");
    match (base, modifiers) {
        _ if !typed => None,
        ("add", []) => simple(ints!(ty, |a, b, c| a.wrapping_add(b)), 2),
        ("sub", []) => simple(ints!(ty, |a, b, c| a.wrapping_sub(b)), 2),
        ("add", ["sat"]) if ty == "s32" => simple(Some(lanes!(i32, |a, b, c, d| a.saturating_add(b))), 2),
        ("sub", ["sat"]) if ty == "s32" => simple(Some(lanes!(i32, |a, b, c, d| a.saturating_sub(b))), 2),
        ("mul", ["lo"]) => simple(ints!(ty, |a, b, c| a.wrapping_mul(b)), 2),
        ("mul", ["hi"]) => simple(multiply_high(ty), 2),
        ("mul", ["wide"]) => simple(multiply_wide(ty), 2),
        ("mad", ["lo"]) => simple(ints!(ty, |a, b, c| a.wrapping_mul(b).wrapping_add(c)), 3),
        ("mad", ["hi"]) => simple(multiply_add_high(ty), 3),
        ("mad", ["hi", "sat"]) if ty == "s32" => {
            let function = lanes!(i32, |a, b, c, d| (((i64::from(a) * i64::from(b)) >> 32) as i32)
                .saturating_add(c));
            simple(Some(function), 3)
        }
        ("mad", ["wide"]) => simple(multiply_add_wide(ty), 3).map(|alu| alu.sources(&[bits, bits, 2 * bits])),
        ("mul24" | "mad24", [half @ ("lo" | "hi")]) => multiply_24(base, half, ty),
        ("mad24", ["hi", "sat"]) if ty == "s32" => {
            let function = lanes!(u32, |a, b, c, d| ((product_24(a, b, true) >> 16) as i32)
                .saturating_add(c as i32));
            simple(Some(function), 3)
        }
        // Division by zero is unspecified by PTX; all ones (and the dividend as remainder) is what GPUs give.
        ("div", []) => simple(ints!(ty, |a, b, c| if b == 0 { !0 } else { a.wrapping_div(b) }), 2).map(Alu::slow),
        ("rem", []) => simple(ints!(ty, |a, b, c| if b == 0 { a } else { a.wrapping_rem(b) }), 2).map(Alu::slow),
        ("min", []) => simple(ints!(ty, |a, b, c| a.min(b)), 2),
        ("max", []) => simple(ints!(ty, |a, b, c| a.max(b)), 2),
        ("min", ["relu"]) if ty == "s32" => simple(Some(lanes!(i32, |a, b, c, d| a.min(b).max(0))), 2),
        ("max", ["relu"]) if ty == "s32" => simple(Some(lanes!(i32, |a, b, c, d| a.max(b).max(0))), 2),
        ("neg", []) => simple(negate(ty), 1),
        ("abs", []) => simple(absolute(ty), 1),
        ("sad", []) => simple(ints!(ty, |a, b, c| c.wrapping_add(a.abs_diff(b) as _)), 3),
        _ => None,
    }
}

fn negate(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "s16" => lanes!(i16, |a, b, c, d| a.wrapping_neg()),
        "s32" => lanes!(i32, |a, b, c, d| a.wrapping_neg()),
        "s64" => lanes!(i64, |a, b, c, d| a.wrapping_neg()),
        _ => return None,
    })
}

fn absolute(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "s16" => lanes!(i16, |a, b, c, d| a.wrapping_abs()),
        "s32" => lanes!(i32, |a, b, c, d| a.wrapping_abs()),
        "s64" => lanes!(i64, |a, b, c, d| a.wrapping_abs()),
        _ => return None,
    })
}

fn multiply_wide(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "u16" => lanes!(u16, |a, b, c, d| u32::from(a) * u32::from(b)),
        "s16" => lanes!(i16, |a, b, c, d| i32::from(a) * i32::from(b)),
        "u32" => lanes!(u32, |a, b, c, d| u64::from(a) * u64::from(b)),
        "s32" => lanes!(i32, |a, b, c, d| i64::from(a) * i64::from(b)),
        _ => return None,
    })
}

fn multiply_add_wide(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "u16" => lanes!(u64, |a, b, c, d| (u32::from(a as u16) * u32::from(b as u16))
            .wrapping_add(c as u32)),
        "s16" => lanes!(u64, |a, b, c, d| (i32::from(a as i16) * i32::from(b as i16))
            .wrapping_add(c as i32)),
        "u32" => lanes!(u64, |a, b, c, d| (u64::from(a as u32) * u64::from(b as u32))
            .wrapping_add(c)),
        "s32" => lanes!(u64, |a, b, c, d| (i64::from(a as i32) * i64::from(b as i32))
            .wrapping_add(c as i64)),
        _ => return None,
    })
}

fn multiply_high(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "u16" => lanes!(u16, |a, b, c, d| ((u32::from(a) * u32::from(b)) >> 16) as u16),
        "s16" => lanes!(i16, |a, b, c, d| ((i32::from(a) * i32::from(b)) >> 16) as i16),
        "u32" => lanes!(u32, |a, b, c, d| ((u64::from(a) * u64::from(b)) >> 32) as u32),
        "s32" => lanes!(i32, |a, b, c, d| ((i64::from(a) * i64::from(b)) >> 32) as i32),
        "u64" => lanes!(u64, |a, b, c, d| ((u128::from(a) * u128::from(b)) >> 64) as u64),
        "s64" => lanes!(i64, |a, b, c, d| ((i128::from(a) * i128::from(b)) >> 64) as i64),
        _ => return None,
    })
}

fn multiply_add_high(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "u16" => lanes!(u16, |a, b, c, d| (((u32::from(a) * u32::from(b)) >> 16) as u16)
            .wrapping_add(c)),
        "s16" => lanes!(i16, |a, b, c, d| (((i32::from(a) * i32::from(b)) >> 16) as i16)
            .wrapping_add(c)),
        "u32" => lanes!(u32, |a, b, c, d| (((u64::from(a) * u64::from(b)) >> 32) as u32)
            .wrapping_add(c)),
        "s32" => lanes!(i32, |a, b, c, d| (((i64::from(a) * i64::from(b)) >> 32) as i32)
            .wrapping_add(c)),
        "u64" => lanes!(u64, |a, b, c, d| (((u128::from(a) * u128::from(b)) >> 64) as u64)
            .wrapping_add(c)),
        "s64" => lanes!(i64, |a, b, c, d| (((i128::from(a) * i128::from(b)) >> 64) as i64)
            .wrapping_add(c)),
        _ => return None,
    })
}

/// `mul24`, `mad24`: the product of the low 24 bits; `.lo` its low 32 bits, `.hi` its bits 16 to 47.
fn multiply_24(base: &str, half: &str, ty: &str) -> Option<Alu> {
    let function = match (base, half, ty) {
        ("mul24", "lo", "u32") => lanes!(u32, |a, b, c, d| product_24(a, b, false) as u32),
        ("mul24", "lo", "s32") => lanes!(u32, |a, b, c, d| product_24(a, b, true) as u32),
        ("mul24", "hi", "u32") => lanes!(u32, |a, b, c, d| (product_24(a, b, false) >> 16) as u32),
        ("mul24", "hi", "s32") => lanes!(u32, |a, b, c, d| (product_24(a, b, true) >> 16) as u32),
        ("mad24", "lo", "u32") => lanes!(u32, |a, b, c, d| (product_24(a, b, false) as u32).wrapping_add(c)),
        ("mad24", "lo", "s32") => lanes!(u32, |a, b, c, d| (product_24(a, b, true) as u32).wrapping_add(c)),
        ("mad24", "hi", "u32") => lanes!(u32, |a, b, c, d| ((product_24(a, b, false) >> 16) as u32)
            .wrapping_add(c)),
        ("mad24", "hi", "s32") => lanes!(u32, |a, b, c, d| ((product_24(a, b, true) >> 16) as u32)
            .wrapping_add(c)),
        _ => return None,
    };
    Some(Alu::integer(function, if base == "mul24" { 2 } else { 3 }, 32))
}

fn product_24(a: u32, b: u32, signed: bool) -> i64 {
    let low = |value: u32| {
        let shifted = value << 8;
        if signed {
            i64::from((shifted as i32) >> 8)
        } else {
            i64::from(shifted >> 8)
        }
    };
    low(a) * low(b)
}

/// `dp4a.atype.btype d, a, b, c` and `dp2a.{lo,hi}.atype.btype d, a, b, c` (PTX ISA 9.0, 9.7.1.22 and 9.7.1.23): sums
/// of products of bytes; for `dp2a` of the halves of a with two bytes of b.
fn dot_product(base: &str, modifiers: &[&str], b_type: &str) -> Option<Alu> {
    let (part, a_type) = match (base, modifiers) {
        ("dp4a", [a_type]) => (0, a_type),
        ("dp2a", ["lo", a_type]) => (1, a_type),
        ("dp2a", ["hi", a_type]) => (2, a_type),
        _ => return None,
    };
    let signed = |ty: &str| match ty {
        "s32" => Some(true),
        "u32" => Some(false),
        _ => None,
    };
    fn run<const PART: u8, const A: bool, const B: bool>(s: &[Lanes; 4], out: &mut Lanes) {
        let take = |value: u32, width: u32, index: u32, signed: bool| {
            let shifted = value << (32 - width * (index + 1));
            if signed {
                (shifted as i32) >> (32 - width)
            } else {
                (shifted >> (32 - width)) as i32
            }
        };
        for i in 0..32 {
            let (a, b) = (s[0][i] as u32, s[1][i] as u32);
            let products: i32 = match PART {
                0 => (0..4).map(|k| take(a, 8, k, A) * take(b, 8, k, B)).sum(),
                part => (0..2)
                    .map(|k| take(a, 16, k, A) * take(b, 8, k + 2 * u32::from(part - 1), B))
                    .sum(),
            };
            out[i] = u64::from((s[2][i] as u32).wrapping_add(products as u32));
        }
    }
    let function: WarpFn = match (part, signed(a_type)?, signed(b_type)?) {
        (0, false, false) => run::<0, false, false>,
        (0, false, true) => run::<0, false, true>,
        (0, true, false) => run::<0, true, false>,
        (0, true, true) => run::<0, true, true>,
        (1, false, false) => run::<1, false, false>,
        (1, false, true) => run::<1, false, true>,
        (1, true, false) => run::<1, true, false>,
        (1, true, true) => run::<1, true, true>,
        (_, false, false) => run::<2, false, false>,
        (_, false, true) => run::<2, false, true>,
        (_, true, false) => run::<2, true, false>,
        (_, true, true) => run::<2, true, true>,
    };
    Some(Alu::integer(function, 3, 32))
}

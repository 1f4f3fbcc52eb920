//! Logic, shifts, bit fields, selection (PTX ISA 9.0, 9.7.1, 9.7.6 and 9.7.8).

use super::super::lane::WarpFn;
use super::super::memory::{GLOBAL_WINDOW, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use super::{Alu, PoisonRule, type_bits};

/// Like `ints`, by width only.
macro_rules! widths {
    ($ty:expr, |$a:ident, $b:ident| $e:expr) => {
        match $ty {
            "b16" => Some(lanes!(u16, |$a, $b, c, d| $e)),
            "b32" => Some(lanes!(u32, |$a, $b, c, d| $e)),
            "b64" => Some(lanes!(u64, |$a, $b, c, d| $e)),
            "pred" => Some(lanes!(u8, |$a, $b, c, d| ($e) & 1)),
            _ => None,
        }
    };
}

/// An operation on bits.
pub(super) fn bits(base: &str, modifiers: &[&str], ty: &str) -> Option<Alu> {
    let width = type_bits(ty)?;
    let simple = |function: Option<WarpFn>, sources: usize| function.map(|f| Alu::integer(f, sources, width));
    let by_byte =
        |function: Option<WarpFn>, sources: usize| simple(function, sources).map(|a| a.poison(PoisonRule::Bytes));
    match (base, modifiers) {
        ("and", []) => by_byte(widths!(ty, |a, b| a & b), 2),
        ("or", []) => by_byte(widths!(ty, |a, b| a | b), 2),
        ("xor", []) => by_byte(widths!(ty, |a, b| a ^ b), 2),
        ("not", []) => by_byte(widths!(ty, |a, b| !a), 1),
        ("cnot", []) if ty != "pred" => simple(widths!(ty, |a, b| u8::from(a == 0)), 1),
        ("lop3", []) if ty == "b32" => by_byte(Some(lanes!(u32, |a, b, c, d| lop3(a, b, c, d))), 4),
        ("shl", []) => simple(shift_left(ty), 2).map(|alu| alu.sources(&[width, 32])),
        ("shr", []) => simple(shift_right(ty), 2).map(|alu| alu.sources(&[width, 32])),
        ("shf", _) if ty == "b32" => simple(funnel(modifiers), 3),
        ("bfe", []) => simple(extract(ty), 3).map(|alu| alu.sources(&[width, 32, 32])),
        ("bfi", []) => simple(insert(ty), 4).map(|alu| alu.sources(&[width, width, 32, 32])),
        ("bmsk", [mode @ ("clamp" | "wrap")]) if ty == "b32" => {
            let function = if *mode == "clamp" {
                lanes!(u32, |a, b, c, d| bit_mask(a, b))
            } else {
                lanes!(u32, |a, b, c, d| bit_mask(a & 31, b & 31))
            };
            simple(Some(function), 2)
        }
        ("szext", [mode @ ("clamp" | "wrap")]) => sign_extend(mode, ty),
        ("prmt", _) => simple(permute(modifiers), 3),
        ("popc", []) if ty == "b32" => simple(Some(lanes!(u32, |a, b, c, d| a.count_ones())), 1),
        ("popc", []) if ty == "b64" => simple(Some(lanes!(u64, |a, b, c, d| a.count_ones())), 1),
        ("clz", []) if ty == "b32" => simple(Some(lanes!(u32, |a, b, c, d| a.leading_zeros())), 1),
        ("clz", []) if ty == "b64" => simple(Some(lanes!(u64, |a, b, c, d| a.leading_zeros())), 1),
        ("brev", []) if ty == "b32" => simple(Some(lanes!(u32, |a, b, c, d| a.reverse_bits())), 1),
        ("brev", []) if ty == "b64" => simple(Some(lanes!(u64, |a, b, c, d| a.reverse_bits())), 1),
        ("bfind", []) => simple(find_bit(ty, false), 1),
        ("bfind", ["shiftamt"]) => simple(find_bit(ty, true), 1),
        ("fns", []) if ty == "b32" => simple(Some(lanes!(u32, |a, b, c, d| nth_set(a, b, c as i32))), 3),
        ("selp", []) => {
            let alu = simple(Some(SELECT), 3)?.sources(&[width, width, 1]);
            Some(alu.poison(PoisonRule::Select))
        }
        _ => None,
    }
}

const SELECT: WarpFn = |s, out| {
    for i in 0..32 {
        out[i] = if s[2][i] & 1 != 0 { s[0][i] } else { s[1][i] };
    }
};

/// `slct.dtype.{s32,f32} d, a, b, c`: a where c is not negative (nor a not-a-number), else b.
pub(crate) fn select_by_sign(parts: &[&str]) -> Option<Alu> {
    let (ty, sign) = match parts {
        ["slct", ty, sign @ ("s32" | "f32")] => (ty, *sign),
        ["slct", "ftz", ty, sign @ "f32"] => (ty, *sign),
        _ => return None,
    };
    let width = type_bits(ty).filter(|width| *width >= 16)?;
    let function: WarpFn = if sign == "s32" {
        |s, out| {
            for i in 0..32 {
                out[i] = if s[2][i] as i32 >= 0 { s[0][i] } else { s[1][i] };
            }
        }
    } else {
        // −0 is not below zero; a denormal flushed by .ftz becomes one.
        |s, out| {
            for i in 0..32 {
                let c = f32::from_bits(s[2][i] as u32);
                out[i] = if c >= 0.0 { s[0][i] } else { s[1][i] };
            }
        }
    };
    let mut alu = Alu::integer(function, 3, width).sources(&[width, width, 32]);
    if parts[1] == "ftz" {
        // Only c is flushed: a denormal counts as zero, which selects a.
        alu.function = |s, out| {
            for i in 0..32 {
                let c = f32::from_bits(super::flush_f32(s[2][i]) as u32);
                out[i] = if c >= 0.0 { s[0][i] } else { s[1][i] };
            }
        };
    }
    Some(alu)
}

/// `cvt.pack.sat.to.s32{.b32} d, a, b{, c}` (PTX ISA 9.0, 9.7.9.22): b and a, saturated, from the lowest bit on; then c.
pub(crate) fn saturated_pair(to: &str, sources: usize) -> Option<Alu> {
    fn pair(a: i32, b: i32, c: u32, width: u32, signed: bool) -> u32 {
        let (least, most) = if signed {
            (-(1 << (width - 1)), (1 << (width - 1)) - 1)
        } else {
            (0, (1 << width) - 1)
        };
        let part = |value: i32| value.clamp(least, most) as u32 & ((1 << width) - 1);
        let rest = if width < 16 { c << (2 * width) } else { 0 };
        part(b) | (part(a) << width) | rest
    }
    macro_rules! to {
        ($width:expr, $signed:expr) => {
            lanes!(u32, |a, b, c, d| pair(a as i32, b as i32, c, $width, $signed))
        };
    }
    let function = match to {
        "s16" => to!(16, true),
        "u16" => to!(16, false),
        "s8" => to!(8, true),
        "u8" => to!(8, false),
        "s4" => to!(4, true),
        "u4" => to!(4, false),
        "s2" => to!(2, true),
        "u2" => to!(2, false),
        _ => return None,
    };
    Some(Alu::integer(function, sources, 32))
}

/// `isspacep.space p, a`.
pub(crate) fn space_test(space: &str) -> Option<Alu> {
    macro_rules! within {
        ($start:expr) => {
            lanes!(u64, |a, b, c, d| u8::from(
                ($start..$start + WINDOW_BYTES).contains(&a)
            ))
        };
    }
    let function = match space {
        "shared" | "shared::cta" => within!(SHARED_WINDOW),
        "local" => within!(LOCAL_WINDOW),
        "param" | "param::entry" => within!(PARAM_WINDOW),
        // Constant memory is reached through global addresses here.
        "global" => lanes!(u64, |a, b, c, d| u8::from(a >= GLOBAL_WINDOW)),
        "const" => lanes!(u64, |a, b, c, d| 0u8),
        _ => return None,
    };
    Some(Alu::integer(function, 1, 64))
}

/// Shift amounts above the width give zeros (or signs): PTX clamps, hardware shifters of CPUs wrap.
fn shift_left(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "b16" => lanes!(u64, |a, b, c, d| if b as u32 > 15 {
            0
        } else {
            (a as u16) << (b as u32)
        }),
        "b32" => lanes!(u64, |a, b, c, d| if b as u32 > 31 {
            0
        } else {
            (a as u32) << (b as u32)
        }),
        "b64" => lanes!(u64, |a, b, c, d| if b as u32 > 63 { 0 } else { a << (b as u32) }),
        _ => return None,
    })
}

fn shift_right(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "u16" | "b16" => lanes!(u64, |a, b, c, d| if b as u32 > 15 {
            0
        } else {
            (a as u16) >> (b as u32)
        }),
        "u32" | "b32" => lanes!(u64, |a, b, c, d| if b as u32 > 31 {
            0
        } else {
            (a as u32) >> (b as u32)
        }),
        "u64" | "b64" => lanes!(u64, |a, b, c, d| if b as u32 > 63 { 0 } else { a >> (b as u32) }),
        "s16" => lanes!(u64, |a, b, c, d| (a as i16) >> (b as u32).min(15)),
        "s32" => lanes!(u64, |a, b, c, d| (a as i32) >> (b as u32).min(31)),
        "s64" => lanes!(u64, |a, b, c, d| (a as i64) >> (b as u32).min(63)),
        _ => return None,
    })
}

/// `shf.{l,r}.{wrap,clamp}.b32 d, a, b, c`: a is the low word, b the high one.
fn funnel(modifiers: &[&str]) -> Option<WarpFn> {
    Some(match modifiers {
        ["l", "wrap"] => lanes!(u32, |a, b, c, d| ((pair(a, b) << (c & 31)) >> 32) as u32),
        ["r", "wrap"] => lanes!(u32, |a, b, c, d| (pair(a, b) >> (c & 31)) as u32),
        ["l", "clamp"] => lanes!(u32, |a, b, c, d| ((pair(a, b) << c.min(32)) >> 32) as u32),
        ["r", "clamp"] => lanes!(u32, |a, b, c, d| (pair(a, b) >> c.min(32)) as u32),
        _ => return None,
    })
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | (u64::from(high) << 32)
}

fn extract(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "u32" => lanes!(u64, |a, b, c, d| extract_bits(a & 0xffff_ffff, b, c, 32, false) as u32),
        "s32" => lanes!(u64, |a, b, c, d| extract_bits(a & 0xffff_ffff, b, c, 32, true) as u32),
        "u64" => lanes!(u64, |a, b, c, d| extract_bits(a, b, c, 64, false)),
        "s64" => lanes!(u64, |a, b, c, d| extract_bits(a, b, c, 64, true)),
        _ => return None,
    })
}

/// PTX ISA, `bfe`: position and length are their low 8 bits; bits beyond the width are zeros or copies of the sign.
fn extract_bits(a: u64, position: u64, length: u64, width: u32, signed: bool) -> u64 {
    let (position, length) = ((position & 0xff) as u32, (length & 0xff) as u32);
    if length == 0 {
        return 0;
    }
    let msb = width - 1;
    let sign_position = (position + length - 1).min(msb);
    let sign = signed && (a >> sign_position) & 1 == 1;
    let mut out = if position > msb { 0 } else { a >> position };
    let kept = length.min((msb + 1).saturating_sub(position));
    if kept < 64 {
        out &= (1u64 << kept) - 1;
        if sign {
            out |= !0u64 << kept;
        }
    }
    out
}

fn insert(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "b32" => lanes!(u64, |a, b, c, d| insert_bits(a, b, c, d, 32) as u32),
        "b64" => lanes!(u64, |a, b, c, d| insert_bits(a, b, c, d, 64)),
        _ => return None,
    })
}

/// PTX ISA, `bfi`: `length` bits of `a` go into `b` at `position`.
fn insert_bits(a: u64, b: u64, position: u64, length: u64, width: u32) -> u64 {
    let (position, length) = ((position & 0xff) as u32, (length & 0xff) as u32);
    if position >= width || length == 0 {
        return b;
    }
    let length = length.min(width - position);
    let mask = if length >= 64 {
        !0
    } else {
        ((1u64 << length) - 1) << position
    };
    (b & !mask) | ((a << position) & mask)
}

/// PTX ISA 9.0, 9.7.1.21, `bmsk`: `length` ones from `position` on.
fn bit_mask(position: u32, length: u32) -> u32 {
    let (position, length) = (position.min(32), length.min(32));
    let ones = ((1u64 << length) - 1) << position;
    ones as u32
}

/// PTX ISA 9.0, 9.7.1.20, `szext`: the low `b` bits, extended by sign or zeros.
fn sign_extend(mode: &str, ty: &str) -> Option<Alu> {
    fn extended(a: u32, bits: u32, signed: bool) -> u32 {
        match bits {
            0 => 0,
            1..=31 if signed => (((a << (32 - bits)) as i32) >> (32 - bits)) as u32,
            1..=31 => a & ((1 << bits) - 1),
            _ => a,
        }
    }
    let function = match (mode, ty) {
        ("clamp", "s32") => lanes!(u32, |a, b, c, d| extended(a, b, true)),
        ("clamp", "u32") => lanes!(u32, |a, b, c, d| extended(a, b, false)),
        ("wrap", "s32") => lanes!(u32, |a, b, c, d| extended(a, b & 31, true)),
        ("wrap", "u32") => lanes!(u32, |a, b, c, d| extended(a, b & 31, false)),
        _ => return None,
    };
    Some(Alu::integer(function, 2, 32))
}

/// PTX ISA 9.0, 9.7.9.7, `prmt`: bytes of b:a by a selector, or by its two low bits in one of six patterns.
fn permute(mode: &[&str]) -> Option<WarpFn> {
    // Each row: the source bytes of the result (lowest first) for a selector of 0 to 3.
    const FORWARD: [[u8; 4]; 4] = [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]];
    const BACKWARD: [[u8; 4]; 4] = [[0, 7, 6, 5], [1, 0, 7, 6], [2, 1, 0, 7], [3, 2, 1, 0]];
    const REPLICATE_8: [[u8; 4]; 4] = [[0; 4], [1; 4], [2; 4], [3; 4]];
    const CLAMP_LEFT: [[u8; 4]; 4] = [[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]];
    const CLAMP_RIGHT: [[u8; 4]; 4] = [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 2, 2], [0, 1, 2, 3]];
    const REPLICATE_16: [[u8; 4]; 4] = [[0, 1, 0, 1], [2, 3, 2, 3], [0, 1, 0, 1], [2, 3, 2, 3]];
    fn pattern(a: u32, b: u32, selector: u32, table: &[[u8; 4]; 4]) -> u32 {
        let bytes = pair(a, b).to_le_bytes();
        u32::from_le_bytes(table[selector as usize & 3].map(|index| bytes[index as usize]))
    }
    Some(match mode {
        [] => lanes!(u32, |a, b, c, d| permute_bytes(a, b, c)),
        ["f4e"] => lanes!(u32, |a, b, c, d| pattern(a, b, c, &FORWARD)),
        ["b4e"] => lanes!(u32, |a, b, c, d| pattern(a, b, c, &BACKWARD)),
        ["rc8"] => lanes!(u32, |a, b, c, d| pattern(a, b, c, &REPLICATE_8)),
        ["ecl"] => lanes!(u32, |a, b, c, d| pattern(a, b, c, &CLAMP_LEFT)),
        ["ecr"] => lanes!(u32, |a, b, c, d| pattern(a, b, c, &CLAMP_RIGHT)),
        ["rc16"] => lanes!(u32, |a, b, c, d| pattern(a, b, c, &REPLICATE_16)),
        _ => return None,
    })
}

/// The default mode: each nibble of the selector picks a byte of b:a, its top bit replicates that byte's sign.
fn permute_bytes(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = pair(a, b).to_le_bytes();
    let mut out = [0u8; 4];
    for (i, byte) in out.iter_mut().enumerate() {
        let nibble = (selector >> (4 * i)) & 0xf;
        let value = bytes[(nibble & 7) as usize];
        *byte = if nibble & 8 == 0 {
            value
        } else {
            0u8.wrapping_sub(value >> 7)
        };
    }
    u32::from_le_bytes(out)
}

/// PTX ISA, `lop3`: bit `4a + 2b + c` of the table, for each bit position.
fn lop3(a: u32, b: u32, c: u32, table: u32) -> u32 {
    (0..8u32).filter(|row| (table >> row) & 1 == 1).fold(0, |out, row| {
        let pick = |value: u32, bit: u32| if (row >> bit) & 1 == 1 { value } else { !value };
        out | (pick(a, 2) & pick(b, 1) & pick(c, 0))
    })
}

/// PTX ISA 9.0, 9.7.1.17, `bfind`: the highest bit that is set (signed: that differs from the sign), all ones where
/// there is none; with `.shiftamt` the shift that would bring it to the top.
fn find_bit(ty: &str, shift: bool) -> Option<WarpFn> {
    fn found(value: u64, width: u32, shift: bool) -> u32 {
        if value == 0 {
            return u32::MAX;
        }
        let position = 63 - value.leading_zeros();
        if shift { width - 1 - position } else { position }
    }
    fn magnitude(value: i64) -> u64 {
        (if value < 0 { !value } else { value }) as u64
    }
    Some(match (ty, shift) {
        ("u32", false) => lanes!(u32, |a, b, c, d| found(u64::from(a), 32, false)),
        ("u32", true) => lanes!(u32, |a, b, c, d| found(u64::from(a), 32, true)),
        ("u64", false) => lanes!(u64, |a, b, c, d| found(a, 64, false)),
        ("u64", true) => lanes!(u64, |a, b, c, d| found(a, 64, true)),
        ("s32", false) => lanes!(i32, |a, b, c, d| found(magnitude(i64::from(a)), 32, false)),
        ("s32", true) => lanes!(i32, |a, b, c, d| found(magnitude(i64::from(a)), 32, true)),
        ("s64", false) => lanes!(i64, |a, b, c, d| found(magnitude(a), 64, false)),
        ("s64", true) => lanes!(i64, |a, b, c, d| found(magnitude(a), 64, true)),
        _ => return None,
    })
}

/// PTX ISA 9.0, 9.7.1.18, `fns`: the position of the |offset|-th set bit of `mask`, counted from `base` on, upwards or
/// (negative offset) downwards; offset 0 asks for the base bit itself.
fn nth_set(mask: u32, base: u32, offset: i32) -> u32 {
    let base = base & 31;
    let set = |bit: i32| (mask >> bit) & 1 == 1;
    if offset == 0 {
        return if set(base as i32) { base } else { u32::MAX };
    }
    let step = offset.signum();
    let mut left = offset.unsigned_abs();
    let mut bit = base as i32;
    while (0..32).contains(&bit) {
        if set(bit) {
            left -= 1;
            if left == 0 {
                return bit as u32;
            }
        }
        bit += step;
    }
    u32::MAX
}

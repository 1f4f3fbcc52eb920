//! Arithmetic: from an opcode to the function that runs it on all lanes of a warp.
//!
//! ```text
//! mad.lo.s32  ->  Alu { function: |a, b, c| a * b + c over i32, sources: 3 }
//! ```
//! Semantics from PTX ISA 9.0, chapter 9.7. Where PTX leaves room (approximations, division by zero) the choice is
//! written beside the operation.

use half::{bf16, f16};

use super::lane::{Float, Lane, Lanes, WarpFn, canonical, float_max, float_min};

/// How undefined bytes pass through an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoisonRule {
    /// Any undefined source byte makes the whole result undefined.
    Any,
    /// Byte i of the result depends on bytes i of the sources.
    Bytes,
    /// A shift left by a known number of bits (negative: right).
    Shift(i32),
    /// `selp`: the third source chooses.
    Select,
    /// `and` with a constant: bytes where it is zero are defined.
    Masked(u64),
    /// Keep so many low bytes and fill with defined ones.
    Low(u32),
}

/// A scalar operation, ready to run.
#[derive(Clone, Copy)]
pub(crate) struct Alu {
    pub function: WarpFn,
    pub sources: usize,
    pub poison: PoisonRule,
    /// Whether it is floating point (for the instruction classes).
    pub float: bool,
    /// Whether it is a division or a transcendental function.
    pub slow: bool,
    /// Bits of the sources as typed (immediates are cut to them).
    pub source_bits: u32,
}

/// One function over all lanes, for a source type and an expression.
macro_rules! lanes {
    ($t:ty, |$a:ident, $b:ident, $c:ident, $d:ident| $e:expr) => {{
        fn run(s: &[Lanes; 4], out: &mut Lanes) {
            for i in 0..32 {
                #[allow(unused_variables)]
                let ($a, $b, $c, $d) = (
                    <$t>::of(s[0][i]),
                    <$t>::of(s[1][i]),
                    <$t>::of(s[2][i]),
                    <$t>::of(s[3][i]),
                );
                out[i] = Lane::bits($e);
            }
        }
        run as WarpFn
    }};
}

/// The same expression for the signed and unsigned integers of 16, 32 and 64 bits.
macro_rules! ints {
    ($ty:expr, |$a:ident, $b:ident, $c:ident| $e:expr) => {
        match $ty {
            "u16" | "b16" => Some(lanes!(u16, |$a, $b, $c, d| $e)),
            "s16" => Some(lanes!(i16, |$a, $b, $c, d| $e)),
            "u32" | "b32" => Some(lanes!(u32, |$a, $b, $c, d| $e)),
            "s32" => Some(lanes!(i32, |$a, $b, $c, d| $e)),
            "u64" | "b64" => Some(lanes!(u64, |$a, $b, $c, d| $e)),
            "s64" => Some(lanes!(i64, |$a, $b, $c, d| $e)),
            _ => None,
        }
    };
}

/// The same expression, in f64, for every float type; packed types run it on both halves.
macro_rules! floats {
    ($ty:expr, |$a:ident, $b:ident, $c:ident| $e:expr) => {{
        fn one<T: Float>(s: &[Lanes; 4], out: &mut Lanes) {
            for i in 0..32 {
                #[allow(unused_variables)]
                let ($a, $b, $c) = (T::of(s[0][i]).wide(), T::of(s[1][i]).wide(), T::of(s[2][i]).wide());
                out[i] = canonical(T::narrow($e));
            }
        }
        fn two<T: Float>(s: &[Lanes; 4], out: &mut Lanes) {
            for i in 0..32 {
                let half = |shift: u32| {
                    #[allow(unused_variables)]
                    let ($a, $b, $c) = (
                        T::of(s[0][i] >> shift).wide(),
                        T::of(s[1][i] >> shift).wide(),
                        T::of(s[2][i] >> shift).wide(),
                    );
                    canonical(T::narrow($e)) << shift
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

/// Like `ints`, by width only.
macro_rules! bits {
    ($ty:expr, |$a:ident, $b:ident, $c:ident| $e:expr) => {
        match $ty {
            "b16" | "u16" | "s16" => Some(lanes!(u16, |$a, $b, $c, d| $e)),
            "b32" | "u32" | "s32" => Some(lanes!(u32, |$a, $b, $c, d| $e)),
            "b64" | "u64" | "s64" => Some(lanes!(u64, |$a, $b, $c, d| $e)),
            "pred" => Some(lanes!(u8, |$a, $b, $c, d| ($e) & 1)),
            _ => None,
        }
    };
}

/// The operation of an opcode split at its dots, or `None` where it is not a scalar operation that we run.
pub(crate) fn alu(parts: &[&str]) -> Option<Alu> {
    let (&base, modifiers) = parts.split_first()?;
    let &ty = modifiers.last()?;
    let has = |word: &str| modifiers.contains(&word);
    // Roundings other than to nearest and clamping are not implemented here: better an error than a wrong bit.
    if modifiers.iter().any(|m| {
        matches!(
            *m,
            "rz" | "rm" | "rp" | "sat" | "cc" | "relu" | "NaN" | "xorsign" | "noftz"
        )
    }) {
        return None;
    }
    let is_float = matches!(ty, "f16" | "bf16" | "f16x2" | "bf16x2" | "f32" | "f64");
    let source_bits = super::decode::type_bits(ty)?;
    let (function, sources, poison, slow) = match base {
        "add" if is_float => (add_float(ty)?, 2, PoisonRule::Any, false),
        "sub" if is_float => (floats!(ty, |a, b, c| a - b)?, 2, PoisonRule::Any, false),
        "mul" if is_float => (mul_float(ty)?, 2, PoisonRule::Any, false),
        "fma" | "mad" if is_float => (fma(ty)?, 3, PoisonRule::Any, false),
        "div" if is_float => (floats!(ty, |a, b, c| a / b)?, 2, PoisonRule::Any, true),
        "min" if is_float => (floats!(ty, |a, b, c| float_min(a, b))?, 2, PoisonRule::Any, false),
        "max" if is_float => (floats!(ty, |a, b, c| float_max(a, b))?, 2, PoisonRule::Any, false),
        "neg" if is_float => (negate(ty)?, 1, PoisonRule::Any, false),
        "abs" if is_float => (magnitude(ty)?, 1, PoisonRule::Any, false),
        "copysign" => (copy_sign(ty)?, 2, PoisonRule::Any, false),
        // Approximations: the correctly rounded value of the f64 function, inside every bound of the ISA.
        "ex2" => (floats!(ty, |a, b, c| a.exp2())?, 1, PoisonRule::Any, true),
        "lg2" => (floats!(ty, |a, b, c| a.log2())?, 1, PoisonRule::Any, true),
        "rcp" => (floats!(ty, |a, b, c| 1.0 / a)?, 1, PoisonRule::Any, true),
        "sqrt" => (floats!(ty, |a, b, c| a.sqrt())?, 1, PoisonRule::Any, true),
        "rsqrt" => (floats!(ty, |a, b, c| 1.0 / a.sqrt())?, 1, PoisonRule::Any, true),
        "sin" => (floats!(ty, |a, b, c| a.sin())?, 1, PoisonRule::Any, true),
        "cos" => (floats!(ty, |a, b, c| a.cos())?, 1, PoisonRule::Any, true),
        "tanh" => (floats!(ty, |a, b, c| a.tanh())?, 1, PoisonRule::Any, true),
        "add" => (ints!(ty, |a, b, c| a.wrapping_add(b))?, 2, PoisonRule::Any, false),
        "sub" => (ints!(ty, |a, b, c| a.wrapping_sub(b))?, 2, PoisonRule::Any, false),
        "mul" if has("lo") => (ints!(ty, |a, b, c| a.wrapping_mul(b))?, 2, PoisonRule::Any, false),
        "mad" if has("lo") => (
            ints!(ty, |a, b, c| a.wrapping_mul(b).wrapping_add(c))?,
            3,
            PoisonRule::Any,
            false,
        ),
        "mul" if has("wide") => (multiply_wide(ty)?, 2, PoisonRule::Any, false),
        "mad" if has("wide") => (multiply_add_wide(ty)?, 3, PoisonRule::Any, false),
        "mul" | "mul24" if has("hi") && base == "mul" => (multiply_high(ty)?, 2, PoisonRule::Any, false),
        "mad" if has("hi") => (multiply_add_high(ty)?, 3, PoisonRule::Any, false),
        // Division by zero is unspecified by PTX; all ones (and the dividend as remainder) is what GPUs give.
        "div" => (
            ints!(ty, |a, b, c| if b == 0 { !0 } else { a.wrapping_div(b) })?,
            2,
            PoisonRule::Any,
            true,
        ),
        "rem" => (
            ints!(ty, |a, b, c| if b == 0 { a } else { a.wrapping_rem(b) })?,
            2,
            PoisonRule::Any,
            true,
        ),
        "min" => (ints!(ty, |a, b, c| a.min(b))?, 2, PoisonRule::Any, false),
        "max" => (ints!(ty, |a, b, c| a.max(b))?, 2, PoisonRule::Any, false),
        "neg" => (
            ints!(ty, |a, b, c| 0u8.of_zero(a).wrapping_sub(a))?,
            1,
            PoisonRule::Any,
            false,
        ),
        "abs" => (absolute(ty)?, 1, PoisonRule::Any, false),
        "mov" => (move_bits(ty)?, 1, PoisonRule::Bytes, false),
        "cvta" => (move_bits(ty)?, 1, PoisonRule::Bytes, false),
        "and" => (bits!(ty, |a, b, c| a & b)?, 2, PoisonRule::Bytes, false),
        "or" => (bits!(ty, |a, b, c| a | b)?, 2, PoisonRule::Bytes, false),
        "xor" => (bits!(ty, |a, b, c| a ^ b)?, 2, PoisonRule::Bytes, false),
        "not" => (bits!(ty, |a, b, c| !a)?, 1, PoisonRule::Bytes, false),
        "shl" => (shift_left(ty)?, 2, PoisonRule::Any, false),
        "shr" => (shift_right(ty)?, 2, PoisonRule::Any, false),
        "shf" => (funnel(modifiers)?, 3, PoisonRule::Any, false),
        "bfe" => (extract(ty)?, 3, PoisonRule::Any, false),
        "bfi" => (insert(ty)?, 4, PoisonRule::Any, false),
        "prmt" if modifiers.len() == 1 => (lanes!(u32, |a, b, c, d| permute(a, b, c)), 3, PoisonRule::Any, false),
        "lop3" => (lanes!(u32, |a, b, c, d| lop3(a, b, c, d)), 4, PoisonRule::Any, false),
        "popc" if ty == "b32" => (lanes!(u32, |a, b, c, d| a.count_ones()), 1, PoisonRule::Any, false),
        "popc" if ty == "b64" => (lanes!(u64, |a, b, c, d| a.count_ones()), 1, PoisonRule::Any, false),
        "clz" if ty == "b32" => (lanes!(u32, |a, b, c, d| a.leading_zeros()), 1, PoisonRule::Any, false),
        "clz" if ty == "b64" => (lanes!(u64, |a, b, c, d| a.leading_zeros()), 1, PoisonRule::Any, false),
        "brev" => (bits_reverse(ty)?, 1, PoisonRule::Any, false),
        "bfind" if ty == "u32" && !has("shiftamt") => (
            lanes!(u32, |a, b, c, d| 31u32.wrapping_sub(a.leading_zeros())),
            1,
            PoisonRule::Any,
            false,
        ),
        "selp" => (select(ty)?, 3, PoisonRule::Select, false),
        _ => return None,
    };
    Some(Alu {
        function,
        sources,
        poison,
        float: is_float,
        slow,
        source_bits,
    })
}

/// A zero of the type of another value: lets one macro serve signed and unsigned negation.
trait ZeroOf<T> {
    fn of_zero(self, like: T) -> T;
}
macro_rules! zero_of {
    ($($t:ty)*) => {$( impl ZeroOf<$t> for u8 { #[inline(always)] fn of_zero(self, _like: $t) -> $t { <$t>::from_le_bytes([0; size_of::<$t>()]) } } )*};
}
zero_of!(u16 i16 u32 i32 u64 i64);

// f32 has paths of its own where f64 would only be slower: its results are the same bits.
fn add_float(ty: &str) -> Option<WarpFn> {
    match ty {
        "f32" => Some(lanes!(f32, |a, b, c, d| canonical(a + b))),
        _ => floats!(ty, |a, b, c| a + b),
    }
}

fn mul_float(ty: &str) -> Option<WarpFn> {
    match ty {
        "f32" => Some(lanes!(f32, |a, b, c, d| canonical(a * b))),
        _ => floats!(ty, |a, b, c| a * b),
    }
}

fn fma(ty: &str) -> Option<WarpFn> {
    match ty {
        // One rounding: f64 would round a 48-bit product's sum twice.
        "f32" => Some(lanes!(f32, |a, b, c, d| canonical(a.mul_add(b, c)))),
        _ => floats!(ty, |a, b, c| a.mul_add(b, c)),
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

fn absolute(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "s16" => lanes!(i16, |a, b, c, d| a.wrapping_abs()),
        "s32" => lanes!(i32, |a, b, c, d| a.wrapping_abs()),
        "s64" => lanes!(i64, |a, b, c, d| a.wrapping_abs()),
        _ => return None,
    })
}

fn move_bits(ty: &str) -> Option<WarpFn> {
    Some(match super::decode::type_bits(ty)? {
        1 => lanes!(u8, |a, b, c, d| a),
        8 => lanes!(u8, |a, b, c, d| a),
        16 => lanes!(u16, |a, b, c, d| a),
        32 => lanes!(u32, |a, b, c, d| a),
        64 => lanes!(u64, |a, b, c, d| a),
        _ => return None,
    })
}

fn select(ty: &str) -> Option<WarpFn> {
    super::decode::type_bits(ty)?;
    Some(|s, out| {
        for i in 0..32 {
            out[i] = if s[2][i] != 0 { s[0][i] } else { s[1][i] };
        }
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
        "u32" => lanes!(u32, |a, b, c, d| (((u64::from(a) * u64::from(b)) >> 32) as u32)
            .wrapping_add(c)),
        "s32" => lanes!(i32, |a, b, c, d| (((i64::from(a) * i64::from(b)) >> 32) as i32)
            .wrapping_add(c)),
        _ => return None,
    })
}

/// Shift amounts above the width give zeros (or signs): PTX clamps, hardware shifters of CPUs wrap.
fn shift_left(ty: &str) -> Option<WarpFn> {
    Some(match super::decode::type_bits(ty)? {
        16 => lanes!(u64, |a, b, c, d| if b as u32 > 15 {
            0
        } else {
            (a as u16) << (b as u32)
        }),
        32 => lanes!(u64, |a, b, c, d| if b as u32 > 31 {
            0
        } else {
            (a as u32) << (b as u32)
        }),
        64 => lanes!(u64, |a, b, c, d| if b as u32 > 63 { 0 } else { a << (b as u32) }),
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
        ["l", "wrap", "b32"] => lanes!(u32, |a, b, c, d| ((pair(a, b) << (c & 31)) >> 32) as u32),
        ["r", "wrap", "b32"] => lanes!(u32, |a, b, c, d| (pair(a, b) >> (c & 31)) as u32),
        ["l", "clamp", "b32"] => lanes!(u32, |a, b, c, d| ((pair(a, b) << c.min(32)) >> 32) as u32),
        ["r", "clamp", "b32"] => lanes!(u32, |a, b, c, d| (pair(a, b) >> c.min(32)) as u32),
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

/// PTX ISA, `prmt` in its default mode: each nibble of the selector picks a byte of b:a, its top bit copies the sign.
fn permute(a: u32, b: u32, selector: u32) -> u32 {
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

fn bits_reverse(ty: &str) -> Option<WarpFn> {
    Some(match ty {
        "b32" => lanes!(u32, |a, b, c, d| a.reverse_bits()),
        "b64" => lanes!(u64, |a, b, c, d| a.reverse_bits()),
        _ => return None,
    })
}

/// The comparison of a `setp`: lanes of 0 or 1.
pub(crate) fn comparison(operator: &str, ty: &str) -> Option<WarpFn> {
    if matches!(ty, "f16" | "bf16" | "f32" | "f64") {
        return float_comparison(operator, ty);
    }
    match operator {
        "eq" => ints!(ty, |a, b, c| u8::from(a == b)),
        "ne" => ints!(ty, |a, b, c| u8::from(a != b)),
        "lt" | "lo" => ints!(ty, |a, b, c| u8::from(a < b)),
        "le" | "ls" => ints!(ty, |a, b, c| u8::from(a <= b)),
        "gt" | "hi" => ints!(ty, |a, b, c| u8::from(a > b)),
        "ge" | "hs" => ints!(ty, |a, b, c| u8::from(a >= b)),
        _ => None,
    }
}

fn float_comparison(operator: &str, ty: &str) -> Option<WarpFn> {
    macro_rules! compare {
        (|$a:ident, $b:ident| $e:expr) => {{
            fn run<T: Float>(s: &[Lanes; 4], out: &mut Lanes) {
                for i in 0..32 {
                    let ($a, $b) = (T::of(s[0][i]).wide(), T::of(s[1][i]).wide());
                    out[i] = u64::from($e);
                }
            }
            match ty {
                "f16" => run::<f16> as WarpFn,
                "bf16" => run::<bf16> as WarpFn,
                "f32" => run::<f32> as WarpFn,
                _ => run::<f64> as WarpFn,
            }
        }};
    }
    Some(match operator {
        "eq" => compare!(|a, b| a == b),
        // Ordered: false with a not-a-number, unlike Rust's `!=`.
        "ne" => compare!(|a, b| a != b && !a.is_nan() && !b.is_nan()),
        "lt" => compare!(|a, b| a < b),
        "le" => compare!(|a, b| a <= b),
        "gt" => compare!(|a, b| a > b),
        "ge" => compare!(|a, b| a >= b),
        "equ" => compare!(|a, b| a == b || a.is_nan() || b.is_nan()),
        "neu" => compare!(|a, b| a != b),
        "ltu" => compare!(|a, b| a < b || a.is_nan() || b.is_nan()),
        "leu" => compare!(|a, b| a <= b || a.is_nan() || b.is_nan()),
        "gtu" => compare!(|a, b| a > b || a.is_nan() || b.is_nan()),
        "geu" => compare!(|a, b| a >= b || a.is_nan() || b.is_nan()),
        "num" => compare!(|a, b| !a.is_nan() && !b.is_nan()),
        "nan" => compare!(|a, b| a.is_nan() || b.is_nan()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs an opcode on one lane.
    fn run(opcode: &str, sources: [u64; 4]) -> u64 {
        let parts: Vec<&str> = opcode.split('.').collect();
        let operation = alu(&parts).unwrap_or_else(|| panic!("{opcode} is not known"));
        let mut out = [0; 32];
        (operation.function)(&sources.map(|value| [value; 32]), &mut out);
        out[7]
    }

    #[test]
    fn integers_against_values_computed_by_hand() {
        let table: &[(&str, [u64; 4], u64)] = &[
            ("add.s32", [0xffff_ffff, 2, 0, 0], 1),
            ("sub.u16", [0, 1, 0, 0], 0xffff),
            ("mul.lo.s32", [0xffff_fffe, 3, 0, 0], 0xffff_fffa),
            ("mul.hi.u32", [0x8000_0000, 4, 0, 0], 2),
            ("mul.hi.s32", [0x8000_0000, 4, 0, 0], 0xffff_fffe),
            ("mul.wide.s32", [0xffff_ffff, 8, 0, 0], (-8i64) as u64),
            ("mul.wide.u32", [0xffff_ffff, 2, 0, 0], 0x1_ffff_fffe),
            ("mad.wide.s32", [0xffff_ffff, 8, 100, 0], 92),
            ("mad.lo.u32", [7, 6, 1, 0], 43),
            ("div.s32", [(-7i32) as u32 as u64, 2, 0, 0], (-3i32) as u32 as u64),
            ("rem.s32", [(-7i32) as u32 as u64, 2, 0, 0], (-1i32) as u32 as u64),
            ("shl.b32", [1, 32, 0, 0], 0),
            ("shl.b32", [1, 31, 0, 0], 0x8000_0000),
            ("shr.s32", [0x8000_0000, 40, 0, 0], 0xffff_ffff),
            ("shr.u64", [1 << 63, 63, 0, 0], 1),
            ("bfe.u32", [0xabcd_1234, 8, 8, 0], 0x12),
            ("bfe.s32", [0x0000_8000, 8, 8, 0], 0xffff_ff80),
            ("bfi.b32", [0xf, 0, 4, 4], 0xf0),
            ("prmt.b32", [0x3322_1100, 0x7766_5544, 0x5410, 0], 0x5544_1100),
            ("prmt.b32", [0x0000_0080, 0, 0x8888, 0], 0xffff_ffff),
            ("lop3.b32", [0b1100, 0b1010, 0b0110, 0x96], 0b0000),
            ("lop3.b32", [0xf0f0_f0f0, 0xcccc_cccc, 0xaaaa_aaaa, 0xe8], 0xe8e8_e8e8),
            ("shf.l.wrap.b32", [0x8000_0000, 0x1, 1, 0], 0x3),
            ("shf.r.clamp.b32", [0x1, 0xabcd_0000, 32, 0], 0xabcd_0000),
            ("neg.s32", [5, 0, 0, 0], 0xffff_fffb),
            ("min.s32", [0xffff_ffff, 3, 0, 0], 0xffff_ffff),
            ("min.u32", [0xffff_ffff, 3, 0, 0], 3),
            ("not.pred", [1, 0, 0, 0], 0),
            ("selp.b32", [5, 6, 0, 0], 6),
            ("clz.b32", [1, 0, 0, 0], 31),
        ];
        for (opcode, sources, expected) in table {
            assert_eq!(run(opcode, *sources), *expected, "{opcode} {sources:x?}");
        }
    }

    #[test]
    fn floats_against_values_computed_by_hand() {
        let f = |value: f32| u64::from(value.to_bits());
        assert_eq!(run("add.rn.f32", [f(1.0), f(2.0), 0, 0]), f(3.0));
        assert_eq!(
            run("add.f32", [f(f32::INFINITY), f(f32::NEG_INFINITY), 0, 0]),
            0x7fff_ffff
        );
        assert_eq!(run("fma.rn.f32", [f(3.0), f(4.0), f(0.5), 0]), f(12.5));
        // 1 + 2^-11 in f16 is a tie that goes to even.
        assert_eq!(run("add.f16", [0x3c00, 0x1000, 0, 0]), 0x3c00);
        assert_eq!(run("mul.f16x2", [0x3c00_4000, 0x4000_4000, 0, 0]), 0x4000_4400);
        assert_eq!(run("max.f32", [0x7fc0_0000, f(1.0), 0, 0]), f(1.0));
        assert_eq!(run("ex2.approx.f32", [f(3.0), 0, 0, 0]), f(8.0));
        assert_eq!(run("neg.f32", [f(0.0), 0, 0, 0]), 0x8000_0000);
        assert!(
            alu(&["add", "rz", "f32"]).is_none(),
            "an unimplemented rounding must be refused"
        );
    }
}

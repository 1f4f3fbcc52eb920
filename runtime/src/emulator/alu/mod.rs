//! Arithmetic: from an opcode to the function that runs it on all lanes of a warp.
//!
//! ```text
//! mad.lo.s32  ->  Alu { function: |a, b, c| a * b + c over i32, sources: [32, 32, 32] }
//! ```
//! Semantics from PTX ISA 9.0, chapter 9.7. Where PTX leaves room (approximations, division by zero) the choice is
//! written beside the operation. A modifier that an operation does not have makes it unknown: better an error than a
//! wrong bit.

use smallvec::{SmallVec, smallvec};

use super::lane::{WarpFn, flush_bf16, flush_f16, flush_f32};

/// One function over all lanes, for a source type and an expression.
macro_rules! lanes {
    ($t:ty, |$a:ident, $b:ident, $c:ident, $d:ident| $e:expr) => {{
        fn run(s: &[$crate::emulator::lane::Lanes; 4], out: &mut $crate::emulator::lane::Lanes) {
            for i in 0..32 {
                #[allow(unused_variables)]
                let ($a, $b, $c, $d) = (
                    <$t as $crate::emulator::lane::Lane>::of(s[0][i]),
                    <$t as $crate::emulator::lane::Lane>::of(s[1][i]),
                    <$t as $crate::emulator::lane::Lane>::of(s[2][i]),
                    <$t as $crate::emulator::lane::Lane>::of(s[3][i]),
                );
                out[i] = $crate::emulator::lane::Lane::bits($e);
            }
        }
        run as $crate::emulator::lane::WarpFn
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

mod approximate;
mod bits;
mod carry;
mod compare;
mod float;
mod integer;
pub(crate) mod soft;
#[cfg(test)]
mod sweeps;
#[cfg(test)]
mod sweeps_floats;
#[cfg(test)]
mod tests;

pub use approximate::Approximation;
pub(crate) use approximate::displaced;
pub(crate) use carry::carry;
pub(crate) use compare::{comparison, packed_comparison};

/// How undefined bytes pass through an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoisonRule {
    /// Any undefined source byte makes the whole result undefined.
    Any,
    /// Byte i of the result depends on bytes i of the sources.
    Bytes,
    /// Each half of 16 bits depends on that half of the sources.
    Halves,
    /// A shift left by a known number of bits (negative: right).
    Shift(i32),
    /// `selp`: the third source chooses.
    Select,
    /// `and` with a constant: bytes where it is zero are defined.
    Masked(u64),
    /// Keep so many low bytes and fill with defined ones.
    Low(u32),
    /// `prmt` with a constant selector: byte i comes from the source byte in nibble i.
    Permute(u16),
    /// `bfe` with constants: so many bits from a bit on, zeros above.
    Extract { first: u32, length: u32 },
}

/// What happens to sources and result around an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Modify {
    /// `.ftz`: denormal sources and results become zeros of their sign.
    pub flush: Option<Flush>,
    /// `.sat` of floats and `.relu`.
    pub clamp: Option<Clamp>,
}

/// Types of which denormals are flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    F32,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
}

impl Flush {
    pub(crate) fn of(ty: &str) -> Option<Self> {
        Some(match ty {
            "f32" => Flush::F32,
            "f16" => Flush::F16,
            "f16x2" => Flush::F16x2,
            "bf16" => Flush::Bf16,
            "bf16x2" => Flush::Bf16x2,
            _ => return None,
        })
    }

    pub(crate) fn apply(self, bits: u64) -> u64 {
        match self {
            Flush::F32 => flush_f32(bits),
            Flush::F16 => flush_f16(bits),
            Flush::Bf16 => flush_bf16(bits),
            Flush::F16x2 => flush_f16(bits & 0xffff) | (flush_f16((bits >> 16) & 0xffff) << 16),
            Flush::Bf16x2 => flush_bf16(bits & 0xffff) | (flush_bf16((bits >> 16) & 0xffff) << 16),
        }
    }
}

/// Limits of a float result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clamp {
    /// `.sat`: to [0, 1], not-a-number to +0.
    Unit(Flush),
    /// `.relu`: negative to +0, not-a-number to the canonical one.
    Positive(Flush),
}

impl Clamp {
    pub(crate) fn apply(self, bits: u64) -> u64 {
        let (ty, unit) = match self {
            Clamp::Unit(ty) => (ty, true),
            Clamp::Positive(ty) => (ty, false),
        };
        let one = |bits: u64, sign: u64, infinity: u64, one: u64, nan: u64| {
            let magnitude = bits & (sign - 1);
            match (magnitude > infinity, unit) {
                (true, true) => 0,
                (true, false) => nan,
                _ if bits & sign != 0 => 0,
                (false, true) => magnitude.min(one),
                (false, false) => magnitude,
            }
        };
        let half = |bits: u64| match ty {
            Flush::F16 | Flush::F16x2 => one(bits & 0xffff, 0x8000, 0x7c00, 0x3c00, 0x7fff),
            _ => one(bits & 0xffff, 0x8000, 0x7f80, 0x3f80, 0x7fff),
        };
        match ty {
            Flush::F32 => one(bits & 0xffff_ffff, 0x8000_0000, 0x7f80_0000, 0x3f80_0000, 0x7fff_ffff),
            Flush::F16 | Flush::Bf16 => half(bits),
            Flush::F16x2 | Flush::Bf16x2 => half(bits) | (half(bits >> 16) << 16),
        }
    }
}

/// A scalar operation, ready to run.
#[derive(Clone)]
pub(crate) struct Alu {
    pub function: WarpFn,
    /// Bits of each source as typed (immediates are cut to them).
    pub sources: SmallVec<[u32; 4]>,
    pub poison: PoisonRule,
    /// Whether it is floating point (for the instruction classes).
    pub float: bool,
    /// Whether it is a division or a transcendental function.
    pub slow: bool,
    pub modify: Modify,
}

impl Alu {
    /// An integer operation with `count` sources of so many bits.
    fn integer(function: WarpFn, count: usize, bits: u32) -> Self {
        Alu {
            function,
            sources: smallvec![bits; count],
            poison: PoisonRule::Any,
            float: false,
            slow: false,
            modify: Modify::default(),
        }
    }

    /// A float operation with `count` sources of a type.
    fn float(function: WarpFn, count: usize, ty: &str) -> Option<Self> {
        let mut alu = Alu::integer(function, count, type_bits(ty)?);
        alu.float = true;
        if ty.ends_with("x2") {
            alu.poison = PoisonRule::Halves;
        }
        Some(alu)
    }

    fn slow(self) -> Self {
        Alu { slow: true, ..self }
    }

    fn poison(self, poison: PoisonRule) -> Self {
        Alu { poison, ..self }
    }

    fn sources(self, bits: &[u32]) -> Self {
        Alu {
            sources: SmallVec::from_slice(bits),
            ..self
        }
    }
}

/// Whether a type is a float of the scalar operations.
pub(crate) fn is_float(ty: &str) -> bool {
    matches!(ty, "f16" | "bf16" | "f16x2" | "bf16x2" | "f32" | "f64")
}

fn type_bits(ty: &str) -> Option<u32> {
    super::decode::type_bits(ty)
}

/// The operation of an opcode split at its dots, or `None` where it is not a scalar operation that we run.
pub(crate) fn alu(parts: &[&str]) -> Option<Alu> {
    let (base, modifiers, ty) = match parts {
        // The mode of a `prmt` and the space of an `isspacep` stand where others have their type.
        ["prmt", "b32", mode @ ..] => (&"prmt", mode, &"b32"),
        ["isspacep", space] => return bits::space_test(space),
        ["slct", ..] => return bits::select_by_sign(parts),
        ["cvt", "pack", "sat", to @ ("s16" | "u16"), "s32"] => return bits::saturated_pair(to, 2),
        ["cvt", "pack", "sat", to, "s32", "b32"] if !to.ends_with("16") => return bits::saturated_pair(to, 3),
        [base, modifiers @ .., ty] => (base, modifiers, ty),
        _ => return None,
    };
    if is_float(ty)
        && let Some(found) = float::float(base, modifiers, ty)
    {
        return Some(found);
    }
    bits::bits(base, modifiers, ty).or_else(|| integer::integer(base, modifiers, ty))
}

/// The modifiers that are left when some flags are taken out; sets each flag that was there.
fn without<'p, const N: usize>(modifiers: &[&'p str], flags: [&str; N]) -> (SmallVec<[&'p str; 4]>, [bool; N]) {
    let mut seen = [false; N];
    let rest = modifiers
        .iter()
        .copied()
        .filter(|modifier| match flags.iter().position(|flag| flag == modifier) {
            Some(index) => {
                seen[index] = true;
                false
            }
            None => true,
        })
        .collect();
    (rest, seen)
}

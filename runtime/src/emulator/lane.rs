//! Values of the 32 lanes of a warp, and the numeric types that instructions see in them.

use half::{bf16, f16};

use super::alu::soft::{self, Format};
use super::convert::Rounding;

/// One value a lane, zero-extended to 64 bits.
pub(crate) type Lanes = [u64; 32];

/// A warp-wide scalar operation: up to four sources, one result.
pub(crate) type WarpFn = fn(&[Lanes; 4], &mut Lanes);

/// A type that lives in the low bits of a lane.
pub(crate) trait Lane: Copy {
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
}

macro_rules! int_lane {
    ($($t:ty, $unsigned:ty);*) => {$(
        impl Lane for $t {
            #[inline(always)]
            fn of(bits: u64) -> Self { bits as $t }
            #[inline(always)]
            fn bits(self) -> u64 { self as $unsigned as u64 }
        }
    )*};
}
int_lane!(u8, u8; u16, u16; u32, u32; u64, u64; i8, u8; i16, u16; i32, u32; i64, u64);

impl Lane for f32 {
    #[inline(always)]
    fn of(bits: u64) -> Self {
        f32::from_bits(bits as u32)
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Lane for f64 {
    #[inline(always)]
    fn of(bits: u64) -> Self {
        f64::from_bits(bits)
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

impl Lane for f16 {
    #[inline(always)]
    fn of(bits: u64) -> Self {
        f16::from_bits(bits as u16)
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Lane for bf16 {
    #[inline(always)]
    fn of(bits: u64) -> Self {
        bf16::from_bits(bits as u16)
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

/// A float narrower than f64, computed there and rounded once: sums, products and fused multiply-adds of f16 and
/// bf16 are correctly rounded that way (their exact products fit f64 with room to spare).
pub(crate) trait Float: Lane {
    fn wide(self) -> f64;
    fn narrow(value: f64) -> Self;
    /// Its bits, and the quiet not-a-number that PTX returns (ISA, "Floating point instructions": canonical NaN).
    const FORMAT: Format;
}

impl Float for f32 {
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn narrow(value: f64) -> Self {
        value as f32
    }
    const FORMAT: Format = soft::F32;
}

impl Float for f64 {
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    #[inline(always)]
    fn narrow(value: f64) -> Self {
        value
    }
    const FORMAT: Format = soft::F64;
}

impl Float for f16 {
    fn wide(self) -> f64 {
        f64::from(self.to_f32_const())
    }
    fn narrow(value: f64) -> Self {
        f16::from_bits(soft::narrow(value, soft::F16, Rounding::Nearest) as u16)
    }
    const FORMAT: Format = soft::F16;
}

impl Float for bf16 {
    fn wide(self) -> f64 {
        f64::from(f32::from_bits(u32::from(self.to_bits()) << 16))
    }
    fn narrow(value: f64) -> Self {
        bf16::from_bits(soft::narrow(value, soft::BF16, Rounding::Nearest) as u16)
    }
    const FORMAT: Format = soft::BF16;
}

/// The result of an operation: not-a-number becomes the canonical one.
#[inline(always)]
pub(crate) fn canonical<T: Float>(value: T) -> u64 {
    if value.wide().is_nan() {
        T::FORMAT.nan
    } else {
        value.bits()
    }
}

/// PTX `min`: the other operand where one is not-a-number, and −0 below +0.
#[inline(always)]
pub(crate) fn float_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        if a.is_nan() { b } else { a }
    } else if a == b {
        if a.is_sign_negative() { a } else { b }
    } else if a < b {
        a
    } else {
        b
    }
}

/// PTX `max`: the other operand where one is not-a-number, and +0 above −0.
#[inline(always)]
pub(crate) fn float_max(a: f64, b: f64) -> f64 {
    -float_min(-a, -b)
}

/// f16 bits to f32 without a table or a branch that matters, so that loops over it vectorise.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let sign = u32::from(bits & 0x8000) << 16;
    // 2^112 moves the exponent's bias from 15 to 127 and makes denormals normal.
    let scaled = (f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23)).to_bits();
    let special = magnitude | 0x7f80_0000;
    let value = if magnitude >= 0x0f80_0000 { special } else { scaled };
    f32::from_bits(value | sign)
}

/// Flushes a denormal f32 to a zero of its sign (`.ftz`).
#[inline(always)]
pub(crate) fn flush_f32(bits: u64) -> u64 {
    if bits & 0x7f80_0000 == 0 {
        bits & 0x8000_0000
    } else {
        bits
    }
}

/// As [`flush_f32`], for f16.
pub(crate) fn flush_f16(bits: u64) -> u64 {
    if bits & 0x7c00 == 0 { bits & 0x8000 } else { bits }
}

/// As [`flush_f32`], for bf16.
pub(crate) fn flush_bf16(bits: u64) -> u64 {
    if bits & 0x7f80 == 0 { bits & 0x8000 } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_converts_exactly() {
        for bits in 0..=u16::MAX {
            let (ours, reference) = (f16_to_f32(bits), f16::from_bits(bits).to_f32_const());
            if reference.is_nan() {
                assert!(ours.is_nan(), "{bits:#06x}");
            } else {
                assert_eq!(ours.to_bits(), reference.to_bits(), "{bits:#06x}");
            }
        }
    }

    #[test]
    fn minimum_prefers_numbers_and_negative_zero() {
        assert_eq!(float_min(f64::NAN, 2.0), 2.0);
        assert_eq!(float_min(2.0, f64::NAN), 2.0);
        assert!(float_min(0.0, -0.0).is_sign_negative());
        assert!(float_max(-0.0, 0.0).is_sign_positive());
        assert_eq!(float_max(1.0, 3.0), 3.0);
    }
}

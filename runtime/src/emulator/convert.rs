//! `cvt`: conversions between integers and floats (PTX ISA 9.0, 9.7.9.21).

use half::{bf16, f16};

use super::alu::soft::{self, Exact, Format};
use super::lane::{Float, Lane};

/// A scalar type of `cvt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScalarType {
    Unsigned(u32),
    Signed(u32),
    F16,
    Bf16,
    F32,
    F64,
    /// f32 with a 10-bit mantissa.
    Tf32,
}

impl ScalarType {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "u8" => Self::Unsigned(8),
            "u16" => Self::Unsigned(16),
            "u32" => Self::Unsigned(32),
            "u64" => Self::Unsigned(64),
            "s8" => Self::Signed(8),
            "s16" => Self::Signed(16),
            "s32" => Self::Signed(32),
            "s64" => Self::Signed(64),
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "tf32" => Self::Tf32,
            _ => return None,
        })
    }

    /// `None` for integers and for tf32, which is rounded within its f32.
    fn format(self) -> Option<Format> {
        Some(match self {
            ScalarType::F16 => soft::F16,
            ScalarType::Bf16 => soft::BF16,
            ScalarType::F32 => soft::F32,
            ScalarType::F64 => soft::F64,
            _ => return None,
        })
    }

    const fn is_float(self) -> bool {
        !matches!(self, Self::Unsigned(_) | Self::Signed(_))
    }
}

/// A rounding modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To nearest, ties to even (`rn`, `rni`).
    Nearest,
    /// To nearest, ties away (`rna`).
    Away,
    /// Towards zero (`rz`, `rzi`).
    Zero,
    /// Down (`rm`, `rmi`).
    Down,
    /// Up (`rp`, `rpi`).
    Up,
}

/// One `cvt`, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Convert {
    pub to: ScalarType,
    pub from: ScalarType,
    pub rounding: Rounding,
    /// `rni` …: a float result is rounded to an integer.
    pub to_integer: bool,
    pub saturate: bool,
    pub flush: bool,
    pub relu: bool,
    /// `.satfinite`.
    pub finite: bool,
}

/// Decodes the modifiers of a `cvt` (all but the two types), or `None` where one is not known.
pub(crate) fn convert(modifiers: &[&str], to: &str, from: &str) -> Option<Convert> {
    let mut out = Convert {
        to: ScalarType::parse(to)?,
        from: ScalarType::parse(from)?,
        rounding: Rounding::Nearest,
        to_integer: false,
        saturate: false,
        flush: false,
        relu: false,
        finite: false,
    };
    for modifier in modifiers {
        match *modifier {
            "rn" => out.rounding = Rounding::Nearest,
            "rna" => out.rounding = Rounding::Away,
            "rz" => out.rounding = Rounding::Zero,
            "rm" => out.rounding = Rounding::Down,
            "rp" => out.rounding = Rounding::Up,
            "rni" => (out.rounding, out.to_integer) = (Rounding::Nearest, true),
            "rzi" => (out.rounding, out.to_integer) = (Rounding::Zero, true),
            "rmi" => (out.rounding, out.to_integer) = (Rounding::Down, true),
            "rpi" => (out.rounding, out.to_integer) = (Rounding::Up, true),
            "sat" => out.saturate = true,
            "ftz" => out.flush = true,
            "relu" => out.relu = true,
            "satfinite" => out.finite = true,
            _ => return None,
        }
    }
    Some(out)
}

impl Convert {
    /// Converts one value, given and returned as the bits of a lane.
    pub(crate) fn apply(&self, bits: u64) -> u64 {
        match (self.from, self.to) {
            (ScalarType::Unsigned(width), to) => self.integer_to(i128::from(bits & mask(width)), to),
            (ScalarType::Signed(width), to) => {
                let shift = 64 - width;
                self.integer_to(i128::from(((bits << shift) as i64) >> shift), to)
            }
            (from, ScalarType::Unsigned(width) | ScalarType::Signed(width)) if self.read(from, bits).is_nan() => {
                // PTX ISA 9.0, 9.7.9.21: 2^(N−1) where the source is f64 or the result has 64 bits, else zero.
                if from == ScalarType::F64 || width == 64 {
                    1 << (width - 1)
                } else {
                    0
                }
            }
            (from, ScalarType::Unsigned(width)) => {
                (self
                    .round_integer(self.read(from, bits))
                    .clamp(0.0, max_unsigned(width)) as u64)
                    & mask(width)
            }
            (from, ScalarType::Signed(width)) => {
                let value = self.round_integer(self.read(from, bits)) as i64;
                let limit = (mask(width) >> 1) as i64;
                (value.clamp(-limit - 1, limit) as u64) & mask(width)
            }
            (from, to) => self.float_to(self.read(from, bits), to),
        }
    }

    fn read(&self, from: ScalarType, bits: u64) -> f64 {
        let bits = if self.flush && from == ScalarType::F32 {
            super::lane::flush_f32(bits)
        } else {
            bits
        };
        match from {
            ScalarType::F16 => f16::of(bits).wide(),
            ScalarType::Bf16 => bf16::of(bits).wide(),
            ScalarType::F64 => f64::of(bits),
            _ => f32::of(bits).wide(),
        }
    }

    fn integer_to(self, value: i128, to: ScalarType) -> u64 {
        match to {
            ScalarType::Unsigned(width) if self.saturate => value.clamp(0, i128::from(mask(width))) as u64,
            ScalarType::Signed(width) if self.saturate => {
                let limit = i128::from(mask(width) >> 1);
                (value.clamp(-limit - 1, limit) as u64) & mask(width)
            }
            ScalarType::Unsigned(width) | ScalarType::Signed(width) => (value as u64) & mask(width),
            // Not by way of f64: a 64-bit integer would be rounded twice.
            to => {
                let value = if self.saturate { value.clamp(0, 1) } else { value };
                match to.format() {
                    Some(format) => Exact::integer(value).round(format, self.rounding),
                    None => u64::from(round_tf32(value as f32, self.rounding)),
                }
            }
        }
    }

    fn round_integer(&self, value: f64) -> f64 {
        match self.rounding {
            Rounding::Nearest => value.round_ties_even(),
            Rounding::Away => value.round(),
            Rounding::Zero => value.trunc(),
            Rounding::Down => value.floor(),
            Rounding::Up => value.ceil(),
        }
    }

    fn float_to(self, value: f64, to: ScalarType) -> u64 {
        let mut value = if self.to_integer {
            self.round_integer(value)
        } else {
            value
        };
        if self.saturate {
            value = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
        }
        if self.relu && value.is_sign_negative() && !value.is_nan() {
            value = 0.0;
        }
        let mut bits = match to.format() {
            Some(format) => soft::narrow(value, format, self.rounding),
            None => u64::from(round_tf32(value as f32, self.rounding)),
        };
        if self.finite
            && let Some(infinity) = to
                .format()
                .map(Format::infinity)
                .or((to == ScalarType::Tf32).then_some(0x7f80_0000))
        {
            // `.satfinite`: the largest finite number in place of infinity.
            let sign = if matches!(to, ScalarType::F16 | ScalarType::Bf16) {
                0x8000
            } else {
                0x8000_0000
            };
            if bits & !sign == infinity {
                bits -= if to == ScalarType::Tf32 { 0x2000 } else { 1 };
            }
        }
        if self.flush && to == ScalarType::F32 {
            super::lane::flush_f32(bits)
        } else {
            bits
        }
    }
}

/// Mantissa cut to 10 bits: ties away from zero (`rna`), to even (`rn`), or cut (`rz`).
fn round_tf32(value: f32, rounding: Rounding) -> u32 {
    let bits = value.to_bits();
    if value.is_nan() {
        return 0x7fff_ffff;
    }
    if value.is_infinite() {
        return bits;
    }
    let half = match rounding {
        Rounding::Nearest => 0x0fff + ((bits >> 13) & 1),
        Rounding::Away => 0x1000,
        Rounding::Zero | Rounding::Down | Rounding::Up => 0,
    };
    bits.wrapping_add(half) & !0x1fff
}

const fn mask(width: u32) -> u64 {
    if width >= 64 { !0 } else { (1 << width) - 1 }
}

fn max_unsigned(width: u32) -> f64 {
    mask(width) as f64
}

/// Bytes of the source that reach the result unchanged in an integer conversion; `None` for floats.
pub(crate) fn kept_bytes(convert: &Convert) -> Option<u32> {
    let width = |ty| match ty {
        ScalarType::Unsigned(width) | ScalarType::Signed(width) => width / 8,
        _ => 0,
    };
    (!convert.from.is_float()
        && !convert.to.is_float()
        && !convert.saturate
        && !matches!(convert.from, ScalarType::Signed(_)))
    .then(|| width(convert.from).min(width(convert.to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cvt(opcode: &str, bits: u64) -> u64 {
        let parts: Vec<&str> = opcode.split('.').collect();
        let (types, modifiers) = (&parts[parts.len() - 2..], &parts[1..parts.len() - 2]);
        convert(modifiers, types[0], types[1]).map_or_else(|| panic!("{opcode}"), |c| c.apply(bits))
    }

    #[test]
    fn conversions_against_values_computed_by_hand() {
        let f = |value: f32| u64::from(value.to_bits());
        let table: &[(&str, u64, u64)] = &[
            ("cvt.s64.s32", 0xffff_ffff, u64::MAX),
            ("cvt.u64.u32", 0xffff_ffff, 0xffff_ffff),
            ("cvt.u16.u32", 0x1_2345, 0x2345),
            ("cvt.sat.s8.s32", 300, 0x7f),
            ("cvt.sat.u8.s32", 0xffff_ffff, 0),
            ("cvt.rn.f32.s32", 0xffff_fffd, f(-3.0)),
            ("cvt.rn.f32.u64", u64::MAX, f(18_446_744_073_709_551_615.0)),
            ("cvt.rzi.s32.f32", f(-2.7), (-2i32) as u32 as u64),
            ("cvt.rni.s32.f32", f(2.5), 2),
            ("cvt.rzi.u32.f32", f(-2.7), 0),
            ("cvt.rzi.s32.f32", f(1e20), 0x7fff_ffff),
            ("cvt.rzi.s32.f32", f(f32::NAN), 0),
            ("cvt.rn.f16.f32", f(1.0 + 1.0 / 2048.0), 0x3c00),
            ("cvt.rn.f16.f32", f(1.0 + 3.0 / 2048.0), 0x3c02),
            ("cvt.rz.f16.f32", f(1.0 + 3.0 / 2048.0), 0x3c01),
            ("cvt.rp.f16.f32", f(1.0 + 1.0 / 2048.0), 0x3c01),
            ("cvt.rz.f16.f32", f(1e6), 0x7bff),
            ("cvt.rn.f16.f32", f(1e6), 0x7c00),
            ("cvt.rn.f16.f32", f(6e-8), 0x0001),
            ("cvt.f32.f16", 0x0001, f(5.960_464_5e-8)),
            ("cvt.rn.bf16.f32", 0x3f80_8000, 0x3f80),
            ("cvt.rn.bf16.f32", 0x3f81_8000, 0x3f82),
            ("cvt.rna.tf32.f32", 0x3f80_1000, 0x3f80_2000),
            ("cvt.sat.f32.f32", f(-1.0), f(0.0)),
            ("cvt.rmi.f32.f32", f(-1.5), f(-2.0)),
        ];
        for (opcode, bits, expected) in table {
            assert_eq!(cvt(opcode, *bits), *expected, "{opcode} {bits:x}");
        }
    }
}

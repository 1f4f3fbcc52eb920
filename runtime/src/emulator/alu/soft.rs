//! Exact arithmetic with one rounding, in every rounding mode of PTX.
//!
//! ```text
//! add.rz.f32 d, a, b   ->   exact(a + b), cut to 24 bits towards zero
//! ```
//! The CPU's own operations round to nearest only. Here a finite float is `±mantissa · 2^exponent`, with a sticky bit
//! for what lies below the mantissa; sums, products, quotients and roots are formed exactly (or with more bits than
//! any format has, and the sticky bit), then rounded once.

use super::super::convert::Rounding;

/// A binary float format of IEEE 754's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// Stored bits of the mantissa.
    pub mantissa: u32,
    /// Bits of the exponent.
    pub exponent: u32,
    /// Result for not-a-number.
    pub nan: u64,
}

pub(crate) const F16: Format = Format {
    mantissa: 10,
    exponent: 5,
    nan: 0x7fff,
};
pub(crate) const BF16: Format = Format {
    mantissa: 7,
    exponent: 8,
    nan: 0x7fff,
};
pub(crate) const F32: Format = Format {
    mantissa: 23,
    exponent: 8,
    nan: 0x7fff_ffff,
};
pub(crate) const F64: Format = Format {
    mantissa: 52,
    exponent: 11,
    nan: 0xfff8_0000_0000_0000,
};

impl Format {
    const fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    const fn sign(self) -> u64 {
        1 << (self.mantissa + self.exponent)
    }

    pub(crate) const fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.mantissa
    }
}

/// `±mantissa · 2^exponent`; with `sticky`, a little more in magnitude.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact {
    negative: bool,
    mantissa: u128,
    exponent: i32,
    sticky: bool,
}

/// Bit to which mantissas are aligned: room for a carry above, and for far more than 53 bits below.
const TOP: i32 = 125;

impl Exact {
    /// A finite f64.
    pub(crate) fn of(value: f64) -> Self {
        let bits = value.to_bits();
        let (biased, fraction) = ((bits >> 52) as i32 & 0x7ff, bits & ((1 << 52) - 1));
        Exact {
            negative: value.is_sign_negative(),
            mantissa: u128::from(if biased == 0 { fraction } else { fraction | (1 << 52) }),
            exponent: biased.max(1) - 1075,
            sticky: false,
        }
    }

    /// An integer.
    pub(crate) fn integer(value: i128) -> Self {
        Exact {
            negative: value < 0,
            mantissa: value.unsigned_abs(),
            exponent: 0,
            sticky: false,
        }
    }

    fn product(self, other: Exact) -> Self {
        Exact {
            negative: self.negative != other.negative,
            mantissa: self.mantissa * other.mantissa,
            exponent: self.exponent + other.exponent,
            sticky: false,
        }
    }

    /// Moves the highest bit to [`TOP`].
    fn aligned(self) -> Self {
        let up = TOP - (127 - self.mantissa.leading_zeros() as i32);
        Exact {
            mantissa: self.mantissa << up,
            exponent: self.exponent - up,
            ..self
        }
    }

    /// Mantissas of at most 106 bits: what is shifted out is never more than a sticky bit of a sum that keeps 100.
    fn sum(self, other: Exact, rounding: Rounding) -> Self {
        if self.mantissa == 0 || other.mantissa == 0 {
            let mut sum = if self.mantissa == 0 { other } else { self };
            if sum.mantissa == 0 && self.negative != other.negative {
                sum.negative = rounding == Rounding::Down;
            }
            return sum;
        }
        let (mut large, mut small) = (self.aligned(), other.aligned());
        if (small.exponent, small.mantissa) > (large.exponent, large.mantissa) {
            std::mem::swap(&mut large, &mut small);
        }
        let shift = (large.exponent - small.exponent) as u32;
        let (kept, lost) = if shift >= 128 {
            (0, true)
        } else {
            (small.mantissa >> shift, small.mantissa & ((1u128 << shift) - 1) != 0)
        };
        let mantissa = if large.negative == small.negative {
            large.mantissa + kept
        } else {
            // What was shifted out counts against the result: one less, and a little more.
            large.mantissa - kept - u128::from(lost)
        };
        Exact {
            negative: if mantissa == 0 && !lost {
                rounding == Rounding::Down
            } else {
                large.negative
            },
            mantissa,
            exponent: large.exponent,
            sticky: lost,
        }
    }

    /// Rounds to a format.
    pub(crate) fn round(self, format: Format, rounding: Rounding) -> u64 {
        let sign = if self.negative { format.sign() } else { 0 };
        if self.mantissa == 0 {
            return sign;
        }
        let length = 128 - self.mantissa.leading_zeros() as i32;
        let precision = format.mantissa as i32 + 1;
        let lowest = 1 - format.bias(); // exponent of the smallest normal number
        let unit = (self.exponent + length - 1).max(lowest) - (precision - 1);
        let shift = unit - self.exponent;
        let (mut kept, rest, half) = match shift {
            i32::MIN..=0 => (self.mantissa << -shift, 0, 1),
            1..=127 => {
                let half = 1u128 << (shift - 1);
                (self.mantissa >> shift, self.mantissa & (2 * half - 1), half)
            }
            // Less than half of the smallest number, but not nothing.
            _ => (0, 1, 2),
        };
        let inexact = rest != 0 || self.sticky;
        let up = inexact
            && match rounding {
                Rounding::Nearest => rest > half || (rest == half && (self.sticky || kept & 1 == 1)),
                Rounding::Away => rest >= half,
                Rounding::Zero => false,
                Rounding::Down => self.negative,
                Rounding::Up => !self.negative,
            };
        kept += u128::from(up);
        // With the hidden bit added to the exponent's field, a carry out of the mantissa does the right thing.
        let field = (unit - (lowest - precision + 1)) as u64;
        let bits = (field << format.mantissa) + kept as u64;
        if bits < format.infinity() {
            return sign | bits;
        }
        let to_largest = match rounding {
            Rounding::Nearest | Rounding::Away => false,
            Rounding::Zero => true,
            Rounding::Down => !self.negative,
            Rounding::Up => self.negative,
        };
        sign | (format.infinity() - u64::from(to_largest))
    }
}

/// A value of any kind to a format.
pub(crate) fn narrow(value: f64, format: Format, rounding: Rounding) -> u64 {
    if value.is_nan() {
        format.nan
    } else if value.is_infinite() {
        let sign = if value < 0.0 { format.sign() } else { 0 };
        sign | format.infinity()
    } else {
        Exact::of(value).round(format, rounding)
    }
}

/// a + b.
pub(crate) fn add(a: f64, b: f64, format: Format, rounding: Rounding) -> u64 {
    if a.is_finite() && b.is_finite() {
        Exact::of(a).sum(Exact::of(b), rounding).round(format, rounding)
    } else {
        narrow(a + b, format, rounding)
    }
}

/// a · b.
pub(crate) fn multiply(a: f64, b: f64, format: Format, rounding: Rounding) -> u64 {
    if a.is_finite() && b.is_finite() {
        Exact::of(a).product(Exact::of(b)).round(format, rounding)
    } else {
        narrow(a * b, format, rounding)
    }
}

/// a · b + c.
pub(crate) fn multiply_add(a: f64, b: f64, c: f64, format: Format, rounding: Rounding) -> u64 {
    if a.is_finite() && b.is_finite() && c.is_finite() {
        let product = Exact::of(a).product(Exact::of(b));
        product.sum(Exact::of(c), rounding).round(format, rounding)
    } else {
        narrow(a.mul_add(b, c), format, rounding)
    }
}

/// a / b.
pub(crate) fn divide(a: f64, b: f64, format: Format, rounding: Rounding) -> u64 {
    if !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0 {
        return narrow(a / b, format, rounding);
    }
    let (a, b) = (Exact::of(a).aligned(), Exact::of(b));
    // At least 125 − 53 bits of quotient.
    let quotient = Exact {
        negative: a.negative != b.negative,
        mantissa: a.mantissa / b.mantissa,
        exponent: a.exponent - b.exponent,
        sticky: !a.mantissa.is_multiple_of(b.mantissa),
    };
    quotient.round(format, rounding)
}

/// √a.
pub(crate) fn square_root(a: f64, format: Format, rounding: Rounding) -> u64 {
    if !a.is_finite() || a <= 0.0 {
        return narrow(a.sqrt(), format, rounding);
    }
    let mut a = Exact::of(a).aligned();
    if a.exponent % 2 != 0 {
        a.mantissa >>= 1; // far above its lowest bit that is set
        a.exponent += 1;
    }
    let root = a.mantissa.isqrt();
    let root = Exact {
        negative: false,
        mantissa: root,
        exponent: a.exponent / 2,
        sticky: root * root != a.mantissa,
    };
    root.round(format, rounding)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of awkward f32: every exponent, few mantissa bits, denormals, neighbours of powers of two.
    fn awkward(seed: u64) -> impl Iterator<Item = f32> {
        let mut state = seed;
        std::iter::from_fn(move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let bits = (state >> 32) as u32;
            let mask = [!0, 0xffff_f000, 0xff80_0000, 0xff80_0001][(state >> 20) as usize & 3];
            Some(f32::from_bits(bits & mask)).map(|v| if v.is_finite() { v } else { 1.0 })
        })
    }

    #[test]
    fn rounding_to_nearest_is_the_cpu_s() {
        let values: Vec<f32> = awkward(7).take(3000).collect();
        for three in values.windows(3) {
            let (a, b, c) = (three[0], three[1], three[2]);
            let [x, y, z] = [a, b, c].map(f64::from);
            let same = |ours: u64, theirs: f32, what: &str| {
                let theirs = if theirs.is_nan() {
                    F32.nan
                } else {
                    u64::from(theirs.to_bits())
                };
                assert_eq!(ours, theirs, "{what} of {a:e}, {b:e}, {c:e}");
            };
            same(add(x, y, F32, Rounding::Nearest), a + b, "sum");
            same(multiply(x, y, F32, Rounding::Nearest), a * b, "product");
            same(multiply_add(x, y, z, F32, Rounding::Nearest), a.mul_add(b, c), "fma");
            same(divide(x, y, F32, Rounding::Nearest), a / b, "quotient");
            same(square_root(x, F32, Rounding::Nearest), a.sqrt(), "root");
            let wide = |v: f64| if v.is_nan() { F64.nan } else { v.to_bits() };
            let (p, q) = (x * 1e-200, z * 1e-120);
            assert_eq!(add(p, q, F64, Rounding::Nearest), wide(p + q));
            assert_eq!(multiply(p, q, F64, Rounding::Nearest), wide(p * q), "denormal products");
            assert_eq!(multiply_add(p, y, q, F64, Rounding::Nearest), wide(p.mul_add(y, q)));
            assert_eq!(divide(p, q, F64, Rounding::Nearest), wide(p / q));
        }
    }

    #[test]
    fn directed_roundings_bracket_the_nearest() {
        let values: Vec<f32> = awkward(11).take(2000).collect();
        for pair in values.windows(2) {
            let (x, y) = (f64::from(pair[0]), f64::from(pair[1]));
            let by = |rounding| f32::from_bits(multiply(x, y, F32, rounding) as u32);
            let (down, up, zero) = (by(Rounding::Down), by(Rounding::Up), by(Rounding::Zero));
            let exact = x * y; // 48 bits: exact in f64 here
            assert!(f64::from(down) <= exact && exact <= f64::from(up), "{x:e} · {y:e}");
            assert_eq!(
                zero.to_bits(),
                if exact.is_sign_negative() { up } else { down }.to_bits()
            );
            let neighbours = f64::from(down) == exact || up == down.next_up() || (down == 0.0 && up == 0.0);
            assert!(neighbours, "{x:e} · {y:e}: {down:e} and {up:e}");
        }
    }

    #[test]
    fn signs_of_zero_and_overflow_follow_the_mode() {
        assert_eq!(add(1.0, -1.0, F32, Rounding::Nearest), 0);
        assert_eq!(add(1.0, -1.0, F32, Rounding::Down), 0x8000_0000);
        assert_eq!(add(-0.0, -0.0, F32, Rounding::Up), 0x8000_0000);
        let large = f64::from(f32::MAX);
        assert_eq!(add(large, large, F32, Rounding::Zero), u64::from(f32::MAX.to_bits()));
        assert_eq!(add(large, large, F32, Rounding::Up), 0x7f80_0000);
        assert_eq!(add(-large, -large, F32, Rounding::Up), 0xff7f_ffff);
        // 1 + 2⁻¹¹ + 2⁻⁶⁰ in f16: no tie, although an f32 on the way would make it one.
        assert_eq!(
            narrow(1.0 + f64::powi(2.0, -11) + f64::powi(2.0, -50), F16, Rounding::Nearest),
            0x3c01
        );
        assert_eq!(narrow(f64::powi(2.0, -25), F16, Rounding::Nearest), 0);
        assert_eq!(narrow(f64::powi(2.0, -25) * 1.001, F16, Rounding::Nearest), 1);
        assert_eq!(narrow(1e-300, BF16, Rounding::Up), 1);
    }
}

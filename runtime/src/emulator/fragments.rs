//! Products of matrices in general: every shape and type of `mma` that has no path of its own in [`super::tensor`], and
//! all of `wmma` (PTX ISA 9.0, 9.7.14.4 and 9.7.14.5).
//!
//! ```text
//! mma.m8n8k4 f64    A: row lane / 4, column lane % 4; B: row lane % 4, column lane / 4; two sums of C a lane
//! wmma              element n of a matrix, row by row, lies in lane n / E at place n % E, with E elements a lane
//! ```
//! Of `mma` the fragments follow one rule in every type: a register holds 32 bits of a row of A (or column of B), four
//! lanes side by side, and further registers are first the lower eight rows and then the columns behind. PTX leaves open
//! which lane holds which element of a `wmma`; where a fragment has room for more than a matrix it holds it again.
//!
//! Floats are summed in f32 over k ascending, starting from C; f64 in a chain of fused multiply-adds; integers exactly,
//! then cut (or clamped) to 32 bits.

use super::alu::soft;
use super::convert::Rounding;
use super::lane::{canonical, f16_to_f32};
use half::f16;

/// Which lane holds what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A of an `mma`.
    Left,
    /// B of an `mma`.
    Right,
    /// C or D of an `mma`.
    Sums,
    /// Any matrix of a `wmma`.
    Dealt,
}

/// A matrix in the registers of a warp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub rows: u32,
    pub columns: u32,
    /// Bits of an element.
    pub bits: u32,
    /// Registers of a lane: of 64 bits for elements of so many, else of 32.
    pub registers: u32,
    pub layout: Layout,
}

impl Fragment {
    pub(crate) const fn register_bits(&self) -> u32 {
        if self.bits == 64 { 64 } else { 32 }
    }

    /// Elements of one register.
    pub(crate) const fn per_register(&self) -> u32 {
        self.register_bits() / self.bits
    }

    /// Row and column of element `i` of a lane, over all its registers.
    pub(crate) const fn element(&self, lane: u32, i: u32) -> (u32, u32) {
        let (group, thread, each) = (lane / 4, lane % 4, self.per_register());
        let (register, part) = (i / each, i % each);
        match self.layout {
            Layout::Left => {
                let halves = self.rows / 8;
                let row = group + 8 * (register % halves);
                (row, thread * each + part + 4 * each * (register / halves))
            }
            Layout::Right => (thread * each + part + 4 * each * register, group),
            Layout::Sums => (group + 8 * (i / 2), 2 * thread + i % 2),
            Layout::Dealt => {
                let own = self.rows * self.columns / 32;
                let number = lane * own + i % own;
                (number / self.columns, number % self.columns)
            }
        }
    }
}

/// Elements of A or B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    F16,
    Bf16,
    Tf32,
    F64,
    Signed(u32),
    Unsigned(u32),
    Bit,
}

/// Elements of C or D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    F16,
    F32,
    F64,
    S32,
}

/// What becomes of a pair of elements, and of their sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Multiply,
    /// `.satfinite` of integers.
    Clamp,
    /// `.xor.popc`
    Xor,
    /// `.and.popc`
    And,
}

/// One form of `mma` or `wmma.mma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub shape: (u32, u32, u32),
    pub numbers: [Number; 2],
    /// Of C and of D.
    pub sums: [Sum; 2],
    pub rule: Rule,
    /// Of f64.
    pub rounding: Rounding,
    /// Whether it is a `wmma.mma`.
    pub dealt: bool,
}

impl Number {
    pub(crate) fn parse(ty: &str) -> Option<Self> {
        Some(match ty {
            "f16" => Number::F16,
            "bf16" => Number::Bf16,
            "tf32" => Number::Tf32,
            "f64" => Number::F64,
            "s8" => Number::Signed(8),
            "s4" => Number::Signed(4),
            "u8" => Number::Unsigned(8),
            "u4" => Number::Unsigned(4),
            "b1" => Number::Bit,
            _ => return None,
        })
    }

    pub(crate) const fn bits(self) -> u32 {
        match self {
            Number::F16 | Number::Bf16 => 16,
            Number::Tf32 => 32,
            Number::F64 => 64,
            Number::Signed(bits) | Number::Unsigned(bits) => bits,
            Number::Bit => 1,
        }
    }

    fn integer(self, bits: u64) -> i64 {
        match self {
            Number::Signed(width) => ((bits << (64 - width)) as i64) >> (64 - width),
            _ => bits as i64,
        }
    }

    fn single(self, bits: u64) -> f32 {
        match self {
            Number::F16 => f16_to_f32(bits as u16),
            Number::Bf16 => f32::from_bits((bits as u32) << 16),
            // The 13 low bits of an operand are ignored, as hardware does.
            _ => f32::from_bits(bits as u32 & !0x1fff),
        }
    }
}

impl Sum {
    pub(crate) fn parse(ty: &str) -> Option<Self> {
        Some(match ty {
            "f16" => Sum::F16,
            "f32" => Sum::F32,
            "f64" => Sum::F64,
            "s32" => Sum::S32,
            _ => return None,
        })
    }

    pub(crate) const fn bits(self) -> u32 {
        match self {
            Sum::F16 => 16,
            Sum::F32 | Sum::S32 => 32,
            Sum::F64 => 64,
        }
    }
}

/// Registers of A, B and the sums of a `wmma` (PTX ISA 9.0, 9.7.14.4.1); `None` for a shape that its type does not have.
pub(crate) fn dealt(shape: (u32, u32, u32), number: Number) -> Option<[u32; 2]> {
    Some(match (number, shape) {
        (Number::F16, (16, 16, 16) | (8, 32, 16) | (32, 8, 16)) => [8, 8],
        (Number::Bf16, (16, 16, 16)) | (Number::Tf32, (16, 16, 8)) => [4, 4],
        (Number::Bf16, (8, 32, 16)) => [2, 8],
        (Number::Bf16, (32, 8, 16)) => [8, 2],
        (Number::Signed(8) | Number::Unsigned(8), (16, 16, 16)) => [2, 2],
        (Number::Signed(8) | Number::Unsigned(8), (8, 32, 16)) => [1, 4],
        (Number::Signed(8) | Number::Unsigned(8), (32, 8, 16)) => [4, 1],
        (Number::Signed(4) | Number::Unsigned(4), (8, 8, 32)) => [1, 1],
        (Number::Bit, (8, 8, 128)) | (Number::F64, (8, 8, 4)) => [1, 1],
        _ => return None,
    })
}

impl Form {
    /// A, B, C and D.
    pub(crate) fn fragments(&self) -> Option<[Fragment; 4]> {
        let (m, n, k) = self.shape;
        let [left, right] = self.numbers;
        let of = |rows: u32, columns: u32, bits: u32, registers: Option<u32>, layout: Layout| {
            let each = if bits == 64 { 1 } else { 32 / bits };
            Fragment {
                rows,
                columns,
                bits,
                registers: registers.unwrap_or(rows * columns / 32 / each),
                layout: if self.dealt { Layout::Dealt } else { layout },
            }
        };
        let [a, b] = if self.dealt {
            dealt(self.shape, left)?.map(Some)
        } else {
            [None, None]
        };
        let sums = self.sums.map(|sum| of(m, n, sum.bits(), None, Layout::Sums));
        Some([
            of(m, k, left.bits(), a, Layout::Left),
            of(k, n, right.bits(), b, Layout::Right),
            sums[0],
            sums[1],
        ])
    }

    /// One element of D: from a row of A, a column of B and the element of C.
    pub(crate) fn sum(&self, row: &[u64], column: impl Iterator<Item = u64>, start: u64) -> u64 {
        let [left, right] = self.numbers;
        let pairs = row.iter().copied().zip(column);
        match (left, self.rule) {
            (Number::Bit, rule) => {
                let count: u32 = pairs
                    .map(|(a, b)| if rule == Rule::And { a & b } else { a ^ b } as u32)
                    .sum();
                u64::from((start as u32).wrapping_add(count))
            }
            (Number::Signed(_) | Number::Unsigned(_), rule) => {
                let exact =
                    pairs.map(|(a, b)| left.integer(a) * right.integer(b)).sum::<i64>() + i64::from(start as i32);
                let sum = if rule == Rule::Clamp {
                    exact.clamp(i64::from(i32::MIN), i64::from(i32::MAX))
                } else {
                    exact
                };
                u64::from(sum as u32)
            }
            (Number::F64, _) => pairs.fold(start, |sum, (a, b)| {
                let [a, b, c] = [a, b, sum].map(f64::from_bits);
                if self.rounding == Rounding::Nearest {
                    canonical(a.mul_add(b, c))
                } else {
                    soft::multiply_add(a, b, c, soft::F64, self.rounding)
                }
            }),
            (Number::F16 | Number::Bf16 | Number::Tf32, _) => {
                let start = if self.sums[0] == Sum::F16 {
                    f16_to_f32(start as u16)
                } else {
                    f32::from_bits(start as u32)
                };
                let sum = pairs.fold(start, |sum, (a, b)| sum + left.single(a) * right.single(b));
                match (self.sums[1], sum.is_nan()) {
                    (Sum::F16, true) => 0x7fff,
                    (Sum::F16, false) => u64::from(f16::from_f32_const(sum).to_bits()),
                    (_, true) => 0x7fff_ffff,
                    (_, false) => u64::from(sum.to_bits()),
                }
            }
        }
    }
}

//! Operators: what is to be computed, on which shapes, types and memory layouts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::rejection::Operand;

/// An element type of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    Bf16,
    /// IEEE binary32.
    F32,
    /// Binary32 in memory, of which the tensor cores read the upper 19 bits (PTX ISA, "Alternate Floating-Point Data
    /// Formats"). A type of operands only.
    Tf32,
    /// Signed integers of 8 bits.
    I8,
    /// Signed integers of 32 bits.
    I32,
}

impl DType {
    /// All of them, in the order of their names on the command line.
    pub const ALL: [DType; 6] = [DType::F16, DType::Bf16, DType::F32, DType::Tf32, DType::I8, DType::I32];

    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            DType::I8 => 1,
            DType::F16 | DType::Bf16 => 2,
            DType::F32 | DType::Tf32 | DType::I32 => 4,
        }
    }

    /// The name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::F32 => "f32",
            DType::Tf32 => "tf32",
            DType::I8 => "i8",
            DType::I32 => "i32",
        }
    }

    /// The type in which products of operands of this type are summed.
    pub const fn accumulator(self) -> DType {
        match self {
            DType::F16 | DType::Bf16 | DType::F32 | DType::Tf32 => DType::F32,
            DType::I8 | DType::I32 => DType::I32,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not one of those a type knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} {given:?}; known: {known}")]
pub struct UnknownName {
    /// What was to be named, e.g. "dtype".
    pub kind: &'static str,
    /// The name that was given.
    pub given: String,
    /// The names that exist.
    pub known: &'static str,
}

impl FromStr for DType {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        DType::ALL
            .into_iter()
            .find(|dtype| dtype.name() == name)
            .ok_or_else(|| UnknownName {
                kind: "dtype",
                given: name.to_owned(),
                known: "f16, bf16, f32, tf32, i8, i32",
            })
    }
}

/// How the two matmul operands lie in memory, by BLAS letters: `n` as written (A is `m×k`, B is `k×n`, rows
/// contiguous), `t` transposed (A is stored `k×m`, B is stored `n×k`, rows contiguous). First letter A, second B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Layout {
    Nn,
    Nt,
    Tn,
    Tt,
}

impl Layout {
    /// All four, in the order of their names.
    pub const ALL: [Layout; 4] = [Layout::Nn, Layout::Nt, Layout::Tn, Layout::Tt];

    /// Whether A is stored `k×m`.
    pub const fn a_transposed(self) -> bool {
        matches!(self, Layout::Tn | Layout::Tt)
    }

    /// Whether B is stored `n×k`.
    pub const fn b_transposed(self) -> bool {
        matches!(self, Layout::Nt | Layout::Tt)
    }

    /// `nn`, `nt`, `tn` or `tt`.
    pub const fn name(self) -> &'static str {
        match self {
            Layout::Nn => "nn",
            Layout::Nt => "nt",
            Layout::Tn => "tn",
            Layout::Tt => "tt",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Layout {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Layout::ALL
            .into_iter()
            .find(|layout| layout.name() == name)
            .ok_or_else(|| UnknownName {
                kind: "layout",
                given: name.to_owned(),
                known: "nn, nt, tn, tt",
            })
    }
}

/// `C[b] = A[b] · B[b]` for every batch `b`: C is `batch×m×n` with contiguous rows; products are summed in f32, those of
/// integers in i32 (a sum beyond it stops at the largest or smallest i32: PTX ISA, mma, `.satfinite`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matmul {
    /// Rows of C.
    pub m: u64,
    /// Columns of C.
    pub n: u64,
    /// Length of the sums.
    pub k: u64,
    /// Independent products; 1 for a plain matmul.
    #[serde(default = "one")]
    pub batch: u64,
    /// Type of A and B.
    pub dtype: DType,
    /// Type of C.
    pub out_dtype: DType,
    /// How A and B are stored.
    pub layout: Layout,
}

fn one() -> u64 {
    1
}

impl Matmul {
    /// Extents of A as stored (without the batch), slowest first.
    pub const fn a_shape(&self) -> [u64; 2] {
        if self.layout.a_transposed() {
            [self.k, self.m]
        } else {
            [self.m, self.k]
        }
    }

    /// Extents of B as stored (without the batch), slowest first.
    pub const fn b_shape(&self) -> [u64; 2] {
        if self.layout.b_transposed() {
            [self.n, self.k]
        } else {
            [self.k, self.n]
        }
    }

    /// Extents of C (without the batch).
    pub const fn c_shape(&self) -> [u64; 2] {
        [self.m, self.n]
    }

    /// Bytes of one copy of an operand from global to shared memory: the widest of 16, 8, 4, 2 and 1 that divides the
    /// rows as stored. All rows of all products then start at a multiple of it, and end at one, so that a copy lies
    /// wholly inside a row or wholly outside. `cp.async` has 16, 8 and 4 (PTX ISA, cp.async).
    pub const fn copy_bytes(&self, operand: Operand) -> u32 {
        let [_, columns] = match operand {
            Operand::A => self.a_shape(),
            Operand::B => self.b_shape(),
        };
        // Only the last four bits matter, so that wrapping does no harm.
        let row_bytes = columns.wrapping_mul(self.dtype.bytes());
        let known = row_bytes.trailing_zeros();
        if known >= 4 { 16 } else { 1 << known }
    }

    /// Floating point operations: two for each multiply-add. The largest number where there are more.
    pub const fn flops(&self) -> u64 {
        let elements = self.batch.saturating_mul(self.m).saturating_mul(self.n);
        elements.saturating_mul(self.k).saturating_mul(2)
    }
}

/// An operator with its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum OpSpec {
    /// A (batched) matrix product.
    Matmul(Matmul),
}

impl OpSpec {
    /// The operator's name; also the entry point of kernels generated for it.
    pub const fn name(&self) -> &'static str {
        match self {
            OpSpec::Matmul(_) => "matmul",
        }
    }
}

impl fmt::Display for OpSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpSpec::Matmul(mm) => {
                write!(f, "matmul {}", mm.layout)?;
                if mm.batch != 1 {
                    write!(f, " {}×", mm.batch)?;
                } else {
                    f.write_str(" ")?;
                }
                write!(f, "{}×{}×{} {}→{}", mm.m, mm.n, mm.k, mm.dtype, mm.out_dtype)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for dtype in DType::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
            assert_eq!(serde_json::to_string(&dtype).unwrap(), format!("\"{dtype}\""));
        }
        assert!("s8".parse::<DType>().is_err());
    }

    #[test]
    fn the_copy_width_is_what_divides_the_rows() {
        let op = |layout, dtype, [m, n, k]: [u64; 3]| Matmul {
            m,
            n,
            k,
            batch: 1,
            dtype,
            out_dtype: dtype.accumulator(),
            layout,
        };
        for (layout, dtype, shape, a, b) in [
            (Layout::Nn, DType::F16, [1, 64, 32], 16, 16),
            (Layout::Nn, DType::F16, [5, 68, 33], 2, 8),
            (Layout::Nt, DType::F16, [5, 68, 36], 8, 8),
            (Layout::Tn, DType::Bf16, [6, 7, 64], 4, 2),
            (Layout::Tt, DType::Tf32, [6, 8, 3], 8, 4),
            (Layout::Nt, DType::I8, [16, 16, 20], 4, 4),
            (Layout::Nn, DType::I8, [16, 18, 17], 1, 2),
        ] {
            let op = op(layout, dtype, shape);
            assert_eq!(
                (op.copy_bytes(Operand::A), op.copy_bytes(Operand::B)),
                (a, b),
                "{layout} {dtype} {shape:?}"
            );
        }
    }
}

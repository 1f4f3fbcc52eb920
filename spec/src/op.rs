//! Operators: what is to be computed, on which shapes, types and memory layouts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An element type of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE binary16.
    F16,
    /// IEEE binary32.
    F32,
}

impl DType {
    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            DType::F16 => 2,
            DType::F32 => 4,
        }
    }

    /// The name on the command line, in JSON and in MLIR.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F16 => "f16",
            DType::F32 => "f32",
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
        match name {
            "f16" => Ok(DType::F16),
            "f32" => Ok(DType::F32),
            _ => Err(UnknownName {
                kind: "dtype",
                given: name.to_owned(),
                known: "f16, f32",
            }),
        }
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

/// `C[b] = A[b] · B[b]` for every batch `b`: C is `batch×m×n` with contiguous rows, products are summed in f32.
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

    /// Floating point operations: two for each multiply-add.
    pub const fn flops(&self) -> u64 {
        2 * self.batch * self.m * self.n * self.k
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

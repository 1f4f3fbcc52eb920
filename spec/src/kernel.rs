//! Kernels as they are handed to a device, and the launch file that describes one launch.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::assumption::Assumption;
use crate::op::DType;

/// A compiled kernel with everything that a launch needs but its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// PTX text.
    pub ptx: String,
    /// Name of the entry point.
    pub entry: String,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block.
    pub dynamic_shared_bytes: u32,
}

/// The element type of an array in a launch file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ArrayDType {
    F16,
    /// Stored as `u16` in `.npy` files, which have no bfloat16.
    Bf16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

impl ArrayDType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        use ArrayDType::*;
        match self {
            I8 | U8 => 1,
            F16 | Bf16 | I16 | U16 => 2,
            F32 | I32 | U32 => 4,
            F64 | I64 | U64 => 8,
        }
    }
}

impl From<DType> for ArrayDType {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F16 => ArrayDType::F16,
            DType::Bf16 => ArrayDType::Bf16,
            DType::F32 | DType::Tf32 => ArrayDType::F32,
            DType::I8 => ArrayDType::I8,
            DType::I32 => ArrayDType::I32,
        }
    }
}

/// A zero-filled array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zeros {
    /// Element type.
    pub dtype: ArrayDType,
    /// Extents, slowest first.
    pub shape: Vec<usize>,
}

/// An array of numbers from a seed: `(low + n mod values) · 2^scale`, where n are the upper 24 bits of SplitMix64's numbers.
/// The first [`Generated::RING`] of them repeat, so that large arrays are made quickly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// Element type; to a float type, numbers are rounded to nearest.
    pub dtype: ArrayDType,
    /// Extents, slowest first.
    pub shape: Vec<usize>,
    /// Where the stream of numbers starts.
    pub seed: u64,
    /// The least number; −2 where it is not said.
    #[serde(default = "least")]
    pub low: i32,
    /// How many different numbers there are, at least 1 and at most 2²⁴; 5 where it is not said.
    #[serde(default = "different")]
    pub values: u32,
    /// Power of two that each is multiplied by, from −60 to 0; 0 for integers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub scale: i32,
}

impl Generated {
    /// Elements after which the numbers repeat: a prime, so that no two rows of a usual size are alike.
    pub const RING: usize = 65_521;
}

const fn least() -> i32 {
    -2
}

const fn different() -> u32 {
    5
}

fn is_zero(value: &i32) -> bool {
    *value == 0
}

/// One argument of a kernel. Arrays are passed as device pointers, scalars by value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum KernelArg {
    /// An array read from a NumPy file.
    Npy {
        /// The file, relative to the launch file.
        npy: PathBuf,
        /// Where the array is written after the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<PathBuf>,
    },
    /// An array of zeros.
    Zeros {
        /// Type and extents.
        zeros: Zeros,
        /// Where the array is written after the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<PathBuf>,
    },
    /// An array of numbers from a seed.
    Generated {
        /// Which numbers.
        #[serde(rename = "random")]
        generated: Generated,
        /// Where the array is written after the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<PathBuf>,
    },
    /// A 32-bit integer.
    I32 {
        /// The value.
        i32: i32,
    },
    /// A 64-bit unsigned integer.
    U64 {
        /// The value.
        u64: u64,
    },
    /// A binary32 number.
    F32 {
        /// The value.
        f32: f32,
    },
    /// A null pointer.
    Null {
        /// Always true.
        null: bool,
    },
    /// A struct passed by value, as hexadecimal digits.
    Bytes {
        /// Two digits a byte, in memory order.
        bytes: String,
    },
    /// A device array of device pointers (grouped kernels).
    Pointers {
        /// The arrays pointed to.
        pointers: Vec<KernelArg>,
    },
}

/// `LAUNCH.json`: one launch of a PTX kernel. Paths are relative to the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchFile {
    /// The PTX file.
    pub ptx: PathBuf,
    /// Name of the entry point.
    pub entry: String,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block.
    #[serde(default)]
    pub dynamic_shared_bytes: u32,
    /// What the kernel takes for granted of these arguments: their positions in `args` are meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumes: Vec<Assumption>,
    /// Arguments in the order of the entry's parameters.
    pub args: Vec<KernelArg>,
}

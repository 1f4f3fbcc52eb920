//! Launch files for generated kernels, with inputs whose products are exact.

use std::path::Path;

use alcop_spec::kernel::{ArrayDType, Zeros};
use alcop_spec::{DType, KernelArg, LaunchFile, OpSpec};

/// An input array: its file's name, its extents and its bytes as a NumPy file of `f16`.
pub struct Input {
    /// File name, beside the launch file.
    pub name: &'static str,
    /// The file.
    pub npy: Vec<u8>,
}

/// The launch file of a kernel, whose PTX and inputs lie beside it.
pub fn launch_file(op: &OpSpec, ptx: &Path, grid: [u32; 3], block: [u32; 3], dynamic_shared_bytes: u32) -> LaunchFile {
    let OpSpec::Matmul(mm) = op;
    let dtype = match mm.out_dtype {
        DType::F16 => ArrayDType::F16,
        DType::F32 => ArrayDType::F32,
    };
    let zeros = Zeros {
        dtype,
        shape: with_batch(mm.batch, mm.c_shape()),
    };
    LaunchFile {
        ptx: ptx.to_owned(),
        entry: op.name().to_owned(),
        grid,
        block,
        dynamic_shared_bytes,
        args: vec![
            KernelArg::Npy {
                npy: "a.npy".into(),
                output: None,
            },
            KernelArg::Npy {
                npy: "b.npy".into(),
                output: None,
            },
            KernelArg::Zeros {
                zeros,
                output: Some("c.npy".into()),
            },
        ],
    }
}

/// Operands of small integers, −2 to 2, in a fixed pattern: every sum is exact, so that a wrong element is wrong by a
/// whole number.
pub fn inputs(op: &OpSpec) -> [Input; 2] {
    let OpSpec::Matmul(mm) = op;
    let npy = |shape: [u64; 2], seed: u64| npy_f16(&with_batch(mm.batch, shape), seed);
    [
        Input {
            name: "a.npy",
            npy: npy(mm.a_shape(), 1),
        },
        Input {
            name: "b.npy",
            npy: npy(mm.b_shape(), 2),
        },
    ]
}

fn with_batch(batch: u64, shape: [u64; 2]) -> Vec<usize> {
    let batch = (batch > 1).then_some(batch as usize);
    batch.into_iter().chain(shape.map(|extent| extent as usize)).collect()
}

/// A version 1.0 `.npy` file of little-endian binary16.
fn npy_f16(shape: &[usize], seed: u64) -> Vec<u8> {
    let extents = shape
        .iter()
        .map(|extent| format!("{extent},"))
        .collect::<Vec<_>>()
        .join(" ");
    let mut header = format!("{{'descr': '<f2', 'fortran_order': False, 'shape': ({extents}), }}");
    // The header ends in a newline, and the data starts at a multiple of 64 bytes.
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header.extend(std::iter::repeat_n(' ', padded - header.len() - 1));
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    let mut state = seed;
    for _ in 0..shape.iter().product::<usize>() {
        // A linear congruential step (Knuth's MMIX constants); the high bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let value = (state >> 33) % 5;
        // binary16 of −2, −1, 0, 1, 2.
        file.extend([0xC000_u16, 0xBC00, 0x0000, 0x3C00, 0x4000][value as usize].to_le_bytes());
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npy_headers_are_aligned_and_complete() {
        let file = npy_f16(&[3, 5], 1);
        let length = usize::from(u16::from_le_bytes([file[8], file[9]]));
        assert_eq!((10 + length) % 64, 0);
        assert_eq!(file.len(), 10 + length + 2 * 15);
        assert_eq!(file[9 + length], b'\n');
    }
}

//! What a kernel of a pack must compute: the emulator's results, and why a GPU must have the same bits.
//!
//! ```text
//! kernel, arguments --emulate--> arguments afterwards       "bits":  every sum is exact, and no instruction rounds as it likes
//!                                                           "bound": sums of fractions, each element with what it may be off
//! ```
//!
//! Tensor cores add in an order of their own and truncate, so that bits agree only where every partial sum is a whole number
//! that its type has. That is shown by a second run on the operands' magnitudes: its results bound the partial sums of the
//! first, in any order, for kernels that multiply, add and choose.

use alcop_runtime::emulator::EmulateOptions;
use alcop_runtime::launch::{ArgBuffer, emulate};
use alcop_runtime::operands::generate;
use alcop_runtime::ptx::{self, Statement};
use alcop_spec::Kernel;
use alcop_spec::kernel::{ArrayDType, Generated, KernelArg, Zeros};
use half::{bf16, f16};

/// Where sums of whole numbers stop being exact: in f16, and in f32. bf16 is only stored; what is summed is f32.
const EXACT_F16: f64 = 2048.0;
const EXACT_F32: f64 = 16_777_216.0;

/// A description of whole numbers for an array.
pub(super) fn generated(Zeros { dtype, shape }: Zeros, seed: u64, low: i32, values: u32) -> Generated {
    Generated {
        dtype,
        shape,
        seed,
        low,
        values,
        scale: 0,
    }
}

/// An argument of a launch file whose arrays come from no file.
///
/// # Errors
/// A file, and pointers to pointers: a pack has none.
pub(super) fn buffer(arg: &KernelArg) -> Result<ArgBuffer, String> {
    Ok(match arg {
        KernelArg::Generated { generated, .. } => ArgBuffer::Array {
            dtype: generated.dtype,
            bytes: generate(generated)?,
        },
        KernelArg::Zeros { zeros, .. } => ArgBuffer::zeros(zeros).map_err(|error| error.to_string())?,
        KernelArg::I32 { i32 } => ArgBuffer::I32(*i32),
        KernelArg::U64 { u64 } => ArgBuffer::U64(*u64),
        KernelArg::F32 { f32 } => ArgBuffer::F32(*f32),
        KernelArg::Null { .. } => ArgBuffer::Null,
        KernelArg::Npy { .. } | KernelArg::Bytes { .. } | KernelArg::Pointers { .. } => {
            return Err("a pack has no such argument".to_owned());
        }
    })
}

/// The arguments after a run in the emulator.
///
/// # Errors
/// A fault, a hazard; where `bits` must agree, also an instruction or a sum that is not exact.
pub(super) fn results(kernel: &Kernel, args: &[ArgBuffer], bits: bool) -> Result<Vec<ArgBuffer>, String> {
    let mut found = args.to_vec();
    let report = emulate(kernel, &mut found, &EmulateOptions::default()).map_err(|error| error.to_string())?;
    if let Some(hazard) = report.hazards.first() {
        return Err(format!("hazard {} at PTX line {}", hazard.code.name(), hazard.line));
    }
    if bits {
        refuse_inexact(kernel, args)?;
    }
    Ok(found)
}

fn refuse_inexact(kernel: &Kernel, args: &[ArgBuffer]) -> Result<(), String> {
    let module = ptx::parse(&kernel.ptx).map_err(|error| error.to_string())?;
    let statements = module.functions.iter().flat_map(|function| &function.body);
    for statement in statements {
        if let Statement::Instruction(instruction) = statement
            && instruction
                .opcode
                .split('.')
                .any(|part| part == "approx" || part == "full")
        {
            return Err(format!(
                "line {}: {} has no defined bits; give the case a bound",
                instruction.line, instruction.opcode
            ));
        }
    }
    let mut magnitudes: Vec<ArgBuffer> = args.iter().map(magnitude).collect();
    let options = EmulateOptions {
        hazards: false,
        ..EmulateOptions::default()
    };
    emulate(kernel, &mut magnitudes, &options).map_err(|error| error.to_string())?;
    for (index, arg) in magnitudes.iter().enumerate() {
        let (largest, exact) = largest(arg);
        // Not-a-number is not below, either.
        if !matches!(largest.partial_cmp(&exact), Some(std::cmp::Ordering::Less)) {
            return Err(format!(
                "sums in argument {index} may reach {largest}, and are exact below {exact} only"
            ));
        }
    }
    Ok(())
}

/// Floats without their sign.
fn magnitude(arg: &ArgBuffer) -> ArgBuffer {
    let mut arg = arg.clone();
    match &mut arg {
        ArgBuffer::Array { dtype, bytes } => {
            if matches!(
                dtype,
                ArrayDType::F16 | ArrayDType::Bf16 | ArrayDType::F32 | ArrayDType::F64
            ) {
                for last in bytes.iter_mut().skip(dtype.bytes() - 1).step_by(dtype.bytes()) {
                    *last &= 0x7f;
                }
            }
        }
        ArgBuffer::F32(value) => *value = value.abs(),
        ArgBuffer::I32(_) | ArgBuffer::U64(_) | ArgBuffer::Null | ArgBuffer::Bytes(_) | ArgBuffer::Pointers(_) => {}
    }
    arg
}

/// The largest number of an array of floats, and where its type stops being exact. Integers are always exact.
fn largest(arg: &ArgBuffer) -> (f64, f64) {
    let ArgBuffer::Array { dtype, bytes } = arg else {
        return (0.0, EXACT_F32);
    };
    let most = |width: usize, value: fn(&[u8]) -> f64| {
        let values = bytes.chunks_exact(width).map(value);
        values.fold(0.0, |most: f64, value| if value <= most { most } else { value })
    };
    match dtype {
        ArrayDType::F16 => (most(2, |b| f16::from_le_bytes([b[0], b[1]]).to_f64()), EXACT_F16),
        ArrayDType::Bf16 => (most(2, |b| bf16::from_le_bytes([b[0], b[1]]).to_f64()), EXACT_F32),
        ArrayDType::F32 => {
            let value = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            (most(4, value), EXACT_F32)
        }
        _ => (0.0, EXACT_F32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One thread: `*c = *a op *b`.
    fn kernel(instruction: &str) -> Kernel {
        Kernel {
            ptx: format!(
                ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c) {{\n\
                 .reg .b64 %rd<4>;\n.reg .f32 %f<4>;\n\
                 ld.param.u64 %rd1, [a];\nld.param.u64 %rd2, [b];\nld.param.u64 %rd3, [c];\n\
                 ld.global.f32 %f1, [%rd1];\nld.global.f32 %f2, [%rd2];\n{instruction}\n\
                 st.global.f32 [%rd3], %f3;\nret;\n}}\n"
            ),
            entry: "k".to_owned(),
            grid: [1, 1, 1],
            block: [1, 1, 1],
            dynamic_shared_bytes: 0,
        }
    }

    fn run(instruction: &str, a: f32, b: f32, bits: bool) -> Result<Vec<ArgBuffer>, String> {
        let args = [a, b, 77.0].map(|value| ArgBuffer::f32(&[value]));
        results(&kernel(instruction), &args, bits)
    }

    #[test]
    fn what_has_no_defined_bits_is_refused_where_bits_are_compared() {
        let sum = run("add.rn.f32 %f3, %f1, %f2;", 3.0, -5.0, true).expect("exact");
        assert_eq!(sum[2], ArgBuffer::f32(&[-2.0]));
        let quotient = "div.approx.f32 %f3, %f1, %f2;";
        assert!(run(quotient, 4.0, 2.0, true).is_err_and(|error| error.contains("div.approx.f32")));
        assert!(run(quotient, 4.0, 2.0, false).is_ok());
    }

    #[test]
    fn sums_that_may_round_are_refused_where_bits_are_compared() {
        let difference = "add.rn.f32 %f3, %f1, %f2;";
        let large = 9_000_000.0;
        assert!(run(difference, large, -large, true).is_err_and(|error| error.contains("may reach 18000000")));
        assert!(run(difference, large, -large, false).is_ok());
        assert!(run(difference, f32::NAN, 1.0, true).is_err());
    }
}

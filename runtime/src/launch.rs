//! Arguments of kernels, and the emulator as a function from arguments to arguments.
//!
//! ```text
//! Kernel + [a, b, zeros] --emulate--> EmulationReport, and [a, b, what the kernel wrote]
//! ```

use std::sync::Arc;

use alcop_spec::kernel::{ArrayDType, Kernel, Zeros};
use alcop_system::memory::{self, OutOfMemory};

use crate::emulator::{
    EmulateOptions, EmulationReport, EmulatorError, GlobalMemory, Launch, MOST_BYTES, Param, Program, run,
};
pub use crate::launch_file::{
    LaunchError, LoadedLaunch, Output, Outside, read_launch, read_launch_with, write_outputs,
};

/// An argument in host memory.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgBuffer {
    /// An array: passed as a device pointer, and read back after the run.
    Array {
        /// Element type.
        dtype: ArrayDType,
        /// Elements, little endian.
        bytes: Vec<u8>,
    },
    /// A 32-bit integer by value.
    I32(i32),
    /// A 64-bit integer by value.
    U64(u64),
    /// A binary32 number by value.
    F32(f32),
    /// A null pointer.
    Null,
    /// A struct by value.
    Bytes(Vec<u8>),
    /// A device array of device pointers.
    Pointers(Vec<ArgBuffer>),
}

impl ArgBuffer {
    /// An array of f16 bits.
    pub fn f16(values: &[half::f16]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        ArgBuffer::Array {
            dtype: ArrayDType::F16,
            bytes,
        }
    }

    /// An array of f32.
    pub fn f32(values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        ArgBuffer::Array {
            dtype: ArrayDType::F32,
            bytes,
        }
    }

    /// An array of so many elements whose bytes are all 0xff: not-a-number in every float format, so that an element
    /// that a kernel forgets to write shows.
    pub fn poisoned(dtype: ArrayDType, elements: usize) -> Self {
        ArgBuffer::Array {
            dtype,
            bytes: vec![0xff; elements * dtype.bytes()],
        }
    }

    /// An array of zeros.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn zeros(zeros: &Zeros) -> Result<Self, OutOfMemory> {
        let extents = zeros.shape.iter().map(|&extent| extent as u64);
        let bytes = memory::product(extents.chain([zeros.dtype.bytes() as u64]));
        let what = format!("an array of {:?} {:?}", zeros.shape, zeros.dtype);
        Ok(ArgBuffer::Array {
            dtype: zeros.dtype,
            bytes: memory::zeroed(bytes, &what)?,
        })
    }

    /// A copy.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn try_clone(&self) -> Result<Self, OutOfMemory> {
        Ok(match self {
            ArgBuffer::Array { dtype, bytes } => ArgBuffer::Array {
                dtype: *dtype,
                bytes: memory::copy(bytes, &self.describe())?,
            },
            ArgBuffer::Pointers(items) => {
                ArgBuffer::Pointers(items.iter().map(ArgBuffer::try_clone).collect::<Result<_, _>>()?)
            }
            small => small.clone(),
        })
    }

    /// The bytes of an array.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            ArgBuffer::Array { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    fn describe(&self) -> String {
        match self {
            ArgBuffer::Array { dtype, bytes } => format!("an array of {} {dtype:?}", bytes.len() / dtype.bytes()),
            ArgBuffer::I32(_) => "a 32-bit integer".to_owned(),
            ArgBuffer::U64(_) => "a 64-bit integer".to_owned(),
            ArgBuffer::F32(_) => "a binary32 number".to_owned(),
            ArgBuffer::Null => "a null pointer".to_owned(),
            ArgBuffer::Bytes(bytes) => format!("a struct of {} bytes", bytes.len()),
            ArgBuffer::Pointers(items) => format!("{} device pointers", items.len()),
        }
    }
}

/// Checks that arguments fit the parameters of an entry: their number, sizes and, where PTX says them, types.
///
/// # Errors
/// [`EmulatorError::BadArgument`] with the position and the sizes, or [`EmulatorError::BadLaunch`] for the count.
pub fn check_arguments(entry: &str, params: &[Param], args: &[ArgBuffer]) -> Result<(), EmulatorError> {
    if args.len() != params.len() {
        let names: Vec<&str> = params.iter().map(|param| param.name.as_str()).collect();
        return Err(EmulatorError::BadLaunch {
            message: format!(
                "{} arguments for `{}`, which has {} parameters ({})",
                args.len(),
                entry,
                names.len(),
                names.join(", ")
            ),
        });
    }
    for (index, (arg, param)) in args.iter().zip(params).enumerate() {
        let float = param.ty.starts_with('f');
        let untyped = param.ty.starts_with('b');
        let fits = match arg {
            ArgBuffer::Array { .. } | ArgBuffer::Null | ArgBuffer::Pointers(_) | ArgBuffer::U64(_) => {
                param.bytes == 8 && !float
            }
            ArgBuffer::I32(_) => param.bytes == 4 && !float,
            ArgBuffer::F32(_) => param.bytes == 4 && (float || untyped),
            ArgBuffer::Bytes(bytes) => bytes.len() == param.bytes as usize,
        };
        if !fits {
            let message = format!(
                "{} for the parameter `{}`, which is .{} of {} bytes",
                arg.describe(),
                param.name,
                param.ty,
                param.bytes
            );
            return Err(EmulatorError::BadArgument { index, message });
        }
        if arg.bytes().is_some_and(|bytes| bytes.len() as u64 > MOST_BYTES) {
            let message = format!("{}; an array has at most {MOST_BYTES} bytes", arg.describe());
            return Err(EmulatorError::BadArgument { index, message });
        }
    }
    Ok(())
}

/// Device memory with the arguments in it, and the parameter block that points there.
struct Bound {
    memory: GlobalMemory,
    params: Vec<u8>,
    addresses: Vec<Vec<u64>>,
}

fn bind(program: &Program, args: &[ArgBuffer]) -> Result<Bound, OutOfMemory> {
    let mut memory = program.initial_memory()?;
    let end = program.params.last().map_or(0, |param| param.offset + param.bytes);
    let mut params = vec![0; end as usize];
    let mut addresses = Vec::new();
    for (index, (arg, param)) in args.iter().zip(&program.params).enumerate() {
        let mut own = Vec::new();
        let name = format!("argument {index} (`{}`)", param.name);
        let bytes = value_bytes(arg, &name, &mut memory, &mut own)?;
        let at = param.offset as usize;
        params[at..at + bytes.len()].copy_from_slice(&bytes);
        addresses.push(own);
    }
    Ok(Bound {
        memory,
        params,
        addresses,
    })
}

/// The by-value form of an argument. Addresses of its arrays are appended in depth-first order.
fn value_bytes(
    arg: &ArgBuffer,
    name: &str,
    memory: &mut GlobalMemory,
    addresses: &mut Vec<u64>,
) -> Result<Vec<u8>, OutOfMemory> {
    Ok(match arg {
        ArgBuffer::Array { bytes, .. } => {
            let address = memory.allocate_as(name.to_owned(), bytes)?;
            addresses.push(address);
            address.to_le_bytes().to_vec()
        }
        ArgBuffer::I32(value) => value.to_le_bytes().to_vec(),
        ArgBuffer::U64(value) => value.to_le_bytes().to_vec(),
        ArgBuffer::F32(value) => value.to_le_bytes().to_vec(),
        ArgBuffer::Null => vec![0; 8],
        ArgBuffer::Bytes(bytes) => bytes.clone(),
        ArgBuffer::Pointers(items) => {
            let mut table = Vec::new();
            for (index, item) in items.iter().enumerate() {
                let mut bytes = value_bytes(item, &format!("pointer {index} of {name}"), memory, addresses)?;
                bytes.resize(8, 0);
                table.extend(bytes);
            }
            memory.allocate_as(name.to_owned(), &table)?.to_le_bytes().to_vec()
        }
    })
}

fn read_back(arg: &mut ArgBuffer, memory: &GlobalMemory, addresses: &mut impl Iterator<Item = u64>) {
    match arg {
        ArgBuffer::Array { bytes, .. } => {
            let known = addresses.next().is_some_and(|address| memory.read_back(address, bytes));
            debug_assert!(known, "each array was placed");
        }
        ArgBuffer::Pointers(items) => items.iter_mut().for_each(|item| read_back(item, memory, addresses)),
        ArgBuffer::I32(_) | ArgBuffer::U64(_) | ArgBuffer::F32(_) | ArgBuffer::Null | ArgBuffer::Bytes(_) => {}
    }
}

/// Runs a kernel in the emulator. Arrays among the arguments hold the kernel's results afterwards (also when hazards
/// were found: whether to use them is the caller's decision).
///
/// # Errors
/// Text that is no PTX, an instruction that is not known, arguments or a launch that do not fit, a fault.
pub fn emulate(
    kernel: &Kernel,
    args: &mut [ArgBuffer],
    options: &EmulateOptions,
) -> Result<EmulationReport, EmulatorError> {
    let program = Program::new(Arc::new(crate::ptx::parse(&kernel.ptx)?), &kernel.entry)?;
    emulate_program(&program, kernel, args, options)
}

/// As [`emulate`], with the PTX decoded before. Only the launch shape of `kernel` is used.
///
/// # Errors
/// Arguments or a launch that do not fit, a fault.
pub fn emulate_program(
    program: &Program,
    kernel: &Kernel,
    args: &mut [ArgBuffer],
    options: &EmulateOptions,
) -> Result<EmulationReport, EmulatorError> {
    let (launch, memory, addresses) = prepare_with_addresses(program, kernel, args)?;
    let report = run(program, &launch, &memory, options)?;
    for (arg, own) in args.iter_mut().zip(addresses) {
        read_back(arg, &memory, &mut own.into_iter());
    }
    Ok(report)
}

/// Places arguments in device memory, for drivers that step a [`crate::emulator::Machine`] themselves.
///
/// # Errors
/// Arguments that do not fit.
pub fn prepare(
    program: &Program,
    kernel: &Kernel,
    args: &[ArgBuffer],
) -> Result<(Launch, GlobalMemory), EmulatorError> {
    prepare_with_addresses(program, kernel, args).map(|(launch, memory, _)| (launch, memory))
}

fn prepare_with_addresses(
    program: &Program,
    kernel: &Kernel,
    args: &[ArgBuffer],
) -> Result<(Launch, GlobalMemory, Vec<Vec<u64>>), EmulatorError> {
    check_arguments(&program.entry, &program.params, args)?;
    let Bound {
        memory,
        params,
        addresses,
    } = bind(program, args)?;
    let dynamic_shared_bytes = kernel.dynamic_shared_bytes;
    let launch = Launch {
        grid: kernel.grid,
        block: kernel.block,
        dynamic_shared_bytes,
        params,
    };
    Ok((launch, memory, addresses))
}

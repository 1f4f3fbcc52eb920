//! Arguments of kernels, launch files, and the emulator as a function from arguments to arguments.
//!
//! ```text
//! LAUNCH.json + k.ptx + a.npy, b.npy --read_launch--> LoadedLaunch { kernel, args, outputs }
//!     --emulate--> args with results --write_outputs--> c.npy
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alcop_spec::kernel::{ArrayDType, Kernel, KernelArg, LaunchFile, Zeros};

use crate::emulator::{EmulateOptions, EmulationReport, EmulatorError, GlobalMemory, Launch, Param, Program, run};
use crate::npy::{self, NpyArray};

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
    pub fn zeros(Zeros { dtype, shape }: &Zeros) -> Self {
        let elements: usize = shape.iter().product();
        ArgBuffer::Array {
            dtype: *dtype,
            bytes: vec![0; elements * dtype.bytes()],
        }
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
    }
    Ok(())
}

/// Device memory with the arguments in it, and the parameter block that points there.
struct Bound {
    memory: GlobalMemory,
    params: Vec<u8>,
    addresses: Vec<Vec<u64>>,
}

fn bind(program: &Program, args: &[ArgBuffer]) -> Bound {
    let mut memory = program.initial_memory();
    let end = program.params.last().map_or(0, |param| param.offset + param.bytes);
    let mut params = vec![0; end as usize];
    let mut addresses = Vec::new();
    for (index, (arg, param)) in args.iter().zip(&program.params).enumerate() {
        let mut own = Vec::new();
        let name = format!("argument {index} (`{}`)", param.name);
        let bytes = value_bytes(arg, &name, &mut memory, &mut own);
        let at = param.offset as usize;
        params[at..at + bytes.len()].copy_from_slice(&bytes);
        addresses.push(own);
    }
    Bound {
        memory,
        params,
        addresses,
    }
}

/// The by-value form of an argument. Addresses of its arrays are appended in depth-first order.
fn value_bytes(arg: &ArgBuffer, name: &str, memory: &mut GlobalMemory, addresses: &mut Vec<u64>) -> Vec<u8> {
    match arg {
        ArgBuffer::Array { bytes, .. } => {
            let address = memory.allocate_as(name.to_owned(), bytes);
            addresses.push(address);
            address.to_le_bytes().to_vec()
        }
        ArgBuffer::I32(value) => value.to_le_bytes().to_vec(),
        ArgBuffer::U64(value) => value.to_le_bytes().to_vec(),
        ArgBuffer::F32(value) => value.to_le_bytes().to_vec(),
        ArgBuffer::Null => vec![0; 8],
        ArgBuffer::Bytes(bytes) => bytes.clone(),
        ArgBuffer::Pointers(items) => {
            let table: Vec<u8> = items
                .iter()
                .enumerate()
                .flat_map(|(index, item)| {
                    let mut bytes = value_bytes(item, &format!("pointer {index} of {name}"), memory, addresses);
                    bytes.resize(8, 0);
                    bytes
                })
                .collect();
            memory.allocate_as(name.to_owned(), &table).to_le_bytes().to_vec()
        }
    }
}

fn read_back(arg: &mut ArgBuffer, memory: &GlobalMemory, addresses: &mut impl Iterator<Item = u64>) {
    match arg {
        ArgBuffer::Array { bytes, .. } => {
            if let Some(data) = addresses.next().and_then(|address| memory.read_back(address)) {
                *bytes = data;
            }
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
    } = bind(program, args);
    let dynamic_shared_bytes = kernel.dynamic_shared_bytes;
    let launch = Launch {
        grid: kernel.grid,
        block: kernel.block,
        dynamic_shared_bytes,
        params,
    };
    Ok((launch, memory, addresses))
}

/// A launch file that cannot be loaded, or outputs that cannot be written. User's mistakes.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LaunchError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {message}")]
    Read { path: PathBuf, message: String },
    /// JSON that is no launch file.
    #[error("{path} is not a launch file: line {line}, column {column}: {message}")]
    Json {
        path: PathBuf,
        line: usize,
        column: usize,
        message: String,
    },
    /// An argument that makes no sense.
    #[error("argument {index} of {path}: {message}")]
    Argument {
        path: PathBuf,
        index: usize,
        message: String,
    },
    /// An output that cannot be written.
    #[error("cannot write {path}: {message}")]
    Write { path: PathBuf, message: String },
}

/// A launch file with its PTX and arrays in memory.
#[derive(Clone, Debug)]
pub struct LoadedLaunch {
    /// PTX and launch shape.
    pub kernel: Kernel,
    /// Arguments in order.
    pub args: Vec<ArgBuffer>,
    /// Arrays that are written after the run.
    pub outputs: Vec<Output>,
}

/// An array that is written to a file after the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Argument, and the member where it is a list of pointers.
    pub argument: (usize, Option<usize>),
    /// The file.
    pub path: PathBuf,
    /// Extents, slowest first.
    pub shape: Vec<usize>,
}

/// Loads a launch file. Paths in it are relative to it.
///
/// # Errors
/// See [`LaunchError`].
pub fn read_launch(path: &Path) -> Result<LoadedLaunch, LaunchError> {
    let text = read_text(path)?;
    let file: LaunchFile = serde_json::from_str(&text).map_err(|error| LaunchError::Json {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
        message: error.to_string(),
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let ptx = read_text(&folder.join(&file.ptx))?;
    let mut outputs = Vec::new();
    let mut args = Vec::new();
    for (index, arg) in file.args.iter().enumerate() {
        let mut load = |arg: &KernelArg, member: Option<usize>| {
            let (buffer, output) = load_argument(folder, arg).map_err(|message| LaunchError::Argument {
                path: path.to_owned(),
                index,
                message,
            })?;
            outputs.extend(output.map(|(path, shape)| Output {
                argument: (index, member),
                path,
                shape,
            }));
            Ok::<_, LaunchError>(buffer)
        };
        args.push(match arg {
            KernelArg::Pointers { pointers } => ArgBuffer::Pointers(
                pointers
                    .iter()
                    .enumerate()
                    .map(|(i, item)| load(item, Some(i)))
                    .collect::<Result<_, _>>()?,
            ),
            single => load(single, None)?,
        });
    }
    let LaunchFile {
        entry,
        grid,
        block,
        dynamic_shared_bytes,
        ..
    } = file;
    Ok(LoadedLaunch {
        kernel: Kernel {
            ptx,
            entry,
            grid,
            block,
            dynamic_shared_bytes,
        },
        args,
        outputs,
    })
}

fn read_text(path: &Path) -> Result<String, LaunchError> {
    std::fs::read_to_string(path).map_err(|error| LaunchError::Read {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

type Loaded = (ArgBuffer, Option<(PathBuf, Vec<usize>)>);

fn load_argument(folder: &Path, arg: &KernelArg) -> Result<Loaded, String> {
    Ok(match arg {
        KernelArg::Npy { npy: file, output } => {
            let path = folder.join(file);
            let array = npy::read(&path).map_err(|message| format!("{}: {message}", path.display()))?;
            let NpyArray {
                dtype,
                shape,
                data: bytes,
            } = array;
            (
                ArgBuffer::Array { dtype, bytes },
                output.as_ref().map(|output| (folder.join(output), shape)),
            )
        }
        KernelArg::Zeros { zeros, output } => {
            let elements = zeros
                .shape
                .iter()
                .try_fold(1usize, |all, extent| all.checked_mul(*extent));
            let bytes = elements
                .and_then(|n| n.checked_mul(zeros.dtype.bytes()))
                .filter(|bytes| *bytes < 1 << 36);
            let bytes = bytes.ok_or_else(|| format!("an array of {:?} is too large", zeros.shape))?;
            let buffer = ArgBuffer::Array {
                dtype: zeros.dtype,
                bytes: vec![0; bytes],
            };
            (
                buffer,
                output.as_ref().map(|output| (folder.join(output), zeros.shape.clone())),
            )
        }
        KernelArg::Generated { generated, output } => {
            let bytes = crate::operands::generate(generated)?;
            let buffer = ArgBuffer::Array {
                dtype: generated.dtype,
                bytes,
            };
            (
                buffer,
                output
                    .as_ref()
                    .map(|output| (folder.join(output), generated.shape.clone())),
            )
        }
        KernelArg::I32 { i32 } => (ArgBuffer::I32(*i32), None),
        KernelArg::U64 { u64 } => (ArgBuffer::U64(*u64), None),
        KernelArg::F32 { f32 } => (ArgBuffer::F32(*f32), None),
        KernelArg::Null { null: true } => (ArgBuffer::Null, None),
        KernelArg::Null { null: false } => return Err("`null` must be true".to_owned()),
        KernelArg::Bytes { bytes } => (ArgBuffer::Bytes(hexadecimal(bytes)?), None),
        KernelArg::Pointers { .. } => return Err("pointers within pointers".to_owned()),
    })
}

fn hexadecimal(digits: &str) -> Result<Vec<u8>, String> {
    let bytes = digits.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return Err(format!("{} hexadecimal digits: two make a byte", bytes.len()));
    }
    bytes
        .chunks(2)
        .map(|pair| {
            let text = std::str::from_utf8(pair).map_err(|_| "no hexadecimal digits".to_owned())?;
            u8::from_str_radix(text, 16).map_err(|_| format!("`{text}` is no byte in hexadecimal"))
        })
        .collect()
}

/// Writes the output arrays. Call it after a clean run only.
///
/// # Errors
/// The first file that cannot be written; the ones before it have been.
pub fn write_outputs(loaded: &LoadedLaunch) -> Result<(), LaunchError> {
    for output in &loaded.outputs {
        let arg = loaded.args.get(output.argument.0);
        let arg = match (arg, output.argument.1) {
            (Some(ArgBuffer::Pointers(items)), Some(member)) => items.get(member),
            (arg, _) => arg,
        };
        let Some(ArgBuffer::Array { dtype, bytes }) = arg else {
            continue;
        };
        let file = npy::encode(&NpyArray {
            dtype: *dtype,
            shape: output.shape.clone(),
            data: bytes.clone(),
        });
        std::fs::write(&output.path, file).map_err(|error| LaunchError::Write {
            path: output.path.clone(),
            message: error.to_string(),
        })?;
    }
    Ok(())
}

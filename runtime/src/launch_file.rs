//! Launch files: read with everything that they name, and their outputs written.
//!
//! ```text
//! LAUNCH.json + k.ptx + a.npy, b.npy --read_launch--> LoadedLaunch { kernel, args, outputs }
//!     --emulate--> args with results --write_outputs--> c.npy
//! ```
//!
//! A launch file may come from anywhere, so that what it may overwrite is bounded: outputs stay inside its folder, all
//! links followed, unless the caller allows more; and none is an input, unless one argument names a file as both.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use alcop_spec::Assumption;
use alcop_spec::kernel::{Kernel, KernelArg, LaunchFile};
use alcop_system::files::{self, Identity, Place};
use alcop_system::memory;

use crate::emulator::MOST_BYTES;
use crate::launch::ArgBuffer;
use crate::npy::{self, NpyArray};

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

/// Outputs that lie outside of the launch file's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// They are errors.
    Refused,
    /// They are written as well.
    Allowed,
}

/// Loads a launch file whose outputs lie in its folder. Paths in it are relative to that folder: the one where the file
/// is, also where a link leads to it.
///
/// # Errors
/// See [`LaunchError`].
pub fn read_launch(path: &Path) -> Result<LoadedLaunch, LaunchError> {
    read_launch_with(path, Outside::Refused)
}

/// As [`read_launch`]; the caller says where outputs may lie.
///
/// # Errors
/// See [`LaunchError`].
pub fn read_launch_with(path: &Path, outside: Outside) -> Result<LoadedLaunch, LaunchError> {
    let text = read_text(path)?;
    let file: LaunchFile = serde_json::from_str(&text).map_err(|error| LaunchError::Json {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
        message: error.to_string(),
    })?;
    let folder = folder(path);
    let ptx_path = folder.join(&file.ptx);
    let ptx = read_text(&ptx_path)?;
    check_outputs(path, &folder, &ptx_path, &file.args, outside)?;
    let mut outputs = Vec::new();
    let mut args = Vec::new();
    for (index, arg) in file.args.iter().enumerate() {
        let mut load = |arg: &KernelArg, member: Option<usize>| {
            let (buffer, output) = load_argument(&folder, arg).map_err(|message| argument(path, index, message))?;
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
    for assumption in &file.assumes {
        check_assumption(assumption, &args).map_err(|(index, message)| argument(path, index, message))?;
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

/// What every device gives an array at least, the emulator too: cudaMalloc aligns to 256 bytes (CUDA C++ Programming Guide,
/// "Device Memory Accesses").
const ARRAY_ALIGNMENT_BYTES: u64 = 256;

/// Arrays of a launch are apart from each other and aligned; what else is assumed of an argument does not hold.
fn check_assumption(assumption: &Assumption, args: &[ArgBuffer]) -> Result<(), (usize, String)> {
    let (of, bytes) = match *assumption {
        Assumption::Aligned { argument, bytes } => (vec![argument], bytes),
        Assumption::NoAlias { argument, other } => (vec![argument, other], 1),
    };
    let is_array = |index: &usize| matches!(args.get(*index), Some(ArgBuffer::Array { .. }));
    match of.iter().find(|index| !is_array(index)) {
        Some(&index) => Err((index, format!("`{assumption}` is assumed, and it is no array"))),
        None if bytes > ARRAY_ALIGNMENT_BYTES => Err((
            of[0],
            format!("`{assumption}` is assumed, and arrays are aligned to {ARRAY_ALIGNMENT_BYTES} bytes"),
        )),
        None => Ok(()),
    }
}

/// The folder that a launch file's paths are relative to.
fn folder(path: &Path) -> PathBuf {
    let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    // What a pipe's descriptor leads to (`/dev/fd/63`) has no name.
    let resolved = is_link.then(|| fs::canonicalize(path)).and_then(Result::ok);
    let folder = resolved.as_deref().unwrap_or(path).parent();
    folder.unwrap_or(Path::new("")).to_owned()
}

fn argument(path: &Path, index: usize, message: String) -> LaunchError {
    LaunchError::Argument {
        path: path.to_owned(),
        index,
        message,
    }
}

fn read_text(path: &Path) -> Result<String, LaunchError> {
    fs::read_to_string(path).map_err(|error| LaunchError::Read {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

/// A file that the launch reads: which argument names it (none names the PTX and the launch file), and what it is.
type Input = (Option<(usize, usize)>, String, Identity);

/// Checks, before anything runs, that no output leaves the folder, is an input, or is another output.
fn check_outputs(
    path: &Path,
    folder: &Path,
    ptx: &Path,
    args: &[KernelArg],
    outside: Outside,
) -> Result<(), LaunchError> {
    let named = flat(args);
    let mut inputs: Vec<Input> = Vec::new();
    let mut reads = |argument, what: String, file: &Path| {
        inputs.extend(files::identity_of_input(file).map(|identity| (argument, what, identity)));
    };
    reads(None, "the launch file".to_owned(), path);
    reads(None, "its PTX".to_owned(), ptx);
    for (number, arg) in &named {
        if let KernelArg::Npy { npy, .. } = arg {
            reads(
                Some(*number),
                format!("the input of argument {}", number.0),
                &folder.join(npy),
            );
        }
    }
    let inside = match folder.as_os_str().is_empty() {
        true => fs::canonicalize("."),
        false => fs::canonicalize(folder),
    };
    let mut written: Vec<(usize, Identity)> = Vec::new();
    for (number, arg) in &named {
        let (KernelArg::Npy { output, .. } | KernelArg::Zeros { output, .. } | KernelArg::Generated { output, .. }) =
            arg
        else {
            continue;
        };
        let Some(output) = output else { continue };
        let refuse = |message: String| Err(argument(path, number.0, message));
        let place = |error: std::io::Error| {
            argument(
                path,
                number.0,
                format!("its output {} cannot be written: {error}", output.display()),
            )
        };
        let full = folder.join(output);
        if outside == Outside::Refused {
            let inside = inside.as_ref().map_err(|error| LaunchError::Read {
                path: folder.to_owned(),
                message: error.to_string(),
            })?;
            let lies_inside = match files::place(&full).map_err(place)? {
                Place::Name(name) => name.starts_with(inside),
                Place::Descriptor(_) | Place::Foreign(_) => false,
            };
            if !lies_inside {
                return refuse(format!(
                    "its output {} leads out of the folder of the launch file, {}; name a file in there, or allow it \
                     (--allow-outside)",
                    output.display(),
                    inside.display()
                ));
            }
        }
        let Some(identity) = files::identity(&full).map_err(place)? else {
            continue;
        };
        let read = |(by, _, file): &&Input| *file == identity && *by != Some(*number);
        if let Some((_, what, _)) = inputs.iter().find(read) {
            return refuse(format!(
                "its output {} is {what}; only an argument that reads a file may name it as its own output",
                output.display()
            ));
        }
        if let Some((other, _)) = written.iter().find(|(_, file)| *file == identity) {
            return refuse(format!(
                "its output {} is the output of argument {other} as well; give it a name of its own",
                output.display()
            ));
        }
        written.push((number.0, identity));
    }
    Ok(())
}

/// All arguments, members of lists by themselves, each with its position.
fn flat(args: &[KernelArg]) -> Vec<((usize, usize), &KernelArg)> {
    args.iter()
        .enumerate()
        .flat_map(|(index, arg)| {
            let members = match arg {
                KernelArg::Pointers { pointers } => pointers.as_slice(),
                single => std::slice::from_ref(single),
            };
            members
                .iter()
                .enumerate()
                .map(move |(member, arg)| ((index, member), arg))
        })
        .collect()
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
            let extents = zeros.shape.iter().map(|&extent| extent as u64);
            let bytes = memory::product(extents.chain([zeros.dtype.bytes() as u64]));
            if bytes > u128::from(MOST_BYTES) {
                return Err(format!(
                    "an array of {:?} is too large: {bytes} bytes, and {MOST_BYTES} are possible",
                    zeros.shape
                ));
            }
            let buffer = ArgBuffer::zeros(zeros).map_err(|error| error.to_string())?;
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

/// Writes the output arrays, all or none where they are plain files. Call it after a clean run only.
///
/// # Errors
/// The first file that cannot be written.
pub fn write_outputs(loaded: &LoadedLaunch) -> Result<(), LaunchError> {
    let array = |output: &Output| {
        let arg = loaded.args.get(output.argument.0);
        match (arg, output.argument.1) {
            (Some(ArgBuffer::Pointers(items)), Some(member)) => items.get(member),
            (arg, _) => arg,
        }
    };
    let written: Vec<files::Output<'_>> = loaded
        .outputs
        .iter()
        .filter_map(|output| match array(output)? {
            ArgBuffer::Array { dtype, bytes } => Some(files::Output {
                path: output.path.clone(),
                pieces: vec![
                    Cow::Owned(npy::header(*dtype, &output.shape)),
                    Cow::Borrowed(bytes.as_slice()),
                ],
            }),
            _ => None,
        })
        .collect();
    files::write_all(&written).map_err(|error| LaunchError::Write {
        path: error.path,
        message: error.source.to_string(),
    })
}

#[cfg(test)]
mod tests;

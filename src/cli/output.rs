//! Where results go: a file or standard output.

use std::io::Write;
use std::path::Path;
use std::{fs, io};

use alcop_spec::{Kernel, OpSpec, TileSchedule};
use serde::de::DeserializeOwned;

use super::Failure;
use crate::launch::bundle;

/// Writes text to a file (whole or not at all: through a neighbour that is renamed) or, for `-`, to standard output.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        return match io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::usage(format!("standard output: {error}")))
            }
            _ => Ok(()),
        };
    }
    write_bytes(path, text.as_bytes())
}

/// Writes a file whole or not at all.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fail = |error: io::Error| Failure::usage(format!("cannot write {}: {error}", path.display()));
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, bytes).map_err(fail)?;
    fs::rename(&partial, path).map_err(fail)
}

/// Writes the launch file of a kernel, with its PTX and operands beside it.
pub fn write_bundle(launch_path: &Path, op: &OpSpec, schedule: &TileSchedule, kernel: &Kernel) -> Result<(), Failure> {
    let files = bundle(launch_path, op, schedule, kernel)
        .ok_or_else(|| Failure::usage(format!("{} is no file name", launch_path.display())))?;
    files.iter().try_for_each(|file| write_bytes(&file.path, &file.bytes))
}

/// Reads a JSON file; what is wrong is named with its field, line and column.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = read(path)?;
    let mut parser = serde_json::Deserializer::from_str(&text);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(|error| {
        let field = error.path().to_string();
        let field = if field == "." {
            String::new()
        } else {
            format!("{field}: ")
        };
        Failure::usage(format!("{}: {field}{}", path.display(), error.inner()))
    })?;
    parser
        .end()
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Ok(value)
}

/// Reads a file or, for `-`, standard input.
pub fn read(path: &Path) -> Result<String, Failure> {
    let result = if path == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        fs::read_to_string(path)
    };
    result.map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}

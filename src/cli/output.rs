//! Where results go: files, standard output and standard error. All of the command's outputs are written here, by the
//! rules of [`alcop_system::files`].
//!
//! ```text
//! check_clashes(outputs, inputs) -> … work … -> write("k.ptx") | write("-") | write_bundle("k.json")
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use alcop_spec::{Kernel, OpSpec, TileSchedule};
use alcop_system::files::{self, Output};
use serde::de::DeserializeOwned;

use super::Failure;
use crate::launch::{BundleError, bundle, launch_path};

const STDOUT: &str = "/dev/stdout";

/// Writes text to a file or, for `-`, to standard output.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if path != Path::new("-") {
        return files::write(path, text.as_bytes()).map_err(Failure::usage);
    }
    files::write(Path::new(STDOUT), text.as_bytes())
        .map_err(|error| Failure::usage(format!("cannot write to standard output: {}", error.source)))
}

/// Writes files that belong together, the last one last.
pub fn write_all(outputs: &[Output<'_>]) -> Result<(), Failure> {
    files::write_all(outputs).map_err(Failure::usage)
}

/// Prints text on standard error. Where nobody reads that any more (`2>&1 | head`), nobody is told.
pub fn say(text: &str) {
    let mut stream = io::stderr().lock();
    if let Err(error) = stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        tracing::debug!(%error, "standard error is closed");
    }
}

/// Refuses outputs that are one file, or an input; `-` and streams are nobody's. Each comes with what it is.
pub fn check_clashes(outputs: &[(&Path, &str)], inputs: &[(&Path, &str)]) -> Result<(), Failure> {
    let named: Vec<(&Path, &str)> = outputs
        .iter()
        .filter(|(path, _)| *path != Path::new("-"))
        .copied()
        .collect();
    files::check_clashes(&named, inputs).map_err(Failure::usage)
}

/// Writes the launch file of a kernel, with its PTX and operands beside it; says where it is, links followed.
pub fn write_bundle(path: &Path, op: &OpSpec, schedule: &TileSchedule, kernel: &Kernel) -> Result<PathBuf, Failure> {
    let path = launch_path(path).map_err(bundle_failure)?;
    write_all(&bundle(&path, op, schedule, kernel).map_err(bundle_failure)?)?;
    Ok(path)
}

/// Memory is a limit of the machine (1), all else the user's to mend (2).
pub fn bundle_failure(error: BundleError) -> Failure {
    match error {
        BundleError::Memory(_) => Failure::refused(error),
        _ => Failure::usage(error),
    }
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

//! Gives the crate a version of all code that decides what a trial does: the package version, and a hash of the sources
//! from the operator to the time. A journal is resumed only by the code that wrote it.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const SOURCES: [&str; 6] = [
    "../compiler/src",
    "../passes/src",
    "../runtime/src",
    "../spec/src",
    "../spec/targets",
    "src",
];

fn main() {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in SOURCES {
        println!("cargo:rerun-if-changed={folder}");
        collect(Path::new(folder), &mut files);
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.to_string_lossy().as_bytes());
        hash.update(fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    }
    let digest: String = hash
        .finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!("cargo:rustc-env=ALCOP_CODE_HASH={digest}");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

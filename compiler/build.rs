//! Debian ships `libMLIR.so` and the static `libMLIRCAPI*.a`, but no `libMLIR-C.so`, which mlir-sys links in shared
//! mode. A linker script of that name, which groups what Debian has, stands in for it.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

fn main() {
    println!("cargo::rerun-if-env-changed=MLIR_SYS_220_PREFIX");
    let prefix = env::var("MLIR_SYS_220_PREFIX").unwrap_or_else(|_| "/usr/lib/llvm-22".to_owned());
    let lib = Path::new(&prefix).join("lib");
    if lib.join("libMLIR-C.so").exists() {
        return;
    }
    let archives = capi_archives(&lib);
    if archives.is_empty() {
        eprintln!(
            "{} holds neither libMLIR-C.so nor libMLIRCAPI*.a: install libmlir-22-dev (`make setup` on Debian), \
             or point MLIR_SYS_220_PREFIX at an LLVM 22 with MLIR",
            lib.display()
        );
        process::exit(1);
    }
    let inputs: Vec<String> = archives
        .into_iter()
        .chain([lib.join("libMLIR.so"), lib.join("libLLVM-22.so")])
        .map(|path| path.display().to_string())
        .collect();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    fs::write(out.join("libMLIR-C.so"), format!("GROUP( {} )\n", inputs.join(" "))).expect("OUT_DIR is writable");
    println!("cargo::rustc-link-search=native={}", out.display());
}

/// The static C API archives, sorted so that the link line is the same on each machine.
fn capi_archives(lib: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(lib) else {
        return Vec::new();
    };
    let mut archives: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            name.starts_with("libMLIRCAPI") && name.ends_with(".a")
        })
        .collect();
    archives.sort();
    archives
}

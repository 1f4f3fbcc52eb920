//! Compares what our passes make of a kernel with the kernel lowered as it is written:
//! `cargo run --example plain -- FILE.mlir …`, or of one of the file tests.
//!
//! ```text
//! relu_in_copy: plain: clean
//!   1/1: equal
//!   3/2: equal
//! ```
//!
//! `PTX=1` prints the PTX of the plain kernel.

#[path = "../tests/common/baseline.rs"]
#[allow(dead_code)]
mod baseline;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        files.push(
            concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/filetests/pipeline/relu_in_copy.mlir"
            )
            .to_owned(),
        );
    }
    let mut faults = 0;
    for file in files {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::from(2);
            }
        };
        if std::env::var_os("PTX").is_some()
            && let Ok(baseline) = baseline::baseline(&file, &text)
        {
            println!("{}", baseline.kernel.ptx);
        }
        let base = baseline::baseline(&file, &text);
        if let Some(detail) = base
            .ok()
            .and_then(|base| baseline::undefined_as_written(&file, &text, &base.arguments))
        {
            println!("{file}: undefined as it is written: {detail}");
        }
        let checked = baseline::check(&file, &text, &baseline::DEPTHS);
        println!("{}", checked.report());
        faults += usize::from(!checked.faults().is_empty());
    }
    ExitCode::from(u8::from(faults > 0))
}

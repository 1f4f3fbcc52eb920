//! Any bytes as PTX: the parser and the decoder answer, with a program or an error that names a line.
#![no_main]

use alcop_runtime::emulator::Program;
use alcop_runtime::ptx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match ptx::parse(&text) {
        Err(error) => assert!(error.line >= 1 && error.line as usize <= text.lines().count() + 1, "{error}"),
        Ok(module) => {
            for entry in module.entry_names() {
                // Either answer will do, as long as there is one.
                let _program: Result<Program, _> = Program::from_text(&text, entry);
            }
        }
    }
});

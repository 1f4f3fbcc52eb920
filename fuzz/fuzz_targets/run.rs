//! Any bytes as PTX, executed: an entry runs on two warps of two blocks, hazards checked, under the arrival that the first
//! byte picks, and answers with a report or an error; nothing panics and nothing runs past the step limit.
#![no_main]

use alcop_runtime::emulator::{Arrival, EmulateOptions, Program};
use alcop_runtime::launch::{ArgBuffer, emulate_program};
use alcop_runtime::ptx;
use alcop_spec::kernel::{ArrayDType, Kernel};
use libfuzzer_sys::fuzz_target;

/// Parameters beyond which an entry is left alone, and bytes of memory of a block: what is slow by size shows nothing.
const MOST_PARAMETERS: usize = 16;
const MOST_BYTES: u32 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let arrival = match bytes.first().unwrap_or(&0) % 3 {
        0 => Arrival::Latest,
        1 => Arrival::Earliest,
        _ => Arrival::Random,
    };
    let text = String::from_utf8_lossy(bytes);
    let Ok(module) = ptx::parse(&text) else { return };
    for entry in module.entry_names().into_iter().take(2) {
        let Ok(program) = Program::from_text(&text, entry) else {
            continue;
        };
        if program.params.len() > MOST_PARAMETERS || program.local_bytes > MOST_BYTES {
            continue;
        }
        let mut args: Vec<ArgBuffer> = program
            .params
            .iter()
            .map(|param| match (param.bytes, param.ty.as_str()) {
                (8, "f64") | (1 | 2, _) => ArgBuffer::Bytes(vec![1; param.bytes as usize]),
                (8, _) => ArgBuffer::Array {
                    dtype: ArrayDType::U32,
                    bytes: (0..4096u32).map(|i| (i * 7) as u8).collect(),
                },
                (4, "f32") => ArgBuffer::F32(1.5),
                (4, ty) if !ty.starts_with('f') => ArgBuffer::I32(3),
                (size, _) => ArgBuffer::Bytes(vec![2; size.min(4096) as usize]),
            })
            .collect();
        let kernel = Kernel {
            ptx: String::new(),
            entry: entry.to_owned(),
            grid: [2, 1, 1],
            block: program.required_threads.unwrap_or([48, 1, 1]),
            dynamic_shared_bytes: 8192,
        };
        let options = EmulateOptions {
            arrival,
            step_limit: 3000,
            keep_going: bytes.len() % 2 == 0,
            ..EmulateOptions::default()
        };
        if let Err(error) = emulate_program(&program, &kernel, &mut args, &options) {
            assert!(!error.to_string().is_empty());
        }
    }
});

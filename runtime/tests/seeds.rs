//! The seeds of the fuzz targets: hand-written kernels that use all of the emulator, and run clean under every arrival.

use std::path::Path;

use alcop_runtime::emulator::{Arrival, EmulateOptions, Program};
use alcop_runtime::launch::{ArgBuffer, emulate};
use alcop_spec::kernel::{ArrayDType, Kernel};

#[test]
fn every_seed_runs_and_has_no_hazard() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("the seeds")
        .map(|entry| entry.expect("a file").path())
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    for path in names {
        let ptx = std::fs::read_to_string(&path).expect("text");
        let entry = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let program = Program::from_text(&ptx, entry).unwrap_or_else(|error| panic!("{entry}: {error}"));
        let threads = program.required_threads.map_or(64, |extents| extents[0]);
        let mut results = Vec::new();
        for arrival in [Arrival::Latest, Arrival::Earliest, Arrival::Random] {
            let kernel = Kernel {
                ptx: ptx.clone(),
                entry: entry.to_owned(),
                grid: [2, 1, 1],
                block: [threads, 1, 1],
                dynamic_shared_bytes: 1024,
            };
            let mut args = vec![ArgBuffer::Array {
                dtype: ArrayDType::U32,
                bytes: (0..8192u32).map(|i| (i % 61) as u8).collect(),
            }];
            args.extend(
                program.params[1..]
                    .iter()
                    .map(|param| ArgBuffer::Bytes(vec![1; param.bytes as usize])),
            );
            let options = EmulateOptions {
                arrival,
                seed: 5,
                keep_going: true,
                ..EmulateOptions::default()
            };
            let report = emulate(&kernel, &mut args, &options).unwrap_or_else(|error| panic!("{entry}: {error}"));
            let found: Vec<String> = report.hazards.iter().map(|hazard| hazard.line()).collect();
            assert!(found.is_empty(), "{entry}, {arrival:?}: {found:#?}");
            results.push(args[0].clone());
        }
        assert!(
            results.iter().all(|result| *result == results[0]),
            "{entry} depends on the arrival"
        );
    }
}

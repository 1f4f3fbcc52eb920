//! What kernels with copies of unusual forms compute, against values that are computed here, from the source, by a few
//! lines that know nothing of pipelines: without a pipeline, at several depths, whatever the order of arrival.
//!
//! ```text
//! memref.copy of the thread's row; barrier; read the row of the thread 31 - t      out[t] = Σ in[32 i + 31 - t]
//! ```

mod common;

use std::path::{Path, PathBuf};

use alcop::compiler::ir::Context;
use alcop::runtime::{ArgBuffer, Arrival, EmulateOptions, emulate};
use alcop::spec::kernel::ArrayDType;
use common::forms::{arguments, compiled, kernel_of, planned};

/// Slots and fragment sets; none is the kernel without a plan.
const DEPTHS: [Option<(u32, u32)>; 6] = [None, Some((1, 1)), Some((2, 1)), Some((3, 1)), Some((3, 2)), Some((4, 2))];

fn numbers(argument: &ArgBuffer) -> Vec<f32> {
    let ArgBuffer::Array { dtype, bytes } = argument else {
        panic!("an array is expected, not {argument:?}")
    };
    match dtype {
        ArrayDType::F32 => bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
        ArrayDType::F16 => {
            let halves = bytes.as_chunks().0.iter();
            halves.map(|half| half::f16::from_le_bytes(*half).to_f32()).collect()
        }
        ArrayDType::I64 => {
            let words = bytes.as_chunks().0.iter();
            words.map(|word| i64::from_le_bytes(*word) as f32).collect()
        }
        other => panic!("{other:?} is not read here"),
    }
}

/// The sums, over `chunks`, of what `element` says for a row and a column of the result.
fn sums(rows: usize, columns: usize, chunks: usize, element: impl Fn(usize, usize, usize) -> f32) -> Vec<f32> {
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    places
        .map(|(row, column)| (0..chunks).map(|chunk| element(chunk, row, column)).sum())
        .collect()
}

/// Compiles and runs a file at all depths, and compares its results, the last arguments, with the given ones. All numbers
/// are small multiples of 1/64, so that sums are exact in any order.
#[track_caller]
fn check(file: &str, expected: impl Fn(&[Vec<f32>]) -> Vec<Vec<f32>>) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests").join(file);
    let text = std::fs::read_to_string(&path).expect("readable");
    let context = Context::new();
    let module = context.parse(&text, file).expect("valid");
    let given = arguments(kernel_of(&module));
    let inputs: Vec<Vec<f32>> = given.iter().map(numbers).collect();
    let expected = expected(&inputs);
    for depths in DEPTHS {
        let kernel = compiled(&path, &text, true, |module| {
            let mut plan = planned(module, depths.unwrap_or((1, 1))).expect("a plan");
            if depths.is_none() {
                plan.loops.clear();
            }
            plan
        })
        .unwrap_or_else(|error| panic!("{file} at {depths:?}: {error}"));
        for arrival in [Arrival::Latest, Arrival::Earliest, Arrival::Random] {
            let mut found = given.clone();
            let options = EmulateOptions {
                arrival,
                seed: 7,
                ..EmulateOptions::default()
            };
            let report = emulate(&kernel, &mut found, &options)
                .unwrap_or_else(|error| panic!("{file} at {depths:?}: {error}\n{}", kernel.ptx));
            assert!(report.hazards.is_empty(), "{file} at {depths:?}: {:?}", report.hazards);
            let outputs: Vec<Vec<f32>> = found[found.len() - expected.len()..].iter().map(numbers).collect();
            assert!(outputs == expected, "{file} at {depths:?}, {arrival:?}:\n{outputs:?}\n{expected:?}");
        }
    }
}

#[test]
fn rows_that_differ_between_threads() {
    check("pipeline/rows_of_threads.mlir", |inputs| {
        vec![sums(32, 12, 8, |chunk, t, column| inputs[0][(32 * chunk + 31 - t) * 12 + column])]
    });
}

#[test]
fn a_tile_that_one_thread_copies() {
    check("pipeline/tile_of_one_thread.mlir", |inputs| {
        let (tile, factors) = (&inputs[0], &inputs[1]);
        vec![sums(32, 4, 8, |chunk, t, column| {
            tile[(32 * chunk + 31 - t) * 4 + column] * factors[32 * chunk + 31 - t]
        })]
    });
}

#[test]
fn a_tile_that_half_of_the_threads_copy() {
    check("copies/half_of_threads.mlir", |inputs| {
        vec![sums(32, 4, 8, |chunk, t, column| inputs[0][(32 * chunk + 31 - t) * 4 + column])]
    });
}

#[test]
fn a_row_that_is_looked_up() {
    check("copies/row_from_memory.mlir", |inputs| {
        let (rows, from) = (&inputs[0], &inputs[1]);
        vec![sums(32, 4, 7, |chunk, t, column| {
            from[(32 * chunk + rows[31 - t] as usize) * 4 + column]
        })]
    });
}

#[test]
fn a_row_that_the_loop_carries() {
    check("copies/carried_side.mlir", |inputs| {
        vec![sums(32, 4, 4, |chunk, t, column| {
            let copier = 31 - t;
            let side = (copier % 8 + chunk) % 8;
            inputs[0][(32 * side + copier) * 4 + column]
        })]
    });
}

#[test]
fn a_tile_that_all_threads_copy_together_in_odd_iterations() {
    check("copies/whole_tile_of_one_iteration.mlir", |inputs| {
        vec![sums(32, 4, 4, |chunk, t, column| {
            inputs[0][(32 * (2 * chunk + 1) + (63 - t) % 32) * 4 + column]
        })]
    });
}

#[test]
fn copies_of_different_widths() {
    check("pipeline/wide_and_narrow.mlir", |inputs| {
        let row = |chunk: usize, t: usize| 32 * chunk + 31 - t;
        vec![
            sums(32, 16, 8, |chunk, t, column| inputs[0][row(chunk, t) * 16 + column]),
            sums(32, 4, 8, |chunk, t, column| inputs[1][row(chunk, t) * 5 + 1 + column]),
        ]
    });
}

#[test]
fn a_staged_copy_beside_asynchronous_ones() {
    check("pipeline/widths.mlir", |inputs| {
        vec![sums(32, 16, 8, |chunk, t, column| inputs[0][(32 * chunk + 31 - t) * 16 + column])]
    });
}

/// Copies have their own widths in the code: what a thread issues for one chunk, counted. LLVM may unroll the loop, so that
/// there are several chunks in the text.
#[test]
fn each_copy_has_its_own_width_and_way() {
    let counts = |file: &str, width: u32| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/pipeline").join(file);
        let text = std::fs::read_to_string(&path).expect("readable");
        let kernel = compiled(&path, &text, true, |module| planned(module, (2, 1)).expect("a plan")).expect(file);
        let copies = kernel.ptx.lines().filter(|line| line.contains("cp.async.c"));
        copies.filter(|line| line.contains(&format!(", {width};"))).count()
    };
    for (file, expected) in [
        ("widths.mlir", [1, 1, 1]),
        ("wide_and_narrow.mlir", [1, 2, 4]),
        ("rows_of_threads.mlir", [3, 0, 0]),
        ("tile_of_one_thread.mlir", [32, 0, 1]),
    ] {
        let found = [16, 8, 4].map(|width| counts(file, width));
        let chunks = found[0] / expected[0];
        assert!(chunks >= 2, "{file}: one chunk before the loop, one in it: {found:?}");
        assert_eq!(found, expected.map(|copies| copies * chunks), "{file}: copies of 16, 8 and 4 bytes");
    }
}

//! What kernels with copies of unusual forms compute, against values that are computed here, from the source, by a few
//! lines that know nothing of pipelines: without a pipeline, at several depths, whatever the order of arrival.
//!
//! ```text
//! memref.copy of the thread's row; barrier; read the row of the thread 31 - t      out[t] = Σ in[32 i + 31 - t]
//! ```

use std::path::{Path, PathBuf};

use crate::common::forms::{arguments, compiled, kernel_of, planned, planned_by_default, sunk_detection};
use alcop::compiler::ir::{Context, Module};
use alcop::passes::fit::Lowered;
use alcop::passes::plan::{PipelinePlan, Transport};
use alcop::runtime::{ArgBuffer, Arrival, EmulateOptions, emulate};
use alcop::spec::kernel::ArrayDType;

/// Slots and fragment sets; none is the kernel without a plan.
const DEPTHS: [Option<(u32, u32)>; 6] = [
    None,
    Some((1, 1)),
    Some((2, 1)),
    Some((3, 1)),
    Some((3, 2)),
    Some((4, 2)),
];

/// Results from the arguments, as numbers.
type Reference<'a> = dyn Fn(&[Vec<f32>]) -> Vec<Vec<f32>> + 'a;

fn numbers(argument: &ArgBuffer) -> Vec<f32> {
    if let ArgBuffer::U64(number) = argument {
        return vec![*number as f32];
    }
    let ArgBuffer::Array { dtype, bytes } = argument else {
        panic!("an array is expected, not {argument:?}")
    };
    match dtype {
        ArrayDType::F32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| f32::from_le_bytes(*word))
            .collect(),
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

fn read(file: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests").join(file);
    let text = std::fs::read_to_string(&path).expect("readable");
    (path, text)
}

/// Compiles and runs a file at all depths, and compares its results, the last arguments, with the given ones. All numbers
/// are small multiples of 1/64, so that sums are exact in any order.
#[track_caller]
fn check(file: &str, expected: impl Fn(&[Vec<f32>]) -> Vec<Vec<f32>>) {
    for depths in DEPTHS {
        check_as_planned(file, &format!("{depths:?}"), &expected, &|module| {
            let mut plan = planned(module, depths.unwrap_or((1, 1))).expect("a plan");
            if depths.is_none() {
                plan.loops.clear();
            }
            plan
        });
    }
}

/// The same with the plan at depths that nobody asked for; it is checked to be accepted as it is.
#[track_caller]
fn check_by_default(file: &str, expected: impl Fn(&[Vec<f32>]) -> Vec<Vec<f32>>) -> (PipelinePlan, Vec<Lowered>) {
    for depths in [(1, 1), (2, 1), (3, 1)] {
        check_as_planned(file, &format!("{depths:?}"), &expected, &|module| {
            planned(module, depths).unwrap_or_else(|_| planned_by_default(module).expect("a plan").0)
        });
    }
    let by_default = |module: &Module<'_>| planned_by_default(module).expect("a plan").0;
    check_as_planned(file, "the default depths", &expected, &by_default);
    let (_, text) = read(file);
    let context = Context::new();
    let mut module = context.parse(&text, file).expect("valid");
    sunk_detection(&mut module).expect("sunk");
    planned_by_default(&module).expect("a plan")
}

#[track_caller]
fn check_as_planned(file: &str, depths: &str, expected: &Reference<'_>, plan: &dyn Fn(&Module<'_>) -> PipelinePlan) {
    let (path, text) = read(file);
    let context = Context::new();
    let module = context.parse(&text, file).expect("valid");
    let given = arguments(kernel_of(&module));
    let inputs: Vec<Vec<f32>> = given.iter().map(numbers).collect();
    let expected = expected(&inputs);
    {
        let kernel = compiled(&path, &text, true, plan).unwrap_or_else(|error| panic!("{file} at {depths}: {error}"));
        for arrival in [Arrival::Latest, Arrival::Earliest, Arrival::Random] {
            let mut found = given.clone();
            let options = EmulateOptions {
                arrival,
                seed: 7,
                ..EmulateOptions::default()
            };
            let report = emulate(&kernel, &mut found, &options)
                .unwrap_or_else(|error| panic!("{file} at {depths}: {error}\n{}", kernel.ptx));
            assert!(report.hazards.is_empty(), "{file} at {depths}: {:?}", report.hazards);
            let outputs: Vec<Vec<f32>> = found[found.len() - expected.len()..].iter().map(numbers).collect();
            assert!(
                outputs == expected,
                "{file} at {depths}, {arrival:?}:\n{outputs:?}\n{expected:?}"
            );
        }
    }
}

#[test]
fn rows_that_differ_between_threads() {
    check("pipeline/rows_of_threads.mlir", |inputs| {
        vec![sums(32, 12, 8, |chunk, t, column| {
            inputs[0][(32 * chunk + 31 - t) * 12 + column]
        })]
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
        vec![sums(32, 4, 8, |chunk, t, column| {
            inputs[0][(32 * chunk + 31 - t) * 4 + column]
        })]
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
        vec![sums(32, 16, 8, |chunk, t, column| {
            inputs[0][(32 * chunk + 31 - t) * 16 + column]
        })]
    });
}

/// Copies have their own widths in the code: what a thread issues for one chunk, counted. LLVM may unroll the loop, so that
/// there are several chunks in the text.
#[test]
fn each_copy_has_its_own_width_and_way() {
    let counts = |file: &str, width: u32| {
        let (path, text) = read(&format!("pipeline/{file}"));
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
        assert_eq!(
            found,
            expected.map(|copies| copies * chunks),
            "{file}: copies of 16, 8 and 4 bytes"
        );
    }
}

/// Slots and chunks ahead of the only loop, and fragment sets by loop, as the plan has them.
fn depths_of(plan: &PipelinePlan) -> (u32, u32, Vec<(usize, u32)>) {
    let [entry] = plan.loops.as_slice() else {
        panic!("one loop is pipelined, not {}", plan.loops.len())
    };
    let sets = entry
        .registers
        .iter()
        .map(|registers| (registers.loop_index, registers.depth));
    (entry.buffers[0].slots, entry.buffers[0].distance, sets.collect())
}

/// What was asked for by name is refused: the message.
fn refused(file: &str, depths: (u32, u32)) -> String {
    let (path, text) = read(file);
    let kernel = compiled(&path, &text, true, |module| planned(module, depths).expect("a plan"));
    kernel.expect_err("these depths are not possible")
}

#[test]
fn a_direct_read_before_an_inner_loop_is_not_rotated_by_default() {
    let file = "copies/direct_then_inner.mlir";
    let (plan, lowered) = check_by_default(file, |inputs| {
        vec![sums(32, 4, 8, |chunk, t, column| {
            let at = |row: usize| inputs[0][(32 * chunk + row) * 4 + column];
            at(31 - t) + at(0) + at(1) + at(2) + at(3)
        })]
    });
    assert_eq!(depths_of(&plan), (3, 2, vec![(1, 2)]));
    assert_eq!(lowered.len(), 1, "{lowered:?}");
    assert!(
        lowered[0].message.contains("can be loaded 1 iterations ahead"),
        "{lowered:?}"
    );
    assert!(refused(file, (3, 2)).contains("sync-positions-differ"));
}

#[test]
fn an_inner_loop_of_unknown_length_is_read_to_its_end_by_default() {
    let file = "copies/direct_then_dynamic_inner.mlir";
    let (plan, lowered) = check_by_default(file, |inputs| {
        let n = inputs[1][0] as usize;
        vec![sums(32, 4, 8, |chunk, t, column| {
            let at = |row: usize| inputs[0][(32 * chunk + row) * 4 + column];
            at(31 - t) + (0..n).map(at).sum::<f32>()
        })]
    });
    assert_eq!(depths_of(&plan), (3, 2, vec![]));
    assert_eq!(lowered.len(), 1, "{lowered:?}");
    assert!(refused(file, (3, 2)).contains("sync-positions-differ"));
}

#[test]
fn a_count_that_is_read_from_the_tile_is_not_rotated_by_default() {
    let file = "copies/counted_in_tile.mlir";
    let (plan, lowered) = check_by_default(file, |inputs| {
        vec![sums(32, 4, 8, |chunk, _, column| {
            let at = |row: usize, column: usize| inputs[0][(32 * chunk + row) * 4 + column];
            let n = at(3, 1).trunc().max(0.0) as usize;
            (0..n).map(|row| at(row, column)).sum::<f32>()
        })]
    });
    assert_eq!(depths_of(&plan), (3, 2, vec![]));
    assert_eq!(lowered.len(), 1, "{lowered:?}");
    assert!(refused(file, (3, 2)).contains("sync-positions-differ"));
}

#[test]
fn a_tile_that_is_copied_out_is_read_in_its_own_iteration_by_default() {
    let file = "copies/copied_out.mlir";
    let (plan, lowered) = check_by_default(file, |inputs| {
        let summed = sums(32, 4, 8, |chunk, t, column| {
            inputs[0][(32 * chunk + 31 - t) * 4 + column]
        });
        vec![inputs[0].clone(), summed]
    });
    assert_eq!(depths_of(&plan), (3, 2, vec![]));
    assert_eq!(lowered.len(), 1, "{lowered:?}");
    assert!(refused(file, (3, 2)).contains("sync-positions-differ"));
}

#[test]
fn a_tile_of_which_two_fit_has_two_slots_by_default() {
    let file = "copies/large_tile.mlir";
    let (plan, lowered) = check_by_default(file, |inputs| {
        vec![sums(128, 4, 4, |chunk, t, column| {
            inputs[0][(512 * chunk + 127 - t) * 32 + column]
        })]
    });
    assert_eq!(depths_of(&plan), (2, 1, vec![(0, 2)]));
    assert!(lowered[0].message.contains("no more slots fit"), "{lowered:?}");
    let (_, text) = read(file);
    let context = Context::new();
    let module = context.parse(&text, file).expect("valid");
    assert!(
        planned(&module, (3, 1))
            .expect_err("asked for by name")
            .contains("at most 2 fit")
    );
}

/// What an edited plan says of one copy is obeyed or refused: its width and what carries it.
#[test]
fn an_edited_copy_is_obeyed_or_refused() {
    let file = "pipeline/wide_and_narrow.mlir";
    let (path, text) = read(file);
    let edited = |copy: usize, width: Option<u32>, transport: Option<Transport>| {
        compiled(&path, &text, true, |module| {
            let mut plan = planned(module, (2, 1)).expect("a plan");
            let copy = &mut plan.loops[0].buffers[0].copies[copy];
            copy.width_bytes = width.or(copy.width_bytes);
            copy.transport = transport;
            plan
        })
    };
    for (copy, width, transport) in [
        (0, Some(8), None),
        (0, Some(4), Some(Transport::CpAsync)),
        (1, None, Some(Transport::RegisterStaged)),
    ] {
        let kernel = edited(copy, width, transport).expect("possible");
        let context = Context::new();
        let module = context.parse(&text, file).expect("valid");
        let given = arguments(kernel_of(&module));
        let mut found = given.clone();
        let report = emulate(&kernel, &mut found, &EmulateOptions::default()).expect("runs");
        assert!(report.hazards.is_empty(), "{:?}", report.hazards);
        let from = numbers(&given[0]);
        let expected = sums(32, 16, 8, |chunk, t, column| from[(32 * chunk + 31 - t) * 16 + column]);
        assert_eq!(numbers(&found[2]), expected, "copy {copy}, {width:?}, {transport:?}");
    }
    for (copy, width, transport, code) in [
        (1, Some(16), None, "width-unsupported"),
        (0, Some(3), None, "width-unsupported"),
        (0, Some(0), None, "width-unsupported"),
        (0, Some(32), None, "width-unsupported"),
        (0, None, Some(Transport::Synchronous), "sync-positions-differ"),
    ] {
        let error = edited(copy, width, transport).expect_err("not possible");
        assert!(error.contains(code), "copy {copy}, {width:?}, {transport:?}: {error}");
    }
}

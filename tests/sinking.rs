//! Kernels with element-wise work, guards and fills in their copies, as files in `tests/filetests/sinking`: without a
//! pipeline, and at each depth, they compute bit for bit what is computed here in plain Rust, whatever the order of
//! arrival. `// EXPECT pipelined` says that the work moves; `// EXPECT not-a-pure-copy` that it must not, and why.
//!
//! Each reference says what thread `t` stores of row `i + t`; the kernels add up what thread `31 - t` stored.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::forms::{arguments, compiled, kernel_of, planned, sunk_detection};
use alcop::compiler::detect::{Detection, Level, Verdict, detect};
use alcop::compiler::ir::{Context, preorder};
use alcop::passes::sink::{foresee, sink};
use alcop::runtime::{ArgBuffer, Arrival, EmulateOptions, emulate};
use alcop::spec::{GpuTarget, Kernel};
use rayon::prelude::*;

const ARRIVALS: [Arrival; 3] = [Arrival::Latest, Arrival::Earliest, Arrival::Random];
/// Slots and fragment sets; one set where detection allows no second.
const DEPTHS: [(u32, u32); 5] = [(1, 1), (2, 1), (3, 1), (3, 2), (4, 2)];
const THREADS: usize = 32;
const ROWS: usize = 320;

/// The arguments that the references read.
struct Inputs {
    arguments: Vec<ArgBuffer>,
}

impl Inputs {
    fn floats(&self, argument: usize) -> Vec<f32> {
        let ArgBuffer::Array { bytes, dtype } = &self.arguments[argument] else {
            panic!("argument {argument} is not an array");
        };
        match dtype.bytes() {
            2 => bytes
                .chunks_exact(2)
                .map(|pair| half::f16::from_le_bytes([pair[0], pair[1]]).to_f32())
                .collect(),
            _ => bytes
                .chunks_exact(4)
                .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                .collect(),
        }
    }

    fn integers(&self, argument: usize) -> Vec<i32> {
        self.floats(argument)
            .iter()
            .map(|value| value.to_bits() as i32)
            .collect()
    }

    fn index(&self, argument: usize) -> usize {
        match self.arguments[argument] {
            ArgBuffer::U64(value) => value as usize,
            ref other => panic!("argument {argument} is {other:?}"),
        }
    }
}

/// Sums of what the mirrored thread stored, row by row: `stored(row, thread, lane)`.
fn sums(mut sum: Vec<f32>, stored: impl Fn(usize, usize, usize) -> f32) -> Vec<f32> {
    for first in (0..ROWS).step_by(THREADS) {
        for (at, sum) in sum.iter_mut().enumerate() {
            let writer = THREADS - 1 - at / 4;
            *sum += stored(first + writer, writer, at % 4);
        }
    }
    sum
}

/// Sums of products of what two threads stored in the halves of a tile of 64 rows: `stored(row, lane, half)`.
fn products(stored: impl Fn(usize, usize, usize) -> f32) -> Vec<f32> {
    let mut sum = vec![0.0_f32; 4 * THREADS];
    for first in (0..2 * ROWS).step_by(2 * THREADS) {
        for (at, sum) in sum.iter_mut().enumerate() {
            let (near, far) = (THREADS - 1 - at / 4, 2 * THREADS - 1 - at / 4);
            *sum += stored(first + near, at % 4, 0) * stored(first + far, at % 4, 1);
        }
    }
    sum
}

fn sign(value: f32) -> f32 {
    f32::from(u8::from(value.is_sign_negative()))
}

/// What a kernel is to compute.
fn reference(name: &str, inputs: &Inputs) -> Vec<f32> {
    let zeros = || vec![0.0_f32; 4 * THREADS];
    let read = inputs.floats(0);
    let v = |row: usize, lane: usize| read[4 * row + lane];
    let few = |thread: usize| thread < 10;
    let limited = |row: usize| row < 20 * inputs.index(1);
    let or_zero = |on: bool, value: f32| if on { value } else { 0.0 };
    match name {
        "relu_behind_guard" => sums(zeros(), |row, t, lane| or_zero(few(t), v(row, lane)).max(0.0)),
        "one_added_behind_guard" => sums(zeros(), |row, t, lane| or_zero(t % 2 == 0, v(row, lane)) + 1.0),
        "rounded_behind_guard" => sums(zeros(), |row, _, lane| {
            or_zero(limited(row), v(row, lane)).trunc() + 0.0
        }),
        "work_inside_guard" => sums(
            zeros(),
            |row, t, lane| if few(t) { (v(row, lane) + 1.0) * 2.0 } else { 2.0 },
        ),
        "work_inside_guard_of_zeros" => sums(zeros(), |row, t, lane| or_zero(few(t), v(row, lane) + 1.0)),
        "negated_behind_guard" => sums(zeros(), |row, t, lane| sign(-or_zero(few(t), v(row, lane)))),
        "negated_inside_guard" => sums(zeros(), |row, t, lane| sign(or_zero(few(t), -v(row, lane)))),
        "nested_guards" => sums(zeros(), |row, t, lane| {
            or_zero(few(t) && limited(row), v(row, lane)) * 2.0 + 1.0
        }),
        "guard_and_no_guard" => sums(zeros(), |row, t, lane| or_zero(few(t), v(row, lane)) + v(row, lane)),
        "converted_behind_if" | "converted_inside_if" | "converted_statements" => {
            sums(zeros(), |row, _, lane| or_zero(limited(row), v(row, lane)))
        }
        "one_added_statements" => sums(zeros(), |row, _, lane| or_zero(limited(row), v(row, lane)) + 1.0),
        "zeros_stored_beside_work" => sums(zeros(), |row, _, lane| or_zero(limited(row), v(row, lane) + 1.0)),
        "two_conditions" => {
            let first_keeps = inputs.index(1) == 5;
            products(|row, lane, half| if first_keeps == (half == 0) { v(row, lane) } else { 1.0 })
        }
        "two_comparisons" => products(|row, lane, half| match half {
            0 => or_zero(v(row, lane) >= 0.0, v(row, lane)),
            _ => or_zero(v(row, lane) <= 0.0, v(row, lane)),
        }),
        "relu_spelled_out" => products(|row, lane, _| or_zero(v(row, lane) >= 0.0, v(row, lane))),
        "two_scales" => {
            let scales = inputs.floats(1);
            products(|row, lane, half| v(row, lane) * scales[half])
        }
        "one_scale" => {
            let scales = inputs.floats(1);
            products(|row, lane, _| v(row, lane) * scales[1])
        }
        "loops_of_different_work" => {
            let first = sums(zeros(), |row, _, lane| v(row, lane) + 1.0);
            sums(first, |row, _, lane| v(row, lane) + v(row, lane))
        }
        "loops_in_branches" => match inputs.index(1) {
            5 => sums(zeros(), |row, _, lane| v(row, lane) + v(row, lane)),
            _ => sums(zeros(), |row, _, lane| v(row, lane) + 1.0),
        },
        "loops_of_different_types" => {
            let second = inputs.floats(1);
            let first = sums(zeros(), |row, _, lane| v(row, lane));
            sums(first, |row, _, lane| second[4 * row + lane] + 1.0)
        }
        "loops_with_and_without_work" => {
            let first = sums(zeros(), |row, _, lane| v(row, lane));
            sums(first, |row, _, lane| v(row, lane) + 1.0)
        }
        "read_with_padding" => sums(
            zeros(),
            |row, _, lane| if lane < 2 { v(row, lane + 2) + 1.0 } else { 7.0 },
        ),
        "constants_of_lanes" => sums(zeros(), |row, _, lane| v(row, lane) * (lane + 1) as f32),
        "sums_of_constants" => sums(zeros(), |row, _, lane| v(row, lane) * (2.0 + 0.75)),
        "guard_from_memory" => {
            let flags = inputs.integers(1);
            sums(zeros(), |row, _, lane| or_zero(flags[row] == 1, v(row, lane)) + 1.0)
        }
        other => panic!("{other} has no reference"),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/sinking")
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the folder of the kernels")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_kernel_computes_what_the_reference_computes() {
    let failures: Vec<String> = files().par_iter().filter_map(|path| check(path).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(files().len() >= 27);
}

fn check(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).expect("readable");
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let expected = text
        .lines()
        .find_map(|line| line.strip_prefix("// EXPECT "))
        .expect("an expectation");
    let context = Context::new();
    let mut module = context
        .parse(&text, &name)
        .map_err(|error| format!("{name}: {error}"))?;
    let inputs = Inputs {
        arguments: arguments(kernel_of(&module)),
    };
    let wanted: Vec<u32> = reference(&name, &inputs).into_iter().map(f32::to_bits).collect();

    // What is said of the kernel as it is, and what becomes of it.
    let target = GpuTarget::resolve("sm_80").expect("an architecture");
    let foreseen = foresee(&module, &alcop::detect_options(&target)).map_err(|error| format!("{name}: {error}"))?;
    let before = module.to_string();
    let sunk = sunk_detection(&mut module).map_err(|error| format!("{name}: {error}"))?;
    for (what, detection) in [("foreseen", &foreseen), ("found", &sunk)] {
        let outcome = outcome(detection);
        if outcome != expected {
            return Err(format!("{name}: expected {expected}, {what}: {outcome}"));
        }
    }
    if expected != "pipelined" && module.to_string() != before {
        return Err(format!("{name}: was changed, though its work stays\n{module}"));
    }
    let sets = sunk.kernels.iter().flat_map(|kernel| &kernel.buffers);
    let loads = sets.filter(|buffer| buffer.level == Level::Register && buffer.verdict == Verdict::Pipelinable);
    let most_sets = loads.filter_map(|load| load.max_depth).min().unwrap_or(1);

    let plain = compiled(path, &text, false, |module| {
        let mut plan = planned(module, (1, 1)).expect("a plan");
        plan.loops.clear();
        plan
    });
    let mut kernels = vec![("as it was".to_owned(), plain)];
    for (slots, sets) in DEPTHS {
        if sets > most_sets {
            continue;
        }
        let kernel = compiled(path, &text, true, |module| {
            planned(module, (slots, sets)).expect("a plan")
        });
        let asynchronous = slots > 1 && expected == "pipelined";
        let runs_ahead = kernel.as_ref().is_ok_and(|kernel| kernel.ptx.contains("cp.async"));
        if kernel.is_ok() && runs_ahead != asynchronous {
            return Err(format!("{name}, {slots} slots: asynchronous copies: {runs_ahead}"));
        }
        kernels.push((format!("{slots} slots, {sets} fragment sets"), kernel));
    }
    for (what, kernel) in kernels {
        let kernel = kernel.map_err(|error| format!("{name}, {what}: {error}"))?;
        for (seed, arrival) in ARRIVALS.into_iter().enumerate() {
            let found =
                run(&kernel, &inputs, arrival, seed as u64).map_err(|error| format!("{name}, {what}: {error}"))?;
            if found != wanted {
                let at = found
                    .iter()
                    .zip(&wanted)
                    .position(|(found, wanted)| found != wanted)
                    .unwrap_or(0);
                let (found, wanted) = (f32::from_bits(found[at]), f32::from_bits(wanted[at]));
                return Err(format!(
                    "{name}, {what}, {arrival:?}: element {at} is {found}, not {wanted}"
                ));
            }
        }
    }
    Ok(())
}

/// `pipelined`, or the codes of the reasons.
fn outcome(detection: &Detection) -> String {
    let buffers = detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
    let shared: Vec<_> = buffers.filter(|buffer| buffer.level == Level::Shared).collect();
    if shared.iter().all(|buffer| buffer.verdict != Verdict::Rejected) {
        return "pipelined".to_owned();
    }
    let mut codes: Vec<String> = shared
        .iter()
        .flat_map(|buffer| &buffer.reasons)
        .map(|reason| {
            serde_json::to_value(reason.code)
                .expect("a name")
                .as_str()
                .expect("a string")
                .to_owned()
        })
        .collect();
    codes.sort();
    codes.dedup();
    codes.join(",")
}

fn run(kernel: &Kernel, inputs: &Inputs, arrival: Arrival, seed: u64) -> Result<Vec<u32>, String> {
    let mut arguments = inputs.arguments.clone();
    let options = EmulateOptions {
        arrival,
        seed,
        ..EmulateOptions::default()
    };
    let report = emulate(kernel, &mut arguments, &options).map_err(|error| error.to_string())?;
    if !report.hazards.is_empty() {
        return Err(format!("{:?}", report.hazards));
    }
    let last = Inputs { arguments };
    let out = last.arguments.len() - 1;
    Ok(last.floats(out).into_iter().map(f32::to_bits).collect())
}

/// A kernel that asks for a pipeline and gets none says so.
#[test]
fn what_is_not_pipelined_is_said() {
    for (name, slots, message) in [
        (
            "two_conditions",
            "3",
            "not pipelined: the copies of the buffer have different element-wise work",
        ),
        (
            "constants_of_lanes",
            "3",
            "not pipelined: arith.mulf has an operand whose elements differ",
        ),
        ("constants_of_lanes", "1", ""),
        ("converted_inside_if", "3", ""),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_alcop"))
            .arg("compile")
            .arg(folder().join(format!("{name}.mlir")))
            .args(["--shared-stages", slots, "--register-stages", "1"])
            .output()
            .expect("alcop starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {said}");
        match message {
            "" => assert!(!said.contains("not pipelined"), "{name}, {slots} slots: {said}"),
            message => assert!(said.contains(message), "{name}, {slots} slots: {said}"),
        }
    }
}

/// Detection says what the pass does: what waits for sinking is sunk, and then runs ahead or does not fit. Whatever the
/// verdict, the kernel is one afterwards.
#[test]
fn what_waits_for_sinking_is_sunk() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests");
    let target = GpuTarget::resolve("sm_80").expect("an architecture");
    let options = alcop::detect_options(&target);
    let mut waited = 0;
    for folder in ["detect", "pipeline", "sinking"] {
        let entries = std::fs::read_dir(root.join(folder)).expect("a folder");
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            let text = std::fs::read_to_string(&path).expect("readable");
            let context = Context::new();
            context.allow_unregistered_dialects(true);
            let mut module = context
                .parse(&text, "kernel")
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let waits = |detection: &Detection| {
                let buffers = detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
                buffers.filter(|buffer| buffer.verdict == Verdict::AfterSinking).count()
            };
            let before = detect(&module, &options);
            if waits(&before) == 0 {
                continue;
            }
            let is_kernel = preorder(module.op()).into_iter().any(|op| op.is("gpu.func"));
            let sunk = sink(&mut module, &before).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(sunk.left.is_empty(), "{}: {:?}", path.display(), sunk.left);
            if is_kernel {
                waited += 1;
                assert!(sunk.count > 0, "{}: nothing moves", path.display());
                assert_eq!(waits(&detect(&module, &options)), 0, "{}", path.display());
            }
        }
    }
    assert!(waited >= 25, "{waited} files");
}

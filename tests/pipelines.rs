//! Kernels of every form that detection accepts, as files in `tests/filetests/pipeline`: pipelined at several depths, they
//! compute bit for bit what they compute without a pipeline, whatever the order of arrival, and without a hazard.
//!
//! Comments in a file say what its plan must be: `// PLAN loop 1 around 0 waits 2` (an entry for loop 1 that runs on
//! across loop 0, with buffers that are waited for at two positions; `reused`: one is used outside of its loops, too).

use std::path::Path;

use crate::common::forms::{arguments, compiled, compiled_from, detection, files, kernel_of, planned, sunk_detection};
use alcop::compile_operator;
use alcop::compiler::detect::Verdict;
use alcop::compiler::ir::{Context, Module};
use alcop::passes::expand::multi_buffer;
use alcop::passes::plan::{Completion, Transport};
use alcop::runtime::emulator::{Class, Counts};
use alcop::runtime::{ArgBuffer, Arrival, EmulateOptions, EmulationReport, emulate};
use alcop::spec::kernel::ArrayDType;
use alcop::spec::{DType, GpuTarget, Kernel, Layout};
use rayon::prelude::*;

const ARRIVALS: [Arrival; 3] = [Arrival::Latest, Arrival::Earliest, Arrival::Random];
/// Slots and fragment sets.
const DEPTHS: [(u32, u32); 9] = [(1, 1), (2, 1), (3, 1), (4, 1), (8, 1), (2, 2), (3, 2), (4, 3), (5, 4)];

fn run(kernel: &Kernel, arguments: &[ArgBuffer], arrival: Arrival, seed: u64) -> (Vec<ArgBuffer>, EmulationReport) {
    let mut arguments = arguments.to_vec();
    let options = EmulateOptions {
        arrival,
        seed,
        ..EmulateOptions::default()
    };
    let report = emulate(kernel, &mut arguments, &options)
        .unwrap_or_else(|error| panic!("{}: {error}\n{}", kernel.entry, kernel.ptx));
    (arguments, report)
}

#[test]
fn every_form_computes_the_same_with_a_pipeline() {
    let failures: Vec<String> = files()
        .par_iter()
        .flat_map_iter(|path| {
            let text = std::fs::read_to_string(path).expect("readable");
            // A panic of one kernel hides nothing of the others.
            let checked = std::panic::catch_unwind(|| check(path, &text));
            match checked {
                Ok(checked) => checked.err(),
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    Some(format!("{}: {}", path.display(), text.unwrap_or_default()))
                }
            }
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn check(path: &Path, text: &str) -> Result<(), String> {
    let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
    let context = Context::new();
    let mut module = context.parse(text, &name).map_err(|error| format!("{name}: {error}"))?;
    sunk_detection(&mut module).map_err(|error| format!("{name}: {error}"))?;
    let arguments = arguments(kernel_of(&module));
    check_plan(&name, text, &module)?;
    let most_registers = most_registers(&module);
    let plain = compiled(path, text, false, |module| {
        let mut plan = planned(module, (1, 1)).expect("a plan");
        plan.loops.clear();
        plan
    })
    .map_err(|error| format!("{name}, as it was: {error}"))?;
    if plain.ptx.contains("cp.async") && !text.contains("device_async_copy") {
        return Err(format!("{name}: a kernel without a pipeline has asynchronous copies"));
    }
    // Every form of ours runs ahead; of other people's kernels (ALCOP_FORMS) what detection accepts.
    let (expected, report) = run(&plain, &arguments, Arrival::Latest, 0);
    if !report.hazards.is_empty() {
        return Err(format!("{name}, as it was: {:?}\n{}", report.hazards, plain.ptx));
    }
    // The rings by themselves change nothing, and loops are pipelined in them as in rings of their own.
    for (what, loops) in [("in rings, as it was", false), ("in rings, pipelined", true)] {
        let kernel = compiled_from(path, text, true, |module| {
            let plan = planned(module, (3, 1)).expect("a plan");
            let mut plan = multi_buffer(module, &plan).map_err(|error| error.to_string())?;
            plan.loops.retain(|_| loops);
            Ok(plan)
        })
        .map_err(|error| format!("{name}, {what}: {error}"))?;
        let (found, report) = run(&kernel, &arguments, Arrival::Latest, 0);
        if !report.hazards.is_empty() || found != expected {
            return Err(format!(
                "{name}, {what}: {:?}, other results\n{}",
                report.hazards, kernel.ptx
            ));
        }
    }
    for number in 0..2 {
        check_in_place(path, text, number, &arguments, &expected)?;
    }
    for depths in DEPTHS {
        let (shared, registers) = depths;
        let what = format!("{name}, {shared} slots, {registers} fragment sets");
        let legal = registers == 1 || shared > 1 && registers <= most_registers;
        let kernel = match compiled(path, text, true, |module| planned(module, depths).expect("a plan")) {
            Ok(kernel) if legal => kernel,
            Err(error) if !legal && error.contains("register-depth-exceeds-chunk") => continue,
            Ok(_) => return Err(format!("{what}: compiled, though it is not legal")),
            Err(error) => return Err(format!("{what}: {error}")),
        };
        for (number, arrival) in ARRIVALS.into_iter().enumerate() {
            let (found, report) = run(&kernel, &arguments, arrival, number as u64);
            if !report.hazards.is_empty() {
                return Err(format!("{what}, {arrival:?}: {:?}\n{}", report.hazards, kernel.ptx));
            }
            if found != expected {
                return Err(format!("{what}, {arrival:?}: other results\n{}", kernel.ptx));
            }
            let asynchronous = kernel.ptx.contains("cp.async.commit_group");
            if asynchronous && report.counters.kernel.max_groups_in_flight < shared - 1 {
                let most = report.counters.kernel.max_groups_in_flight;
                return Err(format!(
                    "{what}: at most {most} groups of copies are in flight\n{}",
                    kernel.ptx
                ));
            }
        }
    }
    Ok(())
}

/// One buffer of each loop has a single slot and is filled in its place, beside others that are loaded ahead.
fn check_in_place(
    path: &Path,
    text: &str,
    number: usize,
    arguments: &[ArgBuffer],
    expected: &[ArgBuffer],
) -> Result<(), String> {
    let what = format!("{}, buffer {number} in its place", path.display());
    let edited = std::cell::Cell::new(false);
    let kernel = compiled(path, text, true, |module| {
        let mut plan = planned(module, (3, 2))
            .or_else(|_| planned(module, (3, 1)))
            .expect("a plan");
        for entry in plan.loops.iter_mut().filter(|entry| entry.buffers.len() > 1) {
            let Some(buffer) = entry.buffers.get_mut(number) else {
                continue;
            };
            buffer.slots = 1;
            buffer.distance = 0;
            buffer.transport = Transport::Synchronous;
            buffer.completion = Completion::Barrier;
            for registers in &mut entry.registers {
                registers.depth = 1;
                registers.read_ahead = 0;
            }
            entry.renumber_syncs();
            let own = entry.loop_index;
            entry.registers.retain(|registers| registers.loop_index != own);
            edited.set(true);
        }
        plan
    });
    let kernel = match kernel {
        _ if !edited.get() => return Ok(()),
        Err(error) if text.contains("device_async_copy") && error.contains("its copies are asynchronous") => {
            return Ok(());
        }
        Ok(kernel) => kernel,
        Err(error) => return Err(format!("{what}: {error}")),
    };
    for (seed, arrival) in ARRIVALS.into_iter().enumerate() {
        let (found, report) = run(&kernel, arguments, arrival, seed as u64);
        if !report.hazards.is_empty() || found != expected {
            return Err(format!(
                "{what}, {arrival:?}: {:?}, other results\n{}",
                report.hazards, kernel.ptx
            ));
        }
    }
    Ok(())
}

/// Fragment sets that every register load of the file allows.
fn most_registers(module: &Module<'_>) -> u32 {
    let detection = detection(module);
    let loads = detection
        .kernels
        .iter()
        .flat_map(|kernel| &kernel.buffers)
        .filter(|buffer| buffer.source.is_some());
    let pipelinable = loads.filter(|load| load.verdict == Verdict::Pipelinable);
    pipelinable.filter_map(|load| load.max_depth).min().unwrap_or(u32::MAX)
}

fn check_plan(name: &str, text: &str, module: &Module<'_>) -> Result<(), String> {
    let plan = planned(module, (3, 1)).map_err(|error| format!("{name}: {error}"))?;
    let found: Vec<String> = plan
        .loops
        .iter()
        .map(|entry| {
            let mut line = format!("loop {}", entry.loop_index);
            if !entry.around.is_empty() {
                line += " around";
                for outer in &entry.around {
                    line += &format!(" {outer}");
                }
            }
            let mut waits: Vec<u32> = entry.buffers.iter().map(|buffer| buffer.sync).collect();
            waits.sort_unstable();
            waits.dedup();
            if waits.len() > 1 {
                line += &format!(" waits {}", waits.len());
            }
            if entry.buffers.iter().any(|buffer| buffer.reused) {
                line += " reused";
            }
            line
        })
        .collect();
    let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("// PLAN ")).collect();
    if found == expected {
        return Ok(());
    }
    Err(format!("{name}: the plan is {found:?}, the file expects {expected:?}"))
}

/// Instructions, matrix products, barriers and the like of the innermost loop that multiplies, for each iteration and warp.
fn main_loop(kernel: &Kernel, arguments: &[ArgBuffer]) -> (f64, Counts) {
    let (_, report) = run(kernel, arguments, Arrival::Latest, 0);
    let products = |counts: &Counts| counts.instructions.get(&Class::Mma).copied().unwrap_or(0);
    let inner = report
        .counters
        .loops
        .iter()
        .filter(|of| products(&of.counts) > 0)
        .max_by_key(|of| of.depth)
        .expect("a loop with matrix products");
    (
        inner.counts.total as f64 / products(&inner.counts) as f64,
        inner.counts.clone(),
    )
}

/// A loop nest costs little more than a loop: instructions a product, against the matmul with the same tiles.
#[test]
fn nests_cost_few_instructions_more_than_a_matmul() {
    let target = GpuTarget::resolve("a100").expect("an embedded device");
    let op = crate::common::matmul(Layout::Nt, [64, 64, 64], DType::F32);
    let reference =
        compile_operator(&op, &crate::common::schedule([64, 64, 32], [64, 64], 3, 2), &target).expect("legal");
    let zeros = [64 * 64, 64 * 64].map(|elements| ArgBuffer::Array {
        dtype: ArrayDType::F16,
        bytes: vec![0; 2 * elements],
    });
    let [a, b] = zeros;
    let c = ArgBuffer::poisoned(ArrayDType::F32, 64 * 64);
    let (matmul, _) = main_loop(&reference, &[a, b, c]);
    for (name, most) in [("persistent_matmul", 1.10), ("convolution_mma", 1.35)] {
        let path = files()
            .into_iter()
            .find(|path| path.file_stem().is_some_and(|stem| stem == name))
            .expect(name);
        let text = std::fs::read_to_string(&path).expect("readable");
        let kernel = compiled(&path, &text, true, |module| planned(module, (3, 2)).expect("a plan")).expect(name);
        let context = Context::new();
        let module = context.parse(&text, name).expect(name);
        let (found, counts) = main_loop(&kernel, &arguments(kernel_of(&module)));
        let of = |class| counts.instructions.get(&class).copied().unwrap_or(0);
        println!("{name}: {found:.2} instructions a product, a matmul {matmul:.2}; {counts:?}");
        assert!(
            found <= most * matmul,
            "{name}: {found:.2} instructions a product, a matmul has {matmul:.2}"
        );
        assert_eq!(counts.shared_conflicts, 0, "{name}");
        assert!(!kernel.ptx.contains(".local"), "{name}: local memory");
        assert!(
            !kernel.ptx.contains("rem.") && !kernel.ptx.contains("div."),
            "{name}: a division"
        );
        assert_eq!(of(Class::Mma) / of(Class::Barrier), 64, "{name}: one barrier a chunk");
        assert_eq!(counts.max_groups_after_wait, 1, "{name}: two chunks ahead");
    }
}

/// Masks cost little where the rows allow copies of 16 bytes; narrower copies are more copies.
#[test]
fn masked_loops_cost_few_instructions_more_than_a_matmul() {
    let target = GpuTarget::resolve("a100").expect("an embedded device");
    let schedule = crate::common::schedule([64, 64, 32], [64, 64], 3, 2);
    let array = |dtype, elements: u64| ArgBuffer::Array {
        dtype,
        bytes: vec![0; (elements as usize) * ArrayDType::bytes(dtype)],
    };
    let instructions = |layout, [m, n, k]: [u64; 3]| {
        let op = crate::common::matmul(layout, [m, n, k], DType::F32);
        let kernel = compile_operator(&op, &schedule, &target).expect("legal");
        let arguments = [
            array(ArrayDType::F16, m * k),
            array(ArrayDType::F16, k * n),
            array(ArrayDType::F32, m * n),
        ];
        main_loop(&kernel, &arguments).0
    };
    for layout in Layout::ALL {
        let whole = instructions(layout, [64, 64, 128]);
        let masked = instructions(layout, [56, 56, 120]);
        println!("{layout}: {masked:.2} instructions a product, without masks {whole:.2}");
        assert!(masked <= 1.35 * whole, "{layout}: {masked:.2} and {whole:.2}");
    }
}

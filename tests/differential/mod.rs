//! Random nests of loops that copy and use: the kernel lowered as it is written (`alcop-plain`), the kernel as it was, the
//! pipelined kernel and a plain interpreter agree, in the emulator, under every arrival, without a hazard.
//!
//! ```text
//! for g { for i { copy b0, b1, …; barrier; acc = mix(acc, reads of b0), …; barrier }; out[g] = acc, or staged in b0 }
//! ```
//!
//! `mix` works on the bits of a value and depends on the order, so that one wrong element anywhere changes the result; the
//! work on floating-point values is exact in each of their types. The number of cases is `ALCOP_CASES` (200); a failure is
//! shrunk, printed and kept in `tests/differential/mod.proptest-regressions`.

mod program;
mod text;

use alcop::compiler::detect::{BufferVerdict, Level, Verdict, detect};
use alcop::compiler::ir::Context;
use alcop::passes::decide::{Depths, decide};
use alcop::passes::pipeline::compile_to_ptx;
use alcop::passes::plan::{Completion, SharedLayout, Transport};
use alcop::passes::sink::sink_and_detect;
use alcop::runtime::{ArgBuffer, Arrival, EmulateOptions, emulate};
use alcop::spec::{GpuTarget, Kernel};
use program::{Form, Program, program};
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

/// What a case was about, counted over the run.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    pipelined: usize,
    read_ahead: usize,
    across_loops: usize,
    staged: usize,
    sunk: usize,
    cast: usize,
    floats: usize,
    reused: usize,
    in_place: usize,
    refused: usize,
}

fn compile(program: &Program, pipelined: bool, tally: &mut Tally) -> Result<Kernel, String> {
    let context = Context::new();
    let mut module = context
        .parse(&program.text(), "random.mlir")
        .map_err(|error| error.to_string())?;
    let target = GpuTarget::resolve("sm_80").expect("an architecture");
    let options = alcop::detect_options(&target);
    let detection = if pipelined {
        sink_and_detect(&mut module, &options).map_err(|error| error.to_string())?
    } else {
        detect(&module, &options)
    };
    let buffers = detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
    let (shared, loads): (Vec<_>, Vec<_>) = buffers.partition(|buffer| buffer.level == Level::Shared);
    let fine = |buffer: &&&BufferVerdict| {
        let wanted = if pipelined {
            Verdict::Pipelinable
        } else {
            buffer.verdict
        };
        buffer.verdict == wanted && buffer.verdict != Verdict::Rejected || buffer.staged_depth.is_some()
    };
    if let Some(refused) = shared.iter().find(|buffer| !fine(buffer)) {
        return Err(format!("not pipelinable: {:?}", refused.reasons));
    }
    let most = loads
        .iter()
        .filter(|load| load.verdict == Verdict::Pipelinable)
        .filter_map(|load| load.max_depth)
        .min()
        .unwrap_or(1);
    let registers = if program.slots > 1 {
        program.registers.min(most)
    } else {
        1
    };
    let depths = Depths {
        shared_stages: program.slots,
        register_stages: registers,
        layout: if program.xor {
            SharedLayout::Xor
        } else {
            SharedLayout::Plain
        },
    };
    let mut plan = decide(&module, &detection, "sm_80", &depths).map_err(|error| error.to_string())?;
    if pipelined {
        for entry in &mut plan.loops {
            for (buffer, spec) in entry.buffers.iter_mut().zip(&program.buffers) {
                if program.slots > 1 && spec.in_place && spec.form != Form::Waited {
                    buffer.slots = 1;
                    buffer.distance = 0;
                    buffer.transport = Transport::Synchronous;
                    buffer.completion = Completion::Barrier;
                } else if program.slots > 1 {
                    buffer.slots += spec.extra;
                    buffer.distance = buffer.slots - 1 - u32::from(program.shorter && buffer.slots > 2);
                }
            }
        }
        for entry in &mut plan.loops {
            let all = entry.buffers.iter().all(|buffer| buffer.slots == 1);
            let some = entry.buffers.iter().any(|buffer| buffer.slots == 1);
            tally.in_place += usize::from(some && !all);
            entry.renumber_syncs();
            if some {
                entry.around.retain(|_| !all);
                let own = entry.loop_index;
                entry.registers.retain(|registers| registers.loop_index != own);
                entry
                    .registers
                    .iter_mut()
                    .for_each(|registers| (registers.depth, registers.read_ahead) = (1, 0));
            }
        }
        tally.pipelined += usize::from(program.slots > 1);
        tally.read_ahead += usize::from(registers > 1);
        let mut buffers = plan.loops.iter().flat_map(|entry| &entry.buffers);
        tally.staged += usize::from(buffers.any(|buffer| buffer.transport == Transport::RegisterStaged));
        tally.sunk += usize::from(program.buffers.iter().any(|buffer| buffer.work));
        tally.cast += usize::from(program.buffers.iter().any(|buffer| buffer.cast));
        tally.floats += usize::from(program.buffers.iter().any(|buffer| buffer.kind.is_float()));
        tally.reused += usize::from(
            plan.loops
                .iter()
                .any(|entry| entry.buffers.iter().any(|buffer| buffer.reused)),
        );
        tally.across_loops += usize::from(plan.loops.iter().any(|entry| !entry.around.is_empty()));
    } else {
        plan.loops.clear();
    }
    let compiled = compile_to_ptx(&mut module, &plan, "sm_80").map_err(|error| error.to_string())?;
    Ok(Kernel {
        ptx: compiled.assembly.ptx,
        entry: "k".to_owned(),
        grid: [1, 1, 1],
        block: [program.threads as u32, 1, 1],
        dynamic_shared_bytes: compiled.dynamic_shared_bytes as u32,
    })
}

/// The kernel lowered as it is written, by none of our passes.
fn plain(program: &Program) -> Result<Kernel, String> {
    let context = Context::new();
    let mut module = context
        .parse(&program.text(), "random.mlir")
        .map_err(|error| error.to_string())?;
    alcop_plain::compile(&mut module, "sm_80").map_err(|error| error.to_string())
}

fn case(program: &Program, tally: &mut Tally) -> Result<(), TestCaseError> {
    let fail = |text: String| TestCaseError::fail(text);
    // A crash of the process leaves its kernel there.
    let last = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("differential.mlir");
    std::fs::write(last, format!("// {program:?}\n{}", program.text())).expect("writable");
    let expected: Vec<u8> = program.interpret().into_iter().flat_map(u32::to_le_bytes).collect();
    for what in ["plain", "as it was", "pipelined"] {
        let compiled = match what {
            "plain" => plain(program),
            _ => compile(program, what == "pipelined", tally),
        };
        let kernel = match compiled {
            Ok(kernel) => kernel,
            // A distance that the reads do not leave is refused with the numbers.
            Err(error) if error.contains("sync-positions-differ") => {
                tally.refused += 1;
                return Ok(());
            }
            Err(error) => return Err(fail(format!("{what}: {error}\n{}", program.text()))),
        };
        for (seed, arrival) in [Arrival::Latest, Arrival::Earliest, Arrival::Random]
            .into_iter()
            .enumerate()
        {
            let mut arguments = program.arguments();
            let options = EmulateOptions {
                arrival,
                seed: seed as u64,
                ..EmulateOptions::default()
            };
            let report = emulate(&kernel, &mut arguments, &options)
                .map_err(|error| fail(format!("{what}, {arrival:?}: {error}\n{}", program.text())))?;
            if !report.hazards.is_empty() {
                return Err(fail(format!(
                    "{what}, {arrival:?}: {:?}\n{}",
                    report.hazards,
                    program.text()
                )));
            }
            let found = arguments
                .last()
                .and_then(ArgBuffer::bytes)
                .expect("the output is an array");
            if found != expected {
                return Err(fail(format!("{what}, {arrival:?}: other results\n{}", program.text())));
            }
        }
    }
    Ok(())
}

#[test]
fn random_nests_compute_the_same_with_and_without_a_pipeline() {
    let cases = std::env::var("ALCOP_CASES").map_or(200, |text| text.parse().expect("ALCOP_CASES is a number"));
    let config = Config {
        cases,
        max_shrink_iters: 400,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..Config::default()
    };
    let tally = std::cell::RefCell::new(Tally::default());
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&program(), |program| case(&program, &mut tally.borrow_mut()));
    let tally = tally.into_inner();
    if let Err(error) = outcome {
        panic!("{error}");
    }
    println!("{tally:?}");
    let cases = cases as usize;
    assert!(tally.pipelined * 2 > cases, "{tally:?}");
    assert!(tally.read_ahead * 10 > cases, "{tally:?}");
    assert!(tally.across_loops * 10 > cases, "{tally:?}");
    assert!(tally.staged * 20 > cases && tally.sunk * 20 > cases, "{tally:?}");
    assert!(
        tally.cast * 100 > cases && tally.floats * 4 > cases && tally.reused * 20 > cases,
        "{tally:?}"
    );
    assert!(tally.in_place * 40 > cases, "{tally:?}");
    assert!(tally.refused * 4 < cases, "{tally:?}");
}

//! Random programs that copy and use: the kernel lowered as it is written (`alcop-plain`), the kernel as it was, the
//! pipelined kernel and a plain interpreter agree, in the emulator, under every arrival, without a hazard.
//!
//! ```text
//! for g {
//!   for i { copy b0, b1, …; barrier; sum = mix(sum, reads of b0), …; barrier }
//!   for j { the same with other work in the copies };   out[g] = sum, or staged in b0
//! }
//! ```
//!
//! `mix` works on the bits of a value and depends on the order, so that one wrong element anywhere changes the result; the
//! work on floating-point values is exact in each of their types. Each form has its own share of the cases (`Focus`). What
//! the compiler is not meant to pipeline may be refused with a reason, and computes the same at its default depths.
//!
//! The number of cases is `ALCOP_CASES` (200); a failure is shrunk, printed and kept in
//! `tests/differential/mod.proptest-regressions`.

mod compile;
mod copies;
mod interpret;
mod program;
mod random;
mod tally;
mod text;
mod work;

use std::sync::Mutex;

use alcop::runtime::{ArgBuffer, Arrival, EmulateOptions, emulate};
use alcop::spec::Kernel;
use compile::{Pipelined, as_it_was, by_default, pipelined, plain};
use program::Program;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use random::{Focus, program};
use rayon::prelude::*;
use tally::Tally;

fn case(focus: Focus, program: &Program, tally: &Mutex<Tally>) -> Result<(), TestCaseError> {
    // A crash of the process leaves its kernel there.
    let last = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("differential.{focus:?}.mlir"));
    std::fs::write(last, format!("// {program:?}\n{}", program.text())).expect("writable");
    let expected: Vec<u8> = program.interpret().into_iter().flat_map(u32::to_le_bytes).collect();
    let tally = || tally.lock().expect("counting does not fail");
    let fail = |what: &str, text: String| TestCaseError::fail(format!("{what}: {text}\n{}", program.text()));
    let agrees = |what: &str, kernel: Result<Kernel, String>| -> Result<(), TestCaseError> {
        let kernel = kernel.map_err(|error| fail(what, error))?;
        // Nothing of the plain lowering is asynchronous but what is waited for at once.
        let arrivals: &[Arrival] = match what {
            "plain" => &[Arrival::Random],
            _ => &[Arrival::Latest, Arrival::Earliest, Arrival::Random],
        };
        execute(&kernel, program, &expected, arrivals).map_err(|error| fail(what, error))
    };
    agrees("plain", plain(program))?;
    agrees("as it was", as_it_was(program))?;
    let reasons = match pipelined(program).map_err(|error| fail("pipelined", error))? {
        Pipelined::Kernel(kernel, seen) => {
            agrees("pipelined", Ok(*kernel))?;
            tally().pipelined(focus, program, &seen);
            return Ok(());
        }
        Pipelined::Refused(reasons) if program.doubts().is_empty() => {
            return Err(fail("refused", format!("{reasons:?}")));
        }
        Pipelined::Refused(reasons) => reasons,
        // A distance that the reads do not leave is refused with the numbers.
        Pipelined::TooFar => Vec::new(),
    };
    let (kernel, slots) = by_default(program).map_err(|error| fail("by default", error))?;
    agrees("by default", Ok(kernel))?;
    match reasons.is_empty() {
        true => tally().lowered(focus, slots),
        false => tally().refused(focus, &program.doubts(), &reasons),
    }
    Ok(())
}

fn execute(kernel: &Kernel, program: &Program, expected: &[u8], arrivals: &[Arrival]) -> Result<(), String> {
    for (seed, arrival) in arrivals.iter().copied().enumerate() {
        let mut arguments = program.arguments();
        let options = EmulateOptions {
            arrival,
            seed: seed as u64,
            ..EmulateOptions::default()
        };
        let report = emulate(kernel, &mut arguments, &options).map_err(|error| format!("{arrival:?}: {error}"))?;
        if !report.hazards.is_empty() {
            return Err(format!("{arrival:?}: {:?}", report.hazards));
        }
        let found = arguments
            .last()
            .and_then(ArgBuffer::bytes)
            .expect("the output is an array");
        if found != expected {
            return Err(format!("{arrival:?}: other results"));
        }
    }
    Ok(())
}

#[test]
fn random_nests_compute_the_same_with_and_without_a_pipeline() {
    let all = std::env::var("ALCOP_CASES").map_or(200, |text| text.parse().expect("ALCOP_CASES is a number"));
    let tally = Mutex::new(Tally::default());
    // Side by side.
    let failures: Vec<String> = Focus::ALL
        .par_iter()
        .filter_map(|focus| {
            let config = Config {
                cases: focus.cases(all),
                max_shrink_iters: 400,
                source_file: Some(file!()),
                failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
                ..Config::default()
            };
            let outcome = TestRunner::new(config).run(&program(*focus), |program| case(*focus, &program, &tally));
            outcome.err().map(|error| format!("{focus:?}: {error}"))
        })
        .collect();
    let tally = tally.into_inner().expect("counting does not fail");
    println!("{tally}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    tally.check(all);
}

//! Mutants of compiled kernels: the emulator must report each one that can go wrong.
//!
//! A mutant is *wrong* if, with hazards off, some launch of the corpus (trip counts 1 … 2S+1; latest, earliest and random
//! arrival) gives a wrong result. Every wrong one must raise a hazard in some launch, unless it is a fault of values
//! (a slot that is mistaken by all threads alike may be in perfect order: the comparison of outputs finds it); the
//! originals raise none; a mutant that no launch shows to be wrong is listed here with the reason.

use std::collections::BTreeMap;

use crate::common::{MainLoop, matmul, schedule};
use alcop::compile_operator;
use alcop::runtime::launch::ArgBuffer;
use alcop::runtime::operands::{Filling, matmul_operands};
use alcop::runtime::reference::{Tolerance, compare_matmul};
use alcop::runtime::{Arrival, EmulateOptions, emulate};
use alcop::spec::kernel::ArrayDType;
use alcop::spec::{DType, GpuTarget, Kernel, Layout, OpSpec};
use rayon::prelude::*;

type Edit = fn(&mut MainLoop, u32) -> Option<()>;

/// Faults of values rather than of synchronisation.
const VALUE_MUTANTS: [&str; 1] = ["one slot less"];

/// What is changed; `None` where there is nothing to change.
const MUTANTS: [(&str, Edit); 10] = [
    ("wait dropped", |main, _| remove(&mut main.body, "wait_group")),
    ("wait one group too few", |main, _| loosen(&mut main.body)),
    ("barrier dropped", |main, _| remove(&mut main.body, "bar")),
    ("barrier before the wait", |main, _| {
        let barrier = line(&main.body, "bar")?;
        let wait = line(&main.body, "wait_group")?;
        main.body.swap(barrier, wait);
        Some(())
    }),
    ("one slot less", |main, slots| {
        let wrap = format!(", {slots};");
        let at = main
            .body
            .iter()
            .position(|line| line.contains("setp.eq") && line.ends_with(&wrap))?;
        main.body[at] = main.body[at].replace(&wrap, &format!(", {};", slots - 1));
        Some(())
    }),
    ("commit dropped", |main, _| remove(&mut main.body, "commit_group")),
    ("commit before the copies", |main, _| {
        let commit = line(&main.body, "commit_group")?;
        let text = main.body.remove(commit);
        let copy = line(&main.body, "cp.async.cg")?;
        main.body.insert(copy, text);
        Some(())
    }),
    ("prologue's wait dropped", |main, _| {
        remove(&mut main.before, "wait_group")
    }),
    ("prologue's wait one group too few", |main, _| loosen(&mut main.before)),
    ("prologue's barrier dropped", |main, _| remove(&mut main.before, "bar")),
];

fn line(lines: &[String], what: &str) -> Option<usize> {
    lines.iter().position(|line| {
        let text = line.trim_start();
        match what {
            "bar" => text.starts_with("bar.sync") || text.starts_with("barrier.sync"),
            _ => text.contains(what),
        }
    })
}

fn remove(lines: &mut Vec<String>, what: &str) -> Option<()> {
    lines.remove(line(lines, what)?);
    Some(())
}

/// `wait_group n` → `wait_group n+1`.
fn loosen(lines: &mut [String]) -> Option<()> {
    let at = line(lines, "wait_group")?;
    let (head, count) = lines[at]
        .trim()
        .trim_end_matches(';')
        .rsplit_once(char::is_whitespace)?;
    lines[at] = format!("{head} {};", count.parse::<u32>().ok()? + 1);
    Some(())
}

const LAUNCHES: [(Arrival, u64); 5] = [
    (Arrival::Latest, 0),
    (Arrival::Earliest, 0),
    (Arrival::Random, 1),
    (Arrival::Random, 2),
    (Arrival::Random, 3),
];

struct Corpus {
    op: OpSpec,
    kernel: Kernel,
}

impl Corpus {
    /// Whether a run goes wrong (with hazards off), and whether it is reported (with hazards on).
    fn run(&self, kernel: &Kernel, arrival: Arrival, seed: u64, hazards: bool) -> bool {
        let OpSpec::Matmul(op) = self.op;
        let [a, b] = matmul_operands(&op, Filling::Integers, 1).expect("memory");
        let array = |dtype, bytes| ArgBuffer::Array { dtype, bytes };
        let mut args = [
            array(ArrayDType::F16, a.clone()),
            array(ArrayDType::F16, b.clone()),
            ArgBuffer::poisoned(ArrayDType::F32, (op.m * op.n) as usize),
        ];
        let options = EmulateOptions {
            arrival,
            seed,
            hazards,
            ..EmulateOptions::default()
        };
        let report = emulate(kernel, &mut args, &options).expect("a mutant still runs");
        if hazards {
            return !report.hazards.is_empty();
        }
        let c = args[2].bytes().expect("an array");
        !compare_matmul(&op, &a, &b, c, None, Tolerance::Exact)
            .expect("sizes")
            .matches()
    }
}

#[test]
fn every_wrong_mutant_is_reported_and_no_original_is() {
    let target = GpuTarget::resolve("a100").expect("an embedded device");
    let mut outcome: BTreeMap<(&str, u32, u32), (bool, bool)> = BTreeMap::new();
    for (slots, register_stages) in [(2, 1), (2, 2), (3, 1), (3, 2), (4, 3)] {
        let schedule = schedule([32, 32, 32], [16, 16], slots, register_stages);
        let corpus: Vec<Corpus> = (1..=2 * u64::from(slots) + 1)
            .into_par_iter()
            .map(|trip| {
                let op = matmul(Layout::Nn, [32, 32, 32 * trip], DType::F32);
                let kernel = compile_operator(&op, &schedule, &target).expect("legal");
                Corpus { op, kernel }
            })
            .collect();
        for launch in &corpus {
            for (arrival, seed) in LAUNCHES {
                assert!(
                    !launch.run(&launch.kernel, arrival, seed, true),
                    "{}: an original is reported",
                    launch.op
                );
                assert!(
                    !launch.run(&launch.kernel, arrival, seed, false),
                    "{}: an original is wrong",
                    launch.op
                );
            }
        }
        for (name, edit) in MUTANTS {
            let results: Vec<(bool, bool)> = corpus
                .par_iter()
                .filter_map(|launch| {
                    let mut main = MainLoop::of(&launch.kernel.ptx)?;
                    edit(&mut main, slots)?;
                    let mutant = Kernel {
                        ptx: main.text(),
                        ..launch.kernel.clone()
                    };
                    let over = |hazards| {
                        LAUNCHES
                            .iter()
                            .any(|&(arrival, seed)| launch.run(&mutant, arrival, seed, hazards))
                    };
                    Some((over(false), over(true)))
                })
                .collect();
            if let Some(all) = results
                .into_iter()
                .reduce(|one, other| (one.0 | other.0, one.1 | other.1))
            {
                outcome.insert((name, slots, register_stages), all);
            }
        }
    }
    let missed: Vec<_> = outcome
        .iter()
        .filter(|((name, ..), (wrong, reported))| *wrong && !reported && !VALUE_MUTANTS.contains(name))
        .collect();
    assert!(missed.is_empty(), "wrong, and not reported: {missed:?}");
    // Every kind of mutant is wrong somewhere: none of them tests nothing.
    for (name, _) in MUTANTS {
        let wrong = outcome.iter().any(|((kind, ..), (wrong, _))| *kind == name && *wrong);
        assert!(wrong, "{name} is nowhere wrong");
    }
    let harmless: Vec<_> = outcome
        .iter()
        .filter(|(_, (wrong, _))| !wrong)
        .map(|(key, _)| *key)
        .collect();
    assert_eq!(harmless, HARMLESS, "mutants that no launch shows to be wrong");
}

/// Mutants that no launch shows to be wrong.
const HARMLESS: [(&str, u32, u32); 0] = [];

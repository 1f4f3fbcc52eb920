//! Faults put into pipelined kernels of every form: the emulator must report each one that can go wrong, and nothing of the
//! originals and of harmless edits.
//!
//! A mutant is *wrong* if, with hazards off, some launch (latest, earliest, three random arrivals) computes something else
//! than the original or ends in an error. A wrong fault of synchronisation must raise a hazard in some launch; a wrong
//! fault of values (a copy to the wrong place may be in perfect order) must raise one or show in the outputs. The counts
//! stand in `benches/results/mutants-of-forms.txt`; `ALCOP_WRITE=1` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::common::forms::{arguments, compiled, files, kernel_of, planned, sunk_detection};
use alcop::runtime::{ArgBuffer, Arrival, EmulateOptions, emulate};
use alcop::spec::Kernel;
use rayon::prelude::*;

const LAUNCHES: [(Arrival, u64); 5] = [
    (Arrival::Latest, 0),
    (Arrival::Earliest, 0),
    (Arrival::Random, 1),
    (Arrival::Random, 2),
    (Arrival::Random, 3),
];
/// Slots and fragment sets.
const DEPTHS: [(u32, u32); 2] = [(3, 1), (2, 2)];
/// Of one kind, so many places of a kernel are changed: the first, the last, and some between.
const PLACES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Synchronisation,
    Values,
    Harmless,
}

/// What is changed at the place of a line; `None` where there is nothing to change.
type Edit = fn(&mut Vec<String>, usize, u32) -> Option<()>;

const KINDS: [(&str, Sort, Edit); 15] = [
    ("wait dropped", Sort::Synchronisation, |lines, at, _| {
        is(&lines[at], "wait_group").then(|| blank(lines, at))
    }),
    ("wait one group too few", Sort::Synchronisation, |lines, at, _| {
        let pending = waits_for(&lines[at])?;
        lines[at] = format!("cp.async.wait_group {};", pending + 1);
        Some(())
    }),
    ("barrier dropped", Sort::Synchronisation, |lines, at, _| {
        is(&lines[at], "bar.sync").then(|| blank(lines, at))
    }),
    ("barrier before its wait", Sort::Synchronisation, |lines, at, _| {
        let barrier =
            next(lines, at, "bar.sync").filter(|barrier| is(&lines[at], "wait_group") && *barrier <= at + 2)?;
        lines.swap(at, barrier);
        Some(())
    }),
    ("commit dropped", Sort::Synchronisation, |lines, at, _| {
        is(&lines[at], "commit_group").then(|| blank(lines, at))
    }),
    // The youngest groups are empty then, and a wait leaves fewer copies in flight.
    ("commit twice", Sort::Harmless, |lines, at, _| {
        is(&lines[at], "commit_group").then(|| lines[at] = "cp.async.commit_group; cp.async.commit_group;".to_owned())
    }),
    ("commit before its copies", Sort::Synchronisation, |lines, at, _| {
        let copy = (0..at)
            .rev()
            .take_while(|line| !is(&lines[*line], "commit_group"))
            .filter(|line| is_copy(&lines[*line]));
        let first = copy.last().filter(|_| is(&lines[at], "commit_group"))?;
        let commit = lines.remove(at);
        lines.insert(first, commit);
        Some(())
    }),
    ("commit behind the next wait", Sort::Synchronisation, |lines, at, _| {
        let wait = next(lines, at, "wait_group").filter(|_| is(&lines[at], "commit_group"))?;
        let commit = lines.remove(at);
        lines.insert(wait, commit);
        Some(())
    }),
    ("copies before the barrier", Sort::Synchronisation, |lines, at, _| {
        // The barrier moves behind the copies that follow it.
        let commit = next(lines, at, "commit_group").filter(|_| is(&lines[at], "bar.sync"))?;
        (at..commit).any(|line| is_copy(&lines[line])).then_some(())?;
        let barrier = lines.remove(at);
        lines.insert(commit - 1, barrier);
        Some(())
    }),
    ("one slot less", Sort::Values, |lines, at, slots| {
        let wrap = format!(", {slots};");
        (lines[at].contains("setp.eq") && lines[at].ends_with(&wrap)).then_some(())?;
        lines[at] = lines[at].replace(&wrap, &format!(", {};", slots - 1));
        Some(())
    }),
    ("copy dropped", Sort::Values, |lines, at, _| {
        is_copy(&lines[at]).then(|| blank(lines, at))
    }),
    ("copy always made", Sort::Values, |lines, at, _| {
        let (_, rest) = lines[at].trim().strip_prefix('@')?.split_once(' ')?;
        let rest = is_copy(rest).then(|| rest.to_owned())?;
        lines[at] = rest;
        Some(())
    }),
    ("copy to the next piece", Sort::Values, |lines, at, _| {
        is_copy(&lines[at]).then_some(())?;
        let (head, tail) = lines[at].split_once(']')?;
        lines[at] = match head.rsplit_once('+') {
            Some((base, offset)) => format!("{base}+{}]{tail}", offset.parse::<u32>().ok()? + 16),
            None => format!("{head}+16]{tail}"),
        };
        Some(())
    }),
    ("barrier twice", Sort::Harmless, |lines, at, _| {
        is(&lines[at], "bar.sync").then(|| lines[at] = "bar.sync 0; bar.sync 0;".to_owned())
    }),
    ("wait for all", Sort::Harmless, |lines, at, _| {
        waits_for(&lines[at]).filter(|pending| *pending > 0)?;
        lines[at] = "cp.async.wait_group 0;".to_owned();
        Some(())
    }),
];

fn is(line: &str, what: &str) -> bool {
    line.contains(what)
}

fn is_copy(line: &str) -> bool {
    line.contains("cp.async.c") && line.contains("shared.global")
}

fn blank(lines: &mut [String], at: usize) {
    lines[at].clear();
}

/// The next line with a text, behind `at` and before the block of instructions ends.
fn next(lines: &[String], at: usize, what: &str) -> Option<usize> {
    let block = lines[at + 1..]
        .iter()
        .take_while(|line| !line.contains("bra") && !line.trim_end().ends_with(':'));
    block
        .take(400)
        .position(|line| is(line, what))
        .map(|offset| at + 1 + offset)
}

fn waits_for(line: &str) -> Option<u32> {
    let (_, count) = line.split_once("cp.async.wait_group")?;
    count.trim().trim_end_matches(';').trim().parse().ok()
}

/// What a run gave: `None` for an error.
fn run(
    kernel: &Kernel,
    given: &[ArgBuffer],
    (arrival, seed): (Arrival, u64),
    hazards: bool,
) -> Option<(Vec<ArgBuffer>, bool)> {
    let mut arguments = given.to_vec();
    let options = EmulateOptions {
        arrival,
        seed,
        hazards,
        step_limit: 2_000_000,
        ..EmulateOptions::default()
    };
    let report = emulate(kernel, &mut arguments, &options).ok()?;
    Some((arguments, !report.hazards.is_empty()))
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    made: u32,
    wrong: u32,
    hazard: u32,
    outputs: u32,
    reported: u32,
}

struct Found {
    kind: &'static str,
    form: String,
    counts: Counts,
    missed: Option<String>,
}

fn mutants(path: &Path) -> Vec<Found> {
    let text = std::fs::read_to_string(path).expect("readable");
    let form = path.file_stem().expect("a file").to_string_lossy().into_owned();
    let given = {
        let context = alcop::compiler::ir::Context::new();
        let mut module = context.parse(&text, &form).expect("a kernel");
        sunk_detection(&mut module).expect("sinks");
        arguments(kernel_of(&module))
    };
    let mut found = Vec::new();
    for depths in DEPTHS {
        // A form without rotated loads has one depth.
        let Ok(original) = compiled(path, &text, true, |module| planned(module, depths).expect("a plan")) else {
            continue;
        };
        let lines: Vec<String> = original.ptx.lines().map(str::to_owned).collect();
        let (expected, _) = run(&original, &given, LAUNCHES[0], false).expect("the original runs");
        for launch in LAUNCHES {
            let (outputs, hazards) = run(&original, &given, launch, true).expect("the original runs");
            assert!(
                !hazards && outputs == expected,
                "{form} {depths:?}: an original is reported"
            );
        }
        for (kind, sort, edit) in KINDS {
            let changed: Vec<(usize, Vec<String>)> = (0..lines.len())
                .filter_map(|at| {
                    let mut lines = lines.clone();
                    edit(&mut lines, at, depths.0).map(|()| (at, lines))
                })
                .collect();
            let mut places: Vec<usize> = (0..PLACES)
                .map(|place| place * changed.len().saturating_sub(1) / (PLACES - 1))
                .collect();
            places.dedup();
            for (at, lines) in places.into_iter().filter_map(|place| changed.get(place)) {
                let kernel = Kernel {
                    ptx: lines.join("\n") + "\n",
                    ..original.clone()
                };
                let mut counts = Counts {
                    made: 1,
                    ..Counts::default()
                };
                let right =
                    |launch| run(&kernel, &given, launch, false).is_some_and(|(outputs, _)| outputs == expected);
                let reported = |launch| run(&kernel, &given, launch, true).is_none_or(|(_, hazards)| hazards);
                let wrong = !LAUNCHES.into_iter().all(right);
                let hazard = LAUNCHES.into_iter().any(reported);
                counts.wrong = u32::from(wrong);
                counts.hazard = u32::from(wrong && hazard);
                counts.outputs = u32::from(wrong && !hazard);
                counts.reported = u32::from(hazard);
                let bad = match sort {
                    Sort::Synchronisation => wrong && !hazard,
                    Sort::Harmless => wrong || hazard,
                    Sort::Values => false,
                };
                let missed = bad.then(|| format!("{form} {depths:?}, {kind} at line {}", at + 1));
                found.push(Found {
                    kind,
                    form: form.clone(),
                    counts,
                    missed,
                });
            }
        }
    }
    found
}

#[test]
fn every_wrong_mutant_of_every_form_is_reported() {
    let found: Vec<Found> = files().par_iter().flat_map_iter(|path| mutants(path)).collect();
    let missed: Vec<&String> = found.iter().filter_map(|found| found.missed.as_ref()).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    let mut text = String::from(
        "Mutants of pipelined kernels of every form (tests/filetests/pipeline; cargo test --test suite form_mutants::).\n",
    );
    text += "wrong: some launch goes wrong with hazards off; hazard: of these, reported by the emulator; outputs: of these,\n";
    text += "found by the comparison of outputs alone; not wrong: no launch shows a difference (reported: though a hazard is).\n";
    let mut total = BTreeMap::new();
    for (title, of) in [
        ("kind", (|found| found.kind) as fn(&Found) -> &str),
        ("form", |found| &found.form),
    ] {
        let mut rows: BTreeMap<&str, Counts> = BTreeMap::new();
        for found in &found {
            let row = rows.entry(of(found)).or_default();
            row.made += found.counts.made;
            row.wrong += found.counts.wrong;
            row.hazard += found.counts.hazard;
            row.outputs += found.counts.outputs;
            row.reported += found.counts.reported;
        }
        writeln!(text, "\n{title:<28} made wrong hazard outputs not-wrong (reported)").expect("text");
        for (name, row) in &rows {
            writeln!(
                text,
                "{name:<28} {:4} {:5} {:6} {:7} {:9} ({})",
                row.made,
                row.wrong,
                row.hazard,
                row.outputs,
                row.made - row.wrong,
                row.reported - row.hazard
            )
            .expect("text");
        }
        total.insert(title, rows.len());
    }
    assert!(total["kind"] >= 12 && total["form"] >= 10, "{text}");
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results/mutants-of-forms.txt");
    if std::env::var_os("ALCOP_WRITE").is_some() {
        std::fs::write(&committed, &text).expect("writable");
    }
    let known = std::fs::read_to_string(&committed).unwrap_or_default();
    assert_eq!(known, text, "ALCOP_WRITE=1 writes the table anew");
}

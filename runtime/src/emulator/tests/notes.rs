//! Remarks that are no errors, and `strict`, which makes them errors.

use super::*;

fn ring_notes(ring: &Ring) -> Vec<String> {
    let (_, report) = ring.run(&EmulateOptions::default());
    assert_eq!(report.hazards, []);
    report
        .notes
        .iter()
        .map(|note| note.split(':').next().unwrap_or("").to_owned())
        .collect()
}

#[test]
fn a_wait_that_is_too_strict_is_noted_and_the_right_one_is_not() {
    assert_eq!(ring_notes(&Ring::GOOD), Vec::<String>::new());
    let strict = Ring {
        wait: "cp.async.wait_group 0;",
        ..Ring::GOOD
    };
    assert_eq!(ring_notes(&strict), ["wait-too-strict"]);
    let all = Ring {
        wait: "cp.async.wait_all;",
        ..Ring::GOOD
    };
    assert_eq!(ring_notes(&all), ["wait-too-strict"]);
    let options = EmulateOptions {
        strict: true,
        ..EmulateOptions::default()
    };
    let (out, report) = strict.run(&options);
    assert_eq!(out, Ring::expected());
    assert_eq!(
        report.hazards.iter().map(|h| h.code).collect::<Vec<_>>(),
        [HazardCode::WaitTooStrict]
    );
    assert!(
        report.hazards[0].second.text.starts_with("cp.async.wait_group 0"),
        "{:?}",
        report.hazards[0]
    );
    assert_eq!(Ring::GOOD.run(&options).1.hazards, []);
}

fn copy(after: &str) -> Vec<String> {
    let body = format!(
        "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r5, buffer;\nshl.b32 %r6, %r0, 4;\nadd.s32 %r5, %r5, %r6;\n\
         cvt.u64.u32 %rd2, %r6;\nadd.s64 %rd3, %rd1, %rd2;\ncp.async.cg.shared.global [%r5], [%rd3], 16;\n{after}"
    );
    let text = module(ONE_POINTER, ".shared .align 16 .b8 buffer[512];", &body);
    for options in arrivals() {
        let report = emulate(&kernel(text.clone(), 32), &mut [words(vec![0; 128])], &options).expect("runs");
        assert_eq!(report.hazards, []);
        let notes: Vec<String> = report
            .notes
            .iter()
            .map(|note| note.split(':').next().unwrap_or("").to_owned())
            .collect();
        if options.arrival == Arrival::Random {
            return notes;
        }
    }
    Vec::new()
}

#[test]
fn copies_that_nobody_waits_for_are_noted_and_empty_groups_are_not() {
    assert_eq!(copy(""), ["copy-never-committed"]);
    assert_eq!(copy("cp.async.commit_group;"), ["copy-never-waited-for"]);
    assert_eq!(copy("cp.async.wait_all;"), Vec::<String>::new());
    assert_eq!(
        copy("cp.async.commit_group;\ncp.async.commit_group;\ncp.async.wait_group 1;"),
        Vec::<String>::new()
    );
}

#[test]
fn the_same_value_twice_is_a_note_and_another_value_a_race() {
    let run = |value: &str, between: &str| {
        let body = format!(
            "mov.u32 %r0, %tid.x;\nmov.u32 %r5, cell;\nshr.u32 %r6, %r0, 5;\nst.shared.u32 [%r5], {value};\n{between}"
        );
        let text = module(ONE_POINTER, ".shared .align 4 .b8 cell[4];", &body);
        let options = EmulateOptions {
            keep_going: true,
            ..EmulateOptions::default()
        };
        let report = emulate(&kernel(text, 64), &mut [words([0])], &options).expect("runs");
        let notes: Vec<_> = report
            .notes
            .iter()
            .map(|note| note.split(':').next().unwrap_or("").to_owned())
            .collect();
        (report.hazards.iter().map(|h| h.code).collect::<Vec<_>>(), notes)
    };
    assert_eq!(run("9", ""), (vec![], vec!["same-valued-writes".to_owned()]));
    assert_eq!(run("%r6", ""), (vec![HazardCode::Race], vec![]));
    let (hazards, _) = run("9", "ld.shared.u32 %r7, [%r5];");
    assert_eq!(
        hazards,
        [HazardCode::OverwriteBeforeRead],
        "a read in between may see either moment"
    );
}

#[test]
fn lanes_that_differ_in_the_last_bit_are_a_note() {
    let run = |value: &str| {
        let body = format!(
            "mov.u32 %r0, %tid.x;\nmov.u32 %r5, cell;\nand.b32 %r6, %r0, 1;\nadd.s32 %r6, %r6, {value};\nst.shared.b32 [%r5], %r6;"
        );
        let text = module(ONE_POINTER, ".shared .align 4 .b8 cell[4];", &body);
        emulate(&kernel(text, 32), &mut [words([0])], &EmulateOptions::default()).expect("runs")
    };
    let rounding = run(&format!("{}", 1.5f32.to_bits()));
    assert_eq!(rounding.hazards, []);
    assert!(
        rounding.notes[0].starts_with("lanes-differ-in-rounding"),
        "{:?}",
        rounding.notes
    );
    assert_eq!(
        run("3").hazards[0].code,
        HazardCode::Race,
        "small integers are no floats"
    );
}

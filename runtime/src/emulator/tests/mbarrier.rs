//! `mbarrier` objects: phases, copies that arrive, misuse.

use super::*;

/// Thread 0 makes an object at `bar` for `count` arrivals; then `body` runs, with its address in %r5. The result is %r1.
fn with_object(
    threads: u32,
    count: u32,
    body: &str,
    options: &EmulateOptions,
) -> Result<(Vec<u32>, EmulationReport), EmulatorError> {
    let shared = ".shared .align 8 .b8 bar[8];\n.shared .align 16 .b8 data[1024];";
    let text = module(
        ".param .u64 in, .param .u64 out",
        shared,
        &format!(
            "ld.param.u64 %rd1, [in];\nld.param.u64 %rd2, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r5, bar;\nmov.u32 %r6, data;\n\
             setp.eq.u32 %p1, %r0, 0;\n@%p1 mbarrier.init.shared.b64 [%r5], {count};\nbar.sync 0;\n{body}\n\
             mul.wide.u32 %rd8, %r0, 4;\nadd.s64 %rd9, %rd2, %rd8;\nst.global.u32 [%rd9], %r1;"
        ),
    );
    let mut args = [words((0..256).map(|i| 10 * i)), words(vec![0; threads as usize])];
    let report = emulate(&kernel(text, threads), &mut args, options)?;
    Ok((read_words(&args[1]), report))
}

const WAIT: &str = "WAIT:\nmbarrier.try_wait.shared.b64 %p2, [%r5], %rd5;\n@!%p2 bra WAIT;\n";

#[test]
fn phases_complete_and_order() {
    // Each thread stores a word, arrives, waits, and reads the word of the next one.
    let body = format!(
        "shl.b32 %r7, %r0, 2;\nadd.s32 %r8, %r6, %r7;\nst.shared.u32 [%r8], %r0;\nmbarrier.arrive.shared.b64 %rd5, [%r5];\n{WAIT}\
         add.s32 %r9, %r0, 1;\nand.b32 %r9, %r9, 63;\nshl.b32 %r9, %r9, 2;\nadd.s32 %r9, %r6, %r9;\nld.shared.u32 %r1, [%r9];"
    );
    for options in arrivals() {
        let (out, report) = with_object(64, 64, &body, &options).unwrap_or_else(|e| panic!("{options:?}: {e}"));
        assert_eq!(report.hazards, [], "{options:?}");
        assert_eq!((out[0], out[62], out[63]), (1, 63, 0));
    }
    let unordered = body.replace(WAIT, "");
    let (_, report) = with_object(64, 64, &unordered, &EmulateOptions::default()).expect("runs");
    assert!(
        matches!(report.hazards[0].code, HazardCode::Race | HazardCode::UndefinedValue),
        "{:?}",
        report.hazards
    );
}

#[test]
fn copies_arrive_when_they_have_landed() {
    // 16 bytes a thread; the thread across the block reads them. No group is ever committed.
    let body = |arrive: &str| {
        format!(
            "mul.wide.u32 %rd3, %r0, 16;\nadd.s64 %rd4, %rd1, %rd3;\nshl.b32 %r7, %r0, 4;\nadd.s32 %r8, %r6, %r7;\n\
             cp.async.cg.shared.global [%r8], [%rd4], 16;\n{arrive}\nmbarrier.arrive.shared.b64 %rd5, [%r5];\n{WAIT}\
             xor.b32 %r9, %r7, 512;\nadd.s32 %r9, %r6, %r9;\nld.shared.u32 %r1, [%r9];"
        )
    };
    for (arrive, count) in [
        ("cp.async.mbarrier.arrive.shared.b64 [%r5];", 64),
        ("cp.async.mbarrier.arrive.noinc.shared.b64 [%r5];", 128),
    ] {
        for options in arrivals() {
            let (out, report) =
                with_object(64, count, &body(arrive), &options).unwrap_or_else(|e| panic!("{options:?}: {e}"));
            assert_eq!(report.hazards, [], "{arrive} {options:?}");
            assert_eq!((out[0], out[63]), (32 * 40, 31 * 40));
        }
    }
    for options in arrivals() {
        let (_, report) = with_object(64, 64, &body(""), &options).expect("runs");
        assert_eq!(report.hazards[0].code, HazardCode::ReadBeforeWait, "{options:?}");
    }
}

#[test]
fn parity_counts_and_transactions() {
    let body = "mov.u32 %r1, 0;\n@!%p1 bra END;\nmbarrier.test_wait.parity.shared.b64 %p2, [%r5], 1;\nselp.b32 %r10, 1, 0, %p2;\n\
        mbarrier.test_wait.parity.shared.b64 %p3, [%r5], 0;\nselp.b32 %r11, 2, 0, %p3;\nmbarrier.arrive.shared.b64 %rd5, [%r5], 2;\n\
        mbarrier.pending_count.b64 %r12, %rd5;\nmbarrier.test_wait.shared.b64 %p4, [%r5], %rd5;\nselp.b32 %r13, 4, 0, %p4;\n\
        mbarrier.arrive.expect_tx.shared.b64 %rd6, [%r5], 8;\nmbarrier.test_wait.shared.b64 %p5, [%r5], %rd5;\nselp.b32 %r14, 8, 0, %p5;\n\
        mbarrier.complete_tx.shared.b64 [%r5], 8;\nmbarrier.test_wait.shared.b64 %p6, [%r5], %rd5;\nselp.b32 %r15, 16, 0, %p6;\n\
        mbarrier.inval.shared.b64 [%r5];\nadd.s32 %r1, %r10, %r11;\nadd.s32 %r1, %r1, %r13;\nadd.s32 %r1, %r1, %r14;\nadd.s32 %r1, %r1, %r15;\n\
        shl.b32 %r12, %r12, 8;\nadd.s32 %r1, %r1, %r12;\nEND:";
    let body = body.replace("complete_tx.shared", "complete_tx.relaxed.cta.shared");
    let (out, report) = with_object(32, 3, &body, &EmulateOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(report.hazards, []);
    // Phase −1 counts as complete; phase 0 not before the bytes are there; three arrivals were pending at first.
    assert_eq!(out[0], 1 + 16 + (3 << 8));
}

#[test]
fn misuse_is_a_hazard_with_its_reason() {
    let misuse = |count: u32, body: &str| {
        let (_, report) = with_object(32, count, body, &EmulateOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        let hazard = report.hazards.first().unwrap_or_else(|| panic!("{body} is silent"));
        assert_eq!(hazard.code, HazardCode::MbarrierMisuse, "{hazard:?}");
        hazard.detail.clone().unwrap_or_default()
    };
    let one = "mov.u32 %r1, 0;\n@%p1 ";
    assert!(misuse(1, &format!("{one}mbarrier.arrive.shared.b64 %rd5, [%r5], 2;")).contains("more arrivals"));
    assert!(misuse(1, &format!("{one}mbarrier.arrive.shared.b64 %rd5, [%r5+1000];")).contains("no mbarrier"));
    assert!(
        misuse(
            2,
            &format!("{one}mbarrier.arrive.shared.b64 %rd5, [%r5];\n@%p1 mbarrier.init.shared.b64 [%r5], 1;")
        )
        .contains("again")
    );
    assert!(
        misuse(
            1,
            &format!("{one}mbarrier.arrive.noComplete.shared.b64 %rd5, [%r5], 1;")
        )
        .contains("more arrivals")
    );
    assert!(
        misuse(
            1,
            &format!("{one}mbarrier.inval.shared.b64 [%r5];\n@%p1 mbarrier.inval.shared.b64 [%r5];")
        )
        .contains("no mbarrier")
    );
    assert!(misuse(1, &format!("{one}st.shared.u32 [%r5+4], 0;")).contains("ordinary write"));
    let stale = "mov.u32 %r1, 0;\n@!%p1 bra END;\nmbarrier.arrive.shared.b64 %rd5, [%r5];\nmbarrier.arrive.shared.b64 %rd6, [%r5];\n\
        mbarrier.test_wait.shared.b64 %p2, [%r5], %rd5;\nEND:";
    assert!(misuse(1, stale).contains("phase"));
    let never = format!("mov.u32 %r1, 0;\nmbarrier.arrive.shared.b64 %rd5, [%r5];\n{WAIT}");
    let error = with_object(32, 33, &never, &EmulateOptions::default()).expect_err("one arrival is missing");
    assert!(
        matches!(&error, EmulatorError::Deadlock { waiting, .. } if waiting.contains("try_wait")),
        "{error}"
    );
}

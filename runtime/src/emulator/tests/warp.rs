//! What lanes of a warp and warps of a block do together.

use super::*;

#[test]
fn shuffles_in_every_mode_against_a_table() {
    // (mode, b, c) and for lanes 0, 5, 15, 31 the lane that is read and whether it is in range. PTX ISA, shfl.sync:
    // c holds the clamp in bits 0 to 4 and the segment mask in bits 8 to 12.
    type Row = (&'static str, u32, u32, [(u32, bool); 4]);
    let table: &[Row] = &[
        ("up", 2, 0, [(0, false), (3, true), (13, true), (29, true)]),
        ("up", 6, 0x1800, [(0, false), (5, false), (9, true), (25, true)]),
        ("down", 2, 31, [(2, true), (7, true), (17, true), (31, false)]),
        ("down", 3, 0x1807, [(3, true), (5, false), (15, false), (31, false)]),
        ("bfly", 16, 31, [(16, true), (21, true), (31, true), (15, true)]),
        ("bfly", 4, 0x1807, [(4, true), (1, true), (11, true), (27, true)]),
        ("idx", 3, 31, [(3, true), (3, true), (3, true), (3, true)]),
        ("idx", 3, 0x181f, [(3, true), (3, true), (11, true), (27, true)]),
    ];
    for (mode, b, c, expected) in table {
        let out = clean(
            32,
            &format!(
                "shfl.sync.{mode}.b32 %r2|%p1, %r0, {b}, {c}, -1;\nselp.b32 %r3, 100, 0, %p1;\nadd.s32 %r1, %r2, %r3;"
            ),
        );
        for (lane, (from, valid)) in [0, 5, 15, 31].into_iter().zip(expected) {
            assert_eq!(
                out[lane],
                from + if *valid { 100 } else { 0 },
                "{mode} b {b} c {c:#x} lane {lane}"
            );
        }
    }
}

#[test]
fn what_an_absent_lane_would_give_is_undefined() {
    let body = |read: &str| {
        format!(
            "mov.u32 %r1, 7;\nsetp.lt.u32 %p1, %r0, 16;\n@!%p1 bra END;\nshfl.sync.idx.b32 %r1, %r0, {read}, 31, 0xffff;\nEND:"
        )
    };
    assert_eq!(clean(32, &body("3"))[9], 3);
    let (_, report) = per_thread(32, &body("20")).expect("runs");
    assert_eq!(report.hazards[0].code, HazardCode::UndefinedValue);
}

#[test]
fn votes_matches_and_reductions() {
    let out = clean(
        32,
        "setp.lt.u32 %p1, %r0, 5;\nvote.sync.any.pred %p2, %p1, -1;\nvote.sync.all.pred %p3, %p1, -1;\n\
         vote.sync.uni.pred %p4, %p1, -1;\nvote.sync.ballot.b32 %r2, !%p1, -1;\nselp.b32 %r3, 1, 0, %p2;\n\
         selp.b32 %r4, 2, 0, %p3;\nselp.b32 %r5, 4, 0, %p4;\nadd.s32 %r3, %r3, %r4;\nadd.s32 %r3, %r3, %r5;\nxor.b32 %r1, %r2, %r3;",
    );
    assert_eq!(out[17], !31 ^ 1);
    let out = clean(32, "and.b32 %r2, %r0, 3;\nmatch.any.sync.b32 %r1, %r2, -1;");
    assert_eq!((out[0], out[5], out[30]), (0x1111_1111, 0x2222_2222, 0x4444_4444));
    let out = clean(
        32,
        "mov.b64 %rd5, 77;\nmatch.all.sync.b64 %r2|%p1, %rd5, -1;\nmatch.all.sync.b32 %r3|%p2, %r0, -1;\n\
        selp.b32 %r4, 1, 0, %p1;\nselp.b32 %r5, 2, 0, %p2;\nadd.s32 %r4, %r4, %r5;\nadd.s32 %r2, %r2, %r3;\nadd.s32 %r1, %r2, %r4;",
    );
    assert_eq!(out[8], 0u32.wrapping_sub(1).wrapping_add(1));
    for (op, expected) in [
        ("add.u32", 496),
        ("min.u32", 0),
        ("max.u32", 31),
        ("min.s32", 0),
        ("max.s32", 31),
        ("and.b32", 0),
        ("or.b32", 31),
        ("xor.b32", 0),
    ] {
        assert_eq!(
            clean(32, &format!("redux.sync.{op} %r1, %r0, -1;"))[4],
            expected,
            "{op}"
        );
    }
    assert_eq!(
        clean(32, "sub.s32 %r2, %r0, 40;\nredux.sync.max.s32 %r1, %r2, -1;")[0],
        -9i32 as u32
    );
    let out = clean(
        32,
        "elect.sync %r2|%p1, -1;\nselp.b32 %r3, 50, 0, %p1;\nadd.s32 %r1, %r2, %r3;",
    );
    assert_eq!((out[0], out[1]), (50, 0));
}

#[test]
fn groups_with_masks_of_their_own_execute_together() {
    // Each lane names the group of its residue modulo 4, and adds up within it.
    let out = clean(
        32,
        "and.b32 %r2, %r0, 3;\nmatch.any.sync.b32 %r3, %r2, -1;\nredux.sync.add.u32 %r4, %r0, %r3;\n\
        shfl.sync.bfly.b32 %r5, %r0, 4, 31, %r3;\nbar.warp.sync %r3;\nmad.lo.s32 %r1, %r4, 100, %r5;",
    );
    for (i, value) in out.iter().enumerate() {
        let i = i as u32;
        let sum: u32 = (0..8).map(|j| 4 * j + i % 4).sum();
        assert_eq!(*value, sum * 100 + (i ^ 4));
    }
}

#[test]
fn diverged_lanes_meet_at_warp_barriers_and_shuffles() {
    // Both sides of a branch reach a warp barrier of all lanes, at different instructions; then all of them a shuffle.
    let shared = ".shared .align 4 .b8 buffer[128];";
    let body = "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r5, buffer;\nshl.b32 %r6, %r0, 2;\nadd.s32 %r7, %r5, %r6;\n\
        setp.lt.u32 %p1, %r0, 10;\n@%p1 bra LOW;\nst.shared.u32 [%r7], %r0;\nbar.warp.sync -1;\nbra MEET;\nLOW:\n\
        bar.warp.sync -1;\nMEET:\nxor.b32 %r8, %r6, 64;\nadd.s32 %r9, %r5, %r8;\nmov.u32 %r1, 5;\n\
        @%p1 ld.shared.u32 %r1, [%r9];\nmul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd3, %rd1, %rd2;\nst.global.u32 [%rd3], %r1;";
    let mut args = [words(vec![0; 32])];
    let report = emulate(
        &kernel(module(ONE_POINTER, shared, body), 32),
        &mut args,
        &EmulateOptions::default(),
    )
    .expect("runs");
    assert_eq!(report.hazards, []);
    assert_eq!(read_words(&args[0])[..11], [16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 5]);
    let error = per_thread(
        32,
        "mov.u32 %r1, 1;\nsetp.lt.u32 %p1, %r0, 10;\n@%p1 bra LOW;\nredux.sync.add.u32 %r1, %r0, -1;\nLOW:",
    );
    let error = error.expect_err("the low lanes never come");
    assert!(error.to_string().contains("0x000003ff"), "{error}");
    let error = per_thread(32, "redux.sync.add.u32 %r1, %r0, 0xffff;").expect_err("lane 16 is not in its mask");
    assert!(
        matches!(&error, EmulatorError::Fault { at, .. } if at.lane == 16),
        "{error}"
    );
}

/// LLVM branches to a block of `exit` where it has proven that no lane goes there. The others meet before the barrier.
#[test]
fn a_way_that_only_leaves_keeps_nobody_from_meeting() {
    let sides = |out: &str| {
        format!(
            "setp.lt.u32 %p1, %r0, 16;\nsetp.gt.u32 %p2, %r0, 99;\n@%p1 bra LOW;\n{out}\nmov.u32 %r1, 7;\nbra JOIN;\n\
             LOW:\nmov.u32 %r1, 3;\nJOIN:\nbar.sync 0;\nbra DONE;\nOUT:\nexit;\nDONE:"
        )
    };
    let found = clean(32, &sides("@%p2 bra OUT;"));
    assert_eq!((found[3], found[20]), (3, 7));
}

/// The only way out of a loop counts: inside of it lanes meet where they met before.
#[test]
fn a_loop_that_ends_in_an_exit_keeps_its_joins() {
    let body = "ld.param.u64 %rd1, [out];\ncvta.to.global.u64 %rd1, %rd1;\nmov.u32 %r0, %tid.x;\nmov.u32 %r1, 0;\n\
                mov.u32 %r4, 0;\nmul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd3, %rd1, %rd2;\nLOOP:\nand.b32 %r2, %r0, 1;\n\
                setp.eq.u32 %p1, %r2, 0;\n@%p1 bra EVEN;\nadd.u32 %r1, %r1, 1;\nbra JOIN;\nEVEN:\nadd.u32 %r1, %r1, 2;\n\
                JOIN:\nbar.sync 0;\nst.global.u32 [%rd3], %r1;\nadd.u32 %r4, %r4, 1;\nsetp.lt.u32 %p2, %r4, 4;\n\
                @%p2 bra LOOP;";
    let mut args = [words(vec![0; 32])];
    let text = module(ONE_POINTER, "", body);
    let report = emulate(&kernel(text, 32), &mut args, &EmulateOptions::default()).expect("runs");
    assert_eq!(report.hazards, []);
    assert_eq!(read_words(&args[0])[..2], [8, 4]);
}

#[test]
fn barriers_reduce_and_may_diverge() {
    let out = clean(
        96,
        "setp.lt.u32 %p1, %r0, 40;\nbar.red.popc.u32 %r2, 0, %p1;\nbar.red.and.pred %p2, 1, %p1;\n\
         barrier.cta.red.or.pred.aligned %p3, 2, !%p1;\nselp.b32 %r3, 100, 0, %p2;\nselp.b32 %r4, 1000, 0, %p3;\n\
         add.s32 %r1, %r2, %r3;\nadd.s32 %r1, %r1, %r4;",
    );
    assert_eq!((out[0], out[95]), (1040, 1040));
    // The two halves of each warp reach barrier 3 apart; only the form without .aligned allows that.
    let body = |form: &str| {
        format!(
            "mov.u32 %r1, 1;\nand.b32 %r2, %r0, 1;\nsetp.eq.s32 %p1, %r2, 0;\n@%p1 bra EVEN;\n{form} 3;\nbra MEET;\nEVEN: {form} 3;\nMEET:"
        )
    };
    assert_eq!(clean(64, &body("barrier.sync")), [1; 64]);
    let (_, report) = per_thread(64, &body("bar.sync")).expect("runs");
    assert_eq!(report.hazards[0].code, HazardCode::DivergentBarrier);
}

/// Warp 0 stores a word, arrives and goes on; warp 1 waits at the same barrier and loads it.
fn producer(arrive: &str, wait: &str, after: &str) -> Result<Vec<HazardCode>, EmulatorError> {
    let shared = ".shared .align 4 .b8 buffer[256];";
    let body = format!(
        "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r5, buffer;\nand.b32 %r6, %r0, 31;\nshl.b32 %r6, %r6, 2;\n\
         add.s32 %r7, %r5, %r6;\nsetp.ge.u32 %p1, %r0, 32;\nmov.u32 %r1, 3;\n@%p1 bra CONSUMER;\nst.shared.u32 [%r7], %r0;\n\
         {arrive}\n{after}\nbra MEET;\nCONSUMER:\n{wait}\nld.shared.u32 %r1, [%r7];\nMEET:\nmul.wide.u32 %rd2, %r0, 4;\n\
         add.s64 %rd3, %rd1, %rd2;\nst.global.u32 [%rd3], %r1;"
    );
    let text = module(ONE_POINTER, shared, &body);
    let options = EmulateOptions {
        keep_going: true,
        arrival: Arrival::Earliest,
        ..EmulateOptions::default()
    };
    let report = emulate(&kernel(text, 64), &mut [words(vec![0; 64])], &options)?;
    Ok(report.hazards.iter().map(|hazard| hazard.code).collect())
}

#[test]
fn named_barriers_with_arrivals() {
    assert_eq!(producer("bar.arrive 1, 64;", "bar.sync 1, 64;", "").expect("runs"), []);
    assert_eq!(
        producer("bar.arrive 1, 64;", "bar.sync 1, 64;", "st.shared.u32 [%r7], 5;").expect("runs"),
        [HazardCode::Race],
        "an arrival orders only what comes before it"
    );
    assert_eq!(producer("", "", "").expect("runs"), [HazardCode::Race]);
    let error = producer("bar.arrive 1, 64;", "bar.sync 2, 64;", "").expect_err("nobody else comes to barrier 2");
    assert!(matches!(error, EmulatorError::Deadlock { .. }), "{error}");
    let error = producer("bar.arrive 1, 40;", "bar.sync 1, 64;", "").expect_err("40 is no multiple of 32");
    assert!(error.to_string().contains("40 threads"), "{error}");
}

#[test]
fn flags_order_what_fences_and_releases_say() {
    use HazardCode::Race;
    let flag = "add.s32 %r20, %r5, 128;";
    let set = |how: &str| format!("{flag}\nbar.warp.sync -1;\nsetp.eq.u32 %p2, %r0, 0;\n{how}");
    let wait = |how: &str, after: &str| {
        format!("{flag}\nSPIN:\n{how} %r21, [%r20];\nsetp.ne.u32 %p3, %r21, 1;\n@%p3 bra SPIN;\n{after}")
    };
    let release = set("@%p2 st.release.cta.shared.u32 [%r20], 1;");
    let fenced = set("membar.cta;\n@%p2 st.volatile.shared.u32 [%r20], 1;");
    let bare = set("@%p2 st.volatile.shared.u32 [%r20], 1;");
    let acquire = wait("ld.acquire.cta.shared.u32", "");
    let fence_after = wait("ld.volatile.shared.u32", "fence.acq_rel.cta;");
    let nothing = wait("ld.volatile.shared.u32", "");
    assert_eq!(producer(&release, &acquire, "").expect("runs"), []);
    assert_eq!(producer(&fenced, &fence_after, "").expect("runs"), []);
    assert_eq!(
        producer(&fenced, &nothing, "").expect("runs"),
        [Race],
        "the reader does not acquire"
    );
    assert_eq!(
        producer(&bare, &acquire, "").expect("runs"),
        [Race],
        "the writer does not release"
    );
}

#[test]
fn atomics_meet_atomics_but_not_plain_accesses() {
    let run = |between: &str, op: &str| {
        let shared = ".shared .align 8 .b8 cell[8];";
        let body = format!(
            "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r5, cell;\nsetp.eq.u32 %p1, %r0, 0;\n\
             @%p1 st.shared.u32 [%r5], 1;\nbar.sync 0;\n{op}\n{between}\nld.shared.u32 %r1, [%r5];\n\
             mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd3, %rd1, %rd2;\nst.global.u32 [%rd3], %r1;"
        );
        let mut args = [words(vec![0; 64])];
        let options = EmulateOptions {
            keep_going: true,
            ..EmulateOptions::default()
        };
        let report = emulate(&kernel(module(ONE_POINTER, shared, &body), 64), &mut args, &options)
            .unwrap_or_else(|e| panic!("{e}"));
        (
            read_words(&args[0])[9],
            report.hazards.iter().map(|h| h.code).collect::<Vec<_>>(),
        )
    };
    let sync = "bar.sync 0;";
    assert_eq!(run(sync, "red.shared.add.u32 [%r5], 2;"), (129, vec![]));
    assert_eq!(run(sync, "atom.shared.max.s32 %r9, [%r5], %r0;"), (63, vec![]));
    assert_eq!(run(sync, "atom.shared.inc.u32 %r9, [%r5], 9;"), (5, vec![]));
    assert_eq!(run(sync, "atom.shared.dec.u32 %r9, [%r5], 9;").0, 7);
    assert_eq!(run(sync, "atom.shared.exch.b32 %r9, [%r5], 8;"), (8, vec![]));
    assert_eq!(run(sync, "atom.shared.cas.b32 %r9, [%r5], 1, 77;"), (77, vec![]));
    assert_eq!(
        run(sync, "mov.u32 %r8, 0x3c003800;\nred.shared.add.noftz.f16x2 [%r5], %r8;").0,
        {
            // 64 times (1, 0.5) onto (0, 2⁻²⁴): the sum of the low half loses the denormal.
            u32::from(half::f16::from_f32(64.0).to_bits()) << 16 | u32::from(half::f16::from_f32(32.0).to_bits())
        }
    );
    let unordered = run("", "red.shared.add.u32 [%r5], 2;").1;
    assert!(
        !unordered.is_empty() && unordered.iter().all(|code| *code == HazardCode::Race),
        "{unordered:?}"
    );
}

#[test]
fn a_lookup_also_says_whether_it_found_a_bit() {
    // Lanes 0 to 3: `a & b` of 0 and 1 and others, combined with whether the lane is odd.
    for (operation, expected) in [("or", [0, 101, 102, 103]), ("and", [0, 101, 2, 103])] {
        let out = clean(
            32,
            &format!(
                "and.b32 %r2, %r0, 1;\nsetp.eq.u32 %p1, %r2, 1;\nlop3.{operation}.b32 %r3|%p2, %r0, 3, 0, 0xc0, %p1;\n\
                 selp.b32 %r4, 100, 0, %p2;\nadd.u32 %r1, %r3, %r4;"
            ),
        );
        assert_eq!(out[..4], expected, "{operation}");
    }
    assert_eq!(
        clean(
            32,
            "setp.eq.u32 %p1, %r0, 99;\nmov.u32 %r1, 5;\nlop3.and.b32 _|%p2, %r0, 1, 0, 0xc0, !%p1;\n@%p2 mov.u32 %r1, 6;"
        )[..3],
        [5, 6, 5]
    );
}

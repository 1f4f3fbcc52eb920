//! Blocks and global memory: races between them, sources of copies, waits for each other.

use super::*;

/// Runs `body` (with out in %rd1, the block in %r20, the thread in %r0) on several blocks of 32 threads.
fn grid(
    blocks: u32,
    elements: usize,
    body: &str,
    options: &EmulateOptions,
) -> Result<(Vec<u32>, EmulationReport), EmulatorError> {
    let text = module(
        ONE_POINTER,
        "",
        &format!("ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r20, %ctaid.x;\n{body}"),
    );
    let launch = Kernel {
        grid: [blocks, 1, 1],
        ..kernel(text, 32)
    };
    let mut args = [words(vec![0; elements])];
    let report = emulate(&launch, &mut args, options)?;
    Ok((read_words(&args[0]), report))
}

fn codes(blocks: u32, elements: usize, body: &str) -> Vec<HazardCode> {
    let options = EmulateOptions {
        keep_going: true,
        ..EmulateOptions::default()
    };
    let (_, report) = grid(blocks, elements, body, &options).unwrap_or_else(|e| panic!("{e}"));
    report.hazards.iter().map(|hazard| hazard.code).collect()
}

#[test]
fn blocks_race_byte_by_byte() {
    use HazardCode::RaceBetweenBlocks;
    // Blocks 0 … 3 store so many bytes at a stride of `step` bytes a thread and `block` bytes a block.
    let store = |ty: &str, step: u32, block: u32, value: &str| {
        format!(
            "mad.lo.s32 %r5, %r20, {block}, 0;\nmad.lo.s32 %r5, %r0, {step}, %r5;\ncvt.u64.u32 %rd2, %r5;\nadd.s64 %rd3, %rd1, %rd2;\n\
             add.s32 %r6, %r20, 1;\nst.global.{ty} [%rd3], {value};"
        )
    };
    assert_eq!(codes(4, 128, &store("u32", 4, 128, "%r6")), []);
    assert_eq!(
        codes(4, 128, &store("u32", 4, 124, "%r6")),
        [RaceBetweenBlocks; 3],
        "the last word of each is the next one's first"
    );
    assert_eq!(
        codes(4, 32, &store("u8", 4, 1, "%r6")),
        [],
        "different bytes of the same words"
    );
    assert_eq!(codes(4, 32, &store("u8", 1, 16, "%r6")), [RaceBetweenBlocks; 3]);
    let (_, report) = grid(4, 128, &store("u32", 4, 0, "%r0"), &EmulateOptions::default()).expect("runs");
    assert_eq!(report.hazards, [], "all blocks write the same values");
    assert!(
        report.notes.iter().any(|note| note.starts_with("same-valued-writes")),
        "{:?}",
        report.notes
    );
    let (_, report) = grid(4, 128, &store("u32", 4, 124, "%r6"), &EmulateOptions::default()).expect("runs");
    let hazard = &report.hazards[0];
    let first = hazard.first.as_ref().expect("both accesses");
    assert_eq!(
        (first.block, hazard.block, first.lane, hazard.lane),
        ([0, 0, 0], [1, 0, 0], 31, 0)
    );
}

#[test]
fn reading_what_another_block_writes_is_a_race() {
    let body = "mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd3, %rd1, %rd2;\nsetp.eq.u32 %p1, %r20, 0;\n\
        @%p1 st.global.u32 [%rd3], 5;\n@!%p1 ld.global.u32 %r6, [%rd3];";
    assert_eq!(codes(2, 32, body), [HazardCode::RaceBetweenBlocks]);
    assert_eq!(codes(2, 32, &body.replace("@!%p1 ld.global.u32 %r6, [%rd3];", "")), []);
}

/// Every block stores a value, then counts itself; the last one adds all values up.
fn last_block(release: &str, count: &str) -> (Vec<u32>, Vec<HazardCode>) {
    let body = format!(
        "setp.ne.u32 %p1, %r0, 0;\n@%p1 bra END;\nmul.wide.u32 %rd2, %r20, 4;\nadd.s64 %rd3, %rd1, %rd2;\nadd.s32 %r5, %r20, 1;\n\
         st.global.u32 [%rd3+8], %r5;\n{release}\n{count} %r6, [%rd1], 1;\nsetp.ne.u32 %p2, %r6, 7;\n@%p2 bra END;\nfence.acq_rel.gpu;\n\
         mov.u32 %r7, 0;\nmov.u32 %r8, 0;\nmov.u64 %rd4, %rd1;\nLOOP:\nld.global.u32 %r9, [%rd4+8];\nadd.s32 %r7, %r7, %r9;\n\
         add.s64 %rd4, %rd4, 4;\nadd.s32 %r8, %r8, 1;\nsetp.lt.u32 %p3, %r8, 8;\n@%p3 bra LOOP;\nst.global.u32 [%rd1+4], %r7;\nEND:"
    );
    let options = EmulateOptions {
        keep_going: true,
        ..EmulateOptions::default()
    };
    let (out, report) = grid(8, 10, &body, &options).unwrap_or_else(|e| panic!("{e}"));
    (out, report.hazards.iter().map(|hazard| hazard.code).collect())
}

#[test]
fn releases_order_blocks() {
    let (out, hazards) = last_block("membar.gl;", "atom.global.add.u32");
    assert_eq!((out[0], out[1], &hazards[..]), (8, 36, &[][..]));
    let (out, hazards) = last_block("", "atom.global.acq_rel.gpu.add.u32");
    assert_eq!((out[1], &hazards[..]), (36, &[][..]));
    let (_, hazards) = last_block("", "atom.global.add.u32");
    assert_eq!(
        hazards,
        [HazardCode::RaceBetweenBlocks],
        "nothing releases what the others stored"
    );
    let (_, hazards) = last_block("membar.cta;", "atom.global.add.u32");
    assert_eq!(
        hazards,
        [HazardCode::RaceBetweenBlocks],
        "a fence for the block is not enough"
    );
}

#[test]
fn waiting_for_an_earlier_block_works_and_for_a_later_one_is_named() {
    let wait = |before: &str, relation: &str| {
        format!(
            "setp.ne.u32 %p1, %r0, 0;\n@%p1 bra END;\n{before}\nSPIN:\nld.acquire.gpu.global.u32 %r5, [%rd1];\nsetp.{relation}.u32 %p2, %r5, %r20;\n\
             @%p2 bra SPIN;\nadd.s32 %r6, %r20, 1;\nst.release.gpu.global.u32 [%rd1], %r6;\nEND:"
        )
    };
    let (out, report) = grid(5, 1, &wait("", "ne"), &EmulateOptions::default()).expect("a chain of blocks in order");
    assert_eq!((out[0], &report.hazards[..]), (5, &[][..]));
    let error = grid(3, 1, &wait("", "le"), &EmulateOptions::default()).expect_err("block 0 waits for block 1");
    assert!(
        matches!(&error, EmulatorError::WaitsForBlock { at, .. } if at.block == [0, 0, 0]),
        "{error}"
    );
}

#[test]
fn a_copy_s_source_may_not_change_while_it_reads() {
    let body = |between: &str| {
        format!(
            "mov.u32 %r5, buffer;\nshl.b32 %r6, %r0, 4;\nadd.s32 %r5, %r5, %r6;\ncvt.u64.u32 %rd2, %r6;\nadd.s64 %rd3, %rd1, %rd2;\n\
             cp.async.cg.shared.global [%r5], [%rd3], 16;\ncp.async.commit_group;\n{between}\nst.global.u32 [%rd3+4], %r0;\n\
             cp.async.wait_group 0;"
        )
    };
    let run = |between: &str| {
        let text = module(
            ONE_POINTER,
            ".shared .align 16 .b8 buffer[512];",
            &format!("ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\n{}", body(between)),
        );
        let report = emulate(
            &kernel(text, 32),
            &mut [words(vec![0; 128])],
            &EmulateOptions::default(),
        )
        .expect("runs");
        report.hazards.iter().map(|hazard| hazard.code).collect::<Vec<_>>()
    };
    assert_eq!(run(""), [HazardCode::CopySourceModified]);
    assert_eq!(run("cp.async.wait_all;"), []);
}

#[test]
fn results_and_hazards_do_not_depend_on_the_cores() {
    let body =
        "mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd3, %rd1, %rd2;\nadd.s32 %r5, %r0, %r20;\nst.global.u32 [%rd3], %r5;";
    let options = EmulateOptions {
        keep_going: true,
        ..EmulateOptions::default()
    };
    let first = grid(40, 32, body, &options).expect("runs").1;
    assert_eq!(first.hazards.len(), 39);
    for _ in 0..5 {
        assert_eq!(grid(40, 32, body, &options).expect("runs").1, first);
    }
}

/// Hazards and notes of one block of 64 threads, with thread 0 … 63's word at [%rd3] and its neighbour's, in the other
/// warp, at [%rd4]; %p3 holds in warp 1, which runs first where copies land late.
fn within_a_block(body: &str) -> (Vec<Hazard>, Vec<String>) {
    let text = module(
        ONE_POINTER,
        ".shared .align 16 .b8 smem[64];",
        &format!(
            "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd3, %rd1, %rd2;\n\
             xor.b32 %r1, %r0, 32;\nmul.wide.u32 %rd2, %r1, 4;\nadd.s64 %rd4, %rd1, %rd2;\nsetp.ge.u32 %p3, %r0, 32;\n{body}"
        ),
    );
    let options = EmulateOptions {
        keep_going: true,
        ..EmulateOptions::default()
    };
    let report = emulate(&kernel(text, 64), &mut [words(vec![0; 64])], &options).unwrap_or_else(|e| panic!("{e}"));
    (report.hazards, report.notes)
}

#[test]
fn threads_of_a_block_race_on_global_memory_without_a_barrier() {
    let codes = |body: &str| -> Vec<HazardCode> { within_a_block(body).0.iter().map(|hazard| hazard.code).collect() };
    let read_after =
        |between: &str| format!("@%p3 st.global.b32 [%rd3], %r0;\n{between}@!%p3 ld.global.b32 %r5, [%rd4];");
    assert_eq!(codes(&read_after("")), [HazardCode::Race]);
    assert_eq!(codes(&read_after("bar.sync 0;\n")), []);
    assert_eq!(
        codes(&read_after("bar.warp.sync -1;\n")),
        [HazardCode::Race],
        "orders one warp only"
    );
    let overwrite =
        |between: &str| format!("@%p3 ld.global.b32 %r5, [%rd4];\n{between}@!%p3 st.global.b32 [%rd3], %r0;");
    assert_eq!(codes(&overwrite("")), [HazardCode::OverwriteBeforeRead]);
    assert_eq!(codes(&overwrite("bar.sync 0;\n")), []);
    let twice = |value: &str| format!("@%p3 st.global.b32 [%rd3], 7;\n@!%p3 st.global.b32 [%rd4], {value};");
    assert_eq!(codes(&twice("%r0")), [HazardCode::Race]);
    let (hazards, notes) = within_a_block(&twice("7"));
    assert_eq!(hazards, []);
    assert!(
        notes.iter().any(|note| note.starts_with("same-valued-writes")),
        "{notes:?}"
    );
    // Bytes of one word, and words of sixteen bytes, are places of their own; a wide access covers them all.
    assert_eq!(
        codes(
            "cvt.u64.u32 %rd5, %r0;\nadd.s64 %rd6, %rd1, %rd5;\nst.global.b8 [%rd6], %r0;\nld.global.u8 %r5, [%rd6];"
        ),
        []
    );
    assert_eq!(
        codes(
            "st.global.b32 [%rd3], %r0;\nsetp.eq.u32 %p1, %r0, 1;\n@%p1 ld.global.v4.b32 {%r5, %r6, %r7, %r8}, [%rd1+128];"
        ),
        [HazardCode::Race]
    );
    // Atomics meet atomics, and a plain read of what they do is a race.
    assert_eq!(codes("red.global.add.u32 [%rd1], 1;"), []);
    assert_eq!(
        codes("@%p3 red.global.add.u32 [%rd1], 1;\n@!%p3 ld.global.b32 %r5, [%rd1];"),
        [HazardCode::Race]
    );
    assert_eq!(
        codes("@%p3 red.global.add.u32 [%rd1], 1;\nbar.sync 0;\n@!%p3 ld.global.b32 %r5, [%rd1];"),
        []
    );
    let (hazards, _) = within_a_block(&read_after(""));
    let first = hazards[0].first.as_ref().expect("both accesses");
    assert_ne!(first.warp, hazards[0].warp);
    assert!(first.text.contains("st.global") && hazards[0].second.text.contains("ld.global"));
    assert_eq!((first.lane, hazards[0].address % 4), (hazards[0].lane, 0));
}

#[test]
fn a_copy_of_what_another_thread_has_just_written_needs_a_barrier() {
    let copy = |between: &str| {
        format!(
            "@%p3 st.global.b32 [%rd3], %r0;\n{between}mov.u32 %r9, smem;\n\
             setp.eq.u32 %p2, %r0, 0;\n@%p2 cp.async.ca.shared.global [%r9], [%rd1+128], 16;\ncp.async.wait_all;"
        )
    };
    let codes = |body: &str| -> Vec<HazardCode> { within_a_block(body).0.iter().map(|hazard| hazard.code).collect() };
    let found = within_a_block(&copy("")).0;
    assert_eq!(
        found.iter().map(|hazard| hazard.code).collect::<Vec<_>>(),
        [HazardCode::Race],
        "{found:#?}"
    );
    assert_eq!(codes(&copy("bar.sync 0;\n")), []);
}

#[test]
fn a_race_beyond_the_first_megabytes_is_found() {
    // 1024 threads store 16 bytes each, 1100 times: 18 MB; then thread 0 and thread 40 meet in the last bytes.
    let steps = 1100u32;
    let body = |between: &str| {
        format!(
            "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmul.wide.u32 %rd2, %r0, 16;\nadd.s64 %rd3, %rd1, %rd2;\n\
             mov.u32 %r2, 0;\nL:\nst.global.v4.u32 [%rd3], {{%r0, %r0, %r0, %r0}};\nadd.s64 %rd3, %rd3, 16384;\n\
             add.u32 %r2, %r2, 1;\nsetp.lt.u32 %p1, %r2, {steps};\n@%p1 bra L;\n{between}\n\
             setp.eq.u32 %p2, %r0, 40;\n@%p2 ld.global.u32 %r3, [%rd1+{}];",
            16384 * (steps - 1)
        )
    };
    for (between, expected) in [("", vec![HazardCode::OverwriteBeforeRead]), ("bar.sync 0;", vec![])] {
        let mut args = [words(vec![0; 4096 * steps as usize])];
        let launch = kernel(module(ONE_POINTER, "", &body(between)), 1024);
        let report = emulate(&launch, &mut args, &EmulateOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        let codes: Vec<_> = report.hazards.iter().map(|hazard| hazard.code).collect();
        assert_eq!(codes, expected, "{:#?}", report.hazards);
    }
}

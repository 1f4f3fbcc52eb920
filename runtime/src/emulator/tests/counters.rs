//! A pipeline as other compilers write it, by hand: slots counted round by `setp` and `selp`, copies in scopes of inline
//! assembly that a source size switches off behind the end, `[ %r + 0 ]`, vectors from shared memory, `bar.sync 0`.

use super::*;

/// Sums six tiles of 64 × 16 bytes through a ring of three slots; each thread reads what one of the other warp copied.
const PIPELINE: &str = r#"
	ld.param.b64 	%rd1, [in];
	ld.param.b64 	%rd2, [out];
	mov.u32 	%r0, %tid.x;
	shl.b32 	%r1, %r0, 4;
	mov.b32 	%r2, smem;
	add.s32 	%r3, %r2, %r1;
	xor.b32 	%r4, %r1, 512;
	add.s32 	%r5, %r2, %r4;
	cvt.u64.u32 	%rd3, %r1;
	add.s64 	%rd4, %rd1, %rd3;
	// begin inline asm
	cp.async.cg.shared.global [ %r3 + 0 ], [ %rd4 + 0 ], 0x10, 0x10;
	// end inline asm
	cp.async.commit_group;
	cp.async.cg.shared.global [ %r3 + 1024 ], [ %rd4 + 1024 ], 0x10, 0x10;
	cp.async.commit_group;
	add.s64 	%rd4, %rd4, 2048;
	mov.b32 	%r10, -1;
	mov.b32 	%r11, 1;
	mov.b32 	%r12, 0;
	mov.b32 	%r13, 0;
$L__BB0_1:                              // =>This Inner Loop Header: Depth=1
	setp.lt.s32 	%p1, %r12, 4;
	add.s32 	%r14, %r10, 1;
	setp.gt.s32 	%p2, %r14, 2;
	selp.b32 	%r10, 0, %r14, %p2;
	cp.async.wait_group 	1;
	bar.sync 	0;
	shl.b32 	%r15, %r10, 10;
	add.s32 	%r16, %r5, %r15;
	ld.shared.v4.b32 	{%r20, %r21, %r22, %r23}, [%r16];
	add.s32 	%r24, %r20, %r21;
	add.s32 	%r25, %r22, %r23;
	add.s32 	%r26, %r24, %r25;
	add.s32 	%r13, %r13, %r26;
	add.s32 	%r17, %r11, 1;
	setp.gt.s32 	%p3, %r17, 2;
	selp.b32 	%r11, 0, %r17, %p3;
	selp.b32 	%r18, 16, 0, %p1;
	// begin inline asm
	{
	.reg .b32 slot;
	shl.b32 	slot, %r11, 10;
	add.s32 	slot, slot, %r3;
	cp.async.cg.shared.global [ slot + 0 ], [ %rd4 + 0 ], 0x10, %r18;
	}
	// end inline asm
	cp.async.commit_group;
	add.s64 	%rd4, %rd4, 1024;
	add.s32 	%r12, %r12, 1;
	setp.ne.b32 	%p4, %r12, 6;
	@%p4 bra 	$L__BB0_1;
	cp.async.wait_group 	0;
	shr.u64 	%rd5, %rd3, 2;
	add.s64 	%rd6, %rd2, %rd5;
	st.global.b32 	[ %rd6 + 0 ], { %r13 };
"#;

/// Whether the body is reported, and whether it computes the sums with the checks off, under some arrival.
fn judge(body: &str) -> (bool, bool) {
    let text = module(
        ".param .u64 in, .param .u64 out",
        ".shared .align 16 .b8 smem[3072];",
        body,
    );
    let expected: Vec<u32> = (0..64u32)
        .map(|thread| 4 * 256 * 15 + 6 * (16 * (thread ^ 32) + 6))
        .collect();
    let (mut reported, mut right) = (false, true);
    for options in arrivals() {
        let run = |hazards| {
            let mut args = [words(0..6 * 256), words(vec![0; 64])];
            let options = EmulateOptions {
                hazards,
                ..options.clone()
            };
            let report = emulate(&kernel(text.clone(), 64), &mut args, &options).unwrap_or_else(|e| panic!("{e}"));
            (read_words(&args[1]), report)
        };
        reported |= !run(true).1.hazards.is_empty();
        right &= run(false).0 == expected;
    }
    (reported, right)
}

#[test]
fn mutants_of_a_pipeline_by_counters() {
    assert_eq!(judge(PIPELINE), (false, true));
    let edited = |from: &str, to: &str| {
        assert!(PIPELINE.contains(from), "{from}");
        judge(&PIPELINE.replace(from, to))
    };
    let wait = "cp.async.wait_group \t1;\n";
    for (what, from, to) in [
        ("no wait", wait, ""),
        ("a wait for one group less", wait, "cp.async.wait_group 2;\n"),
        ("no barrier", "bar.sync \t0;\n", ""),
        ("a ring that wraps a slot early", ", 2;\n\tselp", ", 1;\n\tselp"),
        (
            "no commit in the loop",
            "// end inline asm\n\tcp.async.commit_group;\n\tadd.s64 \t%rd4, %rd4, 1024",
            "add.s64 \t%rd4, %rd4, 1024",
        ),
    ] {
        let (reported, right) = edited(from, to);
        assert!(reported && !right, "{what}: reported {reported}, right {right}");
    }
    for (what, from, to) in [
        ("a stricter wait", wait, "cp.async.wait_all;\n"),
        ("another barrier", "bar.sync \t0;\n", "bar.sync \t0;\n\tbar.sync \t0;\n"),
    ] {
        assert_eq!(edited(from, to), (false, true), "{what}");
    }
}

//! Hand-written kernels: arithmetic and control flow, the asynchronous ring with its mutants, matrix fragments.

mod blocks;
mod calls;
mod counters;
mod mbarrier;
mod memory;
mod notes;
mod places;
mod products;
mod tensor;
mod warp;

use alcop_spec::kernel::{ArrayDType, Kernel};

use super::*;
use crate::launch::{ArgBuffer, emulate};

/// A module with one entry `k`, from its parameters and body.
fn module(params: &str, shared: &str, body: &str) -> String {
    format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n{shared}\n.visible .entry k({params})\n{{\n\
         .reg .pred %p<20>;\n.reg .b16 %rs<20>;\n.reg .b32 %r<60>;\n.reg .f32 %f<20>;\n.reg .b64 %rd<40>;\n{body}\nret;\n}}\n"
    )
}

fn kernel(ptx: String, threads: u32) -> Kernel {
    Kernel {
        ptx,
        entry: "k".into(),
        grid: [1, 1, 1],
        block: [threads, 1, 1],
        dynamic_shared_bytes: 0,
    }
}

fn words(values: impl IntoIterator<Item = u32>) -> ArgBuffer {
    let bytes = values.into_iter().flat_map(u32::to_le_bytes).collect();
    ArgBuffer::Array {
        dtype: ArrayDType::U32,
        bytes,
    }
}

fn read_words(arg: &ArgBuffer) -> Vec<u32> {
    arg.bytes()
        .unwrap_or(&[])
        .chunks_exact(4)
        .map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
        .collect()
}

const ONE_POINTER: &str = ".param .u64 .ptr .global .align 4 out";

/// Each thread stores %r1 (computed by `body` from its index %r0) to out[index].
fn per_thread(threads: u32, body: &str) -> Result<(Vec<u32>, EmulationReport), EmulatorError> {
    let text = module(
        ONE_POINTER,
        "",
        &format!(
            "ld.param.u64 %rd1, [out];\ncvta.to.global.u64 %rd1, %rd1;\nmov.u32 %r0, %tid.x;\n{body}\n\
             mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd3, %rd1, %rd2;\nst.global.u32 [%rd3], %r1;"
        ),
    );
    let mut args = [words(vec![0xdead_beef; threads as usize])];
    let report = emulate(&kernel(text, threads), &mut args, &EmulateOptions::default())?;
    Ok((read_words(&args[0]), report))
}

fn clean(threads: u32, body: &str) -> Vec<u32> {
    let (out, report) = per_thread(threads, body).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report.hazards, []);
    out
}

#[test]
fn divergent_branches_meet_again() {
    // Odd lanes add 100, even ones 200, and all of them 1 afterwards.
    let out = clean(
        64,
        "and.b32 %r2, %r0, 1;\nsetp.eq.s32 %p1, %r2, 0;\nmov.u32 %r1, %r0;\n@%p1 bra EVEN;\n\
         add.s32 %r1, %r1, 100;\nbra MEET;\nEVEN: add.s32 %r1, %r1, 200;\nMEET:\nactivemask.b32 %r3;\n\
         not.b32 %r3, %r3;\nadd.s32 %r1, %r1, %r3;\nadd.s32 %r1, %r1, 1;",
    );
    for (i, value) in out.iter().enumerate() {
        let i = i as u32;
        assert_eq!(*value, i + if i.is_multiple_of(2) { 201 } else { 101 });
    }
}

#[test]
fn divergent_loops_run_each_lane_its_own_trip_count() {
    let out = clean(
        32,
        "mov.u32 %r1, 0;\nmov.u32 %r2, 0;\nLOOP:\nadd.s32 %r1, %r1, %r2;\nadd.s32 %r2, %r2, 1;\n\
         setp.le.u32 %p1, %r2, %r0;\n@%p1 bra LOOP;",
    );
    for (i, value) in out.iter().enumerate() {
        assert_eq!(*value as usize, i * (i + 1) / 2);
    }
}

#[test]
fn some_lanes_may_leave_early() {
    let (out, _) = per_thread(40, "mov.u32 %r1, 7;\nsetp.lt.u32 %p1, %r0, 5;\n@%p1 exit;").expect("runs");
    assert_eq!(out[..5], [0xdead_beef; 5]);
    assert_eq!(out[5..], [7; 35]);
}

#[test]
fn vectors_unpack_pack_and_special_registers() {
    let out = clean(
        32,
        "mov.u32 %r2, %laneid;\nmov.u32 %r3, %ntid.x;\nshl.b32 %r4, %r2, 16;\nor.b32 %r4, %r4, %r3;\n\
         mov.b32 {%rs1, %rs2}, %r4;\nmov.b32 %r1, {%rs2, %rs1};",
    );
    for (i, value) in out.iter().enumerate() {
        assert_eq!(*value, (32 << 16) | i as u32);
    }
}

#[test]
fn shuffles_and_votes() {
    let out = clean(
        32,
        "shfl.sync.bfly.b32 %r2|%p2, %r0, 1, 31, -1;\nshfl.sync.up.b32 %r3|%p3, %r0, 4, 0, -1;\n\
         setp.lt.u32 %p1, %r0, 4;\nvote.sync.ballot.b32 %r4, %p1, -1;\nselp.b32 %r5, 1000, 0, %p3;\n\
         mad.lo.s32 %r1, %r2, 10000, %r5;\nadd.s32 %r1, %r1, %r3;\nadd.s32 %r1, %r1, %r4;",
    );
    for (i, value) in out.iter().enumerate() {
        let i = i as u32;
        let up = if i < 4 { i } else { i - 4 };
        let inside = if i < 4 { 0 } else { 1000 };
        assert_eq!(*value, (i ^ 1) * 10000 + inside + up + 15, "lane {i}");
    }
}

#[test]
fn faults_are_named_errors() {
    let past_the_end = "mov.u32 %r1, 1;\nadd.s32 %r0, %r0, 1;";
    let only = |body: &str| {
        let (_, report) = per_thread(32, body).expect("a hazard is no error");
        let [hazard] = &report.hazards[..] else {
            panic!("{:#?}", report.hazards)
        };
        hazard.clone()
    };
    let hazard = only(past_the_end);
    assert_eq!((hazard.code, hazard.lane), (HazardCode::OutOfBounds, 31));
    let detail =
        "4 bytes of global memory are out of bounds: 0 bytes behind the end of argument 0 (`out`), which has 128 bytes";
    assert_eq!(hazard.detail.as_deref(), Some(detail));
    let hazard = only("mov.u32 %r1, 1;\nadd.s64 %rd1, %rd1, 2;");
    assert_eq!((hazard.code, hazard.lane), (HazardCode::Misaligned, 0));
    let detail = "4 bytes of global memory are misaligned: byte 2 of argument 0 (`out`), which has 128 bytes";
    assert_eq!(hazard.detail.as_deref(), Some(detail));
    for (body, said) in [
        (
            "mov.u32 %r1, 1;\nsub.s64 %rd1, %rd1, 64;",
            "64 bytes before the start of argument 0",
        ),
        ("mov.u32 %r1, 1;\nmov.u64 %rd1, 16;", "a null pointer"),
        (
            "mov.u32 %r1, 1;\nadd.s64 %rd1, %rd1, 0x4000000000;",
            "behind the end of argument 0",
        ),
        (
            "ld.shared.u32 %r1, [%r0+64];",
            "out of bounds: the block has 0 bytes of shared memory",
        ),
        ("ld.param.u32 %r1, [out+8];", "the parameters take 8 bytes"),
    ] {
        let line = only(body).line();
        assert!(line.contains(said), "{line}");
    }
    // Without hazards it is an error, which says the same.
    let text = module(ONE_POINTER, "", "ld.param.u64 %rd1, [out];\nst.global.u32 [%rd1+4], 1;");
    let options = EmulateOptions {
        hazards: false,
        ..EmulateOptions::default()
    };
    let error = emulate(&kernel(text, 32), &mut [words([0])], &options).expect_err("one past the end");
    assert!(
        matches!(&error, EmulatorError::OutOfBounds { address, at, .. } if *address > 0 && at.lane == 0 && at.kernel == "k"),
        "{error}"
    );
    let error = per_thread(32, "frobnicate.b32 %r1, %r0;").expect_err("unknown");
    assert!(error.to_string().contains("frobnicate.b32 %r1, %r0;"), "{error}");
    let error = per_thread(
        64,
        "mov.u32 %r1, 1;\nsetp.lt.u32 %p1, %r0, 32;\n@%p1 bra SKIP;\nbar.sync 1, 96;\nSKIP:",
    );
    assert!(matches!(error, Err(EmulatorError::Deadlock { .. })), "{error:?}");
}

#[test]
fn endless_loops_meet_the_step_limit() {
    let text = module(ONE_POINTER, "", "L: bra L;");
    let options = EmulateOptions {
        step_limit: 1000,
        ..EmulateOptions::default()
    };
    let error = emulate(&kernel(text, 32), &mut [words([0])], &options).expect_err("endless");
    assert!(matches!(error, EmulatorError::StepLimit { steps: 1000, .. }), "{error}");
}

#[test]
fn undefined_values_matter_only_where_they_are_used() {
    let shared = ".shared .align 16 .b8 buffer[256];";
    let body = |use_it: &str| {
        module(
            ONE_POINTER,
            shared,
            &format!(
                "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r5, buffer;\nshl.b32 %r6, %r0, 2;\n\
                 add.s32 %r5, %r5, %r6;\nst.shared.b16 [%r5], 7;\nld.shared.u32 %r1, [%r5];\n{use_it}\n\
                 mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd3, %rd1, %rd2;\nst.global.u32 [%rd3], %r1;"
            ),
        )
    };
    let run = |text: String| emulate(&kernel(text, 32), &mut [words([0; 32])], &EmulateOptions::default());
    // The upper half was never written: cut off, it is harmless.
    assert_eq!(run(body("and.b32 %r1, %r1, 65535;")).expect("runs").hazards, []);
    assert_eq!(
        run(body("cvt.u16.u32 %rs1, %r1;\ncvt.u32.u16 %r1, %rs1;"))
            .expect("runs")
            .hazards,
        []
    );
    let codes = |text| {
        run(text)
            .expect("runs")
            .hazards
            .iter()
            .map(|h| h.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(body("")), [HazardCode::UndefinedValue]);
    assert_eq!(
        codes(body("setp.eq.u32 %p1, %r1, 3;\n@%p1 mov.u32 %r1, 0;")),
        [HazardCode::UndefinedValue]
    );
    assert_eq!(codes(body("shr.u32 %r1, %r1, 16;")), [HazardCode::UndefinedValue]);
}

/// A ring of `slots` slots: block-wide copies of 16 bytes a thread, read by the *next* thread of the block, summed.
struct Ring {
    slots: u32,
    wait: &'static str,
    first_barrier: &'static str,
    distance: u32,
}

impl Ring {
    const GOOD: Ring = Ring {
        slots: 3,
        wait: "cp.async.wait_group 1;",
        first_barrier: "bar.sync 0;",
        distance: 2,
    };

    /// out[t] = sum over all 8 chunks of in[chunk][(t + 1) % 64][0]; one barrier an iteration, copies after it.
    fn run(&self, options: &EmulateOptions) -> (Vec<u32>, EmulationReport) {
        let slots = self.slots;
        let copy = "mul.lo.s32 %r11, %r10, 1024;\ncvt.u64.u32 %rd5, %r11;\nadd.s64 %rd6, %rd2, %rd5;\n\
                    cp.async.cg.shared.global [%r12], [%rd6], 16;";
        let advance = |slot: &str| {
            format!("add.s32 {slot}, {slot}, 1;\nsetp.eq.s32 %p2, {slot}, {slots};\nselp.b32 {slot}, 0, {slot}, %p2;")
        };
        let mut body = String::from(
            "ld.param.u64 %rd1, [in];\nld.param.u64 %rd3, [out];\nmov.u32 %r0, %tid.x;\n\
             mul.wide.u32 %rd4, %r0, 16;\nadd.s64 %rd2, %rd1, %rd4;\nmov.u32 %r20, ring;\nshl.b32 %r21, %r0, 4;\n\
             add.s32 %r22, %r20, %r21;\nadd.s32 %r23, %r0, 1;\nand.b32 %r23, %r23, 63;\nshl.b32 %r24, %r23, 4;\n\
             add.s32 %r25, %r20, %r24;\nmov.u32 %r1, 0;\nmov.u32 %r10, 0;\nmov.u32 %r30, 0;\nmov.u32 %r31, 0;\n\
             mov.u32 %r32, 0;\n",
        );
        for _ in 0..self.distance {
            body += &format!("shl.b32 %r13, %r30, 10;\nadd.s32 %r12, %r22, %r13;\n{copy}\ncp.async.commit_group;\n");
            body += &format!("add.s32 %r10, %r10, 1;\n{}\n", advance("%r30"));
        }
        body += &format!(
            "LOOP:\n{}\n{}\nsetp.lt.s32 %p1, %r10, 8;\nshl.b32 %r13, %r30, 10;\nadd.s32 %r12, %r22, %r13;\n\
             mul.lo.s32 %r11, %r10, 1024;\ncvt.u64.u32 %rd5, %r11;\nadd.s64 %rd6, %rd2, %rd5;\n\
             @%p1 cp.async.cg.shared.global [%r12], [%rd6], 16;\ncp.async.commit_group;\nadd.s32 %r10, %r10, 1;\n{}\n\
             shl.b32 %r13, %r31, 10;\nadd.s32 %r14, %r25, %r13;\nld.shared.u32 %r15, [%r14];\n\
             add.s32 %r1, %r1, %r15;\n{}\nadd.s32 %r32, %r32, 1;\nsetp.lt.s32 %p3, %r32, 8;\n@%p3 bra LOOP;\n\
             mul.wide.u32 %rd7, %r0, 4;\nadd.s64 %rd8, %rd3, %rd7;\nst.global.u32 [%rd8], %r1;",
            self.wait,
            self.first_barrier,
            advance("%r30"),
            advance("%r31")
        );
        let shared = format!(".shared .align 16 .b8 ring[{}];", slots * 1024);
        let text = module(".param .u64 in, .param .u64 out", &shared, &body);
        let mut args = [words((0..8 * 256).map(|i| i * i)), words([0; 64])];
        let report = emulate(&kernel(text, 64), &mut args, options).unwrap_or_else(|error| panic!("{error}"));
        (read_words(&args[1]), report)
    }

    fn expected() -> Vec<u32> {
        let sum = |t: u32| (0..8).map(|chunk| (chunk * 256 + ((t + 1) % 64) * 4u32).pow(2)).sum();
        (0..64).map(sum).collect()
    }
}

fn arrivals() -> Vec<EmulateOptions> {
    let random = (0..6).map(|seed| (Arrival::Random, seed));
    [(Arrival::Earliest, 0), (Arrival::Latest, 0)]
        .into_iter()
        .chain(random)
        .map(|(arrival, seed)| EmulateOptions {
            arrival,
            seed,
            ..EmulateOptions::default()
        })
        .collect()
}

#[test]
fn the_ring_is_clean_and_right_under_every_arrival() {
    for options in arrivals() {
        let (out, report) = Ring::GOOD.run(&options);
        assert_eq!(report.hazards, [], "{options:?}");
        assert_eq!(out, Ring::expected(), "{options:?}");
        let inner = &report.counters.loops[0];
        assert_eq!(inner.iterations, 16, "8 iterations of 2 warps");
        assert_eq!(inner.counts.instructions[&Class::Barrier], 16);
        assert_eq!(inner.counts.max_groups_in_flight, 2, "slots less one");
        assert_eq!(inner.counts.max_groups_after_wait, 1);
        assert_eq!(
            report.counters.kernel.instructions[&Class::CpAsync],
            2 * 10,
            "predicated off at the end"
        );
        assert_eq!(report.counters.kernel.bytes["global"], 64 * (8 * 16 + 4));
    }
}

#[test]
fn dropping_the_wait_the_barrier_or_a_slot_is_reported() {
    use HazardCode::*;
    let mutants = [
        ("no wait", Ring { wait: "", ..Ring::GOOD }, ReadBeforeWait),
        (
            "waits for one group too few",
            Ring {
                wait: "cp.async.wait_group 2;",
                ..Ring::GOOD
            },
            ReadBeforeWait,
        ),
        (
            "no barrier",
            Ring {
                first_barrier: "",
                ..Ring::GOOD
            },
            ReadWithoutBarrier,
        ),
        ("one slot too few", Ring { slots: 2, ..Ring::GOOD }, OverwriteBeforeRead),
    ];
    for (name, ring, code) in mutants {
        let mut wrong = 0;
        for options in arrivals() {
            let keep_going = EmulateOptions {
                keep_going: true,
                ..options.clone()
            };
            let (_, report) = ring.run(&keep_going);
            let codes: Vec<_> = report.hazards.iter().map(|hazard| hazard.code).collect();
            assert!(!codes.is_empty(), "{name} is silent under {options:?}");
            if options.arrival == Arrival::Latest {
                assert!(codes.contains(&code), "{name}: {codes:?}");
                let hazard = &report.hazards[0];
                assert!(
                    hazard.first.is_some() && hazard.line > 0 && !hazard.second.text.is_empty(),
                    "{hazard:?}"
                );
            }
            let (out, silent) = ring.run(&EmulateOptions {
                hazards: false,
                ..options
            });
            assert_eq!(silent.hazards, []);
            wrong += u32::from(out != Ring::expected());
        }
        assert!(wrong > 0, "{name} never gave a wrong result");
    }
}

#[test]
fn a_stricter_wait_and_another_barrier_are_harmless() {
    for ring in [
        Ring {
            wait: "cp.async.wait_all;",
            ..Ring::GOOD
        },
        Ring {
            wait: "cp.async.wait_group 0;",
            ..Ring::GOOD
        },
        Ring {
            first_barrier: "bar.sync 0;\nbarrier.sync.aligned 3;",
            ..Ring::GOOD
        },
        Ring { slots: 4, ..Ring::GOOD },
    ] {
        for options in arrivals() {
            let (out, report) = ring.run(&options);
            assert_eq!(report.hazards, []);
            assert_eq!(out, Ring::expected());
        }
    }
}

/// One warp or two store to shared memory and read it back, with something in between.
fn exchange(threads: u32, between: &str, read_offset: u32) -> Vec<HazardCode> {
    let body = format!(
        "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r5, buffer;\nshl.b32 %r6, %r0, 2;\n\
         add.s32 %r7, %r5, %r6;\nst.shared.u32 [%r7], %r0;\n{between}\nxor.b32 %r8, %r0, {read_offset};\n\
         shl.b32 %r8, %r8, 2;\nadd.s32 %r9, %r5, %r8;\nld.shared.u32 %r1, [%r9];\nmul.wide.u32 %rd2, %r0, 4;\n\
         add.s64 %rd3, %rd1, %rd2;\nst.global.u32 [%rd3], %r1;"
    );
    let text = module(ONE_POINTER, ".shared .align 16 .b8 buffer[1024];", &body);
    let mut args = [words(vec![0; threads as usize])];
    let options = EmulateOptions {
        keep_going: true,
        arrival: Arrival::Earliest,
        ..EmulateOptions::default()
    };
    let report = emulate(&kernel(text, threads), &mut args, &options).unwrap_or_else(|error| panic!("{error}"));
    report.hazards.iter().map(|hazard| hazard.code).collect()
}

#[test]
fn races_need_a_barrier_and_nothing_less() {
    assert_eq!(exchange(64, "", 0), [], "each thread its own word");
    assert_eq!(exchange(64, "bar.sync 0;", 32), []);
    assert!(
        exchange(64, "", 32).contains(&HazardCode::UndefinedValue) || exchange(64, "", 32).contains(&HazardCode::Race)
    );
    assert_eq!(
        exchange(32, "", 1),
        [HazardCode::Race],
        "lanes of a warp are not ordered by being in one"
    );
    assert_eq!(exchange(32, "bar.warp.sync -1;", 1), []);
    assert_eq!(exchange(64, "bar.warp.sync -1;", 1), []);
}

#[test]
fn lanes_may_store_the_same_value_to_one_address_but_not_different_ones() {
    let run = |value: &str| {
        let body =
            format!("mov.u32 %r0, %tid.x;\nmov.u32 %r5, buffer;\nmov.u32 %r6, 9;\nst.shared.u32 [%r5], {value};");
        let text = module(ONE_POINTER, ".shared .align 16 .b8 buffer[16];", &body);
        let report = emulate(&kernel(text, 32), &mut [words([0])], &EmulateOptions::default()).expect("runs");
        report.hazards.iter().map(|hazard| hazard.code).collect::<Vec<_>>()
    };
    assert_eq!(run("%r6"), []);
    assert_eq!(run("%r0"), [HazardCode::Race]);
}

#[test]
fn a_divergent_barrier_is_reported() {
    let (_, report) = per_thread(
        32,
        "mov.u32 %r1, 1;\nsetp.lt.u32 %p1, %r0, 5;\n@%p1 bra SKIP;\nbar.sync 0;\nSKIP:",
    )
    .expect("runs");
    assert_eq!(report.hazards[0].code, HazardCode::DivergentBarrier);
}

#[test]
fn zero_fill_writes_zeros_and_reads_nothing() {
    let body = "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r5, buffer;\nshl.b32 %r6, %r0, 4;\n\
                add.s32 %r7, %r5, %r6;\nmul.wide.u32 %rd2, %r0, 16;\nadd.s64 %rd3, %rd1, %rd2;\n\
                setp.lt.u32 %p1, %r0, 2;\nselp.b32 %r8, 16, 0, %p1;\nmov.u32 %r9, 6;\n\
                setp.eq.u32 %p2, %r0, 1;\nselp.b32 %r8, %r9, %r8, %p2;\n\
                cp.async.cg.shared.global.L2::128B [%r7], [%rd3], 16, %r8;\ncp.async.commit_group;\n\
                cp.async.wait_group 0;\nld.shared.v4.u32 {%r10, %r11, %r12, %r13}, [%r7];\n\
                add.s32 %r1, %r10, %r11;\nadd.s32 %r1, %r1, %r12;\nadd.s32 %r1, %r1, %r13;\n\
                ld.param.u64 %rd4, [sums];\nmul.wide.u32 %rd5, %r0, 4;\nadd.s64 %rd6, %rd4, %rd5;\n\
                st.global.u32 [%rd6], %r1;";
    let params = ".param .u64 out, .param .u64 sums";
    let text = module(params, ".shared .align 16 .b8 buffer[512];", body);
    for options in arrivals() {
        // Two rows of 16 bytes only: the other threads point past the end, with source size 0.
        let mut args = [words([1, 2, 3, 4, 0x0001_0005, 0x0009_0006, 7, 8]), words([9; 32])];
        let report = emulate(&kernel(text.clone(), 32), &mut args, &options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.hazards, []);
        let out = read_words(&args[1]);
        assert_eq!(out[..3], [10, 0x0001_0005 + 6, 0]);
        assert_eq!(out[31], 0);
    }
}

/// One warp: A (16×16) and B (16×8) go to shared memory, through `ldmatrix` to fragments, through `mma` to C. `rows`
/// rows of A are written; the others stay undefined.
fn tile(rows: u32, store_rows: u32) -> (Vec<f32>, Vec<HazardCode>) {
    let body = format!(
        "ld.param.u64 %rd1, [a];\nld.param.u64 %rd2, [b];\nld.param.u64 %rd3, [c];\nmov.u32 %r0, %tid.x;\n\
         mov.u32 %r5, left;\nmov.u32 %r6, right;\nmul.wide.u32 %rd4, %r0, 16;\nshl.b32 %r7, %r0, 4;\n\
         add.s64 %rd5, %rd1, %rd4;\nadd.s32 %r8, %r5, %r7;\nsetp.lt.u32 %p1, %r0, {};\n\
         @%p1 cp.async.cg.shared.global [%r8], [%rd5], 16;\nadd.s64 %rd6, %rd2, %rd4;\nadd.s32 %r9, %r6, %r7;\n\
         setp.lt.u32 %p2, %r0, 16;\n@%p2 cp.async.ca.shared.global [%r9], [%rd6], 16;\ncp.async.wait_all;\n\
         bar.sync 0;\nand.b32 %r10, %r0, 15;\nshl.b32 %r10, %r10, 5;\nshr.u32 %r11, %r0, 4;\nshl.b32 %r11, %r11, 4;\n\
         add.s32 %r12, %r5, %r10;\nadd.s32 %r12, %r12, %r11;\nand.b32 %r13, %r0, 15;\nshl.b32 %r13, %r13, 4;\n\
         add.s32 %r14, %r6, %r13;\n\
         ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r20, %r21, %r22, %r23}}, [%r12];\n\
         ldmatrix.sync.aligned.x2.m8n8.trans.shared.b16 {{%r24, %r25}}, [%r14];\nmov.f32 %f1, 0f3F800000;\n\
         mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{%f2, %f3, %f4, %f5}}, {{%r20, %r21, %r22, %r23}}, \
         {{%r24, %r25}}, {{%f1, %f1, %f1, %f1}};\nshr.u32 %r30, %r0, 2;\nand.b32 %r31, %r0, 3;\n\
         shl.b32 %r32, %r30, 5;\nshl.b32 %r33, %r31, 3;\nadd.s32 %r34, %r32, %r33;\ncvt.u64.u32 %rd7, %r34;\n\
         add.s64 %rd8, %rd3, %rd7;\nsetp.lt.u32 %p3, %r30, {store_rows};\n\
         @%p3 st.global.v2.f32 [%rd8], {{%f2, %f3}};\nadd.s32 %r35, %r30, 8;\nsetp.lt.u32 %p4, %r35, {store_rows};\n\
         @%p4 st.global.v2.f32 [%rd8+256], {{%f4, %f5}};",
        rows * 2
    );
    let shared = ".shared .align 16 .b8 left[512];\n.shared .align 16 .b8 right[256];";
    let params = ".param .u64 a, .param .u64 b, .param .u64 c";
    let half = |value: u32| half::f16::from_f32_const(value as f32);
    let a: Vec<_> = (0..256).map(|i| half(i * 7 % 5)).collect();
    let b: Vec<_> = (0..128).map(|i| half(i * 3 % 7)).collect();
    let mut args = [ArgBuffer::f16(&a), ArgBuffer::f16(&b), ArgBuffer::f32(&[0.0; 128])];
    let options = EmulateOptions {
        keep_going: true,
        ..EmulateOptions::default()
    };
    let report =
        emulate(&kernel(module(params, shared, &body), 32), &mut args, &options).unwrap_or_else(|e| panic!("{e}"));
    let out = read_words(&args[2]).into_iter().map(f32::from_bits).collect();
    (out, report.hazards.iter().map(|hazard| hazard.code).collect())
}

#[test]
fn a_tile_through_ldmatrix_and_mma() {
    let (out, hazards) = tile(16, 16);
    assert_eq!(hazards, []);
    for row in 0..16u32 {
        for column in 0..8u32 {
            let sum: u32 = (0..16)
                .map(|k| ((row * 16 + k) * 7 % 5) * ((k * 8 + column) * 3 % 7))
                .sum();
            assert_eq!(out[(row * 8 + column) as usize], 1.0 + sum as f32, "C[{row}][{column}]");
        }
    }
}

#[test]
fn an_undefined_row_of_a_matters_only_where_its_results_are_stored() {
    assert_eq!(tile(11, 11).1, [], "rows that were never loaded are never stored");
    assert_eq!(tile(11, 12).1, [HazardCode::UndefinedValue]);
}

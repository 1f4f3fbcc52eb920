//! What the judge skips as a repetition, it would have acquitted: small kernels that repeat themselves, but for one
//! detail at one place.

use alcop_compiler::ir::Context;
use alcop_passes::hazard::{Hazard, HazardKind, Judgement, Repeats, check_with};

/// Judges the body of a kernel, in which `shared` is a type; the judgement must be the same when all is executed.
fn judge(threads: u32, shared: &str, body: &str) -> Judgement {
    let source = format!(
        "!shared = {shared}
        gpu.module @m {{ gpu.func @k(%global: memref<512xf16>) workgroup(%s: !shared)
            kernel attributes {{known_block_size = array<i32: {threads}, 1, 1>}} {{
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %c3 = arith.constant 3 : index
        %c8 = arith.constant 8 : index
        %c32 = arith.constant 32 : index
        %value = arith.constant 1.0 : f16
        %thread = gpu.thread_id x
        {body}
        gpu.return
    }} }}"
    );
    let context = Context::new();
    let module = context.parse(&source, "k.mlir").expect("valid");
    let [skipping, executing] = [Repeats::Skip, Repeats::Execute].map(|repeats| check_with(&module, repeats).remove(0));
    let rest = |judgement: &Judgement| (judgement.not_judged.clone(), judgement.accesses);
    assert_eq!(skipping.hazards, executing.hazards);
    assert_eq!(rest(&skipping), rest(&executing));
    assert_eq!(skipping.not_judged, None);
    skipping
}

fn kinds(hazards: &[Hazard]) -> Vec<HazardKind> {
    hazards.iter().map(|hazard| hazard.kind).collect()
}

use HazardKind::*;

/// Each thread writes its element of a slot, and reads another warp's after a barrier, which one iteration lacks.
fn exchange(broken: u64) -> Judgement {
    judge(
        64,
        "memref<3x64xf16, #gpu.address_space<workgroup>>",
        &format!(
            "%other = arith.xori %thread, %c32 : index
            %broken = arith.constant {broken} : index
            %trip = arith.constant 96 : index
            scf.for %i = %c0 to %trip step %c1 {{
                %slot = arith.remui %i, %c3 : index
                memref.store %value, %s[%slot, %thread] : !shared
                %synchronized = arith.cmpi ne, %i, %broken : index
                scf.if %synchronized {{ gpu.barrier }}
                %read = memref.load %s[%slot, %other] : !shared
            }}"
        ),
    )
}

#[test]
fn a_fault_is_reported_in_whichever_iteration_it_is() {
    let sound = exchange(96);
    assert_eq!((sound.hazards, sound.accesses), (vec![], 96 * 128));
    assert!(
        sound.repeated_accesses >= 80 * 128,
        "{} skipped",
        sound.repeated_accesses
    );
    for broken in 0..96 {
        let judgement = exchange(broken);
        assert_eq!(kinds(&judgement.hazards), [ReadWithoutBarrier], "in iteration {broken}");
    }
}

#[test]
fn the_same_copies_over_others_in_flight_are_executed() {
    // The copies of iteration 3 go where those of iteration 0 may still be landing: nothing waits.
    for (trip, expected) in [(3, vec![]), (4, vec![OverwriteInFlight])] {
        let judgement = judge(
            8,
            "memref<3x64xf16, #gpu.address_space<workgroup>>",
            &format!(
                "%column = arith.muli %thread, %c8 : index
                %trip = arith.constant {trip} : index
                scf.for %i = %c0 to %trip step %c1 {{
                    %slot = arith.remui %i, %c3 : index
                    %copy = nvgpu.device_async_copy %global[%column], %s[%slot, %column], 8 {{bypassL1}}
                        : memref<512xf16> to !shared
                    nvvm.cp.async.commit.group
                    gpu.barrier
                }}"
            ),
        );
        assert_eq!(kinds(&judgement.hazards), expected, "{trip} iterations");
    }
}

#[test]
fn the_same_wait_for_another_number_of_groups_is_executed() {
    // The wait is for the copies as long as an empty group follows theirs, which one iteration lacks.
    for (broken, expected) in [(96, vec![]), (0, vec![ReadBeforeWait]), (40, vec![ReadBeforeWait])] {
        let judgement = judge(
            64,
            "memref<512xf16, #gpu.address_space<workgroup>>",
            &format!(
                "%column = arith.muli %thread, %c8 : index
                %broken = arith.constant {broken} : index
                %trip = arith.constant 96 : index
                scf.for %i = %c0 to %trip step %c1 {{
                    %copy = nvgpu.device_async_copy %global[%column], %s[%column], 8 {{bypassL1}}
                        : memref<512xf16> to !shared
                    nvvm.cp.async.commit.group
                    %another = arith.cmpi ne, %i, %broken : index
                    scf.if %another {{ nvvm.cp.async.commit.group }}
                    gpu.barrier
                    nvvm.cp.async.wait.group 1
                    gpu.barrier
                    %read = memref.load %s[%column] : !shared
                    nvvm.cp.async.wait.group 0
                    gpu.barrier
                }}"
            ),
        );
        assert_eq!(
            kinds(&judgement.hazards),
            expected,
            "one group less in iteration {broken}"
        );
    }
}

#[test]
fn the_same_reads_of_bytes_just_written_are_executed() {
    // Without barriers the judge cuts after 4096 events: two cuts of reads, a third that ends with a write, and again
    // one of reads.
    for (written_in, expected) in [(20_000, vec![]), (12_286, vec![ReadWithoutBarrier])] {
        let judgement = judge(
            2,
            "memref<2xf16, #gpu.address_space<workgroup>>",
            &format!(
                "memref.store %value, %s[%thread] : !shared
                gpu.barrier
                %other = arith.xori %thread, %c1 : index
                %written_in = arith.constant {written_in} : index
                %trip = arith.constant 16383 : index
                scf.for %i = %c0 to %trip step %c1 {{
                    %read = memref.load %s[%thread] : !shared
                    %write = arith.cmpi eq, %i, %written_in : index
                    scf.if %write {{ memref.store %value, %s[%other] : !shared }}
                }}"
            ),
        );
        // The write itself comes before the last reads of its bytes.
        let found: Vec<HazardKind> = kinds(&judgement.hazards)
            .into_iter()
            .filter(|kind| *kind != WriteBeforeLastRead)
            .collect();
        assert_eq!(found, expected, "written in iteration {written_in}");
    }
}

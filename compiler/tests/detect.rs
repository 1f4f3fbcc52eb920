//! Verdicts on hand-written kernels: for each code a case that is refused, beside a near miss that is accepted.

use alcop_compiler::detect::{BufferVerdict, DetectOptions, Detection, Level, ReasonCode, Verdict, detect};
use alcop_compiler::ir::{BufferId, Context};

const OPTIONS: DetectOptions = DetectOptions {
    shared_bytes_per_block: 166_912,
    block_size: None,
    assume_noalias: false,
};

/// The parts of a small kernel that the tests vary: 32 threads fill 32 rows of 4 f32 and sum columns of them.
struct Kernel<'a> {
    arguments: &'a str,
    attributes: &'a str,
    before_loop: &'a str,
    copy: &'a str,
    first_barrier: &'a str,
    body: &'a str,
    last_barrier: &'a str,
    after_loop: &'a str,
}

const GOOD: Kernel<'static> = Kernel {
    arguments: "%src: memref<1024x4xf32> {llvm.noalias, llvm.align = 16 : i64}, %dst: memref<1024x4xf32> {llvm.noalias}",
    attributes: "{known_block_size = array<i32: 32, 1, 1>}",
    before_loop: "",
    copy: "%v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
           vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>",
    first_barrier: "gpu.barrier",
    body: "",
    last_barrier: "gpu.barrier",
    after_loop: "",
};

impl Kernel<'_> {
    fn source(&self) -> String {
        let Kernel {
            arguments,
            attributes,
            before_loop,
            copy,
            first_barrier,
            body,
            last_barrier,
            after_loop,
        } = self;
        format!(
            "gpu.module @m {{ gpu.func @k({arguments}) kernel attributes {attributes} {{
               %c0 = arith.constant 0 : index
               %c1 = arith.constant 1 : index
               %c2 = arith.constant 2 : index
               %c4 = arith.constant 4 : index
               %c31 = arith.constant 31 : index
               %c32 = arith.constant 32 : index
               %c1024 = arith.constant 1024 : index
               %zero = arith.constant dense<0.0> : vector<4xf32>
               %t = gpu.thread_id x
               %mirror = arith.subi %c31, %t : index
               %s = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
               {before_loop}
               %sum = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {{
                 %row = arith.addi %i, %t : index
                 {copy}
                 {first_barrier}
                 {body}
                 %x = vector.load %s[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
                 %next = arith.addf %acc, %x : vector<4xf32>
                 {last_barrier}
                 scf.yield %next : vector<4xf32>
               }}
               {after_loop}
               vector.store %sum, %dst[%t, %c0] : memref<1024x4xf32>, vector<4xf32>
               gpu.return
             }} }}"
        )
    }

    fn verdict(&self, options: &DetectOptions) -> BufferVerdict {
        let detection = verdicts(&self.source(), options);
        let mut buffers = detection.kernels.into_iter().flat_map(|kernel| kernel.buffers);
        buffers
            .find(|buffer| buffer.level == Level::Shared)
            .expect("the kernel has a shared buffer")
    }
}

fn verdicts(source: &str, options: &DetectOptions) -> Detection {
    let context = Context::new();
    let module = context
        .parse(source, "k.mlir")
        .unwrap_or_else(|error| panic!("{error}\n{source}"));
    let before = module.to_string();
    let detection = detect(&module, options);
    assert_eq!(module.to_string(), before, "detection changes nothing");
    detection
}

#[track_caller]
fn accepted(kernel: &Kernel<'_>) -> BufferVerdict {
    let verdict = kernel.verdict(&OPTIONS);
    assert_eq!((verdict.verdict, &verdict.reasons[..]), (Verdict::Pipelinable, &[][..]));
    verdict
}

#[track_caller]
fn refused(kernel: &Kernel<'_>, code: ReasonCode) {
    let verdict = kernel.verdict(&OPTIONS);
    assert_eq!(verdict.verdict, Verdict::Rejected);
    assert!(
        verdict.reasons.iter().any(|reason| reason.code == code),
        "{:?}",
        verdict.reasons
    );
    assert!(
        verdict
            .reasons
            .iter()
            .all(|reason| reason.location.starts_with("k.mlir:")),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn a_kernel_that_is_no_matmul_is_pipelinable() {
    let verdict = accepted(&GOOD);
    assert_eq!(
        verdict.id,
        BufferId::OpResult {
            op: "memref.alloc".to_owned(),
            index: 0
        }
    );
    assert_eq!(
        (verdict.bytes, verdict.async_bytes, verdict.loop_index),
        (512, Some(16), Some(0))
    );
    assert_eq!(verdict.max_depth, Some(32));
    assert_eq!((verdict.copies.len(), verdict.barriers.len()), (1, 2));
}

#[test]
fn not_a_pure_copy() {
    let two_loads = "%v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
        %w = vector.load %src[%t, %c0] : memref<1024x4xf32>, vector<4xf32>
        %y = arith.addf %v, %w : vector<4xf32>
        vector.store %y, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    refused(
        &Kernel {
            copy: two_loads,
            ..GOOD
        },
        ReasonCode::NotAPureCopy,
    );
    let constant = "vector.store %zero, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    refused(&Kernel { copy: constant, ..GOOD }, ReasonCode::NotAPureCopy);
}

#[test]
fn elementwise_work_in_the_copy_wants_sinking() {
    let scaled = "%v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
        %y = arith.mulf %v, %v : vector<4xf32>
        vector.store %y, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    refused(&Kernel { copy: scaled, ..GOOD }, ReasonCode::NotAPureCopy);
    let negated = "%v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
        %y = arith.negf %v : vector<4xf32>
        vector.store %y, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    let verdict = Kernel { copy: negated, ..GOOD }.verdict(&OPTIONS);
    assert_eq!(
        (verdict.verdict, &verdict.reasons[..]),
        (Verdict::AfterSinking, &[][..])
    );
}

#[test]
fn width_unsupported() {
    let wide = "%v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<3xf32>
        vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<3xf32>";
    refused(&Kernel { copy: wide, ..GOOD }, ReasonCode::WidthUnsupported);
    let narrow = ["0", "1", "2", "3"].map(|column| {
        format!(
            "%k{column} = arith.constant {column} : index
             %v{column} = memref.load %src[%row, %k{column}] : memref<1024x4xf32>
             memref.store %v{column}, %s[%t, %k{column}] : memref<32x4xf32, #gpu.address_space<workgroup>>"
        )
    });
    let copy = narrow.join("\n");
    assert_eq!(accepted(&Kernel { copy: &copy, ..GOOD }).async_bytes, Some(4));
}

#[test]
fn alignment_unproven() {
    let arguments = "%src: memref<1024x4xf32> {llvm.noalias}, %dst: memref<1024x4xf32> {llvm.noalias}";
    refused(&Kernel { arguments, ..GOOD }, ReasonCode::AlignmentUnproven);
    let stated = "%v = vector.load %src[%row, %c0] {alignment = 16 : i64} : memref<1024x4xf32>, vector<4xf32>
        vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    accepted(&Kernel {
        arguments,
        copy: stated,
        ..GOOD
    });
    // Rows of 20 bytes: each second row starts off a 16-byte boundary.
    let arguments = "%src: memref<1024x5xf32> {llvm.noalias, llvm.align = 16 : i64}, %dst: memref<1024x4xf32>";
    let copy = "%v = vector.load %src[%row, %c0] : memref<1024x5xf32>, vector<4xf32>
        vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    refused(
        &Kernel {
            arguments,
            copy,
            ..GOOD
        },
        ReasonCode::AlignmentUnproven,
    );
}

#[test]
fn not_fully_overwritten() {
    let half = "%v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<2xf32>
        vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<2xf32>";
    refused(&Kernel { copy: half, ..GOOD }, ReasonCode::NotFullyOverwritten);
    let both = "%v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<2xf32>
        vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<2xf32>
        %w = vector.load %src[%row, %c2] : memref<1024x4xf32>, vector<2xf32>
        vector.store %w, %s[%t, %c2] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<2xf32>";
    assert_eq!(accepted(&Kernel { copy: both, ..GOOD }).async_bytes, Some(8));
    refused(
        &Kernel {
            attributes: "{known_block_size = array<i32: 16, 1, 1>}",
            ..GOOD
        },
        ReasonCode::NotFullyOverwritten,
    );
}

#[test]
fn block_size_unknown() {
    let kernel = Kernel {
        attributes: "{}",
        ..GOOD
    };
    refused(&kernel, ReasonCode::BlockSizeUnknown);
    let options = DetectOptions {
        block_size: Some([32, 1, 1]),
        ..OPTIONS
    };
    assert_eq!(kernel.verdict(&options).verdict, Verdict::Pipelinable);
}

#[test]
fn read_before_write() {
    let copy = format!(
        "%y = vector.load %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>\n{}",
        GOOD.copy
    );
    refused(&Kernel { copy: &copy, ..GOOD }, ReasonCode::ReadBeforeWrite);
}

#[test]
fn read_after_loop() {
    let after_loop = "%y = vector.load %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    refused(&Kernel { after_loop, ..GOOD }, ReasonCode::ReadAfterLoop);
    accepted(&Kernel {
        after_loop: "memref.dealloc %s : memref<32x4xf32, #gpu.address_space<workgroup>>",
        ..GOOD
    });
}

#[test]
fn several_writers() {
    let before_loop =
        "vector.store %zero, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    let kernel = Kernel { before_loop, ..GOOD };
    let verdict = kernel.verdict(&OPTIONS);
    assert_eq!(verdict.verdict, Verdict::Rejected, "{verdict:?}");
}

#[test]
fn source_written_in_loop() {
    let body = "vector.store %acc, %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>";
    refused(&Kernel { body, ..GOOD }, ReasonCode::SourceWrittenInLoop);
    let body = "vector.store %acc, %dst[%row, %c0] : memref<1024x4xf32>, vector<4xf32>";
    accepted(&Kernel { body, ..GOOD });
}

#[test]
fn may_alias() {
    let arguments = "%src: memref<1024x4xf32> {llvm.align = 16 : i64}, %dst: memref<1024x4xf32>";
    let body = "vector.store %acc, %dst[%row, %c0] : memref<1024x4xf32>, vector<4xf32>";
    let kernel = Kernel {
        arguments,
        body,
        ..GOOD
    };
    refused(&kernel, ReasonCode::MayAlias);
    let options = DetectOptions {
        assume_noalias: true,
        ..OPTIONS
    };
    assert_eq!(kernel.verdict(&options).verdict, Verdict::Pipelinable);
}

#[test]
fn side_effect_between() {
    let body = "%one = arith.constant 1.0 : f32
        %old = memref.atomic_rmw addf %one, %dst[%t, %c0] : (f32, memref<1024x4xf32>) -> f32";
    refused(&Kernel { body, ..GOOD }, ReasonCode::SideEffectBetween);
}

#[test]
fn barrier_orders_other_memory() {
    let before_loop = "%other = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>";
    accepted(&Kernel {
        before_loop: "%other = memref.alloc() : memref<32x4xf32>",
        ..GOOD
    });
    let body = "vector.store %acc, %other[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    refused(
        &Kernel {
            before_loop,
            body,
            ..GOOD
        },
        ReasonCode::BarrierOrdersOtherMemory,
    );
}

#[test]
fn barriers_that_order_global_memory() {
    let body = "vector.store %acc, %dst[%t, %c0] : memref<1024x4xf32>, vector<4xf32>
        gpu.barrier
        %y = vector.load %dst[%mirror, %c0] : memref<1024x4xf32>, vector<4xf32>";
    refused(&Kernel { body, ..GOOD }, ReasonCode::BarrierOrdersOtherMemory);
}

#[test]
fn input_race() {
    refused(
        &Kernel {
            first_barrier: "",
            ..GOOD
        },
        ReasonCode::InputRace,
    );
    refused(
        &Kernel {
            last_barrier: "",
            ..GOOD
        },
        ReasonCode::InputRace,
    );
    // A barrier at the top of the iteration orders the last read before the next copies just as well.
    let copy = format!("gpu.barrier\n{}", GOOD.copy);
    accepted(&Kernel {
        copy: &copy,
        last_barrier: "",
        ..GOOD
    });
}

#[test]
fn already_pipelined() {
    refused(
        &Kernel {
            body: "nvvm.cp.async.commit.group",
            ..GOOD
        },
        ReasonCode::AlreadyPipelined,
    );
}

#[test]
fn does_not_fit() {
    let options = DetectOptions {
        shared_bytes_per_block: 1023,
        ..OPTIONS
    };
    let verdict = GOOD.verdict(&options);
    assert_eq!(
        verdict.reasons.first().map(|reason| reason.code),
        Some(ReasonCode::DoesNotFit)
    );
    let options = DetectOptions {
        shared_bytes_per_block: 1024,
        ..OPTIONS
    };
    assert_eq!(GOOD.verdict(&options).max_depth, Some(2));
}

#[test]
fn unknown_op() {
    let body = "%y = vector.transfer_read %dst[%t, %c0], %pad : memref<1024x4xf32>, vector<4xf32>
        vector.transfer_write %y, %dst[%t, %c0] : vector<4xf32>, memref<1024x4xf32>";
    refused(
        &Kernel {
            before_loop: "%pad = arith.constant 0.0 : f32",
            body,
            ..GOOD
        },
        ReasonCode::UnknownOp,
    );
}

#[test]
fn not_sequential() {
    let copy = format!(
        "%yes = arith.cmpi ult, %t, %c31 : index\nscf.if %yes {{ {} }}",
        GOOD.copy
    );
    refused(&Kernel { copy: &copy, ..GOOD }, ReasonCode::NotSequential);
}

#[test]
fn malformed_mlir_is_a_diagnostic_with_its_place() {
    let context = Context::new();
    let error = context
        .parse("gpu.module @m {\n  gpu.bogus\n}", "bad.mlir")
        .err()
        .expect("does not parse");
    assert!(
        error
            .diagnostics
            .iter()
            .any(|diagnostic| diagnostic.location.starts_with("bad.mlir:2:")),
        "{error}"
    );
}

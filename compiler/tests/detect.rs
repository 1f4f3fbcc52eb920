//! Verdicts on hand-written kernels: for each code a case that is refused, beside a near miss that is accepted.

use alcop_compiler::detect::{
    Assumptions, BufferVerdict, DetectOptions, Detection, Level, ReasonCode, Verdict, detect, detection_json,
    detection_table, remarks,
};
use alcop_compiler::ir::{BufferId, Context};

const OPTIONS: DetectOptions = DetectOptions {
    shared_bytes_per_block: 166_912,
    block_size: None,
    assumptions: Assumptions::NOTHING,
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
    arguments: "%src: memref<1024x4xf32> {llvm.noalias, llvm.align = 16 : i64}, %dst: memref<1024x4xf32> {llvm.noalias}, \
                %log: memref<1024x4xf32> {llvm.noalias}",
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
    context.allow_unregistered_dialects(true);
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
    let verdict = Kernel { copy: scaled, ..GOOD }.verdict(&OPTIONS);
    assert_eq!(verdict.verdict, Verdict::AfterSinking);
    let by_thread = "%v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
        %i32 = arith.index_cast %t : index to i32
        %f = arith.sitofp %i32 : i32 to f32
        %b = vector.broadcast %f : f32 to vector<4xf32>
        %y = arith.mulf %v, %b : vector<4xf32>
        vector.store %y, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    let kernel = Kernel {
        copy: by_thread,
        ..GOOD
    };
    refused(&kernel, ReasonCode::NotAPureCopy);
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
    let verdict = accepted(&Kernel { arguments, ..GOOD });
    assert_eq!((verdict.async_bytes, verdict.copies[0].bytes), (Some(4), 4));
    let why = verdict.copies[0].narrowed.as_deref().expect("a reason");
    assert!(why.contains("aligned to 4 bytes; 16 are needed"), "{why}");
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
    let verdict = accepted(&Kernel {
        arguments,
        copy,
        ..GOOD
    });
    assert_eq!(verdict.async_bytes, Some(4));
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
    refused(&Kernel { before_loop, ..GOOD }, ReasonCode::SeveralWriters);
    let before_loop = "%other = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
        vector.store %zero, %other[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    accepted(&Kernel { before_loop, ..GOOD });
}

#[test]
fn source_written_in_loop() {
    let body = "vector.store %acc, %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>";
    refused(&Kernel { body, ..GOOD }, ReasonCode::SourceWrittenInLoop);
    let body = "vector.store %acc, %log[%row, %c0] : memref<1024x4xf32>, vector<4xf32>";
    accepted(&Kernel { body, ..GOOD });
}

#[test]
fn may_alias() {
    let arguments = "%src: memref<1024x4xf32> {llvm.align = 16 : i64}, %dst: memref<1024x4xf32>, \
                     %log: memref<1024x4xf32>";
    let body = "vector.store %acc, %log[%row, %c0] : memref<1024x4xf32>, vector<4xf32>";
    let kernel = Kernel {
        arguments,
        body,
        ..GOOD
    };
    refused(&kernel, ReasonCode::MayAlias);
    let options = DetectOptions {
        assumptions: Assumptions {
            noalias: true,
            ..Assumptions::NOTHING
        },
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
    let body = "%one = arith.constant 1 : i32
        \"foreign.op\"(%one) : (i32) -> ()";
    refused(&Kernel { body, ..GOOD }, ReasonCode::UnknownOp);
    let body = "%one = arith.constant 1 : i32
        %far = arith.index_cast %t : index to i32
        %width = arith.constant 32 : i32
        %y, %valid = gpu.shuffle xor %far, %one, %width : i32";
    accepted(&Kernel { body, ..GOOD });
    accepted(&Kernel {
        body: "%y = math.exp %acc : vector<4xf32>",
        ..GOOD
    });
}

#[test]
fn not_sequential() {
    let copy = format!(
        "%yes = arith.cmpi ult, %t, %c31 : index\nscf.if %yes {{ {} }}",
        GOOD.copy
    );
    // The condition is known for each thread: it is row 31 that is missing.
    refused(&Kernel { copy: &copy, ..GOOD }, ReasonCode::NotFullyOverwritten);
    let copy = format!(
        "{}\nscf.while : () -> () {{ scf.condition(%no) }} do {{ scf.yield }}",
        GOOD.copy
    );
    let copy = format!("%no = arith.constant false\n{copy}");
    refused(&Kernel { copy: &copy, ..GOOD }, ReasonCode::UnknownOp);
    let copy = format!("scf.for %j = %c0 to %i step %c1 {{ {} }}", GOOD.copy);
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

#[test]
fn a_copy_must_come_from_global_memory() {
    let before_loop = "%mine = memref.alloca() : memref<1024x4xf32>";
    let copy = "%v = vector.load %mine[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
        vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    let kernel = Kernel {
        before_loop,
        copy,
        ..GOOD
    };
    refused(&kernel, ReasonCode::NotAPureCopy);
}

#[test]
fn transfers_in_bounds_are_copies() {
    let copy = |bounds: &str, padding: &str| {
        format!(
            "%pad = arith.constant {padding} : f32
             %v = vector.transfer_read %src[%row, %c0], %pad {{in_bounds = [{bounds}]}} : memref<1024x4xf32>, vector<4xf32>
             vector.transfer_write %v, %s[%t, %c0] {{in_bounds = [true]}}
               : vector<4xf32>, memref<32x4xf32, #gpu.address_space<workgroup>>"
        )
    };
    let good = copy("true", "1.0");
    assert_eq!(accepted(&Kernel { copy: &good, ..GOOD }).async_bytes, Some(16));
    // cp.async fills with zeros, and with nothing else.
    let zeros = copy("false", "0.0");
    accepted(&Kernel { copy: &zeros, ..GOOD });
    let padded = copy("false", "1.0");
    refused(&Kernel { copy: &padded, ..GOOD }, ReasonCode::NotAPureCopy);
}

#[test]
fn copies_in_an_inner_loop_are_followed() {
    let copy = |last: &str| {
        format!(
            "scf.for %j = %c0 to {last} step %c2 {{
               %v = vector.load %src[%row, %j] : memref<1024x4xf32>, vector<2xf32>
               vector.store %v, %s[%t, %j] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<2xf32>
             }}"
        )
    };
    let good = copy("%c4");
    assert_eq!(accepted(&Kernel { copy: &good, ..GOOD }).async_bytes, Some(8));
    let half = copy("%c2");
    refused(&Kernel { copy: &half, ..GOOD }, ReasonCode::NotFullyOverwritten);
    let unknown = copy("%t");
    refused(&Kernel { copy: &unknown, ..GOOD }, ReasonCode::NotSequential);
}

#[test]
fn a_vector_of_two_rows_is_no_single_copy() {
    let copy = "%v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<2x2xf32>
        vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<2x2xf32>";
    refused(&Kernel { copy, ..GOOD }, ReasonCode::WidthUnsupported);
    let copy = "%v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<1x4xf32>
        vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<1x4xf32>";
    accepted(&Kernel { copy, ..GOOD });
}

#[test]
fn elements_written_twice_have_no_order() {
    let copy = format!(
        "{}
        %w = vector.load %src[%t, %c0] : memref<1024x4xf32>, vector<4xf32>
        vector.store %w, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>",
        GOOD.copy
    );
    refused(&Kernel { copy: &copy, ..GOOD }, ReasonCode::SeveralWriters);
    let attributes = "{known_block_size = array<i32: 32, 2, 1>}";
    refused(&Kernel { attributes, ..GOOD }, ReasonCode::SeveralWriters);
}

#[test]
fn an_offset_of_the_memref_counts_for_alignment() {
    let with = |offset: u32| {
        format!(
            "%src: memref<1024x4xf32, strided<[4, 1], offset: {offset}>> {{llvm.noalias, llvm.align = 16 : i64}}, \
             %dst: memref<1024x4xf32>"
        )
    };
    for (offset, bytes) in [(4, 16), (2, 8), (1, 4)] {
        let arguments = with(offset);
        let copy = GOOD.copy.replacen(
            "memref<1024x4xf32>",
            &format!("memref<1024x4xf32, strided<[4, 1], offset: {offset}>>"),
            1,
        );
        let kernel = Kernel {
            arguments: &arguments,
            copy: &copy,
            ..GOOD
        };
        assert_eq!(accepted(&kernel).async_bytes, Some(bytes));
    }
}

#[test]
fn barriers_that_order_what_stands_around_the_loop() {
    // The last barrier of the loop orders the log of its last iteration before the read behind it.
    let body = "vector.store %acc, %log[%t, %c0] : memref<1024x4xf32>, vector<4xf32>";
    let read = "%y = vector.load %log[%mirror, %c0] : memref<1024x4xf32>, vector<4xf32>";
    let kernel = Kernel {
        body,
        after_loop: read,
        ..GOOD
    };
    refused(&kernel, ReasonCode::BarrierOrdersOtherMemory);
    let after_loop = &format!("gpu.barrier\n{read}");
    accepted(&Kernel {
        body,
        after_loop,
        ..GOOD
    });
    // The first copies would run before the loop's barriers make the rows of other threads visible.
    let write = "vector.store %zero, %src[%mirror, %c0] : memref<1024x4xf32>, vector<4xf32>";
    let kernel = Kernel {
        before_loop: write,
        ..GOOD
    };
    refused(&kernel, ReasonCode::BarrierOrdersOtherMemory);
    let before_loop = &format!("{write}\ngpu.barrier");
    accepted(&Kernel { before_loop, ..GOOD });
}

#[test]
fn two_stores_that_may_meet_keep_their_barriers() {
    let body = "vector.store %acc, %log[%t, %c0] : memref<1024x4xf32>, vector<4xf32>
        gpu.barrier
        vector.store %zero, %log[%mirror, %c0] : memref<1024x4xf32>, vector<4xf32>";
    refused(&Kernel { body, ..GOOD }, ReasonCode::BarrierOrdersOtherMemory);
}

#[test]
fn shared_memory_of_unknown_origin() {
    let before_loop = "%raw = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
        %byte = arith.constant 7 : i8";
    let body = "memref.store %byte, %raw[%t] : memref<?xi8, #gpu.address_space<workgroup>>";
    let kernel = Kernel {
        before_loop,
        body,
        ..GOOD
    };
    refused(&kernel, ReasonCode::BarrierOrdersOtherMemory);
}

#[test]
fn an_address_that_divides_by_a_counter_cannot_run_ahead() {
    let copy = |by: &str| {
        format!(
            "%q = arith.divui %row, {by} : index
             %v = vector.load %src[%q, %c0] : memref<1024x4xf32>, vector<4xf32>
             vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>"
        )
    };
    let (good, bad) = (copy("%c2"), copy("%row"));
    accepted(&Kernel { copy: &good, ..GOOD });
    refused(&Kernel { copy: &bad, ..GOOD }, ReasonCode::NotAPureCopy);
}

#[test]
fn expressions_that_share_parts_end() {
    let mut before_loop = "%e0 = arith.andi %t, %c0 : index".to_owned();
    for number in 0..64 {
        before_loop += &format!("\n%e{} = arith.addi %e{number}, %e{number} : index", number + 1);
    }
    let copy = "%at = arith.addi %t, %e64 : index
        %v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
        vector.store %v, %s[%at, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>";
    accepted(&Kernel {
        before_loop: &before_loop,
        copy,
        ..GOOD
    });
}

#[test]
fn blocks_that_cannot_be() {
    for size in ["0, 1, 1", "-32, 1, 1", "65536, 65536, 64"] {
        let attributes = format!("{{known_block_size = array<i32: {size}>}}");
        let kernel = Kernel {
            attributes: &attributes,
            ..GOOD
        };
        refused(&kernel, ReasonCode::BlockSizeUnknown);
    }
}

/// A tiled matmul of one warp: chunks of 16 x 32 and 32 x 8 halves, two k-steps a chunk.
fn matmul(row: &str) -> String {
    let shared = "#gpu.address_space<workgroup>";
    format!(
        "gpu.module @m {{ gpu.func @mm(%a: memref<16x512xf16> {{llvm.noalias, llvm.align = 16 : i64}},
             %b: memref<512x8xf16> {{llvm.noalias, llvm.align = 16 : i64}}, %c: memref<2x2xf32> {{llvm.noalias}})
           workgroup(%sa: memref<16x32xf16, {shared}>, %sb: memref<32x8xf16, {shared}>)
           kernel attributes {{known_block_size = array<i32: 32, 1, 1>}} {{
             %c0 = arith.constant 0 : index
             %c4 = arith.constant 4 : index
             %c8 = arith.constant 8 : index
             %c16 = arith.constant 16 : index
             %c32 = arith.constant 32 : index
             %c512 = arith.constant 512 : index
             %zero = arith.constant dense<0.0> : vector<2x2xf32>
             %t = gpu.thread_id x
             %r = arith.divui %t, %c4 : index
             %r8 = arith.addi %r, %c8 : index
             %q = arith.remui %t, %c4 : index
             %col = arith.muli %q, %c8 : index
             %lr = arith.remui %t, %c16 : index
             %lh = arith.divui %t, %c16 : index
             %lc = arith.muli %lh, %c8 : index
             %sum = scf.for %k = %c0 to %c512 step %c32 iter_args(%acc = %zero) -> (vector<2x2xf32>) {{
               %kc = arith.addi %k, %col : index
               %v0 = vector.load %a[%r, %kc] : memref<16x512xf16>, vector<8xf16>
               vector.store %v0, %sa[%r, %col] : memref<16x32xf16, {shared}>, vector<8xf16>
               %v1 = vector.load %a[%r8, %kc] : memref<16x512xf16>, vector<8xf16>
               vector.store %v1, %sa[%r8, %col] : memref<16x32xf16, {shared}>, vector<8xf16>
               %kr = arith.addi %k, %t : index
               %v2 = vector.load %b[%kr, %c0] : memref<512x8xf16>, vector<8xf16>
               vector.store %v2, %sb[%t, %c0] : memref<32x8xf16, {shared}>, vector<8xf16>
               gpu.barrier
               %in = scf.for %ki = %c0 to %c32 step %c16 iter_args(%x = %acc) -> (vector<2x2xf32>) {{
                 %ac = arith.addi %ki, %lc : index
                 %br = arith.addi %ki, %lr : index
                 {row}
                 %fa = nvgpu.ldmatrix %sa[%ar, %ac] {{numTiles = 4 : i32, transpose = false}}
                   : memref<16x32xf16, {shared}> -> vector<4x2xf16>
                 %fb = nvgpu.ldmatrix %sb[%br, %c0] {{numTiles = 2 : i32, transpose = true}}
                   : memref<32x8xf16, {shared}> -> vector<2x2xf16>
                 %y = nvgpu.mma.sync (%fa, %fb, %x) {{mmaShape = [16, 8, 16]}}
                   : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
                 scf.yield %y : vector<2x2xf32>
               }}
               gpu.barrier
               scf.yield %in : vector<2x2xf32>
             }}
             vector.store %sum, %c[%c0, %c0] : memref<2x2xf32>, vector<2x2xf32>
             gpu.return
           }} }}"
    )
}

#[test]
fn a_tiled_matmul_is_pipelinable_on_both_levels() {
    let detection = verdicts(&matmul("%ar = arith.addi %lr, %c0 : index"), &OPTIONS);
    let kernel = &detection.kernels[0];
    assert_eq!(kernel.buffers.len(), 4);
    for buffer in &kernel.buffers {
        assert_eq!((buffer.verdict, &buffer.reasons[..]), (Verdict::Pipelinable, &[][..]));
    }
    let [a, b, fa, fb] = &kernel.buffers[..] else {
        panic!("four buffers")
    };
    assert_eq!(
        (a.level, a.async_bytes, a.copies.len(), a.group),
        (Level::Shared, Some(16), 2, Some(0))
    );
    assert_eq!(
        (b.level, b.async_bytes, b.copies.len(), b.group),
        (Level::Shared, Some(16), 1, Some(0))
    );
    assert_eq!(
        (&a.feeds[..], &b.feeds[..]),
        (&[fa.id.clone()][..], &[fb.id.clone()][..])
    );
    assert_eq!(
        (fa.level, fa.k_steps, fa.bytes, fa.max_depth),
        (Level::Register, Some(2), 16, Some(3))
    );
    assert_eq!(
        (fb.source.as_ref(), fb.inner_loop, fb.loop_index),
        (Some(&b.id), Some(1), Some(1))
    );
    assert!(kernel.loops.iter().all(|one| one.verdict == Verdict::Pipelinable));
    let copy: Detection = serde_json::from_value(serde_json::to_value(&detection).expect("plain data")).expect("data");
    assert_eq!(copy, detection);
}

#[test]
fn a_register_load_that_counts_chunks_stays() {
    // Reading ahead, the last iteration would index by a counter that is one chunk too far.
    let detection = verdicts(&matmul("%ar = arith.divui %k, %c32 : index"), &OPTIONS);
    let [a, _, fa, fb] = &detection.kernels[0].buffers[..] else {
        panic!("four buffers")
    };
    assert_eq!((a.verdict, fb.verdict), (Verdict::Pipelinable, Verdict::Pipelinable));
    assert_eq!(fa.verdict, Verdict::Rejected);
    assert_eq!(fa.reasons[0].code, ReasonCode::NotAPureCopy);
}

#[test]
fn copies_behind_the_read_of_another_buffer_run_ahead_too() {
    let source = matmul("%ar = arith.addi %lr, %c0 : index");
    // The copy of B moves behind the first read of A's chunk, as the values of an attention are copied behind the
    // products with its keys. Their groups are committed in one order all the same, a chunk or more ahead.
    let early = "%early = vector.load %sa[%r, %c0] : memref<16x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %kr = arith.addi %k, %t : index";
    let source = source.replace("%kr = arith.addi %k, %t : index", &format!("gpu.barrier\n{early}"));
    let detection = verdicts(&source, &OPTIONS);
    let [a, b, ..] = &detection.kernels[0].buffers[..] else {
        panic!("two buffers")
    };
    assert_eq!((a.verdict, b.verdict), (Verdict::Pipelinable, Verdict::Pipelinable));
    assert_eq!((a.group, b.group), (Some(0), Some(0)));
}

#[test]
fn a_source_that_the_loop_carries_cannot_run_ahead() {
    let ty = "memref<1024x4xf32>";
    let source = GOOD
        .source()
        .replace(
            "iter_args(%acc = %zero) -> (vector<4xf32>)",
            &format!("iter_args(%acc = %zero, %p = %src, %o = %log) -> (vector<4xf32>, {ty}, {ty})"),
        )
        .replace("%sum = scf.for", "%sum, %e, %f = scf.for")
        .replace("vector.load %src[", "vector.load %p[")
        .replace(
            "scf.yield %next : vector<4xf32>",
            &format!("scf.yield %next, %o, %p : vector<4xf32>, {ty}, {ty}"),
        );
    let detection = verdicts(&source, &OPTIONS);
    let buffer = &detection.kernels[0].buffers[0];
    assert_eq!(buffer.verdict, Verdict::Rejected);
    assert!(
        buffer
            .reasons
            .iter()
            .any(|reason| reason.code == ReasonCode::NotAPureCopy)
    );
}

#[test]
fn a_buffer_allocated_in_its_loop() {
    let source = GOOD.source();
    let alloc = "%s = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>";
    let source = source.replace(alloc, "").replace(
        "%row = arith.addi %i, %t : index",
        &format!("{alloc}\n%row = arith.addi %i, %t : index"),
    );
    let detection = verdicts(&source, &OPTIONS);
    let buffer = &detection.kernels[0].buffers[0];
    assert_eq!(buffer.verdict, Verdict::Rejected);
    assert!(
        buffer
            .reasons
            .iter()
            .any(|reason| reason.code == ReasonCode::NotSequential)
    );
}

#[test]
fn two_references_to_one_global_are_one_buffer() {
    let ty = "memref<32x4xf32, #gpu.address_space<workgroup>>";
    let source = GOOD
        .source()
        .replace("gpu.func", &format!("memref.global \"private\" @ring : {ty}\ngpu.func"))
        .replace("memref.alloc()", "memref.get_global @ring")
        .replace(
            "%x = vector.load %s[",
            &format!("%s2 = memref.get_global @ring : {ty}\n%x = vector.load %s2["),
        );
    let detection = verdicts(&source, &OPTIONS);
    let shared: Vec<&BufferVerdict> = detection.kernels[0]
        .buffers
        .iter()
        .filter(|buffer| buffer.level == Level::Shared)
        .collect();
    let [buffer] = shared[..] else { panic!("{shared:?}") };
    let symbol = "ring".to_owned();
    assert_eq!(
        (&buffer.id, buffer.verdict),
        (&BufferId::Global { symbol }, Verdict::Pipelinable)
    );
}

#[test]
fn verdicts_for_programs_and_for_people() {
    let kernel = Kernel {
        attributes: "{}",
        ..GOOD
    };
    let detection = verdicts(&kernel.source(), &OPTIONS);
    let json = detection_json(&detection);
    assert_eq!(json["schema"], 1);
    let buffer = &json["kernels"][0]["buffers"][0];
    assert_eq!(
        buffer["id"],
        serde_json::json!({"kind": "op_result", "op": "memref.alloc", "index": 0})
    );
    assert_eq!((&buffer["level"], &buffer["loop"]), (&"shared".into(), &0.into()));
    assert_eq!(buffer["type"], "memref<32x4xf32, #gpu.address_space<workgroup>>");
    assert_eq!(buffer["reasons"][0]["code"], "block-size-unknown");
    let table = detection_table(&detection);
    assert!(table.contains("[block-size-unknown] at k.mlir:"), "{table}");
    let line = remarks(&detection).lines().next().expect("a remark").to_owned();
    assert!(
        line.starts_with("k.mlir:") && line.contains(": remark: memref.alloc 0: rejected: "),
        "{line}"
    );
}

#[test]
fn a_column_off_the_boundary_is_not_aligned() {
    let arguments = "%src: memref<1024x8xf32> {llvm.noalias, llvm.align = 16 : i64}, %dst: memref<1024x4xf32>";
    let copy = |column: &str| {
        format!(
            "%v = vector.load %src[%row, {column}] : memref<1024x8xf32>, vector<4xf32>
             vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>"
        )
    };
    for (column, bytes) in [("%c4", 16), ("%c2", 8), ("%t", 4)] {
        let copy = copy(column);
        let kernel = Kernel {
            arguments,
            copy: &copy,
            ..GOOD
        };
        assert_eq!(accepted(&kernel).async_bytes, Some(bytes));
    }
}

#[test]
fn an_index_that_the_loop_carries_cannot_run_ahead() {
    let source = GOOD
        .source()
        .replace(
            "iter_args(%acc = %zero) -> (vector<4xf32>)",
            "iter_args(%acc = %zero, %p = %t) -> (vector<4xf32>, index)",
        )
        .replace("%sum = scf.for", "%sum, %e = scf.for")
        .replace("vector.load %src[%row", "vector.load %src[%p")
        .replace(
            "scf.yield %next : vector<4xf32>",
            "%p2 = arith.addi %p, %c32 : index\nscf.yield %next, %p2 : vector<4xf32>, index",
        );
    let detection = verdicts(&source, &OPTIONS);
    let buffer = &detection.kernels[0].buffers[0];
    assert_eq!(buffer.verdict, Verdict::Rejected);
    assert!(
        buffer
            .reasons
            .iter()
            .any(|reason| reason.code == ReasonCode::NotAPureCopy)
    );
}

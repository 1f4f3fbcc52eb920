//! Loops as the judge counts them: with and without a sign, in their own bits, and as often as each thread does.

use alcop_compiler::ir::Context;
use alcop_passes::hazard::{HazardKind, Judgement, Repeats, check_with};

use HazardKind::*;

/// Judges the body of a kernel of 64 threads; the judgement must be the same when all is executed.
fn judge(body: &str) -> Judgement {
    let source = format!(
        "!shared = memref<64x8xf32, #gpu.address_space<workgroup>>
        gpu.module @m {{ gpu.func @k(%data: memref<4096xf32>, %counts: memref<8xindex>, %n: index) workgroup(%s: !shared)
            kernel attributes {{known_block_size = array<i32: 64, 1, 1>}} {{
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %c4 = arith.constant 4 : index
        %c8 = arith.constant 8 : index
        %c32 = arith.constant 32 : index
        %c63 = arith.constant 63 : index
        %value = arith.constant 1.0 : f32
        %t = gpu.thread_id x
        %mirror = arith.subi %c63, %t : index
        {body}
        gpu.return
    }} }}"
    );
    let context = Context::new();
    let module = context
        .parse(&source, "k.mlir")
        .unwrap_or_else(|error| panic!("{error}\n{source}"));
    let [skipping, executing] = [Repeats::Skip, Repeats::Execute].map(|repeats| check_with(&module, repeats).remove(0));
    assert_eq!(skipping.hazards, executing.hazards, "{body}");
    assert_eq!(skipping.not_judged, executing.not_judged, "{body}");
    assert_eq!(skipping.accesses, executing.accesses, "{body}");
    skipping
}

fn kinds(judgement: &Judgement) -> Vec<HazardKind> {
    judgement.hazards.iter().map(|hazard| hazard.kind).collect()
}

/// Fills columns of a row in a loop, and reads all that eight iterations fill.
fn filling(ty: &str, [lower, upper, step]: [i64; 3], unsigned: bool) -> String {
    let unsigned = if unsigned { "unsigned " } else { "" };
    let (suffix, cast) = match ty {
        "index" => (String::new(), "%column = arith.addi %q, %c0 : index"),
        ty => (format!(" : {ty}"), "%column = arith.index_castui %q : TY to index"),
    };
    let cast = cast.replace("TY", ty);
    format!(
        "%l = arith.constant {lower} : {ty}
         %u = arith.constant {upper} : {ty}
         %st = arith.constant {step} : {ty}
         scf.for {unsigned}%i = %l to %u step %st{suffix} {{
           %d = arith.subi %i, %l : {ty}
           %q = arith.divui %d, %st : {ty}
           {cast}
           memref.store %value, %s[%t, %column] : !shared
         }}
         gpu.barrier
         scf.for %j = %c0 to %c8 step %c1 {{
           %x = memref.load %s[%mirror, %j] : !shared
           memref.store %x, %data[%t] : memref<4096xf32>
         }}"
    )
}

#[test]
fn iterations_are_counted_in_the_bits_and_with_the_sign_of_the_loop() {
    const TOP: i64 = 1 << 31;
    const END: i64 = i64::MAX;
    for (ty, bounds, unsigned, iterations) in [
        ("index", [0, 8, 1], false, 8),
        ("index", [0, 8, 1], true, 8),
        ("index", [-4, 4, 1], false, 8),
        // As unsigned numbers these are far above 4.
        ("index", [-4, 4, 1], true, 0),
        ("index", [4, -4, (1 << 61) - 1], true, 8),
        ("index", [4, -4, (1 << 61) - 1], false, 0),
        ("index", [END - 3, -END + 3, 1], true, 8),
        ("index", [8, 0, 1], false, 0),
        ("index", [8, 8, 1], true, 0),
        ("index", [0, 15, 2], true, 8),
        ("i32", [TOP - 4, -TOP + 4, 1], true, 8),
        ("i32", [TOP - 4, -TOP + 4, 1], false, 0),
        ("i32", [-TOP, -TOP + 8, 1], false, 8),
        ("i32", [-8, -1, 1], true, 7),
        ("i32", [TOP - 9, TOP - 1, 1], false, 8),
        ("i16", [32764, -32764, 1], true, 8),
        ("i8", [-128, 120, 31], false, 8),
    ] {
        let judgement = judge(&filling(ty, bounds, unsigned));
        let what = format!("{ty} {bounds:?}, unsigned: {unsigned}");
        assert_eq!(judgement.not_judged, None, "{what}");
        let expected = if iterations == 8 {
            vec![]
        } else {
            vec![UninitializedValue]
        };
        assert_eq!(kinds(&judgement), expected, "{what}");
        assert_eq!(judgement.accesses, 64 * (iterations + 8), "{what}");
    }
}

#[test]
fn a_counter_that_passes_the_end_of_its_type_is_not_judged() {
    const TOP: i64 = 1 << 31;
    for (ty, bounds, unsigned) in [
        ("index", [0, 8, i64::MAX], false),
        ("index", [i64::MAX - 8, i64::MAX, 5], false),
        ("index", [-8, -1, 5], true),
        ("i32", [TOP - 8, TOP - 1, 5], false),
        ("i32", [-8, -1, 5], true),
        ("i8", [-128, 127, 32], false),
        ("index", [4, -4, 1 << 61], true),
    ] {
        let judgement = judge(&filling(ty, bounds, unsigned));
        let said = judgement.not_judged.unwrap_or_default();
        let wraps = said.contains("passes the end of its type before it reaches the upper bound");
        // The only iteration of the first loop ends below the end of the type.
        assert_eq!(wraps, bounds != [0, 8, i64::MAX], "{ty} {bounds:?}: {said}");
        assert!(!wraps || said.starts_with("scf.for at"), "{said}");
    }
}

#[test]
fn threads_iterate_as_often_as_their_own_bounds_say() {
    // Each thread fills its row up to a column of its own, and the rest in a second loop.
    let rows = |second: &str| {
        format!(
            "%own = arith.remui %t, %c8 : index
             scf.for %i = %c0 to %own step %c1 {{ memref.store %value, %s[%t, %i] : !shared }}
             {second}
             gpu.barrier
             scf.for %j = %c0 to %c8 step %c1 {{
               %x = memref.load %s[%mirror, %j] : !shared
               memref.store %x, %data[%t] : memref<4096xf32>
             }}"
        )
    };
    let whole = judge(&rows(
        "scf.for %i = %own to %c8 step %c1 { memref.store %value, %s[%t, %i] : !shared }",
    ));
    assert_eq!((kinds(&whole), &whole.not_judged), (vec![], &None));
    assert_eq!(whole.accesses, 64 * 16);
    let missing = judge(&rows(""));
    assert_eq!((kinds(&missing), missing.not_judged), (vec![UninitializedValue], None));
    // What a loop carries stays as it was in threads that are done.
    let carried = judge(
        "%own = arith.remui %t, %c8 : index
         %count = scf.for %i = %c0 to %own step %c1 iter_args(%a = %c0) -> (index) {
           %b = arith.addi %a, %c1 : index
           scf.yield %b : index
         }
         memref.store %value, %s[%t, %count] : !shared
         %x = memref.load %s[%t, %own] : !shared
         memref.store %x, %data[%t] : memref<4096xf32>",
    );
    assert_eq!((kinds(&carried), carried.not_judged), (vec![], None));
}

#[test]
fn a_barrier_that_threads_answer_differently_is_reported() {
    for (body, judged) in [
        (
            "%in = arith.cmpi slt, %t, %c32 : index scf.if %in { gpu.barrier }",
            true,
        ),
        (
            "%in = arith.cmpi slt, %t, %c32 : index
             scf.if %in { scf.for %i = %c0 to %c8 step %c1 { gpu.barrier } }",
            true,
        ),
        ("scf.for %i = %c0 to %t step %c1 { gpu.barrier }", true),
        ("scf.for %i = %t to %c63 step %c4 { gpu.barrier }", true),
        (
            "scf.for %i = %c0 to %c8 step %c1 {
               %at = arith.addi %i, %t : index
               %in = arith.cmpi ne, %at, %c32 : index
               scf.if %in { gpu.barrier }
             }",
            true,
        ),
        // Where what is around depends on data, the rest is not judged, but that is known.
        (
            "%k = memref.load %counts[%c0] : memref<8xindex>
             scf.for %i = %c0 to %k step %c1 {
               %in = arith.cmpi slt, %t, %c32 : index
               scf.if %in { gpu.barrier }
             }",
            false,
        ),
        (
            "scf.for %i = %c0 to %n step %c1 {
               %in = arith.cmpi slt, %t, %c32 : index
               scf.if %in { scf.for %j = %c0 to %n step %c1 { gpu.barrier } }
             }",
            false,
        ),
        (
            "scf.for %i = %c0 to %n step %c1 {
               %own = arith.remui %t, %c8 : index
               scf.for %j = %c0 to %own step %c1 { gpu.barrier }
             }",
            false,
        ),
        (
            "scf.for %i = %c0 to %n step %c1 { gpu.barrier }
             %in = arith.cmpi eq, %t, %c0 : index
             scf.if %in { gpu.barrier } else { memref.store %value, %data[%t] : memref<4096xf32> }",
            false,
        ),
    ] {
        let judgement = judge(body);
        assert!(
            kinds(&judgement).contains(&DivergentSynchronization),
            "{body}: {judgement:?}"
        );
        assert_eq!(judgement.not_judged.is_none(), judged, "{body}: {judgement:?}");
    }
}

#[test]
fn a_barrier_that_all_threads_may_answer_alike_is_not_reported() {
    for body in [
        // Never reached by any.
        "scf.for %i = %c0 to %n step %c1 { gpu.barrier }
         %in = arith.cmpi slt, %t, %c0 : index
         scf.if %in { gpu.barrier }",
        // All reach it.
        "scf.for %i = %c0 to %n step %c1 {
           %in = arith.cmpi ult, %t, %c63 : index
           %one = arith.cmpi uge, %t, %c63 : index
           %all = arith.ori %in, %one : i1
           scf.if %all { gpu.barrier }
         }",
        // Data decides.
        "%k = memref.load %counts[%c0] : memref<8xindex>
         %in = arith.cmpi slt, %k, %c8 : index
         scf.if %in { gpu.barrier }",
        // Each thread has its own branch, and no barrier in it.
        "scf.for %i = %c0 to %n step %c1 {
           %in = arith.cmpi slt, %t, %c32 : index
           scf.if %in { memref.store %value, %s[%t, %c0] : !shared }
           gpu.barrier
         }",
        // Never reached: the condition around is false.
        "scf.for %i = %c0 to %n step %c1 { gpu.barrier }
         %never = arith.cmpi slt, %t, %c0 : index
         %in = arith.cmpi slt, %t, %c32 : index
         scf.if %never { scf.if %in { gpu.barrier } }",
    ] {
        let judgement = judge(body);
        assert_eq!(kinds(&judgement), [], "{body}");
        assert!(judgement.not_judged.is_some(), "{body}");
    }
}

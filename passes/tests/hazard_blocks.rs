//! Blocks of one grid that synchronise differently: the judge executes one of each kind, or says which operation it could
//! not tell them apart by.

use alcop_compiler::ir::Context;
use alcop_passes::hazard::{HazardKind, Judgement, Repeats, check_with};

use HazardKind::*;

/// Judges the body of a kernel of 64 threads; the judgement must be the same when all is executed.
fn judge(attributes: &str, body: &str) -> Judgement {
    let source = format!(
        "!shared = memref<128xf32, #gpu.address_space<workgroup>>
        gpu.module @m {{ gpu.func @k(%data: memref<4096xf32>, %n: index) workgroup(%s: !shared)
            kernel attributes {{known_block_size = array<i32: 64, 1, 1>{attributes}}} {{
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %c2 = arith.constant 2 : index
        %c8 = arith.constant 8 : index
        %c63 = arith.constant 63 : index
        %c64 = arith.constant 64 : index
        %value = arith.constant 1.0 : f32
        %t = gpu.thread_id x
        %mirror = arith.subi %c63, %t : index
        %b = gpu.block_id x
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

fn grid(x: u32, y: u32) -> String {
    format!(", known_grid_size = array<i32: {x}, {y}, 1>")
}

/// Writes a row and reads it mirrored, with a barrier between for some blocks.
fn exchange(condition: &str) -> String {
    format!(
        "memref.store %value, %s[%t] : !shared
         {condition}
         scf.if %c {{ gpu.barrier }}
         %x = memref.load %s[%mirror] : !shared
         memref.store %x, %data[%t] : memref<4096xf32>"
    )
}

/// Hazards as kinds, each with its block.
fn found(judgement: &Judgement) -> Vec<(HazardKind, [i64; 3])> {
    judgement
        .hazards
        .iter()
        .map(|hazard| (hazard.kind, hazard.block))
        .collect()
}

#[test]
fn a_barrier_that_some_blocks_skip_is_reported_with_the_first_of_them() {
    let [two, some, many, rows] = [grid(2, 1), grid(600, 1), grid(70_000, 1), grid(64, 48)];
    for (attributes, condition, block) in [
        (&two, "%c = arith.cmpi eq, %b, %c0 : index", [1, 0, 0]),
        (&two, "%c = arith.cmpi ne, %b, %c0 : index", [0, 0, 0]),
        (&many, "%c = arith.cmpi ne, %b, %c64 : index", [64, 0, 0]),
        (&many, "%c = arith.cmpi ult, %b, %c63 : index", [63, 0, 0]),
        (
            &many,
            "%far = arith.constant 100 : index
             %r = arith.muli %b, %c64 : index
             %last = arith.addi %r, %c63 : index
             %c = arith.cmpi slt, %last, %far : index",
            [1, 0, 0],
        ),
        (
            &many,
            "%w = arith.index_cast %b : index to i32
             %limit = arith.constant 69999 : i32
             %c = arith.cmpi slt, %w, %limit : i32",
            [69_999, 0, 0],
        ),
        (
            &many,
            "%grid = gpu.grid_dim x
             %end = arith.subi %grid, %c1 : index
             %c = arith.cmpi ne, %b, %end : index",
            [69_999, 0, 0],
        ),
        (
            &rows,
            "%y = gpu.block_id y
             %up = arith.cmpi ne, %b, %c8 : index
             %left = arith.cmpi ne, %y, %c2 : index
             %c = arith.ori %up, %left : i1",
            [8, 2, 0],
        ),
        (
            &rows,
            "%y = gpu.block_id y
             %sum = arith.addi %b, %y : index
             %c = arith.cmpi sge, %sum, %c1 : index",
            [0, 0, 0],
        ),
        // A raster: rows of eight.
        (
            &rows,
            "%row = arith.divui %b, %c8 : index
             %column = arith.remui %b, %c8 : index
             %r = arith.cmpi ne, %row, %c2 : index
             %q = arith.cmpi ne, %column, %c1 : index
             %c = arith.ori %r, %q : i1",
            [17, 0, 0],
        ),
        (
            &some,
            "%block = arith.constant 500 : index
             %low = arith.minsi %b, %c63 : index
             %below = arith.cmpi slt, %low, %c63 : index
             %here = arith.cmpi ne, %b, %block : index
             %c = arith.select %below, %here, %here : i1",
            [500, 0, 0],
        ),
    ] {
        let judgement = judge(attributes, &exchange(condition));
        assert_eq!(found(&judgement), [(ReadWithoutBarrier, block)], "{condition}");
        assert_eq!(judgement.not_judged, None, "{condition}");
        let message = judgement.hazards[0].to_string();
        let [x, y, z] = block;
        assert_eq!(
            message.contains(&format!("block ({x}, {y}, {z}), ")),
            block != [0; 3],
            "{message}"
        );
    }
}

#[test]
fn what_all_blocks_do_alike_is_judged_once() {
    for (attributes, condition, kinds) in [
        (grid(70_000, 3), "%c = arith.constant true", 1),
        // As many answers as blocks, but no use of them in shared memory.
        (
            grid(70_000, 3),
            "%row = arith.muli %b, %c64 : index
             %at = arith.addi %row, %t : index
             %in = arith.cmpi slt, %at, %n : index
             scf.if %in { memref.store %value, %data[%at] : memref<4096xf32> }
             %edge = arith.cmpi slt, %at, %c2 : index
             scf.if %edge { memref.store %value, %data[%at] : memref<4096xf32> }
             %c = arith.constant true",
            1,
        ),
        // Two kinds, and both have the barrier.
        (
            grid(70_000, 3),
            "%is = arith.cmpi eq, %b, %c8 : index
             scf.if %is { gpu.barrier }
             %c = arith.constant true",
            3,
        ),
        (
            "".to_owned(),
            "%is = arith.cmpi slt, %b, %c8 : index scf.if %is { gpu.barrier } %c = arith.constant true",
            2,
        ),
    ] {
        let judgement = judge(&attributes, &exchange(condition));
        assert_eq!(
            (found(&judgement), &judgement.not_judged),
            (vec![], &None),
            "{condition}"
        );
        assert_eq!(judgement.accesses, kinds * 128, "{condition}");
    }
}

/// Tiles of a persistent block: those from `lower` on, `step` apart.
fn persistent(lower: &str, step: &str, end: &str) -> String {
    format!(
        "%tiles = arith.constant 130 : index
         %c108 = arith.constant 108 : index
         %c107 = arith.constant 107 : index
         {lower}
         scf.for %tile = %lower to %tiles step {step} {{
           memref.store %value, %s[%t] : !shared
           gpu.barrier
           %x = memref.load %s[%mirror] : !shared
           %at = arith.remui %tile, %c64 : index
           memref.store %x, %data[%at] : memref<4096xf32>
           {end}
         }}"
    )
}

#[test]
fn each_trip_count_of_a_persistent_kernel_is_judged() {
    // Blocks 0 to 21 have two tiles, or those from 86 on.
    let straight = "%lower = arith.addi %b, %c0 : index";
    let reversed = "%lower = arith.subi %c107, %b : index";
    for (lower, block) in [(straight, [0, 0, 0]), (reversed, [86, 0, 0])] {
        let sound = judge(&grid(108, 1), &persistent(lower, "%c108", "gpu.barrier"));
        assert_eq!((found(&sound), sound.not_judged), (vec![], None), "{lower}");
        assert_eq!(sound.accesses, (1 + 2) * 128, "one block with two tiles, one with one");
        // Without a barrier at the end, the second tile overwrites what is still read.
        let wrong = judge(&grid(108, 1), &persistent(lower, "%c108", ""));
        assert_eq!(found(&wrong), [(WriteBeforeLastRead, block)], "{lower}");
        assert_eq!(wrong.not_judged, None);
    }
    // The step is the grid.
    let step = "%grid = gpu.grid_dim x %lower = arith.addi %b, %c0 : index";
    let judgement = judge(&grid(108, 1), &persistent(step, "%grid", ""));
    assert_eq!(found(&judgement), [(WriteBeforeLastRead, [0, 0, 0])]);
    // A count by itself, rounded up.
    let counted = "%rest = arith.subi %tiles, %b : index
         %count = arith.ceildivsi %rest, %c108 : index
         %lower = arith.subi %tiles, %count : index";
    let judgement = judge(&grid(108, 1), &persistent(counted, "%c1", ""));
    assert_eq!(found(&judgement), [(WriteBeforeLastRead, [0, 0, 0])]);
    assert_eq!((judgement.accesses, judgement.not_judged), ((1 + 2) * 128, None));
    // A triangle: as many counts as blocks.
    let triangle = "%lower = arith.subi %c107, %b : index %end = arith.constant 108 : index";
    let body = persistent(triangle, "%c1", "gpu.barrier").replace("to %tiles", "to %end");
    let judgement = judge(&grid(108, 1), &body);
    assert_eq!((found(&judgement), judgement.not_judged), (vec![], None));
    assert_eq!(judgement.accesses, 128 * (1..=108).sum::<u64>());
}

#[test]
fn addresses_that_depend_on_the_block_are_judged() {
    // In odd blocks the second store is to where other threads read.
    let body = "%odd = arith.remui %b, %c2 : index
         %shift = arith.muli %odd, %c64 : index
         memref.store %value, %s[%t] : !shared
         %own = arith.addi %t, %c64 : index
         memref.store %value, %s[%own] : !shared
         gpu.barrier
         %base = arith.subi %c64, %shift : index
         %at = arith.addi %base, %t : index
         memref.store %value, %s[%at] : !shared
         %x = memref.load %s[%mirror] : !shared
         memref.store %x, %data[%t] : memref<4096xf32>";
    let judgement = judge(&grid(9, 1), body);
    assert_eq!(found(&judgement), [(ReadWithoutBarrier, [1, 0, 0])]);
    assert_eq!(judgement.not_judged, None);
    // The rows that block 1 does not fill.
    let body = "%row = arith.muli %b, %c64 : index
         %at = arith.addi %row, %t : index
         %rows = arith.constant 100 : index
         %in = arith.cmpi slt, %at, %rows : index
         scf.if %in { memref.store %value, %s[%t] : !shared }
         gpu.barrier
         %x = memref.load %s[%mirror] : !shared
         memref.store %x, %data[%t] : memref<4096xf32>";
    let judgement = judge(&grid(2, 1), body);
    assert_eq!(found(&judgement), [(UninitializedValue, [1, 0, 0])]);
    assert_eq!(judgement.not_judged, None);
}

#[test]
fn clusters_are_told_apart_where_their_size_is_known() {
    let sized = ", known_cluster_size = array<i32: 4, 1, 1>, known_grid_size = array<i32: 16, 1, 1>";
    for (condition, block) in [
        (
            "%i = gpu.cluster_block_id x %c = arith.cmpi ne, %i, %c2 : index",
            [2, 0, 0],
        ),
        ("%i = gpu.cluster_id x %c = arith.cmpi ne, %i, %c2 : index", [8, 0, 0]),
        (
            "%i = gpu.cluster_dim_blocks x %c = arith.cmpi eq, %i, %b : index",
            [0, 0, 0],
        ),
        ("%i = gpu.global_id x %c = arith.cmpi slt, %i, %c64 : index", [1, 0, 0]),
        (
            "%i = gpu.num_subgroups : index %c = arith.cmpi ne, %i, %b : index",
            [2, 0, 0],
        ),
    ] {
        let judgement = judge(sized, &exchange(condition));
        assert_eq!(found(&judgement), [(ReadWithoutBarrier, block)], "{condition}");
        assert_eq!(judgement.not_judged, None, "{condition}");
    }
}

#[test]
fn what_cannot_be_told_apart_is_named() {
    for (attributes, body, reason, hazards) in [
        // As many addresses as blocks.
        (
            grid(1000, 1),
            "%at = arith.addi %b, %c2 : index
             memref.store %value, %s[%at] : !shared"
                .to_owned(),
            "memref.store at k.mlir:15:14: more than 128 kinds of blocks",
            vec![(WriteWrite, [0, 0, 0])],
        ),
        (
            String::new(),
            exchange("%grid = gpu.grid_dim x %c = arith.cmpi ne, %b, %grid : index"),
            "gpu.grid_dim at k.mlir:",
            vec![],
        ),
        (
            grid(16, 1),
            exchange("%i = gpu.cluster_block_id x %c = arith.cmpi ne, %i, %c2 : index"),
            "gpu.cluster_block_id at",
            vec![],
        ),
        (
            String::new(),
            exchange("%row = arith.divui %b, %c8 : index %c = arith.cmpi eq, %row, %c0 : index"),
            "arith.divui at",
            vec![],
        ),
        (
            String::new(),
            exchange("%c = arith.cmpi eq, %b, %c0 : index"),
            "no known_grid_size says whether there is such a block, but: read-without-barrier: block (1, 0, 0), thread",
            vec![],
        ),
    ] {
        let judgement = judge(&attributes, &body);
        let said = judgement.not_judged.as_deref().unwrap_or("nothing");
        assert!(said.contains(reason), "{reason}: {said}");
        assert_eq!(found(&judgement), hazards, "{reason}");
    }
    // What does not matter is not asked for.
    let unused = "%grid = gpu.grid_dim x %i = gpu.cluster_id x %c = arith.constant true";
    let judgement = judge("", &exchange(unused));
    assert_eq!((found(&judgement), judgement.not_judged), (vec![], None));
}

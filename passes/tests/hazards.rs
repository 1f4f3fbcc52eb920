//! The judge acquits every pipeline that is built, whatever its depths and trip count, and reports every mutant whose
//! synchronisation is wrong, be it in a single iteration; and skipping repetitions changes nothing but the time.

mod common;

use std::ops::RangeInclusive;

use alcop_compiler::ir::{Attr, Builder, CmpPredicate, Context, Module, Op, Type, Value, enclosing, preorder};
use alcop_compiler::tile_program::tile_program;
use alcop_passes::hazard::{self, HazardKind, Judgement, Repeats};
use alcop_passes::pipeline::transform;
use alcop_spec::{AxisTiles, Layout, TileSchedule};
use common::{op, plan, schedule};

/// A block of two warps, so that threads depend on each other's copies, small enough to judge hundreds of kernels.
fn small(k_steps: u32, shared_stages: u32, register_stages: u32) -> TileSchedule {
    TileSchedule {
        block: AxisTiles::mnk(32, 32, 16 * k_steps),
        warp: AxisTiles::mn(32, 16),
        ..schedule(k_steps, shared_stages, register_stages)
    }
}

fn pipelined<'c>(context: &'c Context, layout: Layout, schedule: &TileSchedule, trip: u64) -> Module<'c> {
    // The grid must divide 256, so only k varies.
    let op = op(layout, trip * u64::from(schedule.block_k()));
    let mut program = tile_program(context, &op, schedule).expect("legal");
    let plan = plan(&program, schedule);
    transform(&mut program.module, &plan).unwrap_or_else(|error| panic!("{schedule}: {error}"));
    program.module
}

/// The judgement, which must be the same when every iteration is executed.
fn judge(module: &Module<'_>) -> Judgement {
    let [skipping, executing] = [Repeats::Skip, Repeats::Execute].map(|repeats| {
        let mut judgements = hazard::check_with(module, repeats);
        assert_eq!(judgements.len(), 1);
        judgements.remove(0)
    });
    assert_eq!(executing.repeated_accesses, 0);
    assert_eq!(
        (&skipping.hazards, &skipping.not_judged, skipping.accesses),
        (&executing.hazards, &executing.not_judged, executing.accesses)
    );
    skipping
}

#[test]
fn every_legal_pipeline_is_acquitted() {
    let context = Context::new();
    for k_steps in [1, 2, 4] {
        for slots in 1..=5 {
            for depth in 1..=k_steps.min(3) + 1 {
                if slots == 1 && depth > 1 {
                    continue;
                }
                for trip in [1, 2, slots, slots + 1, 2 * slots + 1, 5 * slots + 1].map(u64::from) {
                    let schedule = small(k_steps, slots, depth);
                    let judgement = judge(&pipelined(&context, Layout::Nt, &schedule, trip));
                    assert_eq!(judgement.not_judged, None, "{schedule}, {trip} chunks");
                    assert_eq!(judgement.hazards, [], "{schedule}, {trip} chunks");
                    assert!(judgement.accesses > 0);
                }
            }
        }
    }
}

#[test]
fn all_layouts_and_the_large_tile_are_acquitted() {
    let context = Context::new();
    for layout in Layout::ALL {
        let judgement = judge(&pipelined(&context, layout, &schedule(2, 3, 2), 8));
        assert_eq!(
            (judgement.not_judged, judgement.hazards),
            (None, Vec::new()),
            "{layout}"
        );
    }
}

#[test]
fn the_unpipelined_program_is_acquitted() {
    let context = Context::new();
    let schedule = small(2, 1, 1);
    let program = tile_program(&context, &op(Layout::Tn, 128), &schedule).expect("legal");
    let judgement = judge(&program.module);
    assert_eq!((judgement.not_judged, judgement.hazards), (None, Vec::new()));
}

/// The operations of a name inside (or outside of) the pipelined loop.
fn named<'ir>(module: &'ir Module<'_>, name: &str, in_loop: bool) -> Vec<Op<'ir>> {
    preorder(module.op())
        .into_iter()
        .filter(|op| op.is(name) && enclosing(*op, "scf.for").is_some() == in_loop)
        .collect()
}

fn one<'ir>(module: &'ir Module<'_>, name: &str, in_loop: bool) -> Op<'ir> {
    let found = named(module, name, in_loop);
    assert_eq!(found.len(), 1, "{name} in loop: {in_loop}");
    found[0]
}

/// Applies an edit to pipelines of every depth that it makes sense for; the judge must report each one.
fn expect_reported(what: &str, depths: &[u32], kinds: &[HazardKind], edit: impl Fn(&Module<'_>, u32)) {
    let context = Context::new();
    for &depth in depths {
        for slots in 2..=4 {
            let schedule = small(2, slots, depth);
            let module = pipelined(&context, Layout::Nn, &schedule, u64::from(2 * slots + 1));
            edit(&module, slots);
            module
                .verify()
                .unwrap_or_else(|errors| panic!("{what}, {schedule}: {errors:?}"));
            let judgement = judge(&module);
            assert_eq!(judgement.not_judged, None, "{what}, {schedule}");
            assert!(
                judgement.hazards.iter().any(|hazard| kinds.contains(&hazard.kind)),
                "{what}, {schedule}: not reported; found {:?}",
                judgement.hazards
            );
        }
    }
}

fn set_count(wait: Op<'_>, change: i64, context: &Context) {
    let count = wait.attr("n").and_then(Attr::as_int).expect("a count");
    // SAFETY of lifetimes: attributes live in the context, which outlives the module.
    let attr = Attr::parse(context, &format!("{} : i32", count + change)).expect("an integer");
    let raw = attr.raw();
    wait.set_attr("n", unsafe { Attr::from_raw(raw) });
}

use HazardKind::*;

#[test]
fn a_dropped_wait_is_reported() {
    expect_reported("dropped wait", &[1, 2, 3], &[ReadBeforeWait], |module, _| {
        one(module, "nvvm.cp.async.wait.group", true).erase();
    });
}

#[test]
fn a_wait_for_one_group_too_few_is_reported() {
    expect_reported("wait + 1", &[1, 2, 3], &[ReadBeforeWait], |module, _| {
        set_count(one(module, "nvvm.cp.async.wait.group", true), 1, module.context());
    });
}

#[test]
fn a_prologue_wait_for_one_group_too_few_is_reported() {
    expect_reported("prologue wait + 1", &[2, 3], &[ReadBeforeWait], |module, _| {
        set_count(one(module, "nvvm.cp.async.wait.group", false), 1, module.context());
    });
}

#[test]
fn a_dropped_barrier_is_reported() {
    expect_reported(
        "dropped barrier",
        &[1, 2, 3],
        &[ReadWithoutBarrier, WriteBeforeLastRead],
        |module, _| {
            one(module, "gpu.barrier", true).erase();
        },
    );
}

#[test]
fn a_dropped_prologue_barrier_is_reported() {
    expect_reported(
        "dropped prologue barrier",
        &[2, 3],
        &[ReadWithoutBarrier],
        |module, _| {
            one(module, "gpu.barrier", false).erase();
        },
    );
}

#[test]
fn a_barrier_before_its_wait_is_reported() {
    expect_reported("barrier before wait", &[1, 2, 3], &[ReadWithoutBarrier], |module, _| {
        one(module, "gpu.barrier", true).move_before(one(module, "nvvm.cp.async.wait.group", true));
    });
}

#[test]
fn copies_before_the_barrier_are_reported() {
    expect_reported(
        "copies before barrier",
        &[1, 2, 3],
        &[WriteBeforeLastRead, OverwriteInFlight],
        |module, _| {
            one(module, "gpu.barrier", true).move_after(one(module, "scf.if", true));
        },
    );
}

#[test]
fn a_dropped_commit_is_reported() {
    expect_reported("dropped commit", &[1, 2, 3], &[ReadBeforeWait], |module, _| {
        one(module, "nvvm.cp.async.commit.group", true).erase();
    });
}

#[test]
fn a_commit_before_its_copies_is_reported() {
    expect_reported("commit before copies", &[1, 2, 3], &[ReadBeforeWait], |module, _| {
        one(module, "nvvm.cp.async.commit.group", true).move_before(one(module, "scf.if", true));
    });
}

#[test]
fn a_ring_that_wraps_early_is_reported() {
    let kinds = [
        ReadBeforeWait,
        ReadWithoutBarrier,
        WriteBeforeLastRead,
        OverwriteInFlight,
        UninitializedValue,
    ];
    let context = Context::new();
    for slots in 3..=4 {
        let module = pipelined(&context, Layout::Nn, &small(2, slots, 2), u64::from(2 * slots + 1));
        let compare = named(&module, "arith.cmpi", true)
            .into_iter()
            .find(|op| op.attr("predicate").and_then(Attr::as_int) == Some(0))
            .expect("the slot counter compares for equality");
        let early = Builder::before(module.context(), compare);
        let value = early
            .op("arith.constant")
            .attr("value", Attr::int(Type::index(module.context()), i64::from(slots) - 1))
            .result(Type::index(module.context()))
            .value();
        compare.set_operand(1, value);
        let judgement = judge(&module);
        assert!(
            judgement.hazards.iter().any(|hazard| kinds.contains(&hazard.kind)),
            "{slots} slots: {judgement:?}"
        );
    }
}

/// Chunks of the kernels below: more than the judge executes before a pipeline of four slots repeats itself.
const LONG: u64 = 96;

/// Applies an edit to long pipelines of every depth. The judge must report each, and must have skipped repetitions.
fn expect_reported_late(what: &str, slots: RangeInclusive<u32>, kinds: &[HazardKind], edit: impl Fn(&Module<'_>, u32)) {
    let context = Context::new();
    for depth in 1..=3 {
        for slots in slots.clone() {
            let schedule = small(2, slots, depth);
            let module = pipelined(&context, Layout::Nn, &schedule, LONG);
            let sound = judge(&module);
            assert_eq!((sound.hazards, sound.not_judged), (vec![], None), "{schedule}");
            edit(&module, slots);
            module
                .verify()
                .unwrap_or_else(|errors| panic!("{what}, {schedule}: {errors:?}"));
            let judgement = judge(&module);
            assert_eq!(judgement.not_judged, None, "{what}, {schedule}");
            assert!(
                judgement.hazards.iter().any(|hazard| kinds.contains(&hazard.kind)),
                "{what}, {schedule}: not reported; found {:?}",
                judgement.hazards
            );
            assert!(
                judgement.repeated_accesses > judgement.accesses / 2,
                "{what}, {schedule}: {} of {} skipped",
                judgement.repeated_accesses,
                judgement.accesses
            );
        }
    }
}

/// Whether this is iteration `number` of the pipelined loop, or is not, as `predicate` says.
fn compare_iteration<'ir>(place: &Builder<'ir>, inside: Op<'ir>, predicate: CmpPredicate, number: u64) -> Value<'ir> {
    let loop_op = enclosing(inside, "scf.for").expect("in the loop");
    let body = loop_op.body().expect("a block");
    let step = loop_op.operand(2).def_op().and_then(|op| op.attr("value")?.as_int());
    let at = place.index(number as i64 * step.expect("a constant step"));
    place.cmp(predicate, body.argument(0), at)
}

/// The block of copies that the last iterations skip.
fn first_copy<'ir>(module: &'ir Module<'_>) -> Op<'ir> {
    let guard = one(module, "scf.if", true);
    let copies = guard.region(0).blocks().next().expect("a block");
    copies.first().expect("a copy")
}

// The three that follow are wrong in the last iterations only, where nothing is left to copy.

#[test]
fn a_commit_that_goes_with_the_copies_is_reported() {
    // With two slots each wait is for all groups, whatever their number.
    expect_reported_late("commit in the guard", 3..=4, &[ReadBeforeWait], |module, _| {
        let end = first_copy(module).block().and_then(|block| block.terminator());
        one(module, "nvvm.cp.async.commit.group", true).move_before(end.expect("a yield"));
    });
}

#[test]
fn a_wait_that_goes_with_the_copies_is_reported() {
    expect_reported_late("wait in the guard", 2..=4, &[ReadBeforeWait], |module, _| {
        one(module, "nvvm.cp.async.wait.group", true).move_before(first_copy(module));
    });
}

#[test]
fn a_barrier_that_goes_with_the_copies_is_reported() {
    expect_reported_late("barrier in the guard", 2..=4, &[ReadWithoutBarrier], |module, _| {
        one(module, "gpu.barrier", true).move_before(first_copy(module));
    });
}

// And these in one iteration in the middle.

#[test]
fn a_barrier_that_one_iteration_lacks_is_reported() {
    for number in [40, 57] {
        let kinds = [ReadWithoutBarrier, WriteBeforeLastRead];
        expect_reported_late("one barrier less", 2..=4, &kinds, |module, _| {
            let barrier = one(module, "gpu.barrier", true);
            let place = Builder::before(module.context(), barrier.next().expect("a yield at least"));
            let others = compare_iteration(&place, barrier, CmpPredicate::Ne, number);
            place.if_then(others, |inside| inside.take(barrier));
        });
    }
}

#[test]
fn a_copy_to_a_wrong_slot_in_one_iteration_is_reported() {
    let kinds = [OverwriteInFlight, WriteBeforeLastRead, WriteWrite, ReadBeforeWait];
    expect_reported_late("one copy astray", 2..=4, &kinds, |module, slots| {
        let copy = named(module, "nvgpu.device_async_copy", true)[0];
        let place = Builder::before(module.context(), copy);
        let this_one = compare_iteration(&place, copy, CmpPredicate::Eq, 40);
        let slot = copy.operand(1);
        let next = place.rem(place.add(slot, place.index(1)), place.index(i64::from(slots)));
        copy.set_operand(1, place.select(this_one, next, slot));
    });
}

#[test]
fn a_slot_counter_that_wraps_once_too_early_is_reported() {
    // With two slots each wait is for all groups: chunks are swapped, but nothing is unordered.
    let kinds = [OverwriteInFlight, WriteBeforeLastRead, WriteWrite, ReadBeforeWait];
    expect_reported_late("one wrap too early", 3..=4, &kinds, |module, _| {
        let compare = named(module, "arith.cmpi", true)
            .into_iter()
            .find(|op| op.attr("predicate").and_then(Attr::as_int) == Some(0))
            .expect("the slot counter compares for equality");
        let wrap = compare.result(0).uses()[0];
        let place = Builder::before(module.context(), wrap.op);
        // Neither three nor four slots wrap in this iteration anyway.
        let this_one = compare_iteration(&place, compare, CmpPredicate::Eq, 37);
        let early = place.select(this_one, place.bool(true), compare.result(0));
        wrap.op.set_operand(wrap.operand, early);
    });
}

#[test]
fn what_is_executed_does_not_grow_with_the_trip_count() {
    let context = Context::new();
    for (slots, depth) in [(2, 1), (3, 2), (4, 2), (5, 3)] {
        let executed = |trip| {
            let judgement = judge(&pipelined(&context, Layout::Nt, &small(2, slots, depth), trip));
            judgement.accesses - judgement.repeated_accesses
        };
        // Trip counts that leave the same rest, so that the last iterations are in the same slots.
        let short = u64::from(6 * slots) + 1;
        assert_eq!(
            executed(short),
            executed(short + u64::from(20 * slots)),
            "{slots} slots, depth {depth}"
        );
    }
}

#[test]
fn what_cannot_be_judged_is_said() {
    let context = Context::new();
    let shared = "memref<64xf16, #gpu.address_space<workgroup>>";
    for (body, reason) in [
        (
            "%upper = memref.load %n[%c0] : memref<8xindex>
             scf.for %i = %c0 to %upper step %c1 { gpu.barrier }",
            "a loop bound depends on data",
        ),
        (
            "%i = memref.load %n[%c0] : memref<8xindex>
             %v = memref.load %s[%i] : SHARED",
            "an index depends on data",
        ),
        (
            "%v = vector.transfer_read %s[%c0], %zero : SHARED, vector<8xf16>",
            "a load that is not known to read bytes in a row",
        ),
        (
            "%v = gpu.subgroup_mma_load_matrix %s[%c0] {leadDimension = 16 : index} : SHARED
                 -> !gpu.mma_matrix<16x16xf16, \"AOp\">",
            "gpu.subgroup_mma_load_matrix",
        ),
        (
            "%t = scf.for %i = %c0 to %c8 step %c1 iter_args(%a = %s) -> (SHARED) {
                 %v = memref.load %a[%c0] : SHARED
                 scf.yield %a : SHARED }",
            "a view of shared memory that the judge does not follow",
        ),
        (
            "scf.for %i = %c0 to %c8 step %c1 {
                 %none = arith.subi %i, %i : index
                 %at = arith.divui %c8, %none : index
                 %v = memref.load %s[%at] : SHARED }",
            "an integer operation without a value",
        ),
        (
            "%far = arith.constant 4611686018427387904 : index
             %v = memref.load %s[%far] : SHARED",
            "bytes",
        ),
        ("scf.for %i = %c0 to %c8 step %c0 { gpu.barrier }", "a loop with step 0"),
    ] {
        let source = format!(
            "gpu.module @m {{ gpu.func @k(%n: memref<8xindex>) workgroup(%s: SHARED)
                kernel attributes {{known_block_size = array<i32: 32, 1, 1>}} {{
            %c0 = arith.constant 0 : index
            %c1 = arith.constant 1 : index
            %c8 = arith.constant 8 : index
            %zero = arith.constant 0.0 : f16
            {body}
            gpu.return
        }} }}"
        );
        let module = context
            .parse(&source.replace("SHARED", shared), "k.mlir")
            .expect(reason);
        let judgement = judge(&module);
        let said = judgement.not_judged.as_deref();
        assert!(
            said.is_some_and(|said| said.contains(reason)),
            "{reason}: {judgement:?}"
        );
    }
}

#[test]
fn a_block_of_too_many_threads_is_not_judged() {
    let context = Context::new();
    let source = "gpu.module @m { gpu.func @k() kernel attributes {known_block_size = array<i32: 1024, 1024, 64>} {
        gpu.return
    } }";
    let module = context.parse(source, "k.mlir").expect("valid");
    let judgement = judge(&module);
    assert!(
        judgement
            .not_judged
            .is_some_and(|reason| reason.contains("1024 threads"))
    );
}

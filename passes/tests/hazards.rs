//! The judge acquits every pipeline that is built, whatever its depths and trip count, and reports every mutant whose
//! synchronisation is wrong.

mod common;

use alcop_compiler::ir::{Attr, Builder, Context, Module, Op, Type, enclosing, preorder};
use alcop_compiler::tile_program::tile_program;
use alcop_passes::expand;
use alcop_passes::hazard::{self, HazardKind, Judgement};
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
    expand(&mut program.module, &plan).unwrap_or_else(|error| panic!("{schedule}: {error}"));
    program.module
}

fn judge(module: &Module<'_>) -> Judgement {
    let mut judgements = hazard::check(module);
    assert_eq!(judgements.len(), 1);
    judgements.remove(0)
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
                for trip in [1, 2, u64::from(slots), u64::from(slots) + 1, u64::from(2 * slots) + 1] {
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

#[test]
fn what_cannot_be_judged_is_said() {
    let context = Context::new();
    let source =
        "gpu.module @m { gpu.func @k(%n: memref<8xindex>) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %upper = memref.load %n[%c0] : memref<8xindex>
        scf.for %i = %c0 to %upper step %c1 { gpu.barrier }
        gpu.return
    } }";
    let module = context.parse(source, "k.mlir").expect("valid");
    let judgement = judge(&module);
    assert!(
        judgement
            .not_judged
            .as_deref()
            .is_some_and(|reason| reason.contains("depends on data")),
        "{judgement:?}"
    );
}

//! What compiled kernels compute: executed in the emulator with hazards on, and compared with the f64 reference.

use std::collections::HashSet;

use crate::common::{edited, matmul, reference_schedule, schedule};
use alcop::compile_operator;
use alcop::compiler::ir::Context;
use alcop::compiler::tile_program::tile_program;
use alcop::runtime::emulator::Class;
use alcop::runtime::verify::{OutputTile, Scope, Verifier, VerifyError};
use alcop::runtime::{Arrival, EmulateOptions, emulate};
use alcop::search::evaluate::arguments;
use alcop::search::space::Space;
use alcop::spec::{DType, GpuTarget, Kernel, Layout, OpSpec, TileSchedule, occupancy};
use proptest::prelude::*;
use rayon::prelude::*;

const ARRIVALS: [Arrival; 3] = [Arrival::Latest, Arrival::Earliest, Arrival::Random];

fn a100() -> GpuTarget {
    GpuTarget::resolve("a100").expect("an embedded device")
}

fn compiled(op: &OpSpec, schedule: &TileSchedule) -> Kernel {
    compile_operator(op, schedule, &a100()).unwrap_or_else(|error| panic!("{op}, {schedule}: {error}"))
}

#[track_caller]
fn right(op: &OpSpec, schedule: &TileSchedule) {
    let kernel = compiled(op, schedule);
    let result = Verifier::new(op).verify(&kernel, OutputTile::of(op, schedule), Scope::All, &ARRIVALS);
    result.unwrap_or_else(|error| panic!("{op}, {schedule}: {error}"));
}

/// Every Ki × R × S: what the space calls legal compiles and is right, everything else is refused by both, with the code.
#[test]
fn space_and_expand_agree_on_every_depth_and_what_they_accept_is_right() {
    let points: Vec<(u32, u32, u32)> = [1, 2, 4]
        .into_iter()
        .flat_map(|k_steps| (1..=4).flat_map(move |r| (1..=6).map(move |s| (k_steps, r, s))))
        .collect();
    let legal: usize = points
        .par_iter()
        .map(|&(k_steps, register_stages, shared_stages)| {
            let schedule = schedule([32, 32, 16 * k_steps], [16, 32], shared_stages, register_stages);
            // One iteration more than the ring has slots, so that it wraps.
            let op = matmul(
                Layout::Nn,
                [64, 32, u64::from(16 * k_steps * (shared_stages + 1))],
                DType::F32,
            );
            let space = occupancy::check(&op, &schedule, &a100().limits);
            match (space, compile_operator(&op, &schedule, &a100())) {
                (Ok(resources), Ok(kernel)) => {
                    assert_eq!(kernel.dynamic_shared_bytes, resources.shared_bytes, "{schedule}");
                    right(&op, &schedule);
                    1
                }
                (Err(reasons), Err(error)) => {
                    assert_eq!(reasons[0].code(), "register-depth-exceeds-chunk", "{schedule}");
                    assert!(
                        error.to_string().contains("[register-depth-exceeds-chunk]"),
                        "{schedule}: {error}"
                    );
                    0
                }
                (space, compiled) => panic!("{schedule}: the space says {space:?}, the compiler {compiled:?}"),
            }
        })
        .sum();
    // S = 1 allows R = 1; S ≥ 2 allows R ≤ min(4, Ki + 1): 3 + 5 · (2 + 3 + 4).
    assert_eq!(legal, 48);
}

/// The space prunes exactly the tiles for which there is no tile program, in every layout.
#[test]
fn space_and_tile_programs_agree_on_every_tile() {
    let mut tiles = HashSet::new();
    // The order and number of blocks are tests/blocks.rs's.
    let tilings = Space {
        raster_rows: vec![1],
        split_k: vec![1],
        ..Space::wide_matmul()
    };
    tilings.for_each(|schedule| {
        tiles.insert(schedule.unpipelined());
    });
    // Warps that are no power of two, and rows that are none.
    for (block, warp) in [
        ([48, 64, 32], [16, 64]),
        ([96, 64, 32], [32, 32]),
        ([64, 192, 32], [32, 64]),
        ([512, 256, 16], [16, 16]),
        ([64, 64, 24], [32, 32]),
    ] {
        tiles.insert(schedule(block, warp, 1, 1));
    }
    let mut tiles: Vec<TileSchedule> = tiles.into_iter().collect();
    tiles.sort_unstable();
    let limits = alcop::spec::Limits {
        // Registers are not a tile program's concern.
        registers_per_thread: u32::MAX,
        registers_per_sm: u32::MAX,
        ..a100().limits
    };
    for layout in Layout::ALL {
        let op = matmul(layout, [768, 768, 192], DType::F32);
        let legal: usize = tiles
            .par_iter()
            .map(|schedule| {
                let space = occupancy::check(&op, schedule, &limits);
                let program = tile_program(&Context::new(), &op, schedule).map(|program| program.grid);
                assert_eq!(
                    space.is_ok(),
                    program.is_ok(),
                    "{op}, {schedule}: the space says {space:?}, the compiler {program:?}"
                );
                usize::from(space.is_ok())
            })
            .sum();
        assert!(
            legal > 50 && legal < tiles.len(),
            "{layout}: {legal} of {}",
            tiles.len()
        );
    }
}

#[test]
fn trip_counts_around_the_number_of_slots_are_right() {
    let points: Vec<(u32, u32, u64)> = [(2, 1), (2, 2), (3, 2), (4, 3), (6, 1)]
        .into_iter()
        .flat_map(|(s, r)| (1..=2 * u64::from(s) + 1).map(move |trip| (s, r, trip)))
        .collect();
    points.par_iter().for_each(|&(shared_stages, register_stages, trip)| {
        let schedule = schedule([32, 32, 32], [32, 16], shared_stages, register_stages);
        right(&matmul(Layout::Nt, [32, 32, 32 * trip], DType::F32), &schedule);
    });
}

/// The reference kernels at full K: what the loop does for each warp and iteration, and no bank conflict anywhere in it.
#[test]
fn the_loop_body_is_what_the_bound_says_and_meets_no_bank_conflict() {
    Layout::ALL.par_iter().for_each(|&layout| {
        let op = matmul(layout, [512, 768, 3072], DType::F32);
        let kernel = compiled(&op, &reference_schedule(3, 2));
        let options = EmulateOptions {
            blocks: Some(vec![[3, 5, 0]]),
            ..EmulateOptions::default()
        };
        let report = emulate(&kernel, &mut arguments(&op).expect("memory"), &options).expect("it runs");
        assert_eq!(report.hazards, [], "{layout}");
        let [main] = &report.counters.loops[..] else {
            panic!("{layout}: one loop")
        };
        assert_eq!(main.iterations, 4 * 96, "{layout}: four warps, 3072 / 32 iterations");
        let per_iteration =
            |class| main.counts.instructions.get(&class).copied().unwrap_or(0) as f64 / main.iterations as f64;
        for (class, wanted) in [
            (Class::Mma, 64.0),
            (Class::Ldmatrix, 16.0),
            (Class::CpAsync, 8.0),
            (Class::Barrier, 1.0),
            (Class::Commit, 1.0),
            (Class::Wait, 1.0),
            (Class::LoadLocal, 0.0),
            (Class::StoreLocal, 0.0),
        ] {
            assert_eq!(per_iteration(class), wanted, "{layout}: {class:?}");
        }
        assert_eq!(main.counts.shared_conflicts, 0, "{layout}");
        // S − 1 groups are in flight in the loop, S in its prologue, where all slots are filled.
        assert_eq!(main.counts.max_groups_in_flight, 2, "{layout}");
        assert_eq!(report.counters.kernel.max_groups_in_flight, 3, "{layout}");
        assert_eq!(main.counts.max_groups_after_wait, 1, "{layout}");
    });
}

/// A fault that only iteration S+1 has must make the trial fail that a tuner runs: a sample of blocks, one arrival.
#[test]
fn a_fault_at_iteration_s_plus_1_fails_the_trial() {
    let op = matmul(Layout::Nn, [256, 256, 512], DType::F16);
    let verifier = Verifier::new(&op);
    for (shared_stages, register_stages) in [(2, 1), (3, 2), (4, 3)] {
        let schedule = reference_schedule(shared_stages, register_stages);
        let good = compiled(&op, &schedule);
        let trial = |kernel: &Kernel| {
            verifier.verify(
                kernel,
                OutputTile::of(&op, &schedule),
                Scope::Sample,
                &[Arrival::Latest],
            )
        };
        trial(&good).unwrap_or_else(|error| panic!("{schedule}: {error}"));
        let at_fault = |edit: &dyn Fn(&mut Vec<String>, usize), line: &str| {
            edited(&good, |main| {
                main.declare(".reg .b32 %iteration; .reg .pred %fault;");
                main.before.push("mov.b32 %iteration, 0;".to_owned());
                let at = main.find(line, 0);
                edit(&mut main.body, at);
                let count = format!(
                    "add.s32 %iteration, %iteration, 1; setp.eq.s32 %fault, %iteration, {};",
                    shared_stages + 1
                );
                main.body.insert(1, count);
            })
        };
        // The sign of two elements of A.
        let value = at_fault(
            &|body, at| {
                let a = body[at + 2]
                    .trim()
                    .trim_start_matches('{')
                    .split(',')
                    .next()
                    .expect("a register")
                    .to_owned();
                body.insert(at, format!("@%fault xor.b32 {a}, {a}, 0x80008000;"));
            },
            "mma.sync",
        );
        let error = trial(&value).expect_err("a wrong value");
        assert!(matches!(error, VerifyError::Wrong { .. }), "{schedule}: {error}");
        let guard = |body: &mut Vec<String>, at: usize| body[at] = format!("@!%fault {}", body[at].trim());
        for synchronisation in ["wait_group", "bar.sync"] {
            let line = if synchronisation == "bar.sync" && good.ptx.contains("barrier.sync") {
                "barrier.sync"
            } else {
                synchronisation
            };
            let error = trial(&at_fault(&guard, line)).expect_err("no synchronisation");
            assert!(
                matches!(error, VerifyError::Hazards { .. }),
                "{schedule}, {line}: {error}"
            );
        }
    }
}

#[test]
fn the_same_schedule_gives_the_same_ptx() {
    let op = matmul(Layout::Tt, [256, 256, 256], DType::F16);
    let schedule = reference_schedule(4, 2);
    assert_eq!(compiled(&op, &schedule), compiled(&op, &schedule));
}

prop_compose! {
    fn any_schedule()(
        warps in prop::sample::select(vec![(1u32, 1u32), (1, 2), (2, 1), (2, 2), (4, 1), (1, 4)]),
        warp in prop::sample::select(vec![[16u32, 16u32], [16, 32], [32, 16], [32, 32], [64, 16], [48, 32]]),
        k_steps in 1u32..=4,
        shared_stages in 1u32..=6,
        register_stages in 1u32..=4,
    ) -> TileSchedule {
        let block = [warps.0 * warp[0], warps.1 * warp[1], 16 * k_steps];
        schedule(block, warp, shared_stages, register_stages)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the space calls legal compiles, and computes what the reference does under every arrival; whatever the
    /// compiler refuses, the space prunes.
    #[test]
    fn random_operators_and_schedules_are_right_or_refused(
        schedule in any_schedule(),
        layout in prop::sample::select(Layout::ALL.to_vec()),
        blocks in (1u64..=3, 1u64..=3),
        trip in 1u64..=8,
        batch in 1u64..=2,
        narrow in any::<bool>(),
    ) {
        let shape = [
            blocks.0 * u64::from(schedule.block.m),
            blocks.1 * u64::from(schedule.block.n),
            trip * u64::from(schedule.block_k()),
        ];
        let OpSpec::Matmul(mut op) = matmul(layout, shape, if narrow { DType::F16 } else { DType::F32 });
        op.batch = batch;
        let op = OpSpec::Matmul(op);
        match (occupancy::check(&op, &schedule, &a100().limits), compile_operator(&op, &schedule, &a100())) {
            (Ok(_), Ok(kernel)) => {
                let result = Verifier::new(&op).verify(&kernel, OutputTile::of(&op, &schedule), Scope::All, &ARRIVALS);
                prop_assert!(result.is_ok(), "{op}, {schedule}: {}", result.expect_err("not ok"));
            }
            (Ok(_), Err(error)) => prop_assert!(false, "{op}, {schedule}: legal in the space, but {error}"),
            // The space prunes more: what exceeds the registers, by an estimate.
            (Err(_), _) => {}
        }
    }
}

//! Matmuls of any shape and type: what their kernels compute, executed in the emulator with hazards on under all
//! arrivals, and compared with the f64 reference; and which of their accesses to shared memory meet bank conflicts.

use crate::common::{TYPES, a100, matmul_of, schedule};
use alcop::compiler::detect::{Level, ReasonCode, detect};
use alcop::compiler::ir::Context;
use alcop::compiler::tile_program::tile_program;
use alcop::passes::{nvvm, ptx};
use alcop::runtime::verify::{OutputTile, Scope, Verifier};
use alcop::runtime::{Arrival, EmulateOptions, emulate};
use alcop::search::evaluate::arguments;
use alcop::spec::rejection::Operand;
use alcop::spec::{DType, Kernel, Layout, OpSpec, TileSchedule};
use alcop::{compile_operator, detect_options, spec};
use rayon::prelude::*;

const ARRIVALS: [Arrival; 3] = [Arrival::Latest, Arrival::Earliest, Arrival::Random];

/// The tile program as it is, lowered without any pipeline.
fn unpipelined(op: &OpSpec, schedule: &TileSchedule) -> Kernel {
    let context = Context::new();
    let mut program = tile_program(&context, op, schedule).unwrap_or_else(|error| panic!("{op}, {schedule}: {error}"));
    let assembly = nvvm::lower(&mut program.module)
        .and_then(|()| ptx::assemble(&program.module, "sm_80", false))
        .unwrap_or_else(|error| panic!("{op}, {schedule}: {error}"));
    Kernel {
        ptx: assembly.ptx,
        entry: program.entry,
        grid: program.grid,
        block: program.block,
        dynamic_shared_bytes: 0,
    }
}

#[track_caller]
fn right(op: &OpSpec, schedule: &TileSchedule, kernel: &Kernel) {
    let result = Verifier::new(op).verify(kernel, OutputTile::of(op, schedule), Scope::All, &ARRIVALS);
    result.unwrap_or_else(|error| panic!("{op}, {schedule}: {error}"));
}

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }

    /// Half of the time an extent at a tile's edge or a prime, else any up to 200.
    fn extent(&mut self, tile: u64) -> u64 {
        let special = [1, tile - 1, tile, tile + 1, 2 * tile, 13, 97];
        match self.below(14) {
            which @ 0..7 => special[which as usize],
            _ => 1 + self.below(199),
        }
    }
}

/// Block and warp tiles for a chunk of 64 bytes of k: one warp and four. The last has half of that, and four warps for
/// the copies of one.
fn tiles(dtype: DType) -> [TileSchedule; 4] {
    let k = spec::schedule::mma_k(dtype);
    [
        schedule([32, 32, 2 * k], [32, 32], 1, 1),
        schedule([64, 32, 2 * k], [32, 16], 1, 1),
        schedule([32, 64, 2 * k], [16, 32], 1, 1),
        schedule([32, 64, k], [16, 32], 1, 1),
    ]
}

/// Operators of random extents, each with a schedule, the same for the same seed.
fn random_points(seed: u64, each: u64, tilings: u64) -> Vec<(OpSpec, TileSchedule)> {
    let mut random = Random(seed);
    let mut points = Vec::new();
    for types in TYPES {
        for layout in Layout::ALL {
            for number in 0..each {
                let schedule = tiles(types.0)[random.below(tilings) as usize];
                let block = schedule.block;
                let shape = [block.m, block.n, schedule.block_k()].map(|tile| random.extent(tile.into()));
                points.push((matmul_of(types, layout, shape, 1 + number % 2), schedule));
            }
        }
    }
    points
}

#[test]
fn random_shapes_of_every_type_and_layout_are_right_without_a_pipeline() {
    const SEED: u64 = 0x5eed_0005;
    random_points(SEED, 4, 4).par_iter().for_each(|(op, schedule)| {
        right(op, schedule, &unpipelined(op, schedule));
    });
}

/// Every extent of this list for each of m, n and k, against 64×32 tiles: none of the shapes is special by chance.
#[test]
fn extents_around_a_tile_are_right_without_a_pipeline() {
    let schedule = schedule([64, 32, 32], [32, 32], 1, 1);
    let mut points = Vec::new();
    for m in [1, 63, 64, 65] {
        for n in [1, 31, 32, 33] {
            for k in [1, 31, 32, 33] {
                let layout = Layout::ALL[points.len() % 4];
                points.push(matmul_of((DType::F16, DType::F32), layout, [m, n, k], 1));
            }
        }
    }
    points
        .par_iter()
        .for_each(|op| right(op, &schedule, &unpipelined(op, &schedule)));
}

/// Detection finds every operand's copies as wide as its rows are aligned, and pipelinable wherever that is 4 bytes or
/// more; of the others it says that `cp.async` has no such width, and how deep they can be staged through registers.
#[test]
fn verdicts_give_every_operand_the_width_that_its_rows_allow() {
    const SEED: u64 = 0x5eed_0007;
    let widths: Vec<[u32; 2]> = random_points(SEED, 4, 4)
        .par_iter()
        .map(|(op, schedule)| {
            let context = Context::new();
            let program = tile_program(&context, op, schedule).unwrap_or_else(|error| panic!("{op}: {error}"));
            let detection = detect(&program.module, &detect_options(&a100()));
            let OpSpec::Matmul(mm) = op;
            [Operand::A, Operand::B].map(|operand| {
                let number = usize::from(operand == Operand::B);
                let verdict = &detection.kernels[0].buffers[number];
                assert_eq!(verdict.level, Level::Shared);
                let codes: Vec<ReasonCode> = verdict.reasons.iter().map(|reason| reason.code).collect();
                let found = verdict.copies.iter().map(|copy| copy.bytes).max();
                let bytes = mm.copy_bytes(operand);
                let wanted = (bytes < 4).then_some(ReasonCode::WidthUnsupported);
                assert_eq!(verdict.staged_depth.is_some(), bytes < 4, "{op}, {schedule}: {operand}");
                assert_eq!(codes.first().copied(), wanted, "{op}, {schedule}: {operand}: {codes:?}");
                assert!(
                    codes.iter().all(|code| Some(*code) == wanted),
                    "{op}, {schedule}: {codes:?}"
                );
                assert!(
                    bytes < 4 || found == Some(bytes),
                    "{op}, {schedule}: {operand}: {found:?}"
                );
                bytes
            })
        })
        .collect();
    for wanted in [1, 2, 4, 8, 16] {
        assert!(widths.as_flattened().contains(&wanted), "{wanted} bytes");
    }
}

/// With a pipeline every kernel is right, of ragged shapes too.
#[test]
fn pipelined_kernels_of_every_type_are_right() {
    const SEED: u64 = 0x5eed_0006;
    let mut points: Vec<(OpSpec, TileSchedule)> = random_points(SEED, 1, 3);
    for (number, types) in (0..).zip(TYPES) {
        for layout in Layout::ALL {
            let schedule = tiles(types.0)[number % 3];
            let block = schedule.block;
            let shape = [block.m, 2 * block.n, 5 * schedule.block_k()].map(u64::from);
            points.push((matmul_of(types, layout, shape, 1), schedule));
        }
    }
    let asynchronous = (0..)
        .zip(&points)
        .collect::<Vec<_>>()
        .par_iter()
        .filter(|(number, (op, schedule))| {
            let mut schedule = *schedule;
            schedule.shared_stages = 2 + number % 3;
            schedule.register_stages = 1 + number / 3 % 2;
            let kernel =
                compile_operator(op, &schedule, &a100()).unwrap_or_else(|error| panic!("{op}, {schedule}: {error}"));
            right(op, &schedule, &kernel);
            kernel.ptx.contains("cp.async.c")
        })
        .count();
    // Where both operands have rows of single bytes or of two, nothing is asynchronous.
    assert!(
        asynchronous * 3 > points.len() * 2,
        "{asynchronous} of {}",
        points.len()
    );
}

/// Bank conflicts of the main loop of one block, and the wavefronts that its accesses take in all.
fn conflicts(op: &OpSpec, schedule: &TileSchedule) -> (u64, u64) {
    let kernel = compile_operator(op, schedule, &a100()).unwrap_or_else(|error| panic!("{op}, {schedule}: {error}"));
    let options = EmulateOptions {
        blocks: Some(vec![[0, 0, 0]]),
        ..EmulateOptions::default()
    };
    let report = emulate(&kernel, &mut arguments(op).expect("memory"), &options).expect("it runs");
    assert_eq!(report.hazards, [], "{op}, {schedule}");
    let [main] = &report.counters.loops[..] else {
        panic!("{op}, {schedule}: {} loops", report.counters.loops.len())
    };
    (main.counts.shared_conflicts, main.counts.shared_wavefronts)
}

/// Block tiles with sides of 64 to 256 and chunks of 32 to 128 bytes of k, under warps of 64×64. (256×256 fits under no
/// warp tile: 65536 accumulators are all registers of an SM.)
fn large_tiles(dtype: DType) -> Vec<TileSchedule> {
    let k = spec::schedule::mma_k(dtype);
    let sides = [64, 128, 256];
    let pairs = sides.iter().flat_map(|m| sides.map(|n| (*m, n)));
    let fit = pairs.filter(|pair| *pair != (256, 256)).enumerate();
    fit.map(|(number, (m, n))| schedule([m, n, k << (number % 3)], [64, 64], 2, 1))
        .collect()
}

fn loop_conflicts(dtype: DType, layout: Layout, schedule: &TileSchedule) -> (u64, u64) {
    let shape = [schedule.block.m, schedule.block.n, 3 * schedule.block_k()].map(u64::from);
    conflicts(&matmul_of((dtype, dtype.accumulator()), layout, shape, 1), schedule)
}

/// 16-bit types in every layout, the others where k is contiguous in both operands: copies and `ldmatrix` meet no bank
/// conflict.
#[test]
fn contiguous_k_and_sixteen_bits_meet_no_bank_conflict() {
    let mut points = Vec::new();
    for (dtype, layouts) in [
        (DType::F16, &Layout::ALL[..]),
        (DType::Bf16, &Layout::ALL),
        (DType::Tf32, &[Layout::Nt]),
        (DType::I8, &[Layout::Nt]),
    ] {
        for (number, &layout) in layouts.iter().enumerate() {
            // bf16 has f16's addresses: a few tiles of each layout will do.
            let tiles = large_tiles(dtype);
            let chosen = (0..)
                .zip(tiles)
                .filter(|(tile, _)| dtype != DType::Bf16 || tile % 4 == number);
            points.extend(chosen.map(|(_, schedule)| (dtype, layout, schedule)));
        }
    }
    assert_eq!(points.len(), 4 * 8 + 8 + 8 + 8);
    points.par_iter().for_each(|(dtype, layout, schedule)| {
        let (conflicts, wavefronts) = loop_conflicts(*dtype, *layout, schedule);
        assert_eq!(conflicts, 0, "{dtype} {layout}, {schedule}: of {wavefronts} wavefronts");
    });
}

/// Where k walks along the rows, elements of 32 and 8 bits are loaded one by one. A load reads eight neighbours of each
/// of four rows, which the xor swizzle spreads over four pieces of 16 bytes, not over eight: of tf32, rows k and k + 1 take
/// the same two pieces; of 8 bits, rows k and k + 8 the same one. Every such load takes two wavefronts.
#[test]
fn element_loads_take_two_wavefronts() {
    for (dtype, layout, conflicts, wavefronts) in [
        (DType::Tf32, Layout::Nn, 384, 1408),
        (DType::Tf32, Layout::Tn, 768, 1792),
        (DType::Tf32, Layout::Tt, 384, 1408),
        (DType::I8, Layout::Nn, 1536, 3712),
        (DType::I8, Layout::Tn, 3072, 6400),
        (DType::I8, Layout::Tt, 1536, 3712),
    ] {
        let schedule = schedule([128, 128, 2 * spec::schedule::mma_k(dtype)], [64, 64], 2, 1);
        let found = loop_conflicts(dtype, layout, &schedule);
        assert_eq!(found, (conflicts, wavefronts), "{dtype} {layout}");
    }
}

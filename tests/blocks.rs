//! The order of blocks (`raster_rows`) and blocks that share the sum of a tile (`split_k`): what such kernels compute,
//! executed in the emulator with hazards on under all arrivals, and how long they take on the simulator.

use crate::common::{TYPES, a100, alcop, expect, matmul_of, schedule, stdout};
use alcop::compiler::detect::detect;
use alcop::compiler::ir::Context;
use alcop::compiler::tile_program::tile_program;
use alcop::runtime::emulator::Class;
use alcop::runtime::timing::{Bound, SimDevice};
use alcop::runtime::verify::{OutputTile, Scope, Verifier, VerifyError};
use alcop::runtime::{ArgBuffer, Arrival, EmulateOptions, emulate};
use alcop::search::evaluate::kernel_arguments;
use alcop::spec::tiles::Placement;
use alcop::spec::{DType, GpuTarget, Kernel, Layout, OpSpec, TileSchedule};
use alcop::{compile_operator, detect_options, plan_operator};
use rayon::prelude::*;

const ARRIVALS: [Arrival; 3] = [Arrival::Latest, Arrival::Earliest, Arrival::Random];

fn blocks(tiles: TileSchedule, raster_rows: u32, split_k: u32) -> TileSchedule {
    TileSchedule {
        raster_rows,
        split_k,
        ..tiles
    }
}

fn compiled(op: &OpSpec, schedule: &TileSchedule) -> Kernel {
    compile_operator(op, schedule, &a100()).unwrap_or_else(|error| panic!("{op}, {schedule}: {error}"))
}

#[track_caller]
fn right(op: &OpSpec, schedule: &TileSchedule, scope: Scope) {
    let kernel = compiled(op, schedule);
    let result = Verifier::new(op).verify(&kernel, OutputTile::of(op, schedule), scope, &ARRIVALS);
    result.unwrap_or_else(|error| panic!("{op}, {schedule}: {error}"));
}

/// Tile rows that the raster divides and does not, fewer than it, one; whole tiles and partial ones, alone and in products.
#[test]
fn every_raster_of_every_type_and_layout_is_right() {
    let mut points = Vec::new();
    for (number, types) in (0..).zip(TYPES) {
        for layout in Layout::ALL {
            let k = alcop::spec::schedule::mma_k(types.0);
            let tiles = schedule([32, 32, 2 * k], [32, 16], 2 + number % 2, 1 + number % 2);
            let [m, n] = [[224, 96], [161, 90], [97, 33], [32, 64]][points.len() % 4];
            let raster_rows = [2, 3, 5, 8][points.len() / 4 % 4];
            let op = matmul_of(types, layout, [m, n, u64::from(5 * k)], 1 + points.len() as u64 % 3 / 2);
            points.push((op, blocks(tiles, raster_rows, 1)));
        }
    }
    points
        .par_iter()
        .for_each(|(op, schedule)| right(op, schedule, Scope::All));
}

/// Chunks that the split divides and does not, ragged in k, more tiles than one, several products, with a raster.
#[test]
fn every_split_of_every_type_and_layout_is_right() {
    let mut points = Vec::new();
    for (number, types) in (0..).zip(TYPES) {
        for layout in Layout::ALL {
            let k = alcop::spec::schedule::mma_k(types.0);
            let tiles = schedule([32, 32, 2 * k], [16, 32], 1 + number % 3, 1);
            let split_k = [2, 3, 4, 7][points.len() % 4];
            let chunks = [8, 7, 13, 14][points.len() % 4];
            let ragged = [0, 5, 0, 16][points.len() / 4 % 4];
            let [m, n] = [[64, 64], [33, 40], [97, 32]][points.len() % 3];
            let op = matmul_of(
                types,
                layout,
                [m, n, u64::from(chunks * 2 * k) - ragged],
                1 + points.len() as u64 % 3 / 2,
            );
            points.push((op, blocks(tiles, 1 + number % 2, split_k)));
        }
    }
    points
        .par_iter()
        .for_each(|(op, schedule)| right(op, schedule, Scope::All));
}

/// Blocks that share a tile's sum have the pipeline that was asked for, whatever is ragged, on both levels: nothing of the
/// loop is ordered by its own barriers alone.
#[test]
fn every_split_keeps_its_pipeline() {
    let mut points = Vec::new();
    for types in TYPES {
        for layout in Layout::ALL {
            let k = alcop::spec::schedule::mma_k(types.0);
            // Whole tiles and chunks; ragged in m and n; in k; in all; rows of odd length, which go through registers.
            for [m, n, chunks, more] in [
                [64, 64, 8, 0],
                [33, 40, 6, 0],
                [64, 96, 7, 8],
                [97, 34, 5, 2],
                [65, 63, 6, 1],
            ] {
                let op = matmul_of(types, layout, [m, n, chunks * 2 * u64::from(k) + more], 1 + m % 2);
                for (split_k, [shared_stages, register_stages]) in [(2, [3, 2]), (3, [2, 1]), (5, [4, 3])] {
                    let tiles = schedule([32, 32, 2 * k], [16, 32], shared_stages, register_stages);
                    points.push((op, blocks(tiles, 1 + split_k % 2, split_k)));
                }
            }
        }
    }
    points.retain(|(OpSpec::Matmul(op), schedule)| alcop::spec::tiles::check_split(op, schedule).is_none());
    assert!(points.len() > 200, "{} leave no block without chunks", points.len());
    let lost: Vec<String> = points
        .par_iter()
        .filter_map(|(op, schedule)| {
            let context = Context::new();
            let program =
                tile_program(&context, op, schedule).unwrap_or_else(|error| panic!("{op}, {schedule}: {error}"));
            let detection = detect(&program.module, &detect_options(&a100()));
            let error = plan_operator(&program.module, &detection, schedule, &a100()).err()?;
            Some(format!("{op}, {schedule}: {error}"))
        })
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {}:\n{}",
        lost.len(),
        points.len(),
        lost.join("\n")
    );
}

/// Sums that i32 does not hold stop at the largest and the smallest, also where parts of them are added.
#[test]
fn parts_of_integer_sums_stop_where_whole_sums_do() {
    let schedule = blocks(schedule([16, 16, 128], [16, 16], 2, 1), 1, 2);
    // 2·90 112·127² is above 2³¹, half of it is below.
    let k = 180_224;
    let op = matmul_of((DType::I8, DType::I32), Layout::Nt, [16, 16, k], 1);
    let kernel = compiled(&op, &schedule);
    for (a, sum) in [(127_i8, i32::MAX), (-127, i32::MIN)] {
        let mut args = kernel_arguments(&op, &schedule).expect("memory");
        let array = |args: &mut [ArgBuffer], number: usize, value: i8| match &mut args[number] {
            ArgBuffer::Array { bytes, .. } => bytes.fill(value as u8),
            other => panic!("{other:?} is no array"),
        };
        array(&mut args, 0, a);
        array(&mut args, 1, 127);
        let report = emulate(&kernel, &mut args, &EmulateOptions::default()).expect("it runs");
        assert_eq!(report.hazards, []);
        let c = args[2].bytes().expect("C");
        assert!(c.chunks_exact(4).all(|bytes| bytes == sum.to_le_bytes()), "{a}");
    }
}

/// A sample has all blocks of its tiles, so that the whole sums are there to be compared.
#[test]
fn samples_hold_whole_tiles() {
    let op = matmul_of((DType::F16, DType::F16), Layout::Nn, [512, 320, 384], 3);
    let schedule = blocks(schedule([64, 32, 32], [32, 32], 3, 2), 3, 3);
    let tile = OutputTile::of(&op, &schedule);
    let kernel = compiled(&op, &schedule);
    assert_eq!(kernel.grid, [8, 10, 9]);
    let verified = Verifier::new(&op)
        .verify(&kernel, tile, Scope::Sample, &[Arrival::Latest])
        .expect("right");
    let ran = verified.blocks.expect("a sample");
    assert!(
        ran.len() < 8 * 10 * 9 / 4 && ran.len().is_multiple_of(3),
        "{} blocks",
        ran.len()
    );
    assert_eq!(verified.counters.blocks, ran.len() as u64);
}

/// What makes a split right, taken away: the order among blocks, the reset of the counters, one of the parts.
#[test]
fn broken_splits_are_found() {
    let op = matmul_of((DType::F16, DType::F32), Layout::Nn, [64, 32, 256], 1);
    let schedule = blocks(schedule([32, 32, 32], [32, 32], 2, 1), 1, 2);
    let kernel = compiled(&op, &schedule);
    let verify = |from: &str, to: &str| {
        let ptx = kernel.ptx.replace(from, to);
        assert_ne!(ptx, kernel.ptx, "{from}");
        let broken = Kernel { ptx, ..kernel.clone() };
        Verifier::new(&op).verify(&broken, OutputTile::of(&op, &schedule), Scope::All, &ARRIVALS)
    };
    let unordered = verify("fence.acq_rel.gpu;", "");
    assert!(matches!(unordered, Err(VerifyError::Hazards { .. })), "{unordered:?}");
    let counter = kernel.ptx.lines().find(|line| line.contains("atom.global.exch"));
    let kept = verify(counter.expect("the counter is reset"), "");
    assert!(
        matches!(kept, Err(VerifyError::NotReset { argument: 4, .. })),
        "{kept:?}"
    );
    let add = kernel
        .ptx
        .lines()
        .find(|line| line.trim_start().starts_with("add.rn.f32"))
        .expect("a sum of parts");
    let (result, parts) = add.rsplit_once(", ").expect("operands");
    let one = result
        .replace("add.rn.f32", "mov.f32")
        .rsplit_once(", ")
        .map(|(head, part)| format!("{head}, {part};"));
    assert_ne!(parts, "");
    let partial = verify(add, &one.expect("two operands"));
    assert!(matches!(partial, Err(VerifyError::Wrong { .. })), "{partial:?}");
}

/// The main loop has no division and hardly more instructions than that of whole sums in columns; nothing is spilled
/// into local memory.
#[test]
fn order_and_split_cost_next_to_nothing_in_the_loop() {
    let op = matmul_of((DType::F16, DType::F32), Layout::Nn, [896, 512, 1024], 2);
    let tiles = schedule([128, 128, 32], [64, 64], 3, 2);
    let in_the_loop = |raster_rows, split_k| {
        let schedule = blocks(tiles, raster_rows, split_k);
        let kernel = compiled(&op, &schedule);
        let slow = ["div.", "rem.", "st.local", "ld.local"];
        for line in kernel.ptx.lines() {
            assert!(
                !slow.iter().any(|name| line.trim_start().starts_with(name)),
                "{schedule}: {line}"
            );
        }
        let options = EmulateOptions {
            blocks: Some(vec![[0, 0, 0]]),
            ..EmulateOptions::default()
        };
        let report = emulate(
            &kernel,
            &mut kernel_arguments(&op, &schedule).expect("memory"),
            &options,
        )
        .expect("it runs");
        let [main] = &report.counters.loops[..] else {
            panic!("{schedule}: {} loops", report.counters.loops.len())
        };
        let each = |class: Class| main.counts.instructions.get(&class).copied().unwrap_or(0);
        (main.counts.total / main.iterations, each(Class::Mma) / main.iterations)
    };
    let plain = in_the_loop(1, 1);
    for (raster_rows, split_k) in [(2, 1), (3, 1), (1, 2), (3, 4)] {
        let (instructions, products) = in_the_loop(raster_rows, split_k);
        assert_eq!(products, plain.1);
        // LLVM may choose other bases for the addresses of copies.
        assert!(
            instructions <= plain.0 + 8,
            "raster {raster_rows}, split {split_k}: {instructions}, {plain:?}"
        );
    }
}

/// A few tiles with a long sum leave most SMs idle: ResNet-50's last layer in the paper's benchmark. Shared sums take less
/// time on the simulator, with what adding them up costs, and the model says so too.
#[test]
fn splits_pay_where_tiles_are_few() {
    let op = matmul_of((DType::F16, DType::F32), Layout::Nn, [1024, 64, 2048], 1);
    let device = SimDevice::new(&a100()).expect("it has rates");
    let tiles = schedule([64, 64, 32], [32, 32], 4, 2);
    let time = |split_k| {
        let schedule = blocks(tiles, 1, split_k);
        let kernel = compiled(&op, &schedule);
        let report = device
            .simulate(&kernel, &kernel_arguments(&op, &schedule).expect("memory"))
            .expect("it runs");
        let resources = alcop::spec::occupancy::check(&op, &schedule, &a100().limits).expect("legal");
        let model = alcop::search::cost_model::Model::new(&a100()).expect("it has rates");
        let predicted = alcop::search::cost_model::predict(&model, &op, &schedule, &resources);
        (report.time_us, predicted.time_us)
    };
    let (whole, halves, quarters) = (time(1), time(2), time(4));
    println!("{op}, {tiles}: simulated and predicted µs {whole:.2?}, split in 2 {halves:.2?}, in 4 {quarters:.2?}");
    assert!(
        halves.0 < 0.8 * whole.0 && halves.1 < 0.8 * whole.1,
        "{whole:?} {halves:?}"
    );
    assert!(
        quarters.0 < halves.0 && quarters.1 < halves.1,
        "{halves:?} {quarters:?}"
    );
    // The simulated blocks are the last ones of their tiles: without what those do it would be less.
    let schedule = blocks(tiles, 1, 4);
    let kernel = compiled(&op, &schedule);
    let never = kernel.ptx.replace("atom.global.add.u32", "atom.global.min.u32");
    assert_ne!(never, kernel.ptx);
    let never = Kernel { ptx: never, ..kernel };
    let without = device
        .simulate(&never, &kernel_arguments(&op, &schedule).expect("memory"))
        .expect("it runs")
        .time_us;
    assert!(without < quarters.0 - 0.2, "{without} and {quarters:?} µs");
}

/// 256 rows of tiles and 8 columns, 168 blocks at a time: down a whole column all of A passes through L2, whose 6 MB do not
/// keep it, for each of the columns again. In groups of 8 rows the columns of B stay, and A comes once.
#[test]
fn rasters_pay_where_l2_does_not_keep_a_column_of_tiles() {
    let op = matmul_of((DType::F16, DType::F16), Layout::Nn, [16384, 1024, 256], 1);
    let a6000 = GpuTarget::resolve("a6000").expect("an embedded target");
    let device = SimDevice::new(&a6000).expect("it has rates");
    let tiles = schedule([64, 128, 32], [32, 64], 3, 2);
    let report = |raster_rows| {
        let schedule = blocks(tiles, raster_rows, 1);
        let kernel = compile_operator(&op, &schedule, &a6000).expect("it compiles");
        device
            .simulate(&kernel, &kernel_arguments(&op, &schedule).expect("memory"))
            .expect("it runs")
    };
    let (columns, groups) = (report(1), report(8));
    let both = format!("{columns}\n{groups}");
    println!("{op}, {tiles}, whole columns, then rasters of 8 rows:\n{both}");
    assert!(columns.time_us > 1.5 * groups.time_us, "{both}");
    assert_eq!((columns.bound, groups.bound), (Bound::Dram, Bound::Sm), "{both}");
    // A, B and what of C L2 does not hold at the end.
    let (a, b, c) = (16384.0 * 256.0 * 2.0, 1024.0 * 256.0 * 2.0, 16384.0 * 1024.0 * 2.0);
    assert_eq!(groups.dram_bytes, a + b + c - 6.0 * 1024.0 * 1024.0);
    // A for seven columns more. Of B, each of the 12 starts of a wave inside a column brings that again, but for the last
    // wave, of 32 blocks, which takes little enough.
    assert_eq!(columns.dram_bytes - groups.dram_bytes, 7.0 * a + 11.0 * b / 8.0);
}

#[test]
fn the_command_takes_order_and_split() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("k.json");
    let launch = path.to_str().expect("UTF-8");
    let compile = |raster: &str, split_k: &str| {
        alcop(&[
            "compile",
            "--op",
            "matmul",
            "--m",
            "192",
            "--n",
            "64",
            "--k",
            "256",
            "--block",
            "64x32x32",
            "--warp",
            "32x32",
            "--raster",
            raster,
            "--split-k",
            split_k,
            "--emit",
            "launch",
            "-o",
            launch,
        ])
    };
    stdout(&compile("2", "4"));
    let text = std::fs::read_to_string(&path).expect("written");
    let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(file["grid"], serde_json::json!([3, 2, 4]));
    assert_eq!(file["args"].as_array().map(Vec::len), Some(5));
    assert_eq!(
        file["args"][4]["zeros"],
        serde_json::json!({"dtype": "i32", "shape": [6, 64]})
    );
    let report: serde_json::Value = serde_json::from_str(&stdout(&alcop(&["run", launch, "--json"]))).expect("JSON");
    assert_eq!(report["hazards"], serde_json::json!([]));
    expect(&compile("0", "1"), 1, "[tile-not-supported]");
    expect(&compile("1", "5"), 1, "[split-k-not-supported]");
    let placement = Placement {
        tiles_m: 3,
        tiles_n: 2,
        group_rows: 2,
        split_k: 4,
    };
    assert_eq!((placement.of([2, 0, 5]).row, placement.of([2, 0, 5]).split), (0, 1));
}

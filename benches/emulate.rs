//! How fast kernels are executed and timed without a GPU: the reference kernel (128×128×32, 4 warps, 3 slots, 2 fragment
//! sets) on all of 512×768×3072, in warp instructions a second; and on its first 1, 2, 4 … 24 blocks, in blocks a second,
//! which stays the same as the cost is linear.

// The functions that criterion's macros make have no docs.
#![allow(missing_docs)]

use alcop::compile_operator;
use alcop::runtime::timing::SimDevice;
use alcop::runtime::{EmulateOptions, emulate};
use alcop::search::evaluate::arguments;
use alcop::spec::{AxisTiles, DType, GpuTarget, Layout, Matmul, OpSpec, Swizzle, TileSchedule};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    let (dtype, out_dtype, layout) = (DType::F16, DType::F32, Layout::Nn);
    let op = OpSpec::Matmul(Matmul {
        m: 512,
        n: 768,
        k: 3072,
        batch: 1,
        dtype,
        out_dtype,
        layout,
    });
    let schedule = TileSchedule {
        block: AxisTiles::mnk(128, 128, 32),
        warp: AxisTiles::mn(64, 64),
        shared_stages: 3,
        register_stages: 2,
        swizzle: Swizzle::Xor,
        raster_rows: 1,
        split_k: 1,
    };
    let target = GpuTarget::resolve("a100").expect("an embedded device");
    let kernel = compile_operator(&op, &schedule, &target).expect("legal");
    let options = |hazards| EmulateOptions {
        hazards,
        ..EmulateOptions::default()
    };
    let instructions = emulate(&kernel, &mut arguments(&op).expect("memory"), &options(false))
        .expect("it runs")
        .counters
        .kernel
        .total;

    let mut group = criterion.benchmark_group("512x768x3072");
    group.sample_size(10);
    group.throughput(Throughput::Elements(instructions));
    for (name, hazards) in [("emulate, hazards checked", true), ("emulate, unchecked", false)] {
        group.bench_function(name, |bencher| {
            let run = |mut args: Vec<_>| emulate(&kernel, &mut args, &options(hazards)).expect("it runs");
            bencher.iter_batched(|| arguments(&op).expect("memory"), run, BatchSize::PerIteration);
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("blocks");
    group.sample_size(10);
    for blocks in [2, 4, 8, 16, 24] {
        group.throughput(Throughput::Elements(blocks));
        let chosen = EmulateOptions {
            blocks: Some((0..blocks as u32).map(|block| [block % 4, block / 4, 0]).collect()),
            ..options(true)
        };
        group.bench_function(blocks.to_string(), |bencher| {
            let run = |mut args: Vec<_>| emulate(&kernel, &mut args, &chosen).expect("it runs");
            bencher.iter_batched(|| arguments(&op).expect("memory"), run, BatchSize::PerIteration);
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("512x768x3072");
    group.sample_size(10);
    let device = SimDevice::new(&target).expect("it has rates");
    let args = arguments(&op).expect("memory");
    let report = device.simulate(&kernel, &args).expect("it runs");
    group.throughput(Throughput::Elements(report.warp_instructions));
    group.bench_function("time on sim:a100", |bencher| {
        bencher.iter(|| device.simulate(&kernel, &args).expect("it runs"));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);

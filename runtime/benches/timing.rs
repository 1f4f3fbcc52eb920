//! Warp instructions a second of the timing simulator, on our 128×128×32 kernel for 512×768×3072 (one block an SM), and
//! instructions a second of the estimate of its registers.

// The functions that criterion's macros make have no docs.
#![allow(missing_docs)]

use std::hint::black_box;

use alcop_runtime::emulator::Program;
use alcop_runtime::launch::ArgBuffer;
use alcop_runtime::timing::{Liveness, Pressure, SimDevice};
use alcop_spec::GpuTarget;
use alcop_spec::kernel::{ArrayDType, Kernel};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn zeros(dtype: ArrayDType, elements: usize) -> ArgBuffer {
    ArgBuffer::Array {
        dtype,
        bytes: vec![0; elements * dtype.bytes()],
    }
}

fn simulate(criterion: &mut Criterion) {
    let kernel = Kernel {
        ptx: include_str!("../tests/data/matmul_nn_128x128x32_s3_r2.ptx").to_owned(),
        entry: "matmul".to_owned(),
        grid: [4, 6, 1],
        block: [128, 1, 1],
        dynamic_shared_bytes: 49152,
    };
    let args = [
        zeros(ArrayDType::F16, 512 * 3072),
        zeros(ArrayDType::F16, 3072 * 768),
        zeros(ArrayDType::F32, 512 * 768),
    ];
    let target = GpuTarget::resolve("a100").expect("embedded");
    let device = SimDevice::new(&target).expect("a device has rates");
    let report = device.simulate(&kernel, &args).expect("our own kernel runs");
    let mut group = criterion.benchmark_group("timing");
    group.throughput(Throughput::Elements(report.warp_instructions));
    group.bench_function("matmul_512x768x3072", |bencher| {
        bencher.iter(|| device.simulate(black_box(&kernel), &args));
    });
    let program = Program::from_text(&kernel.ptx, &kernel.entry).expect("our own kernel is known");
    let liveness = Liveness::of(&program);
    group.throughput(Throughput::Elements(program.code.len() as u64));
    group.bench_function("registers", |bencher| {
        bencher.iter(|| Pressure::of(black_box(&program), &liveness));
    });
    group.finish();
}

criterion_group!(benches, simulate);
criterion_main!(benches);

//! Schedules that the analytic model predicts per second on one core, and the enumeration of a large space.

use std::hint::black_box;

use alcop_search::cost_model::{Model, Predictor, predict};
use alcop_search::space::{Space, enumerate};
use alcop_spec::{DType, GpuTarget, Layout, Matmul, OpSpec};
use criterion::{Criterion, Throughput, criterion_main};

fn bert() -> OpSpec {
    let (dtype, out_dtype, layout) = (DType::F16, DType::F32, Layout::Nn);
    OpSpec::Matmul(Matmul {
        m: 512,
        n: 768,
        k: 3072,
        batch: 1,
        dtype,
        out_dtype,
        layout,
    })
}

fn predictions(c: &mut Criterion) {
    let target = GpuTarget::resolve("a100").expect("an embedded device");
    let model = Model::new(&target).expect("a device has rates");
    let op = bert();
    let legal = enumerate(&Space::wide_matmul(), &op, &target.limits, Some(108))
        .expect("legal schedules")
        .legal;
    let mut group = c.benchmark_group("cost_model");
    group.throughput(Throughput::Elements(legal.len() as u64));
    group.bench_function("predict", |b| {
        b.iter(|| {
            legal
                .iter()
                .map(|candidate| predict(&model, black_box(&op), &candidate.schedule, &candidate.resources).time_us)
                .sum::<f64>()
        });
    });
    // The same predictions: what one tile's schedules share is computed once.
    group.bench_function("predictor", |b| {
        b.iter(|| {
            let mut predictor = Predictor::new(&model, black_box(&op));
            legal
                .iter()
                .map(|candidate| predictor.predict(&candidate.schedule, &candidate.resources).time_us)
                .sum::<f64>()
        });
    });
    group.finish();
}

fn enumeration(c: &mut Criterion) {
    let limits = GpuTarget::resolve("a100").expect("an embedded device").limits;
    // 7776 tilings × 7 rasters × 2 splits: 108 864.
    let space = Space {
        raster_rows: (1..=7).collect(),
        split_k: vec![1, 2],
        ..Space::wide_matmul()
    };
    let mut group = c.benchmark_group("space");
    group.throughput(Throughput::Elements(space.size()));
    group.bench_function("enumerate_1e5", |b| {
        b.iter(|| enumerate(black_box(&space), &bert(), &limits, Some(108)))
    });
    group.finish();
}

mod group {
    #![allow(missing_docs)] // The macro's function cannot be documented.
    criterion::criterion_group!(benches, super::predictions, super::enumeration);
}
criterion_main!(group::benches);

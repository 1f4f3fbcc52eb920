//! How long one kernel takes from operator to PTX, whole and by phase: 128×128×32 tiles, 4 warps, 3 slots, 2 fragment
//! sets, layouts nn and nt.

// The functions that criterion's macros make have no docs.
#![allow(missing_docs)]

use alcop::compiler::detect::detect;
use alcop::compiler::ir::Context;
use alcop::compiler::tile_program::tile_program;
use alcop::passes::decide::decide;
use alcop::passes::{expand, hazard, nvvm, ptx};
use alcop::spec::{AxisTiles, DType, GpuTarget, Layout, Matmul, OpSpec, Swizzle, TileSchedule};
use alcop::{compile_operator, depths, detect_options};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const SCHEDULE: TileSchedule = TileSchedule {
    block: AxisTiles::mnk(128, 128, 32),
    warp: AxisTiles::mn(64, 64),
    shared_stages: 3,
    register_stages: 2,
    swizzle: Swizzle::Xor,
    raster_rows: 1,
};

fn op(layout: Layout) -> OpSpec {
    let (dtype, out_dtype) = (DType::F16, DType::F32);
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

fn whole(criterion: &mut Criterion) {
    let target = GpuTarget::resolve("a100").expect("an embedded device");
    for layout in [Layout::Nn, Layout::Nt] {
        criterion.bench_function(&format!("operator to PTX, {layout}"), |bencher| {
            bencher.iter(|| compile_operator(&op(layout), &SCHEDULE, &target).expect("legal"));
        });
    }
}

fn phases(criterion: &mut Criterion) {
    let target = GpuTarget::resolve("a100").expect("an embedded device");
    let context = Context::new();
    let op = op(Layout::Nn);
    let tile = || tile_program(&context, &op, &SCHEDULE).expect("legal").module;
    let plan = {
        let module = tile();
        let detection = detect(&module, &detect_options(&target));
        decide(&module, &detection, "sm_80", &depths(&SCHEDULE)).expect("legal")
    };
    let expanded = || {
        let mut module = tile();
        expand(&mut module, &plan).expect("legal");
        module
    };
    let lowered = || {
        let mut module = expanded();
        nvvm::lower(&mut module).expect("lowers");
        module
    };
    let mut group = criterion.benchmark_group("phase");
    group.bench_function("context", |bencher| bencher.iter(Context::new));
    group.bench_function("tile program", |bencher| bencher.iter(tile));
    group.bench_function("detect and decide", |bencher| {
        let module = tile();
        bencher.iter(|| {
            let detection = detect(&module, &detect_options(&target));
            decide(&module, &detection, "sm_80", &depths(&SCHEDULE)).expect("legal")
        });
    });
    group.bench_function("expand", |bencher| {
        bencher.iter_batched(
            tile,
            |mut module| {
                expand(&mut module, &plan).expect("legal");
                module
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("hazard check", |bencher| {
        let module = expanded();
        bencher.iter(|| hazard::check(&module));
    });
    group.bench_function("lower to NVVM", |bencher| {
        bencher.iter_batched(
            expanded,
            |mut module| {
                nvvm::lower(&mut module).expect("lowers");
                module
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("LLVM O3 and PTX", |bencher| {
        let module = lowered();
        bencher.iter(|| ptx::assemble(&module, "sm_80", false).expect("assembles"));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = whole, phases
}
criterion_main!(benches);

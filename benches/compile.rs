//! How long one kernel takes from operator to PTX, whole and by phase: 128×128×32 tiles, 4 warps, 3 slots, 2 fragment
//! sets, layouts nn and nt.
//!
//! ```text
//! hazard check          4.9 ms    6 %
//! ```

// The functions that criterion's macros make have no docs.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use alcop::compiler::detect::detect;
use alcop::compiler::ir::Context;
use alcop::compiler::tile_program::tile_program;
use alcop::passes::pipeline::transform;
use alcop::passes::{hazard, nvvm, ptx};
use alcop::spec::{AxisTiles, DType, GpuTarget, Layout, Matmul, OpSpec, Swizzle, TileSchedule};
use alcop::{compile_operator, detect_options, plan_operator};
use criterion::{Criterion, criterion_group, criterion_main};

const SCHEDULE: TileSchedule = TileSchedule {
    block: AxisTiles::mnk(128, 128, 32),
    warp: AxisTiles::mn(64, 64),
    shared_stages: 3,
    register_stages: 2,
    swizzle: Swizzle::Xor,
    raster_rows: 1,
    split_k: 1,
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
        criterion.bench_function(&format!("operator to PTX, judge included, {layout}"), |bencher| {
            bencher.iter(|| compile_operator(&op(layout), &SCHEDULE, &target).expect("legal"));
        });
    }
}

/// Runs of which the median is taken.
const RUNS: usize = 21;

/// Walks the road phase by phase and prints the median of each, with its share of their sum.
fn phases(_: &mut Criterion) {
    for layout in [Layout::Nn, Layout::Nt] {
        let mut phases: Vec<(&str, Vec<Duration>)> = Vec::new();
        for _ in 0..RUNS {
            for (number, (name, time)) in walk(layout).into_iter().enumerate() {
                if phases.len() == number {
                    phases.push((name, Vec::new()));
                }
                phases[number].1.push(time);
            }
        }
        let medians: Vec<(&str, f64)> = phases
            .into_iter()
            .map(|(name, mut times)| {
                times.sort();
                (name, times[RUNS / 2].as_secs_f64() * 1e3)
            })
            .collect();
        let sum: f64 = medians.iter().map(|(_, ms)| ms).sum();
        println!("phases, {layout} (medians of {RUNS} runs)");
        for (name, ms) in medians {
            println!("  {name:20} {ms:6.1} ms {:4.0} %", ms / sum * 100.0);
        }
        println!("  {:20} {sum:6.1} ms", "sum");
    }
}

/// What `compile_operator` does, with the time of each phase.
fn walk(layout: Layout) -> Vec<(&'static str, Duration)> {
    let target = GpuTarget::resolve("a100").expect("an embedded device");
    let mut times = Vec::new();
    let mut start = Instant::now();
    let mut ends = |name| {
        times.push((name, start.elapsed()));
        start = Instant::now();
    };
    let context = Context::new();
    ends("context");
    let mut module = tile_program(&context, &op(layout), &SCHEDULE).expect("legal").module;
    ends("tile program");
    let detection = detect(&module, &detect_options(&target));
    ends("detect");
    let plan = plan_operator(&module, &detection, &SCHEDULE, &target).expect("obeyed");
    ends("decide");
    transform(&mut module, &plan).expect("legal");
    ends("expand, waits, swizzle");
    assert!(
        hazard::check(&module)
            .iter()
            .all(|judgement| judgement.hazards.is_empty())
    );
    ends("hazard check");
    nvvm::lower(&mut module).expect("lowers");
    ends("lower to NVVM");
    ptx::assemble(&module, "sm_80", false).expect("assembles");
    ends("LLVM and PTX");
    drop(module);
    drop(context);
    ends("clean up");
    times
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = whole, phases
}
criterion_main!(benches);

//! The cost of detection over the size of a kernel: 10² … 10⁵ operations, in many loops, in one long body, and around.
//!
//! ```text
//! cargo bench -p alcop-compiler --bench detect
//! ```

use std::fmt::Write;
use std::hint::black_box;

use alcop_compiler::detect::{DetectOptions, detect};
use alcop_compiler::ir::{Context, preorder};
use alcop_compiler::tile_program::tile_program;
use alcop_spec::{AxisTiles, DType, Layout, Matmul, OpSpec, Swizzle, TileSchedule};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_main};

const SHARED: &str = "memref<32x4xf32, #gpu.address_space<workgroup>>";
const GLOBAL: &str = "memref<1024x4xf32>";

#[derive(Clone, Copy)]
enum Shape {
    /// Small loops, one behind the other, a buffer each.
    Loops,
    /// One loop with arithmetic between copy and use.
    Arithmetic,
    /// One loop that stores to global memory all the time.
    Stores,
    /// One loop with many copies into many buffers, and their uses.
    Buffers,
}

fn kernel(shape: Shape, operations: usize) -> String {
    let mut text = format!(
        "gpu.module @m {{ gpu.func @k(%src: {GLOBAL} {{llvm.noalias, llvm.align = 16 : i64}}, %dst: {GLOBAL} \
         {{llvm.noalias}}) kernel attributes {{known_block_size = array<i32: 32, 1, 1>}} {{
         %c0 = arith.constant 0 : index\n%c32 = arith.constant 32 : index\n%c1024 = arith.constant 1024 : index
         %zero = arith.constant dense<0.0> : vector<4xf32>\n%t = gpu.thread_id x\n"
    );
    let open = |text: &mut String, number: usize| {
        writeln!(
            text,
            "%r{number} = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {{\n\
             %row = arith.addi %i, %t : index"
        )
        .expect("a string");
    };
    let copy = |text: &mut String, number: usize| {
        writeln!(
            text,
            "%v{number} = vector.load %src[%row, %c0] : {GLOBAL}, vector<4xf32>\n\
             vector.store %v{number}, %s{number}[%t, %c0] : {SHARED}, vector<4xf32>"
        )
        .expect("a string");
    };
    let read = |text: &mut String, number: usize| {
        writeln!(
            text,
            "%x{number} = vector.load %s{number}[%c0, %c0] : {SHARED}, vector<4xf32>"
        )
        .expect("a string");
    };
    let buffers = match shape {
        Shape::Loops => operations / 10,
        Shape::Buffers => operations / 5,
        _ => 1,
    };
    for number in 0..buffers {
        writeln!(text, "%s{number} = memref.alloc() : {SHARED}").expect("a string");
    }
    match shape {
        Shape::Loops => {
            for number in 0..buffers {
                open(&mut text, number);
                copy(&mut text, number);
                text += "gpu.barrier\n";
                read(&mut text, number);
                writeln!(text, "gpu.barrier\nscf.yield %x{number} : vector<4xf32>\n}}").expect("a string");
            }
        }
        Shape::Arithmetic | Shape::Stores => {
            open(&mut text, 0);
            copy(&mut text, 0);
            text += "gpu.barrier\n";
            read(&mut text, 0);
            for number in 0..operations {
                match shape {
                    Shape::Arithmetic => {
                        writeln!(text, "%x{} = arith.addf %x{number}, %acc : vector<4xf32>", number + 1)
                    }
                    _ => writeln!(text, "vector.store %acc, %dst[%row, %c0] : {GLOBAL}, vector<4xf32>"),
                }
                .expect("a string");
            }
            text += "gpu.barrier\nscf.yield %acc : vector<4xf32>\n}\n";
        }
        Shape::Buffers => {
            open(&mut text, 0);
            (0..buffers).for_each(|number| copy(&mut text, number));
            text += "gpu.barrier\n";
            (0..buffers).for_each(|number| read(&mut text, number));
            text += "gpu.barrier\nscf.yield %acc : vector<4xf32>\n}\n";
        }
    }
    text + "gpu.return } }"
}

/// The largest kernel of the tests: a tile program of 128×128×32, 4 warps of 64×64.
fn reference_matmul(criterion: &mut Criterion, context: &Context, options: &DetectOptions) {
    let op = OpSpec::Matmul(Matmul {
        m: 512,
        n: 768,
        k: 3072,
        batch: 1,
        dtype: DType::F16,
        out_dtype: DType::F32,
        layout: Layout::Nn,
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
    let program = tile_program(context, &op, &schedule).expect("legal");
    criterion.bench_function("detect/reference matmul", |bencher| {
        bencher.iter(|| detect(black_box(&program.module), options));
    });
}

fn bench(criterion: &mut Criterion) {
    let options = DetectOptions {
        shared_bytes_per_block: 166_912,
        block_size: None,
        assumptions: Default::default(),
    };
    let context = Context::new();
    reference_matmul(criterion, &context, &options);
    for (name, shape) in [
        ("loops", Shape::Loops),
        ("arithmetic", Shape::Arithmetic),
        ("stores", Shape::Stores),
        ("buffers", Shape::Buffers),
    ] {
        let mut group = criterion.benchmark_group(format!("detect/{name}"));
        group.sample_size(10);
        group.warm_up_time(std::time::Duration::from_millis(300));
        group.measurement_time(std::time::Duration::from_secs(1));
        for operations in [100, 1_000, 10_000, 100_000] {
            let module = context.parse(&kernel(shape, operations), "bench.mlir").expect("parses");
            let count = preorder(module.op()).len();
            group.throughput(Throughput::Elements(count as u64));
            group.bench_with_input(BenchmarkId::from_parameter(count), &module, |bencher, module| {
                bencher.iter(|| detect(black_box(module), &options));
            });
        }
        group.finish();
    }
}

#[allow(missing_docs)] // of what the macro makes
mod groups {
    criterion::criterion_group!(benches, super::bench);
}
use groups::benches;
criterion_main!(benches);

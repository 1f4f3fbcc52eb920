//! A hand-written kernel that is no matmul: verdicts, plan, pipeline, PTX, and a run in the emulator.
//!
//! Each block of 128 threads sums rows of its input with their mirror image, and carries a second value, the running
//! maximum, through the loop.

use alcop::compiler::detect::{detect, detection_table};
use alcop::compiler::ir::Context;
use alcop::passes::decide::{Depths, decide};
use alcop::passes::obeyed;
use alcop::passes::pipeline::compile;
use alcop::passes::plan::SharedLayout;
use alcop::runtime::{ArgBuffer, EmulateOptions, emulate};
use alcop::spec::kernel::ArrayDType;
use alcop::spec::{GpuTarget, Kernel};

const KERNEL: &str = include_str!("mirror_sum.mlir");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = GpuTarget::resolve("sm_80")?;
    let context = Context::new();
    let mut module = context.parse(KERNEL, "examples/mirror_sum.mlir")?;
    let detection = detect(&module, &alcop::detect_options(&target));
    print!("{}", detection_table(&detection));

    let depths = Depths {
        shared_stages: 4,
        register_stages: 1,
        layout: SharedLayout::Plain,
    };
    let plan = decide(&module, &detection, target.arch.name(), &depths)?;
    // All of it or an error: `decide` alone leaves out what cannot be pipelined.
    obeyed::check(&detection, &plan, &depths)?;
    let compiled = compile(&mut module, &plan, target.arch.name())?;
    println!("\n{}", compiled.pipelined);
    println!(
        "{} B of dynamic shared memory for 4 slots",
        compiled.dynamic_shared_bytes
    );
    let copies = compiled
        .assembly
        .ptx
        .lines()
        .filter(|line| line.contains("cp.async.cg"))
        .count();
    println!("{copies} asynchronous copies in the PTX: three in the prologue, one in the loop");
    assert_eq!((compiled.dynamic_shared_bytes, copies), (4 * 128 * 16, 4));

    let kernel = Kernel {
        ptx: compiled.assembly.ptx,
        entry: "mirror_sum".to_owned(),
        grid: [1, 1, 1],
        block: [128, 1, 1],
        dynamic_shared_bytes: compiled.dynamic_shared_bytes as u32,
    };
    run(&kernel)
}

/// Executes the kernel with hazards on, and compares with a plain loop.
fn run(kernel: &Kernel) -> Result<(), Box<dyn std::error::Error>> {
    // Whole numbers, whose sums are exact.
    let input: Vec<f32> = (0..8192 * 4).map(|i| ((i * 37) % 101) as f32).collect();
    let mut args = [
        ArgBuffer::f32(&input),
        ArgBuffer::poisoned(ArrayDType::F32, 128 * 4),
        ArgBuffer::poisoned(ArrayDType::F32, 128 * 4),
    ];
    let report = emulate(kernel, &mut args, &EmulateOptions::default())?;
    assert!(report.hazards.is_empty(), "{:?}", report.hazards);
    let (mut sums, mut maxima) = (vec![0.0; 128 * 4], vec![0.0; 128 * 4]);
    for (index, value) in input.iter().enumerate() {
        let (row, column) = (index / 4, index % 4);
        let thread = 127 - row % 128;
        sums[4 * thread + column] += value;
        maxima[4 * thread + column] = f32::max(maxima[4 * thread + column], *value);
    }
    assert_eq!((&args[1], &args[2]), (&ArgBuffer::f32(&sums), &ArgBuffer::f32(&maxima)));
    println!(
        "executed: {} warp instructions, no hazard, sums and maxima are right",
        report.counters.kernel.total
    );
    Ok(())
}

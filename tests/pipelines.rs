//! Kernels of every form that detection accepts, as files in `tests/filetests/pipeline`: pipelined at several depths, they
//! compute bit for bit what they compute without a pipeline, whatever the order of arrival, and without a hazard.
//!
//! Comments in a file say what its plan must be: `// PLAN loop 1 around 0 waits 2` (an entry for loop 1 that runs on
//! across loop 0, with buffers that are waited for at two positions).

use std::path::{Path, PathBuf};

use alcop::compiler::detect::{Detection, Verdict, detect};
use alcop::compiler::ir::{Attr, Context, Module, Op, Value, preorder};
use alcop::passes::decide::{Depths, decide};
use alcop::passes::pipeline::compile_to_ptx;
use alcop::passes::plan::{PipelinePlan, SharedLayout};
use alcop::passes::sink::sink_and_detect;
use alcop::runtime::{ArgBuffer, Arrival, EmulateOptions, EmulationReport, emulate};
use alcop::spec::kernel::ArrayDType;
use alcop::spec::{GpuTarget, Kernel};
use rayon::prelude::*;

const ARRIVALS: [Arrival; 3] = [Arrival::Latest, Arrival::Earliest, Arrival::Random];
/// Slots and fragment sets.
const DEPTHS: [(u32, u32); 9] = [(1, 1), (2, 1), (3, 1), (4, 1), (8, 1), (2, 2), (3, 2), (4, 3), (5, 4)];

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/pipeline");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of the kernels")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mlir"))
        .collect();
    files.sort();
    files
}

fn detection(module: &Module<'_>) -> Detection {
    let target = GpuTarget::resolve("sm_80").expect("an architecture");
    detect(module, &alcop::detect_options(&target))
}

/// Verdicts on what a kernel becomes when element-wise work has moved out of its copies.
fn sunk_detection(module: &mut Module<'_>) -> Result<Detection, String> {
    let target = GpuTarget::resolve("sm_80").expect("an architecture");
    sink_and_detect(module, &alcop::detect_options(&target)).map_err(|error| error.to_string())
}

fn planned(module: &Module<'_>, (shared_stages, register_stages): (u32, u32)) -> Result<PipelinePlan, String> {
    let depths = Depths {
        shared_stages,
        register_stages,
        layout: SharedLayout::Xor,
    };
    decide(module, &detection(module), "sm_80", &depths).map_err(|error| error.to_string())
}

fn kernel_of<'ir>(module: &'ir Module<'_>) -> Op<'ir> {
    let kernels: Vec<Op<'ir>> = preorder(module.op())
        .into_iter()
        .filter(|op| op.is("gpu.func"))
        .collect();
    assert_eq!(kernels.len(), 1, "one kernel a file");
    kernels[0]
}

/// The arguments of a kernel: arrays of small numbers, different in each element.
fn arguments(kernel: Op<'_>) -> Vec<ArgBuffer> {
    let count = kernel
        .attr("function_type")
        .and_then(Attr::as_type)
        .and_then(|ty| ty.num_inputs())
        .expect("a function has a type");
    let entry = kernel.region(0).blocks().next().expect("a body");
    let argument = |(number, value): (usize, Value<'_>)| {
        let Some(memref) = value.ty().as_memref() else {
            assert_eq!(value.ty().to_string(), "f32", "kernels of these tests take memrefs and binary32 numbers");
            return ArgBuffer::F32(0.75);
        };
        let elements: i64 = memref
            .shape
            .iter()
            .map(|extent| extent.expect("a static shape"))
            .product();
        let value = |at: i64| (at * 37 + 11 * number as i64 + at / 7) % 101;
        let (dtype, bytes): (ArrayDType, Vec<u8>) = match memref.element.to_string().as_str() {
            "f32" => (
                ArrayDType::F32,
                (0..elements)
                    .flat_map(|at| (value(at) as f32 * 0.125 - 3.0).to_le_bytes())
                    .collect(),
            ),
            "f16" => (
                ArrayDType::F16,
                (0..elements)
                    .flat_map(|at| half::f16::from_f32(value(at) as f32 * 0.125 - 3.0).to_le_bytes())
                    .collect(),
            ),
            "i32" => (
                ArrayDType::I32,
                (0..elements)
                    .flat_map(|at| ((value(at) % 8) as i32).to_le_bytes())
                    .collect(),
            ),
            "i8" => (ArrayDType::I8, (0..elements).map(|at| value(at) as u8).collect()),
            other => panic!("arrays of {other} have no values here"),
        };
        ArgBuffer::Array { dtype, bytes }
    };
    entry.arguments().take(count).enumerate().map(argument).collect()
}

/// Compiles as planned. The plan without loops is the kernel as it was.
fn compiled(path: &Path, text: &str, sunk: bool, plan: impl Fn(&Module<'_>) -> PipelinePlan) -> Result<Kernel, String> {
    let context = Context::new();
    let mut module = context
        .parse(text, &path.display().to_string())
        .map_err(|error| error.to_string())?;
    if sunk {
        sunk_detection(&mut module)?;
    }
    let plan = plan(&module);
    let (name, block) = {
        let kernel = kernel_of(&module);
        let name = kernel
            .attr("sym_name")
            .and_then(Attr::as_str)
            .expect("a name")
            .to_owned();
        (
            name,
            kernel
                .attr("known_block_size")
                .and_then(Attr::as_ints)
                .expect("a block size"),
        )
    };
    let compiled = compile_to_ptx(&mut module, &plan, "sm_80").map_err(|error| error.to_string())?;
    Ok(Kernel {
        ptx: compiled.assembly.ptx,
        entry: name,
        grid: [1, 1, 1],
        block: [block[0] as u32, block[1] as u32, block[2] as u32],
        dynamic_shared_bytes: compiled.dynamic_shared_bytes as u32,
    })
}

fn run(kernel: &Kernel, arguments: &[ArgBuffer], arrival: Arrival, seed: u64) -> (Vec<ArgBuffer>, EmulationReport) {
    let mut arguments = arguments.to_vec();
    let options = EmulateOptions {
        arrival,
        seed,
        ..EmulateOptions::default()
    };
    let report = emulate(kernel, &mut arguments, &options)
        .unwrap_or_else(|error| panic!("{}: {error}\n{}", kernel.entry, kernel.ptx));
    (arguments, report)
}

#[test]
fn every_form_computes_the_same_with_a_pipeline() {
    let failures: Vec<String> = files()
        .par_iter()
        .flat_map_iter(|path| {
            let text = std::fs::read_to_string(path).expect("readable");
            check(path, &text).err()
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn check(path: &Path, text: &str) -> Result<(), String> {
    let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
    let context = Context::new();
    let mut module = context.parse(text, &name).map_err(|error| format!("{name}: {error}"))?;
    sunk_detection(&mut module).map_err(|error| format!("{name}: {error}"))?;
    let arguments = arguments(kernel_of(&module));
    check_plan(&name, text, &module)?;
    let most_registers = most_registers(&module);
    let plain = compiled(path, text, false, |module| {
        let mut plan = planned(module, (1, 1)).expect("a plan");
        plan.loops.clear();
        plan
    })
    .map_err(|error| format!("{name}, as it was: {error}"))?;
    if plain.ptx.contains("cp.async") && !text.contains("device_async_copy") {
        return Err(format!("{name}: a kernel without a pipeline has asynchronous copies"));
    }
    let (expected, report) = run(&plain, &arguments, Arrival::Latest, 0);
    if !report.hazards.is_empty() {
        return Err(format!("{name}, as it was: {:?}\n{}", report.hazards, plain.ptx));
    }
    for depths in DEPTHS {
        let (shared, registers) = depths;
        let what = format!("{name}, {shared} slots, {registers} fragment sets");
        let legal = registers == 1 || shared > 1 && registers <= most_registers;
        let kernel = match compiled(path, text, true, |module| planned(module, depths).expect("a plan")) {
            Ok(kernel) if legal => kernel,
            Err(error) if !legal && error.contains("register-depth-exceeds-chunk") => continue,
            Ok(_) => return Err(format!("{what}: compiled, though it is not legal")),
            Err(error) => return Err(format!("{what}: {error}")),
        };
        for (number, arrival) in ARRIVALS.into_iter().enumerate() {
            let (found, report) = run(&kernel, &arguments, arrival, number as u64);
            if !report.hazards.is_empty() {
                return Err(format!("{what}, {arrival:?}: {:?}\n{}", report.hazards, kernel.ptx));
            }
            if found != expected {
                return Err(format!("{what}, {arrival:?}: other results\n{}", kernel.ptx));
            }
            if shared > 1 && report.counters.kernel.max_groups_in_flight < shared - 1 {
                let most = report.counters.kernel.max_groups_in_flight;
                return Err(format!(
                    "{what}: at most {most} groups of copies are in flight\n{}",
                    kernel.ptx
                ));
            }
        }
    }
    Ok(())
}

/// Fragment sets that every register load of the file allows.
fn most_registers(module: &Module<'_>) -> u32 {
    let detection = detection(module);
    let loads = detection
        .kernels
        .iter()
        .flat_map(|kernel| &kernel.buffers)
        .filter(|buffer| buffer.source.is_some());
    let pipelinable = loads.filter(|load| load.verdict == Verdict::Pipelinable);
    pipelinable.filter_map(|load| load.max_depth).min().unwrap_or(u32::MAX)
}

fn check_plan(name: &str, text: &str, module: &Module<'_>) -> Result<(), String> {
    let plan = planned(module, (3, 1)).map_err(|error| format!("{name}: {error}"))?;
    let found: Vec<String> = plan
        .loops
        .iter()
        .map(|entry| {
            let mut line = format!("loop {}", entry.loop_index);
            if !entry.around.is_empty() {
                line += " around";
                for outer in &entry.around {
                    line += &format!(" {outer}");
                }
            }
            let mut waits: Vec<u32> = entry.buffers.iter().map(|buffer| buffer.sync).collect();
            waits.sort_unstable();
            waits.dedup();
            if waits.len() > 1 {
                line += &format!(" waits {}", waits.len());
            }
            line
        })
        .collect();
    let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("// PLAN ")).collect();
    if found == expected {
        return Ok(());
    }
    Err(format!("{name}: the plan is {found:?}, the file expects {expected:?}"))
}

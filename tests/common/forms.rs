//! Kernels of every form that detection accepts: the files in `tests/filetests/pipeline`, compiled and executed.

use std::path::{Path, PathBuf};

use alcop::compiler::detect::{Detection, detect};
use alcop::compiler::ir::{Attr, Context, Module, Op, Value, preorder};
use alcop::passes::decide::{Depths, decide};
use alcop::passes::fit::{Asked, Lowered, decide_within};
use alcop::passes::pipeline::compile_to_ptx;
use alcop::passes::plan::{PipelinePlan, SharedLayout};
use alcop::passes::sink::sink_and_detect;
use alcop::runtime::ArgBuffer;
use alcop::spec::kernel::ArrayDType;
use alcop::spec::{GpuTarget, Kernel};

pub fn files() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/pipeline");
    let folder = std::env::var_os("ALCOP_FORMS").map_or(own, PathBuf::from);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of the kernels")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mlir"))
        .collect();
    files.sort();
    files
}

pub fn detection(module: &Module<'_>) -> Detection {
    let target = GpuTarget::resolve("sm_80").expect("an architecture");
    detect(module, &alcop::detect_options(&target))
}

/// Verdicts on what a kernel becomes when element-wise work has moved out of its copies.
pub fn sunk_detection(module: &mut Module<'_>) -> Result<Detection, String> {
    let target = GpuTarget::resolve("sm_80").expect("an architecture");
    sink_and_detect(module, &alcop::detect_options(&target)).map_err(|error| error.to_string())
}

pub fn planned(module: &Module<'_>, (shared_stages, register_stages): (u32, u32)) -> Result<PipelinePlan, String> {
    let depths = Depths {
        shared_stages,
        register_stages,
        layout: SharedLayout::Xor,
    };
    decide(module, &detection(module), "sm_80", &depths).map_err(|error| error.to_string())
}

/// The plan at 3 slots and 2 fragment sets that nobody asked for by name, and what of it is lower.
pub fn planned_by_default(module: &Module<'_>) -> Result<(PipelinePlan, Vec<Lowered>), String> {
    let depths = Depths {
        shared_stages: 3,
        register_stages: 2,
        layout: SharedLayout::Xor,
    };
    let asked = Asked::default();
    decide_within(module, &detection(module), "sm_80", &depths, asked).map_err(|error| error.to_string())
}

pub fn kernel_of<'ir>(module: &'ir Module<'_>) -> Op<'ir> {
    let kernels: Vec<Op<'ir>> = preorder(module.op())
        .into_iter()
        .filter(|op| op.is("gpu.func"))
        .collect();
    assert_eq!(kernels.len(), 1, "one kernel a file");
    kernels[0]
}

/// The arguments of a kernel: arrays of small numbers, different in each element.
pub fn arguments(kernel: Op<'_>) -> Vec<ArgBuffer> {
    let count = kernel
        .attr("function_type")
        .and_then(Attr::as_type)
        .and_then(|ty| ty.num_inputs())
        .expect("a function has a type");
    let entry = kernel.region(0).blocks().next().expect("a body");
    let argument = |(number, value): (usize, Value<'_>)| {
        let Some(memref) = value.ty().as_memref() else {
            return match value.ty().to_string().as_str() {
                "f32" => ArgBuffer::F32(0.75),
                "index" => ArgBuffer::U64(5),
                other => panic!("an argument of type {other} has no value here"),
            };
        };
        let bytes = memref.static_bytes().expect("a static shape");
        let elements = (bytes / memref.element.bytes().unwrap_or(8)) as i64;
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
            "index" => (
                ArrayDType::I64,
                (0..elements).flat_map(|at| (value(at) % 8).to_le_bytes()).collect(),
            ),
            "i8" => (ArrayDType::I8, (0..elements).map(|at| value(at) as u8).collect()),
            other => panic!("arrays of {other} have no values here"),
        };
        ArgBuffer::Array { dtype, bytes }
    };
    entry.arguments().take(count).enumerate().map(argument).collect()
}

/// Compiles as planned. The plan without loops is the kernel as it was.
pub fn compiled(
    path: &Path,
    text: &str,
    sunk: bool,
    plan: impl Fn(&Module<'_>) -> PipelinePlan,
) -> Result<Kernel, String> {
    compiled_from(path, text, sunk, |module| Ok(plan(module)))
}

/// As [`compiled`], but the module may be changed on the way to its plan.
pub fn compiled_from(
    path: &Path,
    text: &str,
    sunk: bool,
    plan: impl Fn(&mut Module<'_>) -> Result<PipelinePlan, String>,
) -> Result<Kernel, String> {
    let context = Context::new();
    let mut module = context
        .parse(text, &path.display().to_string())
        .map_err(|error| error.to_string())?;
    if sunk {
        sunk_detection(&mut module)?;
    }
    let plan = plan(&mut module)?;
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

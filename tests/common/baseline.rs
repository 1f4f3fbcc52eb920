//! A kernel lowered as it is written, and what our passes make of it at each depth, executed on the same arguments.
//!
//! ```text
//! plain: clean
//! 1/1, 2/1: differs (argument 2, byte 40: 0x00 instead of 0x40)      3/1, 3/2, 4/3: equal
//! ```
//!
//! The baseline comes from `alcop-plain`, which shares nothing with the passes. A line `// ARGUMENT 1 10` in a file gives
//! the second argument a value: a scalar has it, an array of integers is filled with it.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use alcop::compiler::detect::{BufferVerdict, Detection, Level, Verdict};
use alcop::compiler::ir::{BufferId, Context, MemRef, Op, Type};
use alcop::own_launch::own_launch;
use alcop::passes::decide::Depths;
use alcop::passes::fit::{Asked, decide_within};
use alcop::passes::outline::outline;
use alcop::passes::pipeline::compile_to_ptx;
use alcop::passes::plan::{PipelinePlan, SharedLayout};
use alcop::passes::sink::{foresee, sink_and_detect};
use alcop::runtime::{ArgBuffer, Arrival, EmulateOptions, emulate};
use alcop::spec::kernel::ArrayDType;
use alcop::spec::{GpuTarget, Kernel};
use alcop_plain::{UNKNOWN_WINDOW_BYTES, only_kernel, parameters};

/// Slots and fragment sets.
pub type Depth = (u32, u32);

/// Those that every kernel is compared at; the first is no pipeline.
pub const DEPTHS: [Depth; 5] = [(1, 1), (2, 1), (3, 1), (3, 2), (4, 3)];
/// What `alcop compile` takes where nothing is said.
pub const DEFAULT: Depth = (3, 2);
/// The refusals that a depth which was asked for may meet.
const TOO_DEEP: [&str; 2] = ["register-depth-exceeds-chunk", "does-not-fit"];

/// What a kernel is launched with, and what it must leave in its arrays.
pub struct Baseline {
    pub arguments: Vec<ArgBuffer>,
    pub expected: Vec<ArgBuffer>,
    pub kernel: Kernel,
}

/// Why a kernel has no baseline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoBaseline {
    /// The text is not one of a kernel with arguments that have values here.
    NotAKernel(String),
    /// Upstream has no way from it to PTX.
    NotLowered(String),
    /// The emulator does not execute what came out.
    NotExecuted(String),
    /// It has a race or reads what nobody wrote, as it is written.
    Undefined(String),
}

impl NoBaseline {
    /// One word for it.
    pub fn class(&self) -> &'static str {
        match self {
            NoBaseline::NotAKernel(_) => "not-a-kernel",
            NoBaseline::NotLowered(_) => "not-lowered",
            NoBaseline::NotExecuted(_) => "not-executed",
            NoBaseline::Undefined(_) => "undefined",
        }
    }
}

impl fmt::Display for NoBaseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (NoBaseline::NotAKernel(text)
        | NoBaseline::NotLowered(text)
        | NoBaseline::NotExecuted(text)
        | NoBaseline::Undefined(text)) = self;
        write!(f, "{}: {text}", self.class())
    }
}

/// What became of a kernel at a depth.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Equal,
    /// Other bits than the baseline's.
    Differs(String),
    /// A hazard, or an address outside of its array, where the baseline has none.
    Hazard(String),
    /// Refused with this code, or without one.
    Refused(String, String),
    /// Our mistake by our own words (exit code 70), or a panic.
    Bug(String),
}

impl Outcome {
    /// What tells it from other outcomes, without numbers and places.
    pub fn class(&self) -> String {
        match self {
            Outcome::Equal => "equal".to_owned(),
            Outcome::Differs(_) => "differs".to_owned(),
            Outcome::Hazard(_) => "hazard".to_owned(),
            Outcome::Refused(code, _) => format!("refused {code}"),
            Outcome::Bug(_) => "bug".to_owned(),
        }
    }

    fn detail(&self) -> &str {
        match self {
            Outcome::Equal => "",
            Outcome::Differs(text) | Outcome::Hazard(text) | Outcome::Refused(_, text) | Outcome::Bug(text) => text,
        }
    }
}

/// The kernel as it is written, executed.
pub fn baseline(name: &str, text: &str) -> Result<Baseline, NoBaseline> {
    let context = Context::new();
    let not_a_kernel = |error: String| NoBaseline::NotAKernel(error);
    let mut module = context
        .parse(text, name)
        .map_err(|error| not_a_kernel(error.to_string()))?;
    alcop_plain::outline(&mut module).map_err(|error| not_a_kernel(error.to_string()))?;
    let arguments = {
        let kernel = only_kernel(&module).map_err(|error| not_a_kernel(error.to_string()))?;
        arguments(kernel, &given(text)).map_err(not_a_kernel)?
    };
    let kernel = alcop_plain::compile(&mut module, "sm_80").map_err(|error| match error {
        alcop_plain::Error::Kernels { .. } | alcop_plain::Error::NoBlockSize => not_a_kernel(error.to_string()),
        error => NoBaseline::NotLowered(error.to_string()),
    })?;
    let expected = run(&kernel, &arguments, Arrival::Latest).map_err(|failure| match failure {
        Failure::Hazard(text) => NoBaseline::Undefined(text),
        Failure::Error(text) => NoBaseline::NotExecuted(text),
    })?;
    Ok(Baseline {
        arguments,
        expected,
        kernel,
    })
}

/// What a kernel does that has no meaning, executed without LLVM's passes: they may remove it from the baseline, since it
/// has none.
pub fn undefined_as_written(name: &str, text: &str, arguments: &[ArgBuffer]) -> Option<String> {
    let context = Context::new();
    let mut module = context.parse(text, name).ok()?;
    let kernel = alcop_plain::compile_unoptimised(&mut module, "sm_80").ok()?;
    match run(&kernel, arguments, Arrival::Latest) {
        Err(Failure::Hazard(text)) => Some(text),
        Err(Failure::Error(_)) | Ok(_) => None,
    }
}

/// What `alcop compile` makes of a text, as far as it gets.
pub struct Compiled {
    /// What detection says of the text as it is written.
    pub detection: Option<Detection>,
    pub plan: Option<PipelinePlan>,
    pub kernel: Result<Kernel, alcop::passes::Error>,
}

/// As `alcop compile FILE --target sm_80` does it.
pub fn compile(name: &str, text: &str, (shared_stages, register_stages): Depth) -> Result<Compiled, String> {
    let context = Context::new();
    let mut module = context.parse(text, name).map_err(|error| error.to_string())?;
    let target = GpuTarget::resolve("sm_80").expect("an architecture");
    let options = alcop::detect_options(&target);
    let mut compiled = Compiled {
        detection: None,
        plan: None,
        kernel: Err(alcop::passes::Error::Kernels { found: 0 }),
    };
    let result = (|| {
        outline(&mut module)?;
        compiled.detection = Some(foresee(&module, &options)?);
        let detection = sink_and_detect(&mut module, &options)?;
        let depths = Depths {
            shared_stages,
            register_stages,
            layout: SharedLayout::Xor,
        };
        // The default is what nobody asks for.
        let named = (shared_stages, register_stages) != DEFAULT;
        let asked = Asked {
            shared: named,
            registers: named,
        };
        let (plan, _) = decide_within(&module, &detection, "sm_80", &depths, asked)?;
        compiled.plan = Some(plan.clone());
        let (entry, grid, block) = launch(&module)?;
        let done = compile_to_ptx(&mut module, &plan, "sm_80")?;
        Ok(Kernel {
            ptx: done.assembly.ptx,
            entry,
            grid,
            block,
            // As much as the baseline gets, where nothing says how much is used.
            dynamic_shared_bytes: match done.reaches_unknown_place {
                Some(_) => UNKNOWN_WINDOW_BYTES,
                None => done.dynamic_shared_bytes as u32,
            },
        })
    })();
    compiled.kernel = result;
    Ok(compiled)
}

fn launch(module: &alcop::compiler::ir::Module<'_>) -> Result<(String, [u32; 3], [u32; 3]), alcop::passes::Error> {
    let path = std::path::Path::new("k.json");
    // A kernel that does not say its grid runs in one block.
    let own = own_launch(module, path, None).or_else(|_| own_launch(module, path, Some([1, 1, 1])));
    let own = own.map_err(|message| alcop::passes::Error::refused("no-launch", "the kernel", message))?;
    Ok((own.entry, own.grid, own.block))
}

/// What becomes of a kernel at a depth, against its baseline.
pub fn outcome(baseline: &Baseline, compiled: &Compiled) -> Outcome {
    use alcop::passes::Error;
    let kernel = match &compiled.kernel {
        Ok(kernel) => kernel,
        Err(error @ (Error::Invalid { .. } | Error::Llvm(_))) => return Outcome::Bug(error.to_string()),
        Err(Error::Refused { code, .. }) => {
            let text = compiled.kernel.as_ref().err().map(ToString::to_string);
            return Outcome::Refused((*code).to_owned(), text.unwrap_or_default());
        }
        Err(error @ Error::Hazards(_)) => return Outcome::Refused("hazards".to_owned(), error.to_string()),
        Err(error @ Error::Lowering(_)) => return Outcome::Refused("lowering".to_owned(), error.to_string()),
        Err(error) => return Outcome::Refused("other".to_owned(), error.to_string()),
    };
    for arrival in [Arrival::Latest, Arrival::Earliest] {
        match run(kernel, &baseline.arguments, arrival) {
            Err(Failure::Hazard(text) | Failure::Error(text)) => return Outcome::Hazard(text),
            Ok(found) => {
                if let Some(difference) = difference(&baseline.expected, &found) {
                    return Outcome::Differs(difference);
                }
            }
        }
    }
    Outcome::Equal
}

/// What becomes of a kernel without a baseline: only that our passes do not break is known.
pub fn outcome_without(compiled: &Compiled) -> Outcome {
    match &compiled.kernel {
        Err(error @ (alcop::passes::Error::Invalid { .. } | alcop::passes::Error::Llvm(_))) => {
            Outcome::Bug(error.to_string())
        }
        _ => Outcome::Equal,
    }
}

/// Everything that is to be known of a file.
pub struct Checked {
    pub name: String,
    pub baseline: Result<(), NoBaseline>,
    /// Outcomes by depth.
    pub outcomes: Vec<(String, Outcome)>,
    /// Shared buffers that `explain` calls pipelinable or after-sinking, and that the default plan leaves out.
    pub unplanned: Vec<String>,
    /// Whether `explain` promises a pipeline at all.
    pub promised: bool,
    /// Kernels that were compiled by our passes and executed.
    pub executed: usize,
}

/// Compares a kernel at each depth. Plans that are alike are compiled once.
pub fn check(name: &str, text: &str, depths: &[Depth]) -> Checked {
    let base = baseline(name, text);
    let mut checked = Checked {
        name: name.to_owned(),
        baseline: base.as_ref().map(|_| ()).map_err(Clone::clone),
        outcomes: Vec::new(),
        unplanned: Vec::new(),
        promised: false,
        executed: 0,
    };
    if matches!(base, Err(NoBaseline::NotAKernel(_))) {
        return checked;
    }
    let mut empty: Option<Outcome> = None;
    for &depth in depths {
        let label = format!("{}/{}", depth.0, depth.1);
        // A kernel without a pipeline is the same at each depth.
        if let (Some(outcome), true) = (&empty, depth != (1, 1)) {
            checked.outcomes.push((label, outcome.clone()));
            continue;
        }
        let compiled = match catch_unwind(AssertUnwindSafe(|| compile(name, text, depth))) {
            Ok(Ok(compiled)) => compiled,
            Ok(Err(error)) => unreachable!("{name} was parsed before: {error}"),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let text = text.unwrap_or_else(|| "a panic".to_owned());
                checked.outcomes.push((label, Outcome::Bug(text)));
                continue;
            }
        };
        let promised = promised(&compiled);
        checked.promised |= !promised.is_empty();
        if let (true, Some(plan)) = (depth == DEFAULT, &compiled.plan) {
            let planned = |id: &BufferId| {
                let mut buffers = plan.loops.iter().flat_map(|entry| &entry.buffers);
                buffers.any(|buffer| buffer.buffer == *id)
            };
            let left_out = promised.iter().filter(|buffer| !planned(&buffer.id));
            checked
                .unplanned
                .extend(left_out.map(|buffer| format!("{:?}", buffer.id)));
        }
        let outcome = match &base {
            Ok(base) => outcome(base, &compiled),
            Err(_) => outcome_without(&compiled),
        };
        checked.executed += usize::from(base.is_ok() && compiled.kernel.is_ok());
        let nothing_planned = compiled.plan.as_ref().is_some_and(|plan| plan.loops.is_empty());
        if nothing_planned && promised.is_empty() && compiled.kernel.is_ok() {
            empty = Some(outcome.clone());
        }
        checked.outcomes.push((label, outcome));
    }
    checked
}

fn promised(compiled: &Compiled) -> Vec<&BufferVerdict> {
    let kernels = compiled.detection.iter().flat_map(|detection| &detection.kernels);
    let shared = kernels
        .flat_map(|kernel| &kernel.buffers)
        .filter(|buffer| buffer.level == Level::Shared);
    shared.filter(|buffer| buffer.verdict != Verdict::Rejected).collect()
}

impl Checked {
    /// What is wrong, without numbers and places, in one line; empty where nothing is.
    pub fn faults(&self) -> String {
        let mut by_class: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (label, outcome) in &self.outcomes {
            let fine = match outcome {
                Outcome::Equal => true,
                // A depth that was asked for may be too much. None at all, and the default, always compile.
                Outcome::Refused(code, _) => {
                    TOO_DEEP.contains(&code.as_str()) && label != "1/1" && *label != default_label()
                }
                // Neither has upstream a way; what is left of such operations is to be refused by name.
                Outcome::Bug(text) => {
                    matches!(self.baseline, Err(NoBaseline::NotLowered(_))) && text.contains("no LLVM translation")
                }
                _ => false,
            };
            if !fine {
                by_class.entry(outcome.class()).or_default().push(label);
            }
        }
        let mut faults: Vec<String> = by_class
            .into_iter()
            .map(|(class, labels)| format!("{}: {class}", labels.join(" ")))
            .collect();
        if !self.unplanned.is_empty() && self.baseline.is_ok() {
            faults.push(format!("{} promised and not planned", self.unplanned.len()));
        }
        faults.join("; ")
    }

    /// The same with everything that helps.
    pub fn report(&self) -> String {
        let mut lines = vec![match &self.baseline {
            Ok(()) => format!("{}: plain: clean", self.name),
            Err(reason) => format!("{}: plain: {reason}", self.name),
        }];
        for (label, outcome) in &self.outcomes {
            lines.push(format!("  {label}: {} {}", outcome.class(), outcome.detail()));
        }
        for buffer in &self.unplanned {
            lines.push(format!("  promised and not planned: {buffer}"));
        }
        lines.join("\n")
    }
}

fn default_label() -> String {
    format!("{}/{}", DEFAULT.0, DEFAULT.1)
}

/// Why a launch has no results.
pub enum Failure {
    Hazard(String),
    Error(String),
}

/// The arrays after a launch.
pub fn run(kernel: &Kernel, arguments: &[ArgBuffer], arrival: Arrival) -> Result<Vec<ArgBuffer>, Failure> {
    let mut arguments = arguments.to_vec();
    let options = EmulateOptions {
        arrival,
        step_limit: 20_000_000,
        ..EmulateOptions::default()
    };
    let report = emulate(kernel, &mut arguments, &options).map_err(|error| Failure::Error(error.to_string()))?;
    match report.hazards.first() {
        Some(hazard) => Err(Failure::Hazard(format!(
            "{} at `{}`{}",
            hazard.code.name(),
            hazard.second.text,
            hazard
                .detail
                .as_ref()
                .map_or(String::new(), |detail| format!(": {detail}"))
        ))),
        None => Ok(arguments),
    }
}

/// The first byte that is not as expected.
pub fn difference(expected: &[ArgBuffer], found: &[ArgBuffer]) -> Option<String> {
    let arrays = expected.iter().zip(found).enumerate();
    for (number, (expected, found)) in arrays {
        let (expected, found) = (expected.bytes().unwrap_or(&[]), found.bytes().unwrap_or(&[]));
        if let Some(at) = (0..expected.len()).find(|at| expected[*at] != found[*at]) {
            let word = |bytes: &[u8]| {
                let start = at & !3;
                bytes[start..bytes.len().min(start + 4)]
                    .iter()
                    .rev()
                    .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
            };
            let wrong = expected.iter().zip(found).filter(|(a, b)| a != b).count();
            return Some(format!(
                "argument {number}, byte {at}: 0x{} instead of 0x{}; {wrong} of {} bytes differ",
                word(found),
                word(expected),
                expected.len()
            ));
        }
    }
    None
}

/// The values that lines `// ARGUMENT 1 10` give.
fn given(text: &str) -> BTreeMap<usize, i64> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("// ARGUMENT "));
    lines
        .map(|line| {
            let (number, value) = line.split_once(' ').expect("// ARGUMENT number value");
            (
                number.parse().expect("an argument's number"),
                value.trim().parse().expect("a whole number"),
            )
        })
        .collect()
}

/// Arguments of a kernel: arrays of small numbers that differ from element to element. A dynamic extent is 1024 in front,
/// otherwise 64.
pub fn arguments(kernel: Op<'_>, given: &BTreeMap<usize, i64>) -> Result<Vec<ArgBuffer>, String> {
    let parameters: Vec<_> = parameters(kernel).collect();
    let memrefs: Vec<Option<MemRef<'_>>> = parameters.iter().map(|value| value.ty().as_memref()).collect();
    let described = memrefs.iter().flatten().any(|memref| !is_static(memref));
    let mut arguments = Vec::new();
    for (number, (parameter, memref)) in parameters.iter().zip(&memrefs).enumerate() {
        let given = given.get(&number).copied();
        let Some(memref) = memref else {
            arguments.push(scalar(parameter.ty(), given)?);
            continue;
        };
        let extents: Vec<i64> = memref
            .shape
            .iter()
            .enumerate()
            .map(|(dimension, extent)| extent.unwrap_or(if dimension == 0 { 1024 } else { 64 }))
            .collect();
        let mut stride = 1;
        let mut strides = vec![0; extents.len()];
        for (dimension, extent) in extents.iter().enumerate().rev() {
            strides[dimension] = memref.strides[dimension].unwrap_or(stride);
            stride = strides[dimension] * (*extent).max(1);
        }
        let offset = memref.offset.unwrap_or(0);
        let last: i64 = extents
            .iter()
            .zip(&strides)
            .map(|(extent, stride)| (extent - 1).max(0) * stride)
            .sum();
        let elements = offset + last + 1;
        if !(1..1 << 24).contains(&elements) {
            return Err(format!("argument {number} has {elements} elements"));
        }
        let array = array(memref.element, elements, number, given)?;
        if !described {
            arguments.push(array);
            continue;
        }
        arguments.extend([ArgBuffer::Null, array, ArgBuffer::U64(offset as u64)]);
        arguments.extend(extents.iter().map(|extent| ArgBuffer::U64(*extent as u64)));
        arguments.extend(strides.iter().map(|stride| ArgBuffer::U64(*stride as u64)));
    }
    Ok(arguments)
}

fn is_static(memref: &MemRef<'_>) -> bool {
    memref.offset.is_some() && !memref.shape.contains(&None) && !memref.strides.contains(&None)
}

fn scalar(ty: Type<'_>, given: Option<i64>) -> Result<ArgBuffer, String> {
    let whole = given.unwrap_or(5);
    Ok(match ty.to_string().as_str() {
        "index" | "i64" => ArgBuffer::U64(whole as u64),
        "i32" => ArgBuffer::I32(whole as i32),
        "i16" => ArgBuffer::Bytes((whole as i16).to_le_bytes().to_vec()),
        "i8" => ArgBuffer::Bytes(vec![whole as u8]),
        "i1" => ArgBuffer::Bytes(vec![u8::from(whole != 0)]),
        "f32" => ArgBuffer::F32(given.map_or(0.75, |whole| whole as f32)),
        "f16" => ArgBuffer::Bytes(
            half::f16::from_f32(given.map_or(0.75, |whole| whole as f32))
                .to_le_bytes()
                .to_vec(),
        ),
        other => return Err(format!("an argument of type {other} has no value here")),
    })
}

fn array(element: Type<'_>, elements: i64, number: usize, given: Option<i64>) -> Result<ArgBuffer, String> {
    let value = |at: i64| (at * 37 + 11 * number as i64 + at / 7) % 101;
    let real = |at: i64| value(at) as f32 * 0.125 - 3.0;
    let whole = |at: i64| given.unwrap_or(value(at) % 8);
    let all = 0..elements;
    let (dtype, bytes): (ArrayDType, Vec<u8>) = match element.to_string().as_str() {
        "f64" => (
            ArrayDType::F64,
            all.flat_map(|at| f64::from(real(at)).to_le_bytes()).collect(),
        ),
        "f32" => (ArrayDType::F32, all.flat_map(|at| real(at).to_le_bytes()).collect()),
        "f16" => (
            ArrayDType::F16,
            all.flat_map(|at| half::f16::from_f32(real(at)).to_le_bytes()).collect(),
        ),
        "bf16" => (
            ArrayDType::Bf16,
            all.flat_map(|at| half::bf16::from_f32(real(at)).to_le_bytes())
                .collect(),
        ),
        "i64" | "index" => (ArrayDType::I64, all.flat_map(|at| whole(at).to_le_bytes()).collect()),
        "i32" => (
            ArrayDType::I32,
            all.flat_map(|at| (whole(at) as i32).to_le_bytes()).collect(),
        ),
        "i16" => (
            ArrayDType::I16,
            all.flat_map(|at| (given.unwrap_or(value(at)) as i16).to_le_bytes())
                .collect(),
        ),
        "i8" => (ArrayDType::I8, all.map(|at| given.unwrap_or(value(at)) as u8).collect()),
        other => return Err(format!("arrays of {other} have no values here")),
    };
    Ok(ArgBuffer::Array { dtype, bytes })
}

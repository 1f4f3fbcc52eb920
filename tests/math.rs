//! `math` operations, executed in the emulator and compared with f64 over all exponents, with each `.approx` result at
//! the edges of its bound too. The errors stand in `docs/math.md`; `ALCOP_WRITE=1` and `--test-threads 1` write its tables anew, and
//! `ALCOP_MATH_SAMPLES=4096` looks closer.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use crate::common::{alcop, expect, stdout};
use alcop::compiler::ir::Context;
use alcop::passes::{nvvm, ptx};
use alcop::runtime::emulator::Program;
use alcop::runtime::launch::emulate_program;
use alcop::runtime::{Approximation, ArgBuffer, EmulateOptions};
use alcop::spec::Kernel;
use alcop::spec::kernel::ArrayDType;

const BLOCK: usize = 256;

/// A function of one or two numbers.
#[derive(Clone, Copy)]
struct Function {
    name: &'static str,
    /// `%x`, `%y` to `%r`, of type `T`.
    body: &'static str,
    exact: fn(f64, f64) -> f64,
    /// Most ulp in f32.
    bound: f64,
    binary: bool,
}

const fn unary(name: &'static str, body: &'static str, exact: fn(f64, f64) -> f64) -> Function {
    Function {
        name,
        body,
        exact,
        bound: 4.0,
        binary: false,
    }
}

const fn exactly(name: &'static str, body: &'static str, exact: fn(f64, f64) -> f64) -> Function {
    Function {
        bound: 0.5,
        ..unary(name, body, exact)
    }
}

const SIGMOID: &str = "%n = arith.negf %x : T  %e = math.exp %n : T  %one = arith.constant 1.0 : T
    %s = arith.addf %one, %e : T  %r = arith.divf %one, %s : T";

const FUNCTIONS: [Function; 27] = [
    unary("exp", "%r = math.exp %x : T", |x, _| libm::exp(x)),
    unary("exp2", "%r = math.exp2 %x : T", |x, _| libm::exp2(x)),
    unary("expm1", "%r = math.expm1 %x : T", |x, _| libm::expm1(x)),
    unary("1/(1+exp(-x))", SIGMOID, |x, _| 1.0 / (1.0 + libm::exp(-x))),
    unary("log", "%r = math.log %x : T", |x, _| libm::log(x)),
    unary("log2", "%r = math.log2 %x : T", |x, _| libm::log2(x)),
    unary("log10", "%r = math.log10 %x : T", |x, _| libm::log10(x)),
    unary("log1p", "%r = math.log1p %x : T", |x, _| libm::log1p(x)),
    unary("sin", "%r = math.sin %x : T", |x, _| libm::sin(x)),
    unary("cos", "%r = math.cos %x : T", |x, _| libm::cos(x)),
    unary("tan", "%r = math.tan %x : T", |x, _| libm::tan(x)),
    unary("tanh", "%r = math.tanh %x : T", |x, _| libm::tanh(x)),
    unary("sinh", "%r = math.sinh %x : T", |x, _| libm::sinh(x)),
    unary("cosh", "%r = math.cosh %x : T", |x, _| libm::cosh(x)),
    unary("erf", "%r = math.erf %x : T", |x, _| libm::erf(x)),
    unary("rsqrt", "%r = math.rsqrt %x : T", |x, _| 1.0 / x.sqrt()),
    unary("cbrt", "%r = math.cbrt %x : T", |x, _| libm::cbrt(x)),
    Function {
        binary: true,
        ..unary("powf", "%r = math.powf %x, %y : T", libm::pow)
    },
    exactly("sqrt", "%r = math.sqrt %x : T", |x, _| x.sqrt()),
    exactly("absf", "%r = math.absf %x : T", |x, _| x.abs()),
    exactly("floor", "%r = math.floor %x : T", |x, _| x.floor()),
    exactly("ceil", "%r = math.ceil %x : T", |x, _| x.ceil()),
    exactly("trunc", "%r = math.trunc %x : T", |x, _| x.trunc()),
    exactly("round", "%r = math.round %x : T", |x, _| x.round()),
    exactly("roundeven", "%r = math.roundeven %x : T", |x, _| x.round_ties_even()),
    Function {
        binary: true,
        ..exactly("copysign", "%r = math.copysign %x, %y : T", |x, y| x.copysign(y))
    },
    Function {
        binary: true,
        ..exactly("fma x·y+x", "%r = math.fma %x, %y, %x : T", |x, y| x.mul_add(y, x))
    },
];

/// A module with one kernel for each function, `f0` and so on: `out[i] = f(x[i], y[i])`.
fn source(functions: &[Function], ty: &str) -> String {
    let mut text = String::from("gpu.module @m {\n");
    for (number, function) in functions.iter().enumerate() {
        let body = function.body.replace(": T", &format!(": {ty}"));
        writeln!(
            text,
            "gpu.func @f{number}(%a: memref<1048576x{ty}>, %b: memref<1048576x{ty}>, %out: memref<1048576x{ty}>) kernel
               attributes {{known_block_size = array<i32: {BLOCK}, 1, 1>}} {{
               %t = gpu.thread_id x
               %block = gpu.block_id x
               %size = arith.constant {BLOCK} : index
               %first = arith.muli %block, %size : index
               %i = arith.addi %first, %t : index
               %x = memref.load %a[%i] : memref<1048576x{ty}>
               %y = memref.load %b[%i] : memref<1048576x{ty}>
               {body}
               memref.store %r, %out[%i] : memref<1048576x{ty}>
               gpu.return
             }}"
        )
        .expect("a string takes all");
    }
    text + "}\n"
}

fn compiled_text(text: &str) -> String {
    let context = Context::new();
    let mut module = context
        .parse(text, "math.mlir")
        .unwrap_or_else(|error| panic!("{error}"));
    nvvm::lower(&mut module).unwrap_or_else(|error| panic!("{error}"));
    let assembly = ptx::assemble(&module, "sm_80", false).unwrap_or_else(|error| panic!("{error}"));
    assembly.ptx
}

fn compiled(text: &str) -> Arc<alcop::runtime::ptx::Module> {
    let ptx = compiled_text(text);
    Arc::new(alcop::runtime::ptx::parse(&ptx).unwrap_or_else(|error| panic!("{error}")))
}

/// The results of a kernel for arrays of elements of `bytes` bytes each.
fn run(
    module: &Arc<alcop::runtime::ptx::Module>,
    entry: &str,
    approximation: Approximation,
    dtype: ArrayDType,
    x: &[u8],
    y: &[u8],
    elements: usize,
) -> Vec<u8> {
    let program = Program::with_approximations(module.clone(), entry, approximation)
        .unwrap_or_else(|error| panic!("{entry}: {error}"));
    let array = |bytes: &[u8]| ArgBuffer::Array {
        dtype,
        bytes: bytes.to_vec(),
    };
    let mut arguments = [array(x), array(y), array(&vec![0; x.len()])];
    let kernel = Kernel {
        ptx: String::new(),
        entry: entry.to_owned(),
        grid: [elements.div_ceil(BLOCK) as u32, 1, 1],
        block: [BLOCK as u32, 1, 1],
        dynamic_shared_bytes: 0,
    };
    let options = EmulateOptions {
        hazards: false,
        ..EmulateOptions::default()
    };
    emulate_program(&program, &kernel, &mut arguments, &options).unwrap_or_else(|error| panic!("{entry}: {error}"));
    match &arguments[2] {
        ArgBuffer::Array { bytes, .. } => bytes.clone(),
        _ => unreachable!("an array was given"),
    }
}

/// A mantissa for each number, scattered.
fn scattered(number: u32) -> u32 {
    number
        .wrapping_mul(0x9e37_79b9)
        .rotate_left(13)
        .wrapping_mul(0x85eb_ca6b)
        & 0x7f_ffff
}

/// Numbers of every exponent and both signs, the ends of each binade among them, and special values.
fn samples() -> Vec<f32> {
    let given = std::env::var("ALCOP_MATH_SAMPLES").ok();
    let dense: u32 = given.map_or(64, |count| count.parse().expect("a number"));
    let mut samples = vec![
        0.0,
        -0.0,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1.0,
        -1.0,
        0.5,
        2.0,
    ];
    for exponent in 0..255u32 {
        // Most functions do all that they do between 2^-30 and 2^10.
        let count = if (97..=137).contains(&exponent) {
            dense
        } else {
            dense / 4
        };
        let ends = [0, 1, 2, 0x7f_ffff, 0x7f_fffe, 0x40_0000];
        let inner = (0..count).map(|number| scattered(number * 255 + exponent));
        for mantissa in ends.into_iter().chain(inner) {
            let magnitude = f32::from_bits(exponent << 23 | mantissa);
            samples.extend([magnitude, -magnitude]);
        }
    }
    // Next to multiples of π/2, and where exponentials overflow and underflow.
    let quarters = (1..200).map(|count| (f64::from(count) * std::f64::consts::FRAC_PI_2) as f32);
    let edges = [
        88.72284f32,
        88.72283,
        -87.33655,
        -103.97208,
        -103.97207,
        89.41599,
        128.0,
        -126.0,
        -149.5,
        16.635532,
    ];
    // The f32 that comes closest to a multiple of π/2.
    let hard = [f32::from_bits(0x6f79_be45), f32::from_bits(0x7b69_8b6b)];
    for value in quarters.chain(edges).chain(hard) {
        for step in -2i32..=2 {
            let near = f32::from_bits(value.to_bits().wrapping_add_signed(step));
            samples.extend([near, -near]);
        }
    }
    padded(samples, 0.75)
}

fn padded<T: Copy>(mut values: Vec<T>, filling: T) -> Vec<T> {
    while !values.len().is_multiple_of(BLOCK) {
        values.push(filling);
    }
    values
}

/// Pairs: each sample with some power, and the special ones with each other.
fn pairs(samples: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let special = [
        0.0f32,
        -0.0,
        1.0,
        -1.0,
        2.0,
        -2.0,
        3.0,
        -3.0,
        0.5,
        -0.5,
        2.5,
        1e-40,
        -1e-40,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        16_777_215.0,
        -16_777_215.0,
        0.999_999_94,
        1.000_000_1,
    ];
    let mut pairs: Vec<(f32, f32)> = special.iter().flat_map(|x| special.map(|y| (*x, y))).collect();
    for (number, x) in samples.iter().enumerate() {
        // Powers that keep the result among the finite numbers, most often.
        let logarithm = f64::from(x.abs()).log2();
        let wanted = (scattered(number as u32) as f64 / f64::from(0x80_0000) - 0.5) * 300.0;
        let y = if logarithm == 0.0 || !logarithm.is_finite() {
            7.5
        } else {
            (wanted / logarithm) as f32
        };
        pairs.push((*x, if x.is_sign_negative() { y.round() } else { y }));
    }
    padded(pairs, (0.75, 1.5)).into_iter().unzip()
}

/// Stored bits of the mantissa, least exponent, and exponent of the first power of two that is too large.
type Format = (i32, i32, i32);
const SINGLE: Format = (23, -126, 128);

/// What a result is off by, in ulp: the distance from the correctly rounded result to the next float away from zero.
/// Infinite where the kind of result is wrong.
fn error(got: f64, exact: f64, (mantissa, least, end): Format) -> f64 {
    if got.is_nan() || exact.is_nan() {
        return if got.is_nan() && exact.is_nan() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if exact == 0.0 && got == 0.0 {
        return match got.is_sign_negative() == exact.is_sign_negative() {
            true => 0.0,
            false => f64::INFINITY,
        };
    }
    let too_large = 2f64.powi(end);
    let (got, bounded) = (got.clamp(-too_large, too_large), exact.clamp(-too_large, too_large));
    let exponent = |value: f64| libm::ilogb(value).clamp(least, end - 1);
    // Rounding carries into the next binade what lies within half an ulp of it.
    let rounded = bounded.abs() + 2f64.powi(exponent(bounded) - mantissa - 1);
    (got - bounded).abs() / 2f64.powi(exponent(rounded) - mantissa)
}

fn words(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

struct Measured {
    nearest: (f64, f32, f32),
    edges: (f64, f32, f32),
}

fn measure(module: &Arc<alcop::runtime::ptx::Module>, entry: &str, function: &Function, samples: &[f32]) -> Measured {
    let (x, y) = match function.binary {
        true => pairs(samples),
        false => (samples.to_vec(), samples.to_vec()),
    };
    let (xs, ys) = (words(&x), words(&y));
    let exact: Vec<f64> = x
        .iter()
        .zip(&y)
        .map(|(x, y)| (function.exact)(f64::from(*x), f64::from(*y)))
        .collect();
    let worst = |approximation: Approximation| {
        let out = run(module, entry, approximation, ArrayDType::F32, &xs, &ys, x.len());
        let mut worst = (0.0, 0.0, 0.0);
        for (number, got) in out.chunks_exact(4).enumerate() {
            let got = f32::from_le_bytes([got[0], got[1], got[2], got[3]]);
            let error = error(f64::from(got), exact[number], SINGLE);
            if error > worst.0 {
                worst = (error, x[number], y[number]);
            }
        }
        worst
    };
    let nearest = worst(Approximation::Nearest);
    let edges = [worst(Approximation::Low), worst(Approximation::High), nearest];
    Measured {
        nearest,
        edges: edges.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("three"),
    }
}

#[test]
fn errors_in_f32_stay_within_four_ulp() {
    let module = compiled(&source(&FUNCTIONS, "f32"));
    let samples = samples();
    let mut wrong = String::new();
    let mut rows = String::from("| operation | rounded | at the edges |\n| --- | --- | --- |\n");
    for (number, function) in FUNCTIONS.iter().enumerate() {
        let measured = measure(&module, &format!("f{number}"), function, &samples);
        let line = format!(
            "{:14} {:8.3} at {:e} {:e}   {:8.3} at {:e} {:e}",
            function.name,
            measured.nearest.0,
            measured.nearest.1,
            measured.nearest.2,
            measured.edges.0,
            measured.edges.1,
            measured.edges.2
        );
        println!("{line}");
        let (nearest, edges) = (shown(measured.nearest.0), shown(measured.edges.0));
        writeln!(rows, "| {} | {nearest} | {edges} |", function.name).expect("a string takes all");
        if measured.edges.0 > function.bound {
            writeln!(wrong, "{line}").expect("a string takes all");
        }
    }
    assert!(wrong.is_empty(), "beyond their bounds:\n{wrong}");
    in_docs("f32 errors", &rows);
}

/// f16 and bf16 in their own arithmetic, as f64.
fn half_values(ty: &str) -> (fn(u16) -> f64, Format) {
    match ty {
        "f16" => (|bits| half::f16::from_bits(bits).to_f64(), (10, -14, 16)),
        _ => (|bits| half::bf16::from_bits(bits).to_f64(), (7, -126, 128)),
    }
}

/// The largest error over all operands of 16 bits (`step` apart), at both edges.
fn measure_half(
    module: &Arc<alcop::runtime::ptx::Module>,
    number: usize,
    function: &Function,
    ty: &str,
    step: usize,
) -> (f64, f64) {
    let (value, format) = half_values(ty);
    let operands = padded((0..=u16::MAX).step_by(step).collect(), 0);
    let bytes: Vec<u8> = operands.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let dtype = if ty == "f16" { ArrayDType::F16 } else { ArrayDType::Bf16 };
    let exact: Vec<f64> = operands
        .iter()
        .map(|bits| (function.exact)(value(*bits), value(*bits)))
        .collect();
    let mut worst = (0.0, 0.0);
    for approximation in [Approximation::Low, Approximation::High] {
        let out = run(
            module,
            &format!("f{number}"),
            approximation,
            dtype,
            &bytes,
            &bytes,
            operands.len(),
        );
        for ((got, exact), operand) in out.chunks_exact(2).zip(&exact).zip(&operands) {
            let error = error(value(u16::from_le_bytes([got[0], got[1]])), *exact, format);
            if error > worst.0 {
                worst = (error, value(*operand));
            }
        }
    }
    worst
}

#[test]
fn errors_in_16_bits_stay_within_one_ulp() {
    // Of those that are `.approx` instructions every operand.
    let approximate = ["exp", "exp2", "1/(1+exp(-x))", "rsqrt"];
    let mut rows = String::from("| operation | f16 | bf16 |\n| --- | --- | --- |\n");
    for ty in ["f16", "bf16"] {
        assert!(
            compiled_text(&source(&FUNCTIONS[..1], ty)).contains("ex2.approx.f32"),
            "{ty}"
        );
    }
    let modules = ["f16", "bf16"].map(|ty| compiled(&source(&FUNCTIONS, ty)));
    for (number, function) in FUNCTIONS.iter().enumerate() {
        let step = if approximate.contains(&function.name) { 1 } else { 29 };
        write!(rows, "| {} |", function.name).expect("a string takes all");
        for (ty, module) in ["f16", "bf16"].into_iter().zip(&modules) {
            let (error, at) = measure_half(module, number, function, ty, step);
            println!("{:14} {ty} {error:.3} at {at:e}", function.name);
            assert!(error <= 1.0, "{} of {ty} at {at:e}: {error} ulp", function.name);
            write!(rows, " {} |", shown(error)).expect("a string takes all");
        }
        rows.push('\n');
    }
    in_docs("16-bit errors", &rows);
}

/// An error, rounded up.
fn shown(error: f64) -> String {
    format!("{:.2}", (error * 100.0).ceil() / 100.0)
}

/// Compares a table with the one in `docs/math.md`, or writes it there.
fn in_docs(name: &str, table: &str) {
    if std::env::var_os("ALCOP_MATH_SAMPLES").is_some() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/math.md");
    let text = std::fs::read_to_string(&path).expect("docs/math.md");
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
    let start = text.find(&begin).expect("the begin of the table") + begin.len();
    let stop = text.find(&end).expect("the end of the table");
    if std::env::var_os("ALCOP_WRITE").is_some() {
        let text = std::fs::read_to_string(&path).expect("docs/math.md");
        std::fs::write(&path, format!("{}{table}{}", &text[..start], &text[stop..])).expect("writes");
        return;
    }
    assert_eq!(
        &text[start..stop],
        table,
        "docs/math.md; ALCOP_WRITE=1 cargo test --test math writes it anew"
    );
}

/// What lowering or code generation says of an operation on `%x` and `%y` of a type, or the PTX.
fn outcome(ty: &str, body: &str) -> Result<String, String> {
    let text = format!(
        "gpu.module @m {{
           func.func private @mine(f32) -> f32
           gpu.func @k(%a: memref<64x{ty}>) kernel {{
             %i = gpu.thread_id x
             %x = memref.load %a[%i] : memref<64x{ty}>
             {body}
             memref.store %r, %a[%i] : memref<64x{ty}>
             gpu.return
           }}
         }}"
    );
    let context = Context::new();
    let mut module = context.parse(&text, "k.mlir").unwrap_or_else(|error| panic!("{error}"));
    nvvm::lower(&mut module)
        .and_then(|()| ptx::assemble(&module, "sm_80", false))
        .map(|assembly| assembly.ptx)
        .map_err(|error| error.to_string())
}

#[test]
fn what_is_not_lowered_is_refused_with_its_place() {
    for (ty, body, wanted) in [
        (
            "f32",
            "%r = math.atan %x : f32",
            "k.mlir:6:19: math.atan of f32 cannot be lowered: ",
        ),
        (
            "f32",
            "%r = math.erfc %x : f32",
            "k.mlir:6:19: math.erfc of f32 cannot be lowered: ",
        ),
        (
            "f16",
            "%r = math.acosh %x : f16",
            "k.mlir:6:19: math.acosh of f16 cannot be lowered: ",
        ),
        (
            "f64",
            "%r = math.exp %x : f64",
            "k.mlir:6:19: math.exp of f64 cannot be lowered: ",
        ),
        (
            "f64",
            "%r = math.tanh %x fastmath<afn> : f64",
            "k.mlir:6:19: math.tanh of f64 cannot be lowered: ",
        ),
        (
            "f128",
            "%r = math.absf %x : f128",
            "k.mlir:6:19: math.absf of f128 cannot be lowered: floats of 16, 32 and 64",
        ),
        (
            "f8E5M2",
            "%r = math.sqrt %x : f8E5M2",
            "k.mlir:6:19: math.sqrt of f8E5M2 cannot be lowered: floats of 16",
        ),
        (
            "f32",
            "%r = func.call @mine(%x) : (f32) -> f32",
            "k.mlir:6:19: llvm.call of mine: nothing defines it, and the PTX could not be loaded; define it in the gpu.module",
        ),
        (
            "f32",
            "%r = llvm.call_intrinsic \"llvm.exp\"(%x) : (f32) -> f32",
            "k.mlir:6:19: llvm.call_intrinsic of llvm.exp.f32: NVPTX has no instruction for it",
        ),
        (
            "f64",
            "%r = llvm.call_intrinsic \"llvm.exp2.f64\"(%x) : (f64) -> f64",
            "k.mlir:6:19: llvm.call_intrinsic of llvm.exp2.f64: NVPTX has no instruction for it",
        ),
    ] {
        let said = outcome(ty, body).expect_err(body);
        assert!(said.starts_with(wanted), "{body}: {said}");
    }
    // The driver has these; a function that is declared and not called is no fault.
    let printed = outcome("f32", "gpu.printf \"%f\", %x : f32  %r = math.absf %x : f32").expect("supplied");
    assert!(
        printed.contains(".extern .func") && printed.contains("vprintf"),
        "{printed}"
    );
    assert!(
        !outcome("f32", "%r = math.absf %x : f32")
            .expect("exact")
            .contains(".extern")
    );
}

#[test]
fn fast_operations_are_approximate_instructions() {
    for (body, instructions) in [
        ("math.exp %x fastmath<afn>", &["ex2.approx.f32"][..]),
        ("math.exp2 %x fastmath<nnan,afn>", &["ex2.approx.f32"]),
        ("math.log %x fastmath<fast>", &["lg2.approx.f32"]),
        ("math.log2 %x fastmath<afn>", &["lg2.approx.f32"]),
        ("math.log10 %x fastmath<afn>", &["lg2.approx.f32"]),
        ("math.sin %x fastmath<afn>", &["sin.approx.f32"]),
        ("math.cos %x fastmath<afn>", &["cos.approx.f32"]),
        (
            "math.tan %x fastmath<afn>",
            &["sin.approx.f32", "cos.approx.f32", "div.approx.f32"],
        ),
        ("math.tanh %x fastmath<afn>", &["tanh.approx.f32"]),
        ("math.sqrt %x fastmath<afn>", &["sqrt.approx.f32"]),
        ("math.rsqrt %x fastmath<afn>", &["rsqrt.approx.f32"]),
        ("math.powf %x, %x fastmath<afn>", &["lg2.approx.f32", "ex2.approx.f32"]),
        // Flags that allow no other function.
        ("math.sqrt %x fastmath<nnan,contract>", &["sqrt.rn.f32"]),
        ("math.exp2 %x", &["ex2.approx.f32"]),
        ("math.rsqrt %x", &["rsqrt.approx.f32"]),
        // Nothing approximate in these.
        ("math.sin %x", &[]),
        ("math.log %x", &[]),
        ("math.expm1 %x", &[]),
    ] {
        let ptx = outcome("f32", &format!("%r = {body} : f32")).unwrap_or_else(|error| panic!("{body}: {error}"));
        let approximate = |line: &&str| line.contains(".approx") || line.contains("sqrt.");
        let found: Vec<&str> = ptx
            .lines()
            .filter(approximate)
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(found, instructions, "{body}: {ptx}");
    }
    // Rounded to 16 bits at once, and not.
    let rounded = "%e = math.exp %x : f32  %h = arith.truncf %e : f32 to f16  %r = arith.extf %h : f16 to f32";
    let ptx = outcome("f32", rounded).expect("lowered");
    assert!(
        ptx.contains("ex2.approx.f32") && !ptx.contains("ex2.approx.ftz"),
        "{ptx}"
    );
    let used = "%e = math.exp %x : f32  %h = arith.truncf %e : f32 to f16  %w = arith.extf %h : f16 to f32
                %r = arith.addf %w, %e : f32";
    assert!(outcome("f32", used).expect("lowered").contains("ex2.approx.ftz.f32"));
}

/// Results of a kernel over bits of a type for pairs of bits.
fn words_of(ty: &str, body: &str, pairs: &[(u64, u64)], result: &str) -> Vec<u64> {
    let bytes = |ty: &str| match ty {
        "i8" => 1,
        "f16" | "bf16" | "i16" => 2,
        "f32" | "i32" => 4,
        _ => 8,
    };
    let count = pairs.len();
    let text = format!(
        "gpu.module @m {{
           gpu.func @k(%a: memref<{count}x{ty}>, %b: memref<{count}x{ty}>, %out: memref<{count}x{result}>) kernel {{
             %i = gpu.thread_id x
             %x = memref.load %a[%i] : memref<{count}x{ty}>
             %y = memref.load %b[%i] : memref<{count}x{ty}>
             {body}
             memref.store %r, %out[%i] : memref<{count}x{result}>
             gpu.return
           }}
         }}"
    );
    let dtype = |ty: &str| match bytes(ty) {
        1 => ArrayDType::I8,
        2 => ArrayDType::F16,
        4 => ArrayDType::I32,
        _ => ArrayDType::I64,
    };
    let array = |ty: &str, values: Vec<u64>| ArgBuffer::Array {
        dtype: dtype(ty),
        bytes: values
            .iter()
            .flat_map(|value| value.to_le_bytes()[..bytes(ty)].to_vec())
            .collect(),
    };
    let mut arguments = [
        array(ty, pairs.iter().map(|pair| pair.0).collect()),
        array(ty, pairs.iter().map(|pair| pair.1).collect()),
        array(result, vec![0; count]),
    ];
    let module = compiled(&text);
    let program = Program::new(module, "k").unwrap_or_else(|error| panic!("{body}: {error}"));
    let kernel = Kernel {
        ptx: String::new(),
        entry: "k".to_owned(),
        grid: [1, 1, 1],
        block: [count as u32, 1, 1],
        dynamic_shared_bytes: 0,
    };
    emulate_program(&program, &kernel, &mut arguments, &EmulateOptions::default())
        .unwrap_or_else(|error| panic!("{body}: {error}"));
    let out = arguments[2].bytes().expect("an array");
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    out.chunks_exact(bytes(result)).map(word).collect()
}

#[test]
fn the_lesser_and_the_greater_of_floats_treat_not_a_number_and_zeros_as_mlir_says() {
    let values = [0.0f64, -0.0, 1.0, -2.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let pairs: Vec<(f64, f64)> = values.iter().flat_map(|x| values.map(|y| (*x, y))).collect();
    type Encode = fn(f64) -> u64;
    type Decode = fn(u64) -> f64;
    let types: [(&str, Encode, Decode); 4] = [
        (
            "f16",
            |x| u64::from(half::f16::from_f64(x).to_bits()),
            |bits| half::f16::from_bits(bits as u16).to_f64(),
        ),
        (
            "bf16",
            |x| u64::from(half::bf16::from_f64(x).to_bits()),
            |bits| half::bf16::from_bits(bits as u16).to_f64(),
        ),
        (
            "f32",
            |x| u64::from((x as f32).to_bits()),
            |bits| f64::from(f32::from_bits(bits as u32)),
        ),
        ("f64", f64::to_bits, f64::from_bits),
    ];
    for (ty, encode, decode) in types {
        let bits: Vec<(u64, u64)> = pairs.iter().map(|(x, y)| (encode(*x), encode(*y))).collect();
        for (name, least, propagates) in [
            ("minimumf", true, true),
            ("maximumf", false, true),
            ("minnumf", true, false),
            ("maxnumf", false, false),
        ] {
            let got = words_of(ty, &format!("%r = arith.{name} %x, %y : {ty}"), &bits, ty);
            for ((x, y), got) in pairs.iter().zip(got) {
                let got = decode(got);
                let wanted = match (x.is_nan(), y.is_nan()) {
                    (true, true) => f64::NAN,
                    (true, false) => {
                        if propagates {
                            f64::NAN
                        } else {
                            *y
                        }
                    }
                    (false, true) => {
                        if propagates {
                            f64::NAN
                        } else {
                            *x
                        }
                    }
                    // −0 is below +0.
                    _ => {
                        let below = x < y || (x == y && x.is_sign_negative());
                        if below == least { *x } else { *y }
                    }
                };
                let same =
                    got == wanted && (got != 0.0 || !propagates || got.is_sign_negative() == wanted.is_sign_negative());
                assert!(
                    same || (got.is_nan() && wanted.is_nan()),
                    "{name} {ty} of {x} and {y}: {got}, not {wanted}"
                );
            }
        }
    }
}

#[test]
fn remainders_and_integer_powers_are_exact() {
    let values = [
        5.5f32,
        -5.5,
        3.0,
        0.1,
        1e-40,
        3e38,
        -1e-3,
        0.0,
        -0.0,
        7.0,
        f32::INFINITY,
        f32::NAN,
    ];
    let pairs: Vec<(f32, f32)> = values.iter().flat_map(|x| values.map(|y| (*x, y))).collect();
    let single: Vec<(u64, u64)> = pairs
        .iter()
        .map(|(x, y)| (u64::from(x.to_bits()), u64::from(y.to_bits())))
        .collect();
    for ((x, y), got) in pairs
        .iter()
        .zip(words_of("f32", "%r = arith.remf %x, %y : f32", &single, "f32"))
    {
        let (got, wanted) = (f32::from_bits(got as u32), x % y);
        let same = got.to_bits() == wanted.to_bits() || (got.is_nan() && wanted.is_nan());
        assert!(same, "{x:e} % {y:e}: {got:e}, not {wanted:e}");
    }
    let double: Vec<(u64, u64)> = pairs
        .iter()
        .map(|(x, y)| (f64::from(*x).to_bits(), f64::from(*y).to_bits()))
        .collect();
    for ((x, y), got) in pairs
        .iter()
        .zip(words_of("f64", "%r = arith.remf %x, %y : f64", &double, "f64"))
    {
        let (got, wanted) = (f64::from_bits(got), f64::from(*x) % f64::from(*y));
        assert!(
            got.to_bits() == wanted.to_bits() || (got.is_nan() && wanted.is_nan()),
            "{x:e} % {y:e}: {got:e}"
        );
    }
    let powers: Vec<(i32, i32)> = (-3..=3)
        .chain([7, i32::MAX, i32::MIN])
        .flat_map(|x| (-3..=5).chain([31, i32::MIN]).map(move |n| (x, n)))
        .collect();
    let words: Vec<(u64, u64)> = powers
        .iter()
        .map(|(x, n)| (*x as u32 as u64, *n as u32 as u64))
        .collect();
    for ((x, n), got) in powers
        .iter()
        .zip(words_of("i32", "%r = math.ipowi %x, %y : i32", &words, "i32"))
    {
        let wanted = match (*n >= 0, *x) {
            (true, x) => x.wrapping_pow(n.unsigned_abs()),
            (false, 1) => 1,
            (false, -1) => {
                if n % 2 == 0 {
                    1
                } else {
                    -1
                }
            }
            // 1/0 is whatever: division by zero.
            (false, _) => 0,
        };
        assert_eq!(got as u32 as i32, wanted, "{x} to the power {n}");
    }
    let body = "%n = arith.fptosi %y : f32 to i32  %r = math.fpowi %x, %n : f32, i32";
    let powers = [
        (2.0f32, 10.0f32),
        (2.0, -3.0),
        (-3.0, 3.0),
        (0.5, 0.0),
        (0.0, -1.0),
        (1.5, 2.0),
        (f32::NAN, 0.0),
    ];
    let words: Vec<(u64, u64)> = powers
        .iter()
        .map(|(x, n)| (u64::from(x.to_bits()), u64::from(n.to_bits())))
        .collect();
    for ((x, n), got) in powers.iter().zip(words_of("f32", body, &words, "f32")) {
        assert_eq!(f32::from_bits(got as u32), x.powi(*n as i32), "{x} to the power {n}");
    }
}

#[test]
fn bits_are_counted_in_every_width() {
    for (ty, bits) in [("i8", 8u32), ("i16", 16), ("i32", 32), ("i64", 64), ("index", 64)] {
        let mask = u64::MAX >> (64 - bits);
        let values: Vec<u64> = [0u64, 1, 2, 0x80, 0x1234_5678_9abc_def0, u64::MAX, 1 << (bits - 1)]
            .map(|value| value & mask)
            .to_vec();
        let pairs: Vec<(u64, u64)> = values.iter().map(|value| (*value, *value)).collect();
        let [ones, leading, trailing, magnitudes] = ["ctpop", "ctlz", "cttz", "absi"]
            .map(|name| words_of(ty, &format!("%r = math.{name} %x : {ty}"), &pairs, ty));
        for (number, value) in values.iter().enumerate() {
            let signed = (*value << (64 - bits)) as i64 >> (64 - bits);
            let wanted = [
                u64::from(value.count_ones()),
                u64::from(value.leading_zeros() - (64 - bits)),
                u64::from(value.trailing_zeros().min(bits)),
                signed.unsigned_abs() & mask,
            ];
            let got = [&ones, &leading, &trailing, &magnitudes].map(|list| list[number]);
            assert_eq!(got, wanted, "{ty} {value:x}");
        }
    }
}

#[test]
fn floats_are_told_apart_and_clamped() {
    let values = [
        0.0f32,
        1e-40,
        1.0,
        -3.0,
        f32::MIN_POSITIVE,
        1e-5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    let single: Vec<(u64, u64)> = values.iter().map(|x| (u64::from(x.to_bits()), 0)).collect();
    let test = |name: &str, ty: &str, words: &[(u64, u64)]| {
        let body = format!("%p = math.{name} %x : {ty}  %r = arith.extui %p : i1 to i32");
        words_of(ty, &body, words, "i32")
            .into_iter()
            .map(|word| word == 1)
            .collect::<Vec<bool>>()
    };
    let wanted = |test: fn(f32) -> bool| values.map(test).to_vec();
    assert_eq!(test("isfinite", "f32", &single), wanted(f32::is_finite));
    assert_eq!(test("isinf", "f32", &single), wanted(f32::is_infinite));
    assert_eq!(test("isnan", "f32", &single), wanted(f32::is_nan));
    assert_eq!(test("isnormal", "f32", &single), wanted(f32::is_normal));
    let halves: Vec<(u64, u64)> = values
        .iter()
        .map(|x| (u64::from(half::f16::from_f32(*x).to_bits()), 0))
        .collect();
    let normal = values.map(|x| half::f16::from_f32(x).is_normal()).to_vec();
    assert_eq!(test("isnormal", "f16", &halves), normal);
    let body = "%low = arith.constant -1.0 : f32  %high = arith.constant 0.5 : f32
                %r = math.clampf %x to [%low, %high] : f32";
    for (x, got) in values.iter().zip(words_of("f32", body, &single, "f32")) {
        let got = f32::from_bits(got as u32);
        assert!(got == x.clamp(-1.0, 0.5) || (got.is_nan() && x.is_nan()), "{x}: {got}");
    }
}

#[test]
fn vectors_are_computed_element_by_element() {
    let body = "%v = vector.broadcast %x : f32 to vector<2x3xf32>
                %c = arith.constant dense<[[0.5, 1.0, 2.0], [3.0, 4.0, -1.0]]> : vector<2x3xf32>
                %w = arith.mulf %v, %c : vector<2x3xf32>
                %s, %k = math.sincos %w : vector<2x3xf32>
                %one = arith.constant dense<1.0> : vector<2x3xf32>
                %n = arith.negf %w : vector<2x3xf32>  %e = math.exp %n : vector<2x3xf32>
                %d = arith.addf %e, %one : vector<2x3xf32>  %g = arith.divf %one, %d : vector<2x3xf32>
                %t = arith.addf %s, %k : vector<2x3xf32>  %u = arith.addf %t, %g : vector<2x3xf32>
                %r = vector.extract %u[1, 2] : f32 from vector<2x3xf32>";
    let values = [0.25f32, 1.5, -2.0, 100.0];
    let words: Vec<(u64, u64)> = values.iter().map(|x| (u64::from(x.to_bits()), 0)).collect();
    for (x, got) in values.iter().zip(words_of("f32", body, &words, "f32")) {
        let w = -f64::from(*x);
        let wanted = w.sin() + w.cos() + 1.0 / (1.0 + (-w).exp());
        let got = f64::from(f32::from_bits(got as u32));
        assert!((got - wanted).abs() < 1e-6, "{x}: {got}, not {wanted}");
    }
}

/// The command, on a kernel with an operation that has no lowering.
#[test]
fn the_command_names_operations_and_libdevices() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path.display().to_string()
    };
    let kernel = |operation: &str| {
        format!(
            "gpu.module @m {{
               gpu.func @k(%a: memref<32xf32>) kernel attributes {{known_block_size = array<i32: 32, 1, 1>}} {{
                 %t = gpu.thread_id x
                 %x = memref.load %a[%t] : memref<32xf32>
                 %y = {operation} %x : f32
                 memref.store %y, %a[%t] : memref<32xf32>
                 gpu.return
               }}
             }}"
        )
    };
    let atan = file("atan.mlir", &kernel("math.atan"));
    let exp = file("exp.mlir", &kernel("math.exp"));
    expect(
        &alcop(&["compile", &atan]),
        1,
        "atan.mlir:5:23: math.atan of f32 cannot be lowered",
    );
    let text = file("text.bc", "; ModuleID");
    let said = format!("the libdevice {text}: it is not LLVM bitcode: it begins with the bytes 3b 20 4d 6f");
    expect(&alcop(&["compile", &exp, "--libdevice", &text]), 2, &said);
    expect(
        &alcop(&["compile", &exp, "--libdevice", "absent.bc"]),
        2,
        "the libdevice absent.bc: ",
    );
    expect(
        &alcop(&[
            "compile",
            "--op",
            "matmul",
            "--m",
            "64",
            "--n",
            "64",
            "--k",
            "64",
            "--libdevice",
            &text,
        ]),
        2,
        "--libdevice has no effect on an operator",
    );
    let ptx = stdout(&alcop(&["compile", &exp]));
    assert!(ptx.contains("ex2.approx.ftz.f32") && !ptx.contains(".extern"), "{ptx}");
    let launch = folder.path().join("k.json").display().to_string();
    stdout(&alcop(&[
        "compile", &exp, "--emit", "launch", "--grid", "1,1,1", "-o", &launch,
    ]));
    for place in ["nearest", "low", "high"] {
        stdout(&alcop(&["run", &launch, "--approximations", place]));
    }
    expect(
        &alcop(&["run", &launch, "--approximations", "far"]),
        2,
        "known: nearest, low, high",
    );
}

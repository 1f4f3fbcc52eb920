//! `math` operations, executed in the emulator and compared with f64 over all exponents, with each `.approx` result at
//! the edges of its bound too. The errors stand in `docs/math.md`; `ALCOP_WRITE=1` writes its tables anew, and
//! `ALCOP_MATH_SAMPLES=4096` looks closer.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

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
    let dense: u32 = given.map_or(96, |count| count.parse().expect("a number"));
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
        let step = if approximate.contains(&function.name) { 1 } else { 13 };
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

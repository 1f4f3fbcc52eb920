//! `math` operations as instructions. `convert-gpu-to-nvvm` makes calls of libdevice out of them, which nothing supplies.
//!
//! ```text
//! math.sqrt, math.floor, math.ctpop …     one exact instruction
//! math.exp fastmath<afn>                  ex2.approx: `approximate`
//! math.exp, math.sin, math.powf …         a function of the module, inlined by LLVM: `functions`
//! math.atan, math.exp of f64              refused, or left to a libdevice that the user names
//! ```
//! f16 and bf16 are computed in f32 and rounded once. Vectors are computed element by element. `docs/math.md` has the
//! error of each.

mod approximate;
mod emit;
mod exponential;
mod functions;
mod hyperbolic;
mod libdevice;
mod logarithm;
mod power;
mod remainder;
mod sigmoid;
mod trigonometric;
mod undefined;

use alcop_compiler::ir::{Attr, Builder, Context, Module, Op, Type, Value, preorder};

use crate::elements;
use crate::error::Error;
use emit::{Compare, Emit};
use functions::{Functions, Kind};
use sigmoid::Sigmoid;

pub use libdevice::Libdevice;
pub(crate) use undefined::refuse as refuse_undefined_calls;

/// What an operation computes on one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// An intrinsic of LLVM's that NVPTX has an exact instruction for.
    Intrinsic(&'static str),
    /// The same, of integers, with an attribute that says that no operand is excepted.
    OfIntegers(&'static str, &'static str),
    /// A test of a float.
    Test(Test),
    /// `math.clampf`.
    Clamp,
    /// `math.rsqrt`.
    Rsqrt,
    /// `.approx` instructions, for `afn`.
    Fast,
    /// `.approx` instructions, for a result that is rounded to 16 bits.
    Narrow,
    /// A function in f32.
    Call(Kind),
    /// `math.sincos`.
    SinCos,
    /// A float to an integer power.
    Fpowi,
    /// An integer to an integer power.
    Ipowi,
    /// `arith.remf`.
    Remf,
    /// What libdevice has.
    Libdevice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Finite,
    Infinite,
    NotANumber,
    Normal,
}

/// Lowers the `math` operations of every `gpu.module`. With a libdevice, what has no lowering here is left to it.
///
/// # Errors
/// [`Error::Refused`] for the first operation that has no lowering; the module is as it was.
pub fn lower(module: &Module<'_>, libdevice: bool) -> Result<(), Error> {
    let context = module.context();
    let gpu_modules: Vec<Op<'_>> = preorder(module.op())
        .into_iter()
        .filter(|op| op.is("gpu.module"))
        .collect();
    let mut work = Vec::new();
    for gpu_module in &gpu_modules {
        let ops = preorder(*gpu_module).into_iter().filter(|op| needs_lowering(*op));
        let ways = ops.map(|op| way(context, op, libdevice).map(|way| (op, way)));
        work.push(ways.collect::<Result<Vec<_>, _>>()?);
    }
    for (gpu_module, ways) in gpu_modules.into_iter().zip(work) {
        let Some(first) = gpu_module.region(0).blocks().next().and_then(|block| block.first()) else {
            continue;
        };
        let top = Builder::before(context, first).with_location(gpu_module.location());
        let mut functions = Functions::new(gpu_module, top);
        let (exponentials, others): (Vec<_>, Vec<_>) = ways.into_iter().partition(|(op, _)| op.is("math.exp"));
        for (op, way) in exponentials {
            let logistic = matches!(way, Way::Call(_) | Way::Narrow)
                .then(|| sigmoid::around(op))
                .flatten();
            match logistic {
                Some(found) => replace_sigmoid(&mut functions, found),
                None => replace(&mut functions, op, way),
            }
        }
        for (op, way) in others {
            replace(&mut functions, op, way);
        }
    }
    Ok(())
}

/// Whether `convert-gpu-to-nvvm` would make a call of libdevice out of an operation.
fn needs_lowering(op: Op<'_>) -> bool {
    op.dialect() == "math" || matches!(op.name(), "arith.minnumf" | "arith.maxnumf" | "arith.remf")
}

/// How an operation is lowered.
fn way(context: &Context, op: Op<'_>, libdevice: bool) -> Result<Way, Error> {
    let element = elements::element(op.operand(0).ty());
    let bits = element.scalar_bits();
    let in_f32 = is_narrow(element) || element == Type::f32(context);
    let in_f64 = element.is_float() && bits == Some(64);
    if element.is_float() && !in_f32 && !in_f64 {
        return Err(refused(op, element, "floats of 16, 32 and 64 bits are"));
    }
    if is_scalable(op) {
        return Err(refused(op, element, "vectors of fixed length are"));
    }
    let name = op.name();
    if in_f32 && is_fast(op) && has_fast_form(name) {
        return Ok(Way::Fast);
    }
    let found = match name {
        "math.absf" => Some(Way::Intrinsic("llvm.fabs")),
        "math.ceil" => Some(Way::Intrinsic("llvm.ceil")),
        "math.floor" => Some(Way::Intrinsic("llvm.floor")),
        "math.trunc" => Some(Way::Intrinsic("llvm.trunc")),
        "math.roundeven" => Some(Way::Intrinsic("llvm.roundeven")),
        "math.round" => Some(Way::Intrinsic("llvm.round")),
        "math.sqrt" => Some(Way::Intrinsic("llvm.sqrt")),
        "math.fma" => Some(Way::Intrinsic("llvm.fma")),
        "math.copysign" => Some(Way::Intrinsic("llvm.copysign")),
        "math.absi" => Some(Way::OfIntegers("llvm.intr.abs", "is_int_min_poison")),
        "math.ctpop" => Some(Way::Intrinsic("llvm.ctpop")),
        "math.ctlz" => Some(Way::OfIntegers("llvm.intr.ctlz", "is_zero_poison")),
        "math.cttz" => Some(Way::OfIntegers("llvm.intr.cttz", "is_zero_poison")),
        "math.isfinite" => Some(Way::Test(Test::Finite)),
        "math.isinf" => Some(Way::Test(Test::Infinite)),
        "math.isnan" => Some(Way::Test(Test::NotANumber)),
        "math.isnormal" => Some(Way::Test(Test::Normal)),
        "math.clampf" => Some(Way::Clamp),
        "math.rsqrt" => Some(Way::Rsqrt),
        "math.fpowi" => Some(Way::Fpowi),
        "math.ipowi" => Some(Way::Ipowi),
        "arith.minnumf" => Some(Way::Intrinsic("llvm.minnum")),
        "arith.maxnumf" => Some(Way::Intrinsic("llvm.maxnum")),
        "arith.remf" => Some(Way::Remf),
        _ if !in_f32 => None,
        "math.exp" | "math.exp2" if is_narrow(element) || rounds_at_once(op) => Some(Way::Narrow),
        // 2 ulp (PTX ISA 9.0, 9.7.3.22).
        "math.exp2" => Some(Way::Fast),
        "math.sincos" => Some(Way::SinCos),
        _ => kind(name).map(Way::Call),
    };
    match found {
        Some(way) => Ok(way),
        None if libdevice => Ok(Way::Libdevice),
        None => Err(refused(op, element, "those in docs/math.md are")),
    }
}

/// The functions in f32, by name.
fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "math.exp" => Kind::Exp,
        "math.expm1" => Kind::Expm1,
        "math.log" => Kind::Log,
        "math.log2" => Kind::Log2,
        "math.log10" => Kind::Log10,
        "math.log1p" => Kind::Log1p,
        "math.sin" => Kind::Sin,
        "math.cos" => Kind::Cos,
        "math.tan" => Kind::Tan,
        "math.tanh" => Kind::Tanh,
        "math.sinh" => Kind::Sinh,
        "math.cosh" => Kind::Cosh,
        "math.erf" => Kind::Erf,
        "math.cbrt" => Kind::Cbrt,
        "math.powf" => Kind::Powf,
        _ => return None,
    })
}

fn refused(op: Op<'_>, element: Type<'_>, what_is: &str) -> Error {
    let name = op.name();
    Error::refused(
        "no-lowering",
        op.location(),
        format!(
            "{name} of {element} cannot be lowered: {what_is}; write it out in others, or link a libdevice that has it \
             (--libdevice FILE)"
        ),
    )
}

fn is_scalable(op: Op<'_>) -> bool {
    op.operands()
        .chain(op.results())
        .any(|value| value.ty().is_scalable_vector())
}

/// f16 and bf16.
fn is_narrow(element: Type<'_>) -> bool {
    element.is_float() && element.scalar_bits() == Some(16)
}

/// Whether the result is used, and only rounded to 16 bits.
fn rounds_at_once(op: Op<'_>) -> bool {
    let uses = op.result(0).uses();
    let rounds = |op: Op<'_>| op.is("arith.truncf") && is_narrow(elements::element(op.result(0).ty()));
    !uses.is_empty() && uses.iter().all(|one| rounds(one.op))
}

/// Whether `afn` (or all of `fast`) stands on an operation. The C API has no accessor for the attribute, so that its
/// text is taken apart.
fn is_fast(op: Op<'_>) -> bool {
    let text = op.attr("fastmath").map_or(String::new(), |flags| flags.to_string());
    let flags = text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    flags.is_some_and(|(flags, _)| flags.split(',').any(|flag| matches!(flag.trim(), "afn" | "fast")))
}

fn has_fast_form(name: &str) -> bool {
    approximate::FAST.contains(&name)
}

/// Replaces an operation, whose vectors are computed element by element.
fn replace<'ir>(functions: &mut Functions<'ir>, op: Op<'ir>, way: Way) {
    if way == Way::Libdevice {
        return;
    }
    let builder = Builder::before(functions.context(), op);
    let operands: Vec<Value<'ir>> = op.operands().collect();
    let results: Vec<Type<'ir>> = op.results().map(|result| result.ty()).collect();
    let values = elements::each(&builder, &operands, &results, |builder, parts| {
        scalar(Emit { builder: *builder }, functions, (op, way), parts)
    });
    for (result, value) in op.results().zip(values) {
        result.replace_all_uses_with(value);
    }
    op.erase();
}

/// Results of one element. f16 and bf16 are computed in f32, in which all but a fused multiply-add is rounded as if once.
fn scalar<'ir>(
    e: Emit<'ir>,
    functions: &mut Functions<'ir>,
    (op, way): (Op<'ir>, Way),
    parts: &[Value<'ir>],
) -> Vec<Value<'ir>> {
    let narrow = parts[0].ty();
    let as_they_are = matches!(way, Way::Intrinsic("llvm.fma") | Way::Clamp);
    if !is_narrow(narrow) || as_they_are {
        return wide_scalar(e, functions, (op, way), parts);
    }
    let widen = |part: &Value<'ir>| match is_narrow(part.ty()) {
        true => e.cast("arith.extf", *part, e.f32()),
        false => *part,
    };
    let wide: Vec<Value<'ir>> = parts.iter().map(widen).collect();
    // A denormal of bf16 is one of f32, but of f16 it is none.
    if let Way::Test(Test::Normal) = way {
        let least = if narrow == Type::bf16(e.builder.context()) {
            f32::MIN_POSITIVE
        } else {
            6.103_515_6e-5
        };
        return vec![is_normal(e, wide[0], f64::from(least))];
    }
    let results = wide_scalar(e, functions, (op, way), &wide);
    let round = |value: Value<'ir>| match value.ty() == e.f32() {
        true => e.cast("arith.truncf", value, narrow),
        false => value,
    };
    results.into_iter().map(round).collect()
}

fn wide_scalar<'ir>(
    e: Emit<'ir>,
    functions: &mut Functions<'ir>,
    (op, way): (Op<'ir>, Way),
    x: &[Value<'ir>],
) -> Vec<Value<'ir>> {
    let ty = x[0].ty();
    let value = match way {
        Way::Intrinsic(name) => of_words(e, x, |x| e.intrinsic(name, x)),
        Way::OfIntegers(name, flag) => of_words(e, x, |x| {
            let none = Attr::bool(e.builder.context(), false);
            e.builder
                .op(name)
                .operands(x)
                .attr(flag, none)
                .result(x[0].ty())
                .value()
        }),
        Way::Test(test) => tested(e, test, x[0]),
        Way::Clamp => e.minimum(e.maximum(x[0], x[1]), x[2]),
        Way::Rsqrt if ty == e.f32() => approximate::rsqrt(e, x[0]),
        Way::Rsqrt => e.div(e.float_of(ty, 1.0), e.intrinsic("llvm.sqrt", x)),
        Way::Fast => approximate::fast(e, op.name(), x).expect("checked to have a fast form"),
        Way::Narrow => approximate::narrow(e, op.name(), x[0]).expect("checked to have a narrow form"),
        Way::Call(kind) => {
            let name = functions.get(kind);
            e.call(&name, x, ty)
        }
        Way::SinCos => {
            let (sin, cos) = (functions.get(Kind::Sin), functions.get(Kind::Cos));
            return vec![e.call(&sin, x, ty), e.call(&cos, x, ty)];
        }
        Way::Fpowi => {
            let (float, int) = (ty.scalar_bits().unwrap_or(32), int_bits(x[1].ty()));
            let name = functions.get(Kind::Fpowi(float, int));
            let n = as_word(e, x[1]);
            e.call(&name, &[x[0], n], ty)
        }
        Way::Ipowi => {
            let name = functions.get(Kind::Ipowi(int_bits(ty)));
            of_words(e, x, |x| e.call(&name, x, x[0].ty()))
        }
        Way::Remf => {
            let name = functions.get(Kind::Remf(ty.scalar_bits().unwrap_or(32)));
            e.call(&name, x, ty)
        }
        Way::Libdevice => unreachable!("what is left to libdevice is not replaced"),
    };
    vec![value]
}

fn int_bits(ty: Type<'_>) -> u32 {
    ty.scalar_bits().unwrap_or(64)
}

/// An `index` as 64 bits, which it has on the GPU.
fn as_word<'ir>(e: Emit<'ir>, value: Value<'ir>) -> Value<'ir> {
    match value.ty().is_index() {
        true => e.cast("arith.index_cast", value, e.i64()),
        false => value,
    }
}

/// What LLVM takes no `index` for, on words instead.
fn of_words<'ir>(e: Emit<'ir>, x: &[Value<'ir>], compute: impl FnOnce(&[Value<'ir>]) -> Value<'ir>) -> Value<'ir> {
    let words: Vec<Value<'ir>> = x.iter().map(|value| as_word(e, *value)).collect();
    let value = compute(&words);
    match x[0].ty().is_index() {
        true => e.cast("arith.index_cast", value, x[0].ty()),
        false => value,
    }
}

fn tested<'ir>(e: Emit<'ir>, test: Test, x: Value<'ir>) -> Value<'ir> {
    let magnitude = e.abs(x);
    let infinity = e.float_of(x.ty(), f64::INFINITY);
    match test {
        Test::Finite => e.compare(Compare::Olt, magnitude, infinity),
        Test::Infinite => e.compare(Compare::Oeq, magnitude, infinity),
        Test::NotANumber => e.compare(Compare::Uno, x, x),
        Test::Normal => {
            let least = if x.ty() == e.f32() {
                f64::from(f32::MIN_POSITIVE)
            } else {
                f64::MIN_POSITIVE
            };
            is_normal(e, x, least)
        }
    }
}

/// Whether a number is finite and at least so large in magnitude.
fn is_normal<'ir>(e: Emit<'ir>, x: Value<'ir>, least: f64) -> Value<'ir> {
    let magnitude = e.abs(x);
    let large = e.compare(Compare::Oge, magnitude, e.float_of(x.ty(), least));
    let finite = e.compare(Compare::Olt, magnitude, e.float_of(x.ty(), f64::INFINITY));
    e.builder.and(large, finite)
}

fn replace_sigmoid<'ir>(functions: &mut Functions<'ir>, found: Sigmoid<'ir>) {
    let division = found.division;
    let narrow = is_narrow(elements::element(division.result(0).ty())) || rounds_at_once(division);
    let way = Way::Call(if narrow { Kind::NarrowSigmoid } else { Kind::Sigmoid });
    let builder = Builder::before(functions.context(), division);
    let results = [division.result(0).ty()];
    let values = elements::each(&builder, &[found.x], &results, |builder, parts| {
        scalar(Emit { builder: *builder }, functions, (division, way), parts)
    });
    division.result(0).replace_all_uses_with(values[0]);
    division.erase();
    found.addition.erase();
    found.exponential.erase();
}

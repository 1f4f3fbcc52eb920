//! One or two `.approx` instructions: where `afn` stands on the operation, or where the result is rounded to 16 bits at
//! once and the ISA's bound keeps it within an ulp of those for all operands.
//!
//! ```text
//! math.exp %x fastmath<afn> : f32    ->   ex2.approx.f32 of %x · log2 e
//! math.exp %x : bf16                 ->   the same, in f32, rounded
//! ```
//! Not for 16 bits: `lg2` near 1, and `sin`, `cos` and `tanh`, whose errors are absolute or too large.

use alcop_compiler::ir::{Attr, Value};

use super::emit::Emit;
use super::exponential::LOG2_E;

/// The operations that [`fast`] knows.
pub(super) const FAST: [&str; 12] = [
    "math.exp",
    "math.exp2",
    "math.log",
    "math.log2",
    "math.log10",
    "math.sin",
    "math.cos",
    "math.tan",
    "math.tanh",
    "math.sqrt",
    "math.rsqrt",
    "math.powf",
];

/// The instructions of an operation with `afn`, on f32; `None` for what is not in [`FAST`].
pub(super) fn fast<'ir>(e: Emit<'ir>, name: &str, x: &[Value<'ir>]) -> Option<Value<'ir>> {
    Some(match name {
        "math.exp" => exp(e, x[0]),
        "math.exp2" => e.ex2(x[0]),
        "math.log" => e.mul(e.lg2(x[0]), e.float(std::f32::consts::LN_2)),
        "math.log2" => e.lg2(x[0]),
        "math.log10" => e.mul(e.lg2(x[0]), e.float(std::f32::consts::LOG10_2)),
        "math.sin" => e.intrinsic("llvm.nvvm.sin.approx.f", x),
        "math.cos" => e.intrinsic("llvm.nvvm.cos.approx.f", x),
        "math.tan" => {
            let sin = e.intrinsic("llvm.nvvm.sin.approx.f", x);
            let cos = e.intrinsic("llvm.nvvm.cos.approx.f", x);
            e.intrinsic("llvm.nvvm.div.approx.f", &[sin, cos])
        }
        "math.tanh" => tanh(e, x[0]),
        "math.sqrt" => e.intrinsic("llvm.nvvm.sqrt.approx.f", x),
        "math.rsqrt" => rsqrt(e, x[0]),
        "math.powf" => e.ex2(e.mul(x[1], e.lg2(x[0]))),
        _ => return None,
    })
}

/// The instructions of an operation whose result is rounded to 16 bits at once.
pub(super) fn narrow<'ir>(e: Emit<'ir>, name: &str, x: Value<'ir>) -> Option<Value<'ir>> {
    match name {
        "math.exp" => Some(exp(e, x)),
        "math.exp2" => Some(e.ex2(x)),
        _ => None,
    }
}

/// Within 2^-22.9 of the result (PTX ISA 9.0, 9.7.3.17), which is 2.1 ulp: what f32 gets, too.
pub(super) fn rsqrt<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    e.intrinsic("llvm.nvvm.rsqrt.approx.f", &[x])
}

fn exp<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    e.ex2(e.mul(x, e.float(LOG2_E)))
}

/// LLVM has no intrinsic for the instruction.
fn tanh<'ir>(e: Emit<'ir>, x: Value<'ir>) -> Value<'ir> {
    let context = e.builder.context();
    e.builder
        .op("llvm.inline_asm")
        .operands(&[x])
        .attr("asm_string", Attr::string(context, "tanh.approx.f32 $0, $1;"))
        .attr("constraints", Attr::string(context, "=f,f"))
        .result(x.ty())
        .value()
}

//! No call in a finished module leads nowhere.
//!
//! ```text
//! call float @__nv_atanf(float %x), which nothing defines    ->   kernel.mlir:7:10: llvm.call of @__nv_atanf …
//! ```
//! A device's driver supplies a few functions (CUDA C++ Programming Guide, "Formatted Output", "Dynamic Global Memory
//! Allocation", "Assertion"); nobody supplies others.

use alcop_compiler::ir::{Attr, Op, preorder};
use inkwell::module::Module;
use inkwell::values::{BasicValue, FunctionValue};

use crate::error::Error;

/// What the driver defines.
const SUPPLIED: [&str; 4] = ["vprintf", "malloc", "free", "__assertfail"];

/// Intrinsics of LLVM's that NVPTX has no instruction for (`exp2` of f32 has one): asked for one, LLVM ends the process.
#[rustfmt::skip]
const WITHOUT_INSTRUCTION: [&str; 27] = [
    "llvm.acos", "llvm.asin", "llvm.atan", "llvm.atan2", "llvm.cos", "llvm.cosh", "llvm.exp", "llvm.exp10", "llvm.exp2.f64",
    "llvm.frexp", "llvm.ldexp", "llvm.llrint", "llvm.llround", "llvm.log", "llvm.log10", "llvm.log2", "llvm.lrint",
    "llvm.lround", "llvm.modf", "llvm.pow", "llvm.powi", "llvm.sin", "llvm.sincos", "llvm.sincospi", "llvm.sinh", "llvm.tan",
    "llvm.tanh",
];

/// Refuses a module with a call of what nothing defines. `lowered` is the operation that the module was translated from.
///
/// # Errors
/// [`Error::Refused`] with the place of the call.
pub(crate) fn refuse(lowered: Op<'_>, module: &Module<'_>) -> Result<(), Error> {
    let name = |function: FunctionValue<'_>| function.get_name().to_string_lossy().into_owned();
    let missing = module
        .get_functions()
        .filter(|function| function.count_basic_blocks() == 0 && is_used(*function))
        .map(name)
        .find(|name| is_missing(name));
    match missing {
        Some(name) => Err(at_call(lowered, &name)),
        None => Ok(()),
    }
}

fn is_used(function: FunctionValue<'_>) -> bool {
    function.as_global_value().as_pointer_value().get_first_use().is_some()
}

fn is_missing(name: &str) -> bool {
    if name.starts_with("llvm.") {
        return WITHOUT_INSTRUCTION.iter().any(|known| is_of(name, known));
    }
    !SUPPLIED.contains(&name)
}

/// Whether a name is that of an intrinsic, behind which its types stand: `llvm.pow.f32`.
fn is_of(name: &str, intrinsic: &str) -> bool {
    let rest = name.strip_prefix(intrinsic);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn at_call(lowered: Op<'_>, name: &str) -> Error {
    let call = preorder(lowered).into_iter().find(|op| calls(*op, name));
    let (place, operation) = match call {
        Some(op) => (op.location().to_string(), op.name()),
        None => (lowered.location().to_string(), "a call"),
    };
    let what = if name.starts_with("llvm.") {
        "NVPTX has no instruction for it; write the operation of the math dialect"
    } else if name.starts_with("__nv_") {
        "nothing defines it, and the PTX could not be loaded; link a libdevice that does (--libdevice FILE)"
    } else {
        "nothing defines it, and the PTX could not be loaded; define it in the gpu.module"
    };
    Error::refused("undefined-function", place, format!("{operation} of {name}: {what}"))
}

fn calls(op: Op<'_>, name: &str) -> bool {
    let symbol = op.attr("callee").and_then(Attr::as_symbol);
    let intrinsic = op.attr("intrin").and_then(Attr::as_str);
    // `llvm.intr.exp` is the intrinsic `llvm.exp`.
    let own = op.name().strip_prefix("llvm.intr.").map(|own| format!("llvm.{own}"));
    symbol == Some(name) || intrinsic.is_some_and(|own| is_of(name, own)) || own.is_some_and(|own| is_of(name, &own))
}

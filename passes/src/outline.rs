//! A `gpu.launch` becomes a `gpu.func`, which is what can be pipelined and compiled.
//!
//! ```mlir
//! func.func @host(%a: memref<…> {llvm.noalias}) { gpu.launch … { … %a … } }
//! // becomes a launch of
//! gpu.func @host_kernel(%a: memref<…> {llvm.noalias}) kernel { … }
//! ```

use std::collections::HashSet;

use alcop_compiler::detect::attributes;
use alcop_compiler::ir::{Attr, Def, Module, Op, enclosing, preorder};

use serde_json::Value;

use crate::data::{to_attribute, to_json};
use crate::error::Error;

/// MLIR's passes: constants move into the body first, so that trip counts stay known.
pub const PASSES: &str = "gpu-launch-sink-index-computations,gpu-kernel-outlining";

/// Outlines every `gpu.launch` of a module; says how many there were. What is known of a host function's arguments, that
/// they do not overlap and how they are aligned, is known of the kernel's; what is wanted of the launch's attributions
/// (`alcop.depth`) is wanted of the kernel's.
pub fn outline(module: &mut Module<'_>) -> Result<usize, Error> {
    let (wanted, outlined) = {
        let before = preorder(module.op());
        let launches = before.iter().filter(|op| op.is("gpu.launch"));
        let wanted = launches.map(|op| wanted(*op)).collect::<Result<Vec<_>, _>>()?;
        let calls = before.iter().filter(|op| op.is("gpu.launch_func"));
        (wanted, calls.map(|op| callee(*op)).collect::<HashSet<String>>())
    };
    if wanted.is_empty() {
        return Ok(0);
    }
    let context = module.context();
    module.run_upstream_passes(&format!("builtin.module({PASSES})"))?;
    let ops = preorder(module.op());
    let new = |op: &&Op<'_>| op.is("gpu.launch_func") && !outlined.contains(&callee(**op));
    for (launch, wanted) in ops.iter().filter(new).zip(&wanted) {
        let name = callee(*launch);
        let named = |op: &&Op<'_>| {
            let own = op.attr("sym_name").and_then(Attr::as_str);
            op.is("gpu.func") && own.is_some_and(|own| name.ends_with(&format!("::@{own}")))
        };
        let (Some(kernel), Some(operands)) = (ops.iter().find(named), kernel_operands(*launch)) else {
            continue;
        };
        let known = operands.map(|value| match value.def() {
            Def::Argument(block, number) => {
                let host = block.parent().filter(|op| op.is("func.func"));
                let all = host.and_then(|host| host.attr("arg_attrs")?.as_array());
                all.and_then(|all| all.get(number).copied())
            }
            Def::Result(..) => None,
        });
        let attributes: Vec<Attr<'_>> = known
            .map(|known| known.unwrap_or_else(|| Attr::dictionary(context, &[])))
            .collect();
        kernel.set_attr("arg_attrs", Attr::array(context, &attributes));
        if let Some((name, value)) = wanted {
            let value = to_attribute(context, value).expect("it was an attribute");
            kernel.set_attr(name, value);
        }
    }
    module.verify().map_err(|diagnostics| Error::Invalid {
        pass: "outline",
        diagnostics,
    })?;
    Ok(wanted.len())
}

/// What a launch wants of its attributions, as plain data that outlives it.
fn wanted(launch: Op<'_>) -> Result<Option<(&'static str, Value)>, Error> {
    let Some((name, value)) = attributes::attributions_of_launch(launch) else {
        return Ok(None);
    };
    let data = to_json(value).ok_or_else(|| {
        let message = format!("{value} is not what alcop-detect writes for the attributions of a launch");
        Error::refused("attributes-disagree", launch.location(), message)
    })?;
    Ok(Some((name, data)))
}

/// The kernel that a `gpu.launch_func` launches.
fn callee(launch: Op<'_>) -> String {
    launch
        .attr("kernel")
        .map_or_else(String::new, |symbol| symbol.to_string())
}

/// What a `gpu.launch_func` hands to its kernel.
fn kernel_operands<'ir>(launch: Op<'ir>) -> Option<impl Iterator<Item = alcop_compiler::ir::Value<'ir>>> {
    // asyncDependencies, grid, block, cluster sizes, dynamic shared memory, kernel operands, asyncObject.
    let segments = launch.attr("operandSegmentSizes").and_then(Attr::as_ints)?;
    let (last, before) = segments.get(..segments.len().checked_sub(1)?)?.split_last()?;
    let first: i64 = before.iter().sum();
    Some(launch.operands().skip(first as usize).take(*last as usize))
}

/// Why a loop outside of any `gpu.func` cannot be rewritten, and what would help.
pub fn not_in_a_kernel(op: Op<'_>) -> Error {
    let message = if enclosing(op, "gpu.launch").is_some() {
        format!("the loop stands in a gpu.launch; outline that first ({PASSES})")
    } else {
        "the loop is not inside a gpu.func; make its function one, in a gpu.module".to_owned()
    };
    Error::refused("unknown-op", op.location(), message)
}

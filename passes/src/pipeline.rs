//! The passes in running order.

use alcop_compiler::ir::Module;

use crate::error::Error;
use crate::expand::expand;
use crate::hazard;
use crate::math::Libdevice;
use crate::multi_buffer;
use crate::nvvm;
use crate::place::place;
use crate::plan::PipelinePlan;
use crate::ptx::{self, Assembly};
use crate::swizzle;
use crate::waits;

/// A module after the whole road.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The pipelined module in upstream dialects, before it was lowered; empty where it was not asked for.
    pub pipelined: String,
    /// LLVM IR and PTX.
    pub assembly: Assembly,
    /// Dynamic shared memory that a launch must give, in bytes.
    pub dynamic_shared_bytes: u64,
    /// An operation that uses dynamic shared memory at a place that is not a constant, and where: a launch must give as
    /// much as that reaches, which is not known here.
    pub reaches_unknown_place: Option<String>,
}

/// Pipelines a module as planned and generates code for it.
pub fn compile(module: &mut Module<'_>, plan: &PipelinePlan, architecture: &str) -> Result<Compiled, Error> {
    run(module, plan, architecture, true, None)
}

/// As [`compile`], but leaves out the texts of the steps before PTX, which take longer to print than `expand` to make.
pub fn compile_to_ptx(module: &mut Module<'_>, plan: &PipelinePlan, architecture: &str) -> Result<Compiled, Error> {
    run(module, plan, architecture, false, None)
}

/// Pipelines a module as planned: rings, loops, wait counts, layouts. On an error the module is as it was.
pub fn transform(module: &mut Module<'_>, plan: &PipelinePlan) -> Result<(), Error> {
    expand(module, plan)?;
    waits::count(module)?;
    swizzle::lay_out(module)?;
    Ok(())
}

/// As [`compile`], with a libdevice for what `math` operations are not lowered here.
pub fn compile_with(
    module: &mut Module<'_>,
    plan: &PipelinePlan,
    architecture: &str,
    libdevice: Option<&Libdevice>,
) -> Result<Compiled, Error> {
    run(module, plan, architecture, true, libdevice)
}

fn run(
    module: &mut Module<'_>,
    plan: &PipelinePlan,
    architecture: &str,
    texts: bool,
    libdevice: Option<&Libdevice>,
) -> Result<Compiled, Error> {
    plan.check_target(architecture)?;
    transform(module, plan)?;
    place(module)?;
    refuse_hazards(module)?;
    let pipelined = if texts { module.to_string() } else { String::new() };
    let dynamic_shared_bytes = multi_buffer::dynamic_bytes(module);
    let reaches_unknown_place = multi_buffer::reaches_unknown_place(module);
    nvvm::lower_with(module, libdevice.is_some())?;
    let mut assembly = ptx::assemble_with(module, architecture, texts, libdevice)?;
    assembly.state(&plan.assumes);
    Ok(Compiled {
        pipelined,
        assembly,
        dynamic_shared_bytes,
        reaches_unknown_place,
    })
}

/// No code is generated for a kernel that the judge did not acquit.
fn refuse_hazards(module: &Module<'_>) -> Result<(), Error> {
    for judgement in hazard::check(module) {
        if !judgement.hazards.is_empty() {
            return Err(Error::Hazards(judgement.hazards));
        }
        if let Some(reason) = judgement.not_judged {
            tracing::warn!("the pipelined kernel was not proven free of hazards: {reason}");
        }
    }
    Ok(())
}

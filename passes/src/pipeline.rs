//! The passes in running order.

use alcop_compiler::ir::Module;

use crate::error::Error;
use crate::expand::expand;
use crate::multi_buffer;
use crate::nvvm;
use crate::plan::PipelinePlan;
use crate::ptx::{self, Assembly};

/// A module after the whole road.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The pipelined module in upstream dialects, before it was lowered.
    pub pipelined: String,
    /// LLVM IR and PTX.
    pub assembly: Assembly,
    /// Dynamic shared memory that a launch must give, in bytes.
    pub dynamic_shared_bytes: u64,
}

/// Pipelines a module as planned and generates code for it.
pub fn compile(module: &mut Module<'_>, plan: &PipelinePlan, architecture: &str) -> Result<Compiled, Error> {
    expand(module, plan)?;
    let pipelined = module.to_string();
    let dynamic_shared_bytes = multi_buffer::dynamic_bytes(module);
    nvvm::lower(module)?;
    let assembly = ptx::assemble(module, architecture, true)?;
    Ok(Compiled { pipelined, assembly, dynamic_shared_bytes })
}

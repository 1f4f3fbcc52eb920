//! A kernel lowered as it is written: the baseline of the tests, which shares no code with the passes that they test.
//!
//! ```text
//! %tile = memref.alloc() : memref<…, workgroup>     a place in static shared memory
//! memref.copy %a, %tile                             loops of loads and stores, which every thread executes
//! everything else                                   upstream's passes, then LLVM's default<O3>
//! ```
//!
//! Nothing is moved out of copies, no buffer has several slots, no copy is shared out among threads. Of `alcop-compiler`
//! only the handles of the IR are used.

mod masks;
mod memory;
mod ptx;
mod spell;

pub use memory::UNKNOWN_WINDOW_BYTES;

use alcop_compiler::ir::{Attr, Diagnostic, Module, Op, PipelineError, Type, Value, preorder};
use alcop_spec::Kernel;

/// Why a module has no plain kernel. None of them is a word about the kernel's correctness.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The module has no `gpu.func`, or more than one.
    #[error("{found} kernels; one is wanted")]
    Kernels {
        /// How many there are.
        found: usize,
    },
    /// The kernel does not say how many threads a block has.
    #[error("the kernel has no known_block_size")]
    NoBlockSize,
    /// What this lowering does not place or spell out.
    #[error("{location}: {message}")]
    Unsupported {
        /// Where.
        location: String,
        /// What.
        message: String,
    },
    /// An upstream pass failed.
    #[error(transparent)]
    Upstream(#[from] PipelineError),
    /// An upstream pass, or one of the steps here, left an invalid module.
    #[error("the module is invalid after {after}: {}", .diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// The step.
        after: &'static str,
        /// What the verifier says.
        diagnostics: Vec<Diagnostic>,
    },
    /// LLVM refused.
    #[error("LLVM: {0}")]
    Llvm(String),
}

/// Outlines every `gpu.launch` by upstream's passes. Constants move into the body first, as there.
///
/// # Errors
/// [`Error::Upstream`].
pub fn outline(module: &mut Module<'_>) -> Result<(), Error> {
    if preorder(module.op()).iter().any(|op| op.is("gpu.launch")) {
        module.run_upstream_passes("builtin.module(gpu-launch-sink-index-computations,gpu-kernel-outlining)")?;
    }
    Ok(())
}

/// Lowers the only kernel of a module as it is written. Its arguments are those of the pipelined kernel: bare pointers
/// where every memref among them is static, otherwise MLIR's descriptors. A block launches with `known_block_size`
/// threads, a grid has `known_grid_size` blocks or one.
///
/// # Errors
/// See [`Error`]. The module is lost then.
pub fn compile(module: &mut Module<'_>, architecture: &str) -> Result<Kernel, Error> {
    lower(module, architecture, Some("default<O3>"))
}

/// As [`compile`], without LLVM's passes, which remove what is undefined, such as a read outside of its array; and what
/// reads beside an allocation reads what nobody wrote.
///
/// # Errors
/// See [`Error`]. The module is lost then.
pub fn compile_unoptimised(module: &mut Module<'_>, architecture: &str) -> Result<Kernel, Error> {
    lower(module, architecture, None)
}

fn lower(module: &mut Module<'_>, architecture: &str, passes: Option<&str>) -> Result<Kernel, Error> {
    outline(module)?;
    let kernel = only_kernel(module)?;
    let entry = kernel.attr("sym_name").and_then(Attr::as_str).unwrap_or("?").to_owned();
    let block = sizes(kernel, "known_block_size").ok_or(Error::NoBlockSize)?;
    let grid = sizes(kernel, "known_grid_size").unwrap_or([1, 1, 1]);
    let bare = parameters(kernel)
        .filter_map(|value| value.ty().as_memref())
        .all(|memref| memref.offset.is_some() && !memref.shape.contains(&None) && !memref.strides.contains(&None));
    let dynamic_shared_bytes = memory::dynamic_bytes(kernel);
    memory::place(module, passes.is_none())?;
    spell::spell_out(module)?;
    // Transfers of several rows become transfers of one.
    module.run_upstream_passes("builtin.module(gpu.module(convert-vector-to-scf{full-unroll=true}))")?;
    masks::spell_out(module);
    verify(module, "placing memory and spelling out copies")?;
    // Without `canonicalize` and `cse` before the conversions: the less is done, the less can be wrong.
    module.run_upstream_passes(&format!(
        "builtin.module(gpu.module(lower-affine,affine-expand-index-ops,\
         convert-scf-to-cf,convert-nvgpu-to-nvvm,convert-vector-to-llvm,expand-strided-metadata,lower-affine,\
         convert-gpu-to-nvvm{{use-bare-ptr-memref-call-conv={bare}}},canonicalize,cse,reconcile-unrealized-casts))"
    ))?;
    memory::export(module);
    verify(module, "upstream's conversions")?;
    let ptx = ptx::assemble(module, architecture, passes)?;
    Ok(Kernel {
        ptx,
        entry,
        grid,
        block,
        dynamic_shared_bytes,
    })
}

/// The only kernel of a module.
///
/// # Errors
/// [`Error::Kernels`].
pub fn only_kernel<'ir>(module: &'ir Module<'_>) -> Result<Op<'ir>, Error> {
    let kernels: Vec<Op<'ir>> = preorder(module.op())
        .into_iter()
        .filter(|op| op.is("gpu.func"))
        .collect();
    match kernels[..] {
        [kernel] => Ok(kernel),
        _ => Err(Error::Kernels { found: kernels.len() }),
    }
}

/// The parameters of a function, without the memory that is attributed to it.
pub fn parameters<'ir>(kernel: Op<'ir>) -> impl Iterator<Item = Value<'ir>> {
    let ty = kernel.attr("function_type").and_then(Attr::as_type);
    let count = ty.and_then(Type::num_inputs).unwrap_or(0);
    let entry = kernel.region(0).blocks().next();
    entry.into_iter().flat_map(move |entry| entry.arguments().take(count))
}

fn sizes(kernel: Op<'_>, name: &str) -> Option<[u32; 3]> {
    let sizes = kernel.attr(name).and_then(Attr::as_ints)?;
    let sizes: Option<Vec<u32>> = sizes.into_iter().map(|size| u32::try_from(size).ok()).collect();
    sizes?.try_into().ok()
}

fn verify(module: &Module<'_>, after: &'static str) -> Result<(), Error> {
    module
        .verify()
        .map_err(|diagnostics| Error::Invalid { after, diagnostics })
}

fn unsupported(op: Op<'_>, message: impl Into<String>) -> Error {
    Error::Unsupported {
        location: op.location().to_string(),
        message: message.into(),
    }
}

//! From the NVVM dialect through LLVM's optimiser to PTX text.

use std::sync::Once;

use alcop_compiler::ir::{Module, Op, preorder};
use alcop_spec::Assumption;
use inkwell::OptimizationLevel;
use inkwell::context::Context as LlvmContext;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine, TargetTriple};

use crate::alignment;
use crate::error::Error;
use crate::math::{Libdevice, refuse_undefined_calls};
use crate::offsets;

/// PTX, and the LLVM IR it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembly {
    /// PTX text.
    pub ptx: String,
    /// LLVM IR before optimisation; empty where it was not asked for.
    pub llvm: String,
}

impl Assembly {
    /// Writes above the code what its caller must keep to.
    pub(crate) fn state(&mut self, assumes: &[Assumption]) {
        let lines: String = assumes.iter().map(|one| format!("// assumes {one}\n")).collect();
        self.ptx.insert_str(0, &lines);
    }
}

/// Architectures that code can be generated for.
pub const ARCHITECTURES: [&str; 5] = ["sm_80", "sm_86", "sm_87", "sm_89", "sm_90"];

/// LLVM's passes: what of `default<O3>` changes a kernel, which is one function whose loops are pipelined and whose inner
/// loops are unrolled already. O3 takes twice as long, mostly in eight runs of `instcombine`; and since it combines
/// before `reassociate` and `gvn` have brought addresses to a common base, it leaves 5 more instructions in the main loop
/// of the reference kernel, and 4 more registers (`make bench-sass`, layout nn: 149 to 144, 242 to 238).
///
/// `infer-alignment` widens accesses whose own alignment is that of an element: what an argument, a buffer's place and an
/// index say together is known only once `sroa` and `gvn` have taken descriptors apart. It runs before `instcombine` too,
/// which makes one load of a slot's first and its later ones, at an address behind a phi that nothing is known of.
///
/// Named in a pipeline text, `instcombine` ends the process where one round leaves something to combine, as it does in some
/// masked kernels; what is left does no harm.
const OPTIMIZATIONS: &str = "cgscc(inline),function(sroa,early-cse,simplifycfg,reassociate,\
     loop-mssa(loop-rotate,licm),loop(indvars,loop-unroll-full),sroa,gvn,infer-alignment,instcombine<no-verify-fixpoint>,early-cse,loop-unroll<O3>,\
     simplifycfg,infer-alignment)";

/// What is run before that where a libdevice was linked: its questions about the device are answered, and what nothing
/// calls goes.
const OF_LIBDEVICE: &str = "nvvm-reflect,globaldce";

/// As [`assemble_with`], without a libdevice.
///
/// # Errors
/// See there.
pub fn assemble(module: &Module<'_>, architecture: &str, keep_llvm: bool) -> Result<Assembly, Error> {
    assemble_with(module, architecture, keep_llvm, None)
}

/// Translates the one `gpu.module` of a lowered module, and links a libdevice. `architecture` is one of [`ARCHITECTURES`]; anything else is
/// refused here, because LLVM ends the process on an instruction that the chip lacks.
///
/// # Errors
/// See [`Error`]; a call of a function that nothing defines is refused with its place.
pub fn assemble_with(
    module: &Module<'_>,
    architecture: &str,
    keep_llvm: bool,
    libdevice: Option<&Libdevice>,
) -> Result<Assembly, Error> {
    if !ARCHITECTURES.contains(&architecture) {
        let known = ARCHITECTURES.join(", ");
        return Err(Error::Llvm(format!(
            "no code generation for {architecture}; known: {known}"
        )));
    }
    let kernels: Vec<Op<'_>> = preorder(module.op())
        .into_iter()
        .filter(|op| op.is("gpu.module"))
        .collect();
    let [gpu_module] = kernels.as_slice() else {
        return Err(Error::Kernels { found: kernels.len() });
    };
    let llvm = LlvmContext::create();
    module.context().take_diagnostics();
    // SAFETY: the operation is a lowered gpu.module, and both bindings link the same libLLVM, so the context that one
    // made is one that the other understands.
    let translated = unsafe { mlir_sys::mlirTranslateModuleToLLVMIR(gpu_module.raw(), llvm.raw().cast()) };
    if translated.is_null() {
        // The last is about the operation around all others.
        let said = module.context().take_diagnostics();
        return Err(match said.first() {
            Some(first) => Error::refused("no-lowering", &first.location, first.message.clone()),
            None => Error::Llvm("the module has no LLVM translation".to_owned()),
        });
    }
    // SAFETY: fresh, owned by nobody else, and of this context.
    let llvm_module = unsafe { inkwell::module::Module::new(translated.cast()) };
    let machine = target_machine(architecture)?;
    llvm_module.set_triple(&machine.get_triple());
    llvm_module.set_data_layout(&machine.get_target_data().get_data_layout());
    let text = if keep_llvm {
        llvm_module.print_to_string().to_string()
    } else {
        String::new()
    };
    if let Some(libdevice) = libdevice {
        libdevice.link(&llvm, &llvm_module)?;
        llvm_module
            .run_passes(OF_LIBDEVICE, &machine, PassBuilderOptions::create())
            .map_err(|error| Error::Llvm(error.to_string()))?;
    }
    llvm_module
        .run_passes(OPTIMIZATIONS, &machine, PassBuilderOptions::create())
        .map_err(|error| Error::Llvm(error.to_string()))?;
    alignment::of_elements(&llvm_module);
    offsets::share(&llvm_module);
    refuse_undefined_calls(*gpu_module, &llvm_module)?;
    let buffer = machine
        .write_to_memory_buffer(&llvm_module, FileType::Assembly)
        .map_err(|error| Error::Llvm(error.to_string()))?;
    let ptx = String::from_utf8_lossy(buffer.as_slice())
        .trim_end_matches('\0')
        .to_owned();
    Ok(Assembly { ptx, llvm: text })
}

fn target_machine(architecture: &str) -> Result<TargetMachine, Error> {
    static INITIALIZE: Once = Once::new();
    INITIALIZE.call_once(|| Target::initialize_nvptx(&InitializationConfig::default()));
    let triple = TargetTriple::create("nvptx64-nvidia-cuda");
    let target = Target::from_triple(&triple).map_err(|error| Error::Llvm(error.to_string()))?;
    target
        .create_target_machine(
            &triple,
            architecture,
            "",
            OptimizationLevel::Aggressive,
            RelocMode::Default,
            CodeModel::Default,
        )
        .ok_or_else(|| Error::Llvm(format!("LLVM has no machine for {architecture}")))
}

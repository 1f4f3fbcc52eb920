//! NVVM → LLVM IR → LLVM's passes, if any → PTX.

use std::sync::Once;

use alcop_compiler::ir::{Module, Op, preorder};
use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetTriple};

use crate::Error;

/// The PTX of the one lowered `gpu.module`.
pub fn assemble(module: &Module<'_>, architecture: &str, passes: Option<&str>) -> Result<String, Error> {
    static INITIALIZE: Once = Once::new();
    INITIALIZE.call_once(|| Target::initialize_nvptx(&InitializationConfig::default()));
    let modules: Vec<Op<'_>> = preorder(module.op())
        .into_iter()
        .filter(|op| op.is("gpu.module"))
        .collect();
    let [gpu_module] = modules[..] else {
        return Err(Error::Llvm(format!("{} gpu.modules; one is wanted", modules.len())));
    };
    let refused = |error: inkwell::support::LLVMString| Error::Llvm(error.to_string());
    let context = Context::create();
    // SAFETY: the operation lives, and both bindings are linked with the same libLLVM.
    let translated = unsafe { mlir_sys::mlirTranslateModuleToLLVMIR(gpu_module.raw(), context.raw().cast()) };
    if translated.is_null() {
        return Err(Error::Llvm("the module has no LLVM translation".to_owned()));
    }
    // SAFETY: fresh, and owned by nobody else.
    let llvm = unsafe { inkwell::module::Module::new(translated.cast()) };
    let triple = TargetTriple::create("nvptx64-nvidia-cuda");
    let machine = Target::from_triple(&triple)
        .map_err(refused)?
        .create_target_machine(
            &triple,
            architecture,
            "",
            OptimizationLevel::Aggressive,
            RelocMode::Default,
            CodeModel::Default,
        )
        .ok_or_else(|| Error::Llvm(format!("no machine for {architecture}")))?;
    llvm.set_triple(&triple);
    llvm.set_data_layout(&machine.get_target_data().get_data_layout());
    if let Some(passes) = passes {
        llvm.run_passes(passes, &machine, PassBuilderOptions::create())
            .map_err(refused)?;
    }
    let buffer = machine
        .write_to_memory_buffer(&llvm, FileType::Assembly)
        .map_err(refused)?;
    Ok(String::from_utf8_lossy(buffer.as_slice())
        .trim_end_matches('\0')
        .to_owned())
}

//! A libdevice that the user names, linked into a kernel.
//!
//! ```text
//! call @__nv_atanf          +   libdevice.10.bc   ->   its functions, internal; what nothing calls goes
//! call @__nvvm_reflect(…)                         ->   0: denormals are not flushed
//! ```

use std::path::Path;

use inkwell::context::Context as LlvmContext;
use inkwell::memory_buffer::MemoryBuffer;
use inkwell::module::{Linkage, Module};

use crate::error::Error;

/// Bitcode of a library of functions for the GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Libdevice {
    name: String,
    bitcode: Vec<u8>,
}

/// What bitcode begins with, plain or wrapped (LLVM, "Bitcode File Format").
const MAGIC: [[u8; 4]; 2] = [*b"BC\xc0\xde", [0xde, 0xc0, 0x17, 0x0b]];

impl Libdevice {
    /// Reads a file, and checks that it is what it is taken for.
    ///
    /// # Errors
    /// [`Error::Libdevice`]: no such file, no bitcode, bitcode that this LLVM cannot read, or not of a library for NVIDIA's
    /// GPUs.
    pub fn read(path: &Path) -> Result<Libdevice, Error> {
        let name = path.display().to_string();
        let bitcode = std::fs::read(path).map_err(|error| refused(&name, &error.to_string()))?;
        Libdevice::new(name, bitcode)
    }

    /// As [`Libdevice::read`], of bitcode in memory; `name` is what errors call it.
    ///
    /// # Errors
    /// See there.
    pub fn new(name: String, bitcode: Vec<u8>) -> Result<Libdevice, Error> {
        let library = Libdevice { name, bitcode };
        library.parse(&LlvmContext::create()).map(drop)?;
        Ok(library)
    }

    fn parse<'c>(&self, context: &'c LlvmContext) -> Result<Module<'c>, Error> {
        let start = self.bitcode.get(..4).unwrap_or(&self.bitcode);
        if !MAGIC.iter().any(|magic| magic == start) {
            let bytes: Vec<String> = start.iter().map(|byte| format!("{byte:02x}")).collect();
            let message = format!("it is not LLVM bitcode: it begins with the bytes {}", bytes.join(" "));
            return Err(refused(&self.name, &message));
        }
        let buffer = MemoryBuffer::create_from_memory_range_copy(&self.bitcode, &self.name);
        // The function of the C API for bitcode alone ends the process where it cannot read it.
        let module = context.create_module_from_ir(buffer).map_err(|error| {
            let said = error.to_string();
            let message = format!("LLVM {} cannot read it: {}", llvm_version(), said.trim());
            refused(&self.name, &message)
        })?;
        let triple = module.get_triple();
        let triple = triple.as_str().to_string_lossy().into_owned();
        if !triple.starts_with("nvptx64") {
            let message = format!("it is for {triple:?}; a libdevice is for nvptx64");
            return Err(refused(&self.name, &message));
        }
        if defined(&module).is_empty() {
            return Err(refused(&self.name, "it defines no function __nv_…; is it a libdevice?"));
        }
        Ok(module)
    }

    /// Links the library into a module. Its functions become internal, so that what nothing calls goes.
    pub(crate) fn link<'c>(&self, context: &'c LlvmContext, module: &Module<'c>) -> Result<(), Error> {
        let library = self.parse(context)?;
        // The library's own is of an older LLVM, and says the same.
        library.set_triple(&module.get_triple());
        library.set_data_layout(&module.get_data_layout());
        let names = all_defined(&library);
        module
            .link_in_module(library)
            .map_err(|error| refused(&self.name, &error.to_string()))?;
        for function in names.iter().filter_map(|name| module.get_function(name)) {
            function.set_linkage(Linkage::Internal);
        }
        Ok(())
    }
}

/// The functions of a library by which it is known.
fn defined(module: &Module<'_>) -> Vec<String> {
    all_defined(module)
        .into_iter()
        .filter(|name| name.starts_with("__nv_"))
        .collect()
}

fn all_defined(module: &Module<'_>) -> Vec<String> {
    module
        .get_functions()
        .filter(|function| function.count_basic_blocks() > 0)
        .map(|function| function.get_name().to_string_lossy().into_owned())
        .collect()
}

fn llvm_version() -> String {
    let (major, minor, patch) = inkwell::support::get_llvm_version();
    format!("{major}.{minor}.{patch}")
}

fn refused(file: &str, message: &str) -> Error {
    Error::Libdevice {
        file: file.to_owned(),
        message: message.to_owned(),
    }
}

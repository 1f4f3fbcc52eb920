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
        self.is_whole()?;
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

    /// LLVM's reader reads behind the end of a file that was cut off. A stream is a row of blocks: a word with their kind,
    /// a word with their length in words, and so many words (LLVM, "Bitcode File Format"); a wrapper says where it is.
    fn is_whole(&self) -> Result<(), Error> {
        let word = |at: usize| {
            let bytes = self.bitcode.get(at..at + 4)?;
            bytes.try_into().ok().map(|bytes| u32::from_le_bytes(bytes) as usize)
        };
        let mut at = match self.bitcode.starts_with(&MAGIC[1]) {
            true => word(8).unwrap_or(usize::MAX / 2).saturating_add(4),
            false => 4,
        };
        while at < self.bitcode.len() && word(at) != Some(0) {
            at = at.saturating_add(
                word(at + 4)
                    .unwrap_or(usize::MAX / 8)
                    .saturating_mul(4)
                    .saturating_add(8),
            );
        }
        if at <= self.bitcode.len() {
            return Ok(());
        }
        let message = format!(
            "it is cut off: it has {} bytes, and its blocks are longer",
            self.bitcode.len()
        );
        Err(refused(&self.name, &message))
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

#[cfg(test)]
mod tests {
    use alcop_compiler::ir;

    use super::*;
    use crate::{nvvm, ptx};

    /// Bitcode of a module with a function of libdevice's name that doubles, or triples where denormals are flushed.
    fn bitcode(triple: &str, name: &str) -> Vec<u8> {
        let text = format!(
            "target triple = \"{triple}\"
             @flag = private constant [11 x i8] c\"__CUDA_FTZ\\00\"
             declare i32 @__nvvm_reflect(ptr)
             define float @{name}(float %x) {{
               %ftz = call i32 @__nvvm_reflect(ptr @flag)
               %flushes = icmp ne i32 %ftz, 0
               %factor = select i1 %flushes, float 3.0, float 2.0
               %r = fmul float %x, %factor
               ret float %r
             }}
             define double @__nv_unused(double %x) {{ ret double %x }}"
        );
        let context = LlvmContext::create();
        // The copy has a zero behind it, by which the reader of texts finds the end.
        let buffer = MemoryBuffer::create_from_memory_range_copy(text.as_bytes(), "text");
        let module = context.create_module_from_ir(buffer).expect("valid");
        module.write_bitcode_to_memory().as_slice().to_vec()
    }

    /// PTX of `math.atan`, which has no lowering here.
    fn linked(libdevice: &Libdevice) -> Result<String, Error> {
        let context = ir::Context::new();
        let source = "gpu.module @m { gpu.func @k(%a: memref<8xf32>) kernel {
            %i = gpu.thread_id x
            %x = memref.load %a[%i] : memref<8xf32>
            %y = math.atan %x : f32
            %z = math.sqrt %y : f32
            memref.store %z, %a[%i] : memref<8xf32>
            gpu.return
        } }";
        let mut module = context.parse(source, "k.mlir").expect("valid");
        nvvm::lower_with(&mut module, true)?;
        ptx::assemble_with(&module, "sm_80", false, Some(libdevice)).map(|assembly| assembly.ptx)
    }

    #[test]
    fn what_has_no_lowering_is_computed_by_the_library_that_is_named() {
        let bitcode = bitcode("nvptx64-nvidia-gpulibs", "__nv_atanf");
        let library = Libdevice::new("mine.bc".to_owned(), bitcode).expect("a libdevice");
        let ptx = linked(&library).expect("links");
        // x + x or x · 2, inlined: nothing of the library is left, and its question has its answer.
        assert!(ptx.contains("add.rn.f32") || ptx.contains("0f40000000"), "{ptx}");
        assert!(ptx.contains("sqrt.rn.f32"), "{ptx}");
        for gone in ["__nv_", "call", "0f40400000", ".extern"] {
            assert!(!ptx.contains(gone), "{gone}: {ptx}");
        }
    }

    #[test]
    fn a_library_without_the_function_is_named_with_the_call() {
        let bitcode = bitcode("nvptx64-nvidia-cuda", "__nv_cosf");
        let library = Libdevice::new("other.bc".to_owned(), bitcode).expect("a libdevice");
        let error = linked(&library).expect_err("no atan").to_string();
        assert!(
            error.starts_with("k.mlir:4:18: llvm.call of __nv_atanf: nothing defines it"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_libdevice_of_this_version_is_refused_by_name_and_value() {
        let good = bitcode("nvptx64-nvidia-gpulibs", "__nv_atanf");
        let cut = good[..good.len() / 2].to_vec();
        // The first block ends with the epoch of the format, 0: the five bits 00101 (which abbreviation), six of the number,
        // and zeros. Other damage may end the process in LLVM's reader.
        let first = 12 + 4 * u32::from_le_bytes(good[8..12].try_into().expect("four bytes")) as usize;
        let bits = (0..8 * first).rev();
        let last = bits.into_iter().find(|bit| good[bit / 8] >> (bit % 8) & 1 == 1);
        let number = last.expect("a bit of the abbreviation") + 3;
        let mut other_epoch = good.clone();
        other_epoch[number / 8] ^= 1 << (number % 8);
        for (bytes, wanted) in [
            (
                b"; text".to_vec(),
                "it is not LLVM bitcode: it begins with the bytes 3b 20 74 65",
            ),
            (Vec::new(), "it is not LLVM bitcode"),
            (cut, "it is cut off: it has "),
            (other_epoch, "epoch"),
            (
                bitcode("x86_64-pc-linux-gnu", "__nv_atanf"),
                "it is for \"x86_64-pc-linux-gnu\"; a libdevice is for nvptx64",
            ),
        ] {
            let error = Libdevice::new("bad.bc".to_owned(), bytes)
                .expect_err(wanted)
                .to_string();
            assert!(
                error.starts_with("the libdevice bad.bc: ") && error.contains(wanted),
                "{error}"
            );
        }
        let error = Libdevice::read(Path::new("absent.bc"))
            .expect_err("no file")
            .to_string();
        assert!(error.starts_with("the libdevice absent.bc: "), "{error}");
    }
}

//! Takes back what `infer-alignment` says of accesses that are no wider for it.
//!
//! ```text
//! load float, align 16                      ->  load float, align 4
//! llvm.masked.load <4 x float>, align 16    ->  align 4: one element after the other
//! ```
//!
//! LLVM joins three aligned scalars to a vector of four, of which the last may lie behind the end of an array. And a
//! masked load that is aligned as a whole loses what stands for masked elements (LLVM 22.1, NVPTX, constant masks).

use inkwell::llvm_sys::core::{
    LLVMGetAlignment, LLVMGetCallSiteEnumAttribute, LLVMGetCalledValue, LLVMGetElementType,
    LLVMGetEnumAttributeKindForName, LLVMGetEnumAttributeValue, LLVMGetFirstBasicBlock, LLVMGetFirstFunction,
    LLVMGetFirstInstruction, LLVMGetInstructionOpcode, LLVMGetIntTypeWidth, LLVMGetNextBasicBlock, LLVMGetNextFunction,
    LLVMGetNextInstruction, LLVMGetOperand, LLVMGetTypeKind, LLVMGetValueName2, LLVMSetAlignment,
    LLVMSetInstrParamAlignment, LLVMTypeOf,
};
use inkwell::llvm_sys::prelude::{LLVMTypeRef, LLVMValueRef};
use inkwell::llvm_sys::{LLVMOpcode, LLVMTypeKind};
use inkwell::module::Module;

/// Gives scalars and masked vectors the alignment of one element, where they have more.
pub fn of_elements(module: &Module<'_>) {
    // SAFETY: the walk follows LLVM's own lists of a module that lives throughout; only alignments are changed.
    unsafe {
        let mut function = LLVMGetFirstFunction(module.as_mut_ptr());
        while !function.is_null() {
            let mut block = LLVMGetFirstBasicBlock(function);
            while !block.is_null() {
                let mut instruction = LLVMGetFirstInstruction(block);
                while !instruction.is_null() {
                    match LLVMGetInstructionOpcode(instruction) {
                        LLVMOpcode::LLVMLoad => scalar(instruction, LLVMTypeOf(instruction)),
                        LLVMOpcode::LLVMStore => scalar(instruction, LLVMTypeOf(LLVMGetOperand(instruction, 0))),
                        LLVMOpcode::LLVMCall => masked(instruction),
                        _ => {}
                    }
                    instruction = LLVMGetNextInstruction(instruction);
                }
                block = LLVMGetNextBasicBlock(block);
            }
            function = LLVMGetNextFunction(function);
        }
    }
}

/// # Safety
/// `access` is a load or store of a living module, of a value of type `ty`.
unsafe fn scalar(access: LLVMValueRef, ty: LLVMTypeRef) {
    // SAFETY: as above.
    unsafe {
        if let Some(bytes) = element_bytes(ty)
            && LLVMGetAlignment(access) > bytes
        {
            LLVMSetAlignment(access, bytes);
        }
    }
}

/// # Safety
/// `call` is a call of a living module.
unsafe fn masked(call: LLVMValueRef) {
    // SAFETY: a called function has a name, which lives as long as it; intrinsics have the operands asked for.
    unsafe {
        let mut length = 0;
        let name = LLVMGetValueName2(LLVMGetCalledValue(call), &raw mut length);
        // Inline assembly has none.
        if length == 0 {
            return;
        }
        let name = std::slice::from_raw_parts(name.cast::<u8>(), length);
        // The pointer's position among the operands; attributes count from 1.
        let (vector, pointer) = if name.starts_with(b"llvm.masked.load.") {
            (LLVMTypeOf(call), 1)
        } else if name.starts_with(b"llvm.masked.store.") {
            (LLVMTypeOf(LLVMGetOperand(call, 0)), 2)
        } else {
            return;
        };
        let align = LLVMGetEnumAttributeKindForName(c"align".as_ptr(), 5);
        let known = LLVMGetCallSiteEnumAttribute(call, pointer, align);
        let Some(bytes) = element_bytes(LLVMGetElementType(vector)) else {
            return;
        };
        if !known.is_null() && LLVMGetEnumAttributeValue(known) > u64::from(bytes) {
            LLVMSetInstrParamAlignment(call, pointer, bytes);
        }
    }
}

/// # Safety
/// `ty` is a type of a living context.
unsafe fn element_bytes(ty: LLVMTypeRef) -> Option<u32> {
    // SAFETY: as above; only integers are asked for their width.
    unsafe {
        match LLVMGetTypeKind(ty) {
            LLVMTypeKind::LLVMHalfTypeKind | LLVMTypeKind::LLVMBFloatTypeKind => Some(2),
            LLVMTypeKind::LLVMFloatTypeKind => Some(4),
            LLVMTypeKind::LLVMDoubleTypeKind => Some(8),
            LLVMTypeKind::LLVMIntegerTypeKind => {
                let bits = LLVMGetIntTypeWidth(ty);
                matches!(bits, 8 | 16 | 32 | 64).then_some(bits / 8)
            }
            _ => None,
        }
    }
}

//! Copies whose addresses differ by constants share registers: the constants become offsets of the instruction.
//!
//! ```text
//! add %r1, %base, %x;  cp.async [%r1], …          add %r1, %base, %x;  cp.async [%r1], …
//! or  %y, %x, 512;                        ->                           cp.async [%r1+512], …
//! add %r2, %base, %y;  cp.async [%r2], …
//! ```
//!
//! A predicated `cp.async` is inline assembly, into which LLVM folds no offset as it does into its own instructions (PTX
//! ISA, "Addresses as Operands": a register and a constant).

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_char;

use inkwell::llvm_sys::LLVMInlineAsmDialect;
use inkwell::llvm_sys::LLVMOpcode;
use inkwell::llvm_sys::core::{
    LLVMConstIntGetSExtValue, LLVMGetCalledFunctionType, LLVMGetCalledValue, LLVMGetFirstBasicBlock,
    LLVMGetFirstFunction, LLVMGetFirstInstruction, LLVMGetInlineAsm, LLVMGetInlineAsmAsmString,
    LLVMGetInlineAsmConstraintString, LLVMGetInstructionOpcode, LLVMGetIntTypeWidth, LLVMGetIsDisjoint,
    LLVMGetNextBasicBlock, LLVMGetNextFunction, LLVMGetNextInstruction, LLVMGetNumOperands, LLVMGetOperand,
    LLVMIsAConstantInt, LLVMIsAInlineAsm, LLVMIsAInstruction, LLVMSetOperand, LLVMTypeOf,
};
use inkwell::llvm_sys::prelude::LLVMValueRef;
use inkwell::module::Module;

/// How the assembly of a predicated copy begins, as [`crate::nvvm`] writes it: predicate, target, source.
const COPY: &str = "@$0 cp.async.";
/// Operands of the assembly that are addresses.
const ADDRESSES: [u32; 2] = [1, 2];
/// Offsets that every address takes (SASS has 24 bits with a sign).
const OFFSETS: std::ops::Range<i64> = -(1 << 23)..1 << 23;
/// Terms of a sum that are followed.
const MAX_TERMS: usize = 16;

/// Values by their addresses, each with its factor.
type Terms = BTreeMap<usize, i64>;
/// An address without its constant part, and the operand it belongs to.
type Base = (u32, Terms);

/// Gives the predicated copies of a module offsets where an earlier one of the same block has the address but for a
/// constant. Says how many addresses became offsets.
pub fn share(module: &Module<'_>) -> usize {
    let mut shared = 0;
    // SAFETY: the walk follows LLVM's own lists of a module that lives throughout; nothing is removed from them, and
    // operands are replaced by values of the same type that dominate, for they stand earlier in the same block.
    unsafe {
        let mut function = LLVMGetFirstFunction(module.as_mut_ptr());
        while !function.is_null() {
            let mut block = LLVMGetFirstBasicBlock(function);
            while !block.is_null() {
                let mut known: HashMap<Base, (LLVMValueRef, i64)> = HashMap::new();
                let mut instruction = LLVMGetFirstInstruction(block);
                while !instruction.is_null() {
                    if LLVMGetInstructionOpcode(instruction) == LLVMOpcode::LLVMCall {
                        shared += share_one(instruction, &mut known);
                    }
                    instruction = LLVMGetNextInstruction(instruction);
                }
                block = LLVMGetNextBasicBlock(block);
            }
            function = LLVMGetNextFunction(function);
        }
    }
    shared
}

/// # Safety
/// `call` is a call of a living module, and `known` has values of the same block that stand before it.
unsafe fn share_one(call: LLVMValueRef, known: &mut HashMap<Base, (LLVMValueRef, i64)>) -> usize {
    // SAFETY: see above; every value asked for its parts is what the question needs.
    unsafe {
        let assembly = LLVMIsAInlineAsm(LLVMGetCalledValue(call));
        if assembly.is_null() {
            return 0;
        }
        let mut text = text_of(assembly, LLVMGetInlineAsmAsmString);
        if !text.starts_with(COPY) {
            return 0;
        }
        let mut count = 0;
        for operand in ADDRESSES {
            let address = LLVMGetOperand(call, operand);
            let (mut terms, mut constant) = (Terms::new(), 0_i64);
            if !split(address, 1, &mut terms, &mut constant) {
                continue;
            }
            let (base, from) = *known.entry((operand, terms)).or_insert((address, constant));
            let offset = constant.wrapping_sub(from);
            if base == address || !OFFSETS.contains(&offset) {
                continue;
            }
            LLVMSetOperand(call, operand, base);
            let plain = format!("[${operand}]");
            let sum = match offset {
                0 => plain.clone(),
                _ => format!("[${operand}+{offset}]"),
            };
            text = text.replacen(&plain, &sum, 1);
            count += 1;
        }
        if count > 0 {
            let constraints = text_of(assembly, LLVMGetInlineAsmConstraintString);
            let changed = LLVMGetInlineAsm(
                LLVMGetCalledFunctionType(call),
                text.as_ptr().cast(),
                text.len(),
                constraints.as_ptr().cast(),
                constraints.len(),
                1,
                0,
                LLVMInlineAsmDialect::LLVMInlineAsmDialectATT,
                0,
            );
            // What is called is the last operand.
            LLVMSetOperand(call, LLVMGetNumOperands(call) as u32 - 1, changed);
        }
        count
    }
}

/// # Safety
/// `assembly` is inline assembly.
unsafe fn text_of(
    assembly: LLVMValueRef,
    ask: unsafe extern "C" fn(LLVMValueRef, *mut usize) -> *const c_char,
) -> String {
    let mut length = 0;
    // SAFETY: LLVM answers a string of that length, which lives as long as the assembly.
    let bytes = unsafe { std::slice::from_raw_parts(ask(assembly, &raw mut length).cast::<u8>(), length) };
    String::from_utf8_lossy(bytes).into_owned()
}

/// Adds a multiple of an integer to a sum of terms and a constant; false where the sum has too many. What is cut to fewer
/// bits is the same sum modulo these.
///
/// # Safety
/// `value` is an integer value of a living module.
unsafe fn split(value: LLVMValueRef, factor: i64, terms: &mut Terms, constant: &mut i64) -> bool {
    // SAFETY: as above; operands of integer arithmetic are integers.
    unsafe {
        if let Some(number) = constant_of(value) {
            *constant = constant.wrapping_add(factor.wrapping_mul(number));
            return true;
        }
        if !LLVMIsAInstruction(value).is_null() {
            let operand = |number| LLVMGetOperand(value, number);
            match LLVMGetInstructionOpcode(value) {
                LLVMOpcode::LLVMTrunc => return split(operand(0), factor, terms, constant),
                LLVMOpcode::LLVMOr if LLVMGetIsDisjoint(value) == 0 => {}
                LLVMOpcode::LLVMAdd | LLVMOpcode::LLVMOr => {
                    return split(operand(0), factor, terms, constant) && split(operand(1), factor, terms, constant);
                }
                opcode @ (LLVMOpcode::LLVMShl | LLVMOpcode::LLVMMul) => {
                    let by = constant_of(operand(1)).and_then(|by| match opcode {
                        LLVMOpcode::LLVMShl => 1_i64.checked_shl(u32::try_from(by).ok()?),
                        _ => Some(by),
                    });
                    if let Some(by) = by {
                        return split(operand(0), factor.wrapping_mul(by), terms, constant);
                    }
                }
                _ => {}
            }
        }
        let sum = terms.entry(value as usize).or_insert(0);
        *sum = sum.wrapping_add(factor);
        terms.len() <= MAX_TERMS
    }
}

/// # Safety
/// `value` is an integer value of a living module.
unsafe fn constant_of(value: LLVMValueRef) -> Option<i64> {
    // SAFETY: the value of an integer constant of at most 64 bits.
    unsafe {
        let small = !LLVMIsAConstantInt(value).is_null() && LLVMGetIntTypeWidth(LLVMTypeOf(value)) <= 64;
        small.then(|| LLVMConstIntGetSExtValue(value))
    }
}

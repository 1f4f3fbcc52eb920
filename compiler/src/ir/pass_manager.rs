//! MLIR's pass manager, with passes of ours between those of upstream.
//!
//! ```text
//! builtin.module( canonicalize , OURS , gpu.module( cse ) )
//!                 add_upstream   add_module_pass   nest + add_upstream
//! ```

use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use melior::ir::operation::OperationRef;
use melior::ir::r#type::TypeId;
use melior::pass::{ExternalPass, create_external};
use mlir_sys::*;

use super::context::{Context, Module, print};
use super::handles::{Op, string_ref};

/// Passes to be run on one module.
pub struct PassManager<'c> {
    raw: MlirPassManager,
    context: &'c Context,
}

/// The passes that run on operations of one kind; borrowed from its manager.
#[derive(Clone, Copy)]
pub struct PassLevel<'m> {
    raw: MlirOpPassManager,
    tie: PhantomData<&'m ()>,
}

/// MLIR tells passes apart by the address of such an object; ours are told apart by their names.
#[repr(align(8))]
struct PassMark(#[allow(dead_code)] u64);
static PASS_MARK: PassMark = PassMark(0);

impl<'c> PassManager<'c> {
    /// A manager whose passes run on the operation `anchor` (`builtin.module`), or on any with `any`.
    pub fn new(context: &'c Context, anchor: &str) -> Self {
        // SAFETY: the context lives as long as the manager.
        let raw = unsafe { mlirPassManagerCreateOnOperation(context.raw(), string_ref(anchor)) };
        PassManager { raw, context }
    }

    /// The passes on the anchor itself.
    pub fn top(&self) -> PassLevel<'_> {
        PassLevel {
            // SAFETY: the manager lives.
            raw: unsafe { mlirPassManagerGetAsOpPassManager(self.raw) },
            tie: PhantomData,
        }
    }

    /// Prints the IR to standard error after each pass.
    pub fn print_ir_after_all(&self) {
        // SAFETY: the manager lives; MLIR copies the flags.
        unsafe {
            let flags = mlirOpPrintingFlagsCreate();
            mlirPassManagerEnableIRPrinting(self.raw, false, true, false, false, false, flags, string_ref(""));
            mlirOpPrintingFlagsDestroy(flags);
        }
    }

    /// Prints a table of times to standard error when the manager is dropped.
    pub fn time(&self) {
        // SAFETY: the manager lives.
        unsafe { mlirPassManagerEnableTiming(self.raw) }
    }

    /// Runs the passes, and MLIR's verifier after each; `false` when one failed. The diagnostics are with the context.
    pub fn run(&mut self, module: &mut Module<'c>) -> bool {
        // SAFETY: manager and module live; run mutates the module that we hold mutably.
        unsafe { mlirPassManagerRunOnOp(self.raw, module.op().raw()).value != 0 }
    }

    /// Adds a pass of ours on `builtin.module` to a level of this manager. `level` must run on `builtin.module`: MLIR
    /// ends the process otherwise. The pass fails where `run` answers `false`.
    pub fn add_module_pass<F>(&self, level: PassLevel<'_>, name: &str, run: F)
    where
        F: FnMut(&mut Module<'c>) -> bool + Clone + 'c,
    {
        let context = self.context;
        let mut run = run;
        let body = move |op: OperationRef<'c, '_>, pass: ExternalPass<'_>| {
            // SAFETY: the pass is registered for builtin.module; the operation outlives the call and is not freed.
            let module = unsafe { mlirModuleFromOperation(op.to_raw()) };
            let mut module = ManuallyDrop::new(unsafe { Module::from_raw(module, context) });
            if !run(&mut module) {
                pass.signal_failure();
            }
        };
        // SAFETY: the mark is 8-byte aligned and lives for ever; the level lives, and owns the pass from here on.
        unsafe {
            let pass = create_external(body, TypeId::create(&PASS_MARK), name, name, "", "builtin.module", &[]);
            mlirOpPassManagerAddOwnedPass(level.raw, pass.to_raw());
        }
    }
}

impl Drop for PassManager<'_> {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { mlirPassManagerDestroy(self.raw) }
    }
}

impl<'m> PassLevel<'m> {
    /// Adds passes of upstream from their text, e.g. `cse,gpu.module(canonicalize)`; what MLIR's parser says on error.
    pub fn add_upstream(self, elements: &str) -> Result<(), String> {
        let mut ok = false;
        let message = print(|callback, data| unsafe {
            // SAFETY: the level lives, the text outlives the call.
            ok = mlirOpPassManagerAddPipeline(self.raw, string_ref(elements), callback, data).value != 0;
        });
        if ok { Ok(()) } else { Err(message) }
    }

    /// The passes on operations `anchor` inside.
    pub fn nest(self, anchor: &str) -> PassLevel<'m> {
        PassLevel {
            // SAFETY: the level lives, and owns the nested one.
            raw: unsafe { mlirOpPassManagerGetNestedUnder(self.raw, string_ref(anchor)) },
            tie: PhantomData,
        }
    }
}

impl Module<'_> {
    /// Replaces everything in this module by what `other` holds.
    pub fn replace_with(&mut self, other: Module<'_>) {
        for op in self.body().ops().into_iter().rev() {
            op.erase();
        }
        for op in other.body().ops() {
            // SAFETY: the operation is moved from one live block to the end of another.
            unsafe {
                mlirOperationRemoveFromParent(op.raw());
                mlirBlockAppendOwnedOperation(self.body().raw(), op.raw());
            }
        }
        let (mine, theirs): (Op<'_>, Op<'_>) = (self.op(), other.op());
        for (name, _) in mine.attrs() {
            if theirs.attr(name).is_none() {
                mine.remove_attr(name);
            }
        }
        for (name, value) in theirs.attrs() {
            mine.set_attr(name, value);
        }
    }
}

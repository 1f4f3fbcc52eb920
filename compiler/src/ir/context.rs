//! Contexts, modules, diagnostics, and MLIR's own pass pipelines.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use melior::utility::{register_all_dialects, register_all_llvm_translations, register_all_passes};
use mlir_sys::*;

use super::handles::{Block, Location, Op, string_ref, to_str};
use super::walk::preorder;

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Severity {
    Error,
    Warning,
    Note,
    Remark,
}

/// One message of MLIR's, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error, warning, note or remark.
    pub severity: Severity,
    /// `file:line:column`, or what MLIR prints for other kinds of location.
    pub location: String,
    /// The text.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
            Severity::Remark => "remark",
        };
        write!(f, "{}: {severity}: {}", self.location, self.message)
    }
}

fn list(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The text is not a valid MLIR module (the user's mistake).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(.diagnostics))]
pub struct ParseError {
    /// What MLIR said, in its order.
    pub diagnostics: Vec<Diagnostic>,
}

/// A pass pipeline of MLIR's did not parse, or failed on the module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pass pipeline {pipeline:?} failed: {message}{}{}", if .diagnostics.is_empty() { "" } else { "\n" }, list(.diagnostics))]
pub struct PipelineError {
    /// The pipeline's text.
    pub pipeline: String,
    /// Which step failed, or the parser's message.
    pub message: String,
    /// What MLIR said.
    pub diagnostics: Vec<Diagnostic>,
}

/// An MLIR context with all upstream dialects, and a collector of its diagnostics. One thread, one context.
pub struct Context {
    melior: melior::Context,
    diagnostics: Rc<RefCell<Vec<Diagnostic>>>,
}

impl Context {
    /// A context in which every upstream dialect can be parsed and lowered. Takes some milliseconds.
    pub fn new() -> Self {
        register_all_passes();
        let registry = melior::dialect::DialectRegistry::new();
        register_all_dialects(&registry);
        let melior = melior::Context::new_with_registry(&registry, false);
        register_all_llvm_translations(&melior);
        // The dialects that our own passes build operations of; the parser loads others on sight.
        for dialect in [
            "arith", "builtin", "cf", "func", "gpu", "llvm", "memref", "nvgpu", "nvvm", "scf", "vector",
        ] {
            melior.get_or_load_dialect(dialect);
        }
        let diagnostics = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&diagnostics);
        melior.attach_diagnostic_handler(move |diagnostic| {
            collect(&diagnostic, &mut sink.borrow_mut());
            true
        });
        Context { melior, diagnostics }
    }

    /// Accepts operations of dialects that nobody registered.
    pub fn allow_unregistered_dialects(&self, allowed: bool) {
        self.melior.set_allow_unregistered_dialects(allowed);
    }

    /// The raw pointer.
    pub fn raw(&self) -> MlirContext {
        self.melior.to_raw()
    }

    /// The diagnostics since the last call.
    pub fn take_diagnostics(&self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.diagnostics.borrow_mut())
    }

    /// Adds a diagnostic of ours to those of MLIR, in order.
    pub fn report(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    /// Parses and verifies a module; `name` is the file name that locations show.
    pub fn parse<'c>(&'c self, source: &str, name: &str) -> Result<Module<'c>, ParseError> {
        self.take_diagnostics();
        // MLIR reads the buffer through a length, but wants a terminating zero behind it.
        let text = format!("{source}\0");
        let body = &text[..source.len()];
        // SAFETY: the context lives, both strings outlive the call.
        let op = unsafe { mlirOperationCreateParse(self.raw(), string_ref(body), string_ref(name)) };
        if op.ptr.is_null() {
            let diagnostics = self.take_diagnostics();
            // The parser says so at no place in the text, when all of the text was fine.
            let several = diagnostics.len() == 1 && diagnostics[0].location.ends_with(":0:0");
            return match several {
                true => self.parse_implicit_module(body, name),
                false => Err(ParseError { diagnostics }),
            };
        }
        // SAFETY: `op` is the fresh, owned operation.
        let module = unsafe { mlirModuleFromOperation(op) };
        if module.ptr.is_null() {
            // A single top-level operation (say, a gpu.module) is wrapped, as mlir-opt does.
            let wrapped = Module::empty(self, Location::unknown(self));
            // SAFETY: the operation is owned by nobody else.
            unsafe { mlirBlockAppendOwnedOperation(wrapped.body().raw(), op) };
            return Ok(wrapped);
        }
        let module = Module {
            raw: module,
            context: self,
        };
        self.take_diagnostics();
        Ok(module)
    }

    /// Parses the operations of a module that is not written out. MLIR's function for that takes no name, and calls the
    /// text `-`.
    fn parse_implicit_module<'c>(&'c self, source: &str, name: &str) -> Result<Module<'c>, ParseError> {
        // SAFETY: the context lives, the string (with a zero behind it) outlives the call.
        let raw = unsafe { mlirModuleCreateParse(self.raw(), string_ref(source)) };
        let mut diagnostics = self.take_diagnostics();
        if raw.ptr.is_null() {
            for diagnostic in &mut diagnostics {
                if let Some(place) = diagnostic.location.strip_prefix("-:") {
                    diagnostic.location = format!("{name}:{place}");
                }
            }
            return Err(ParseError { diagnostics });
        }
        let module = Module { raw, context: self };
        rename_locations(&module, "-", name);
        Ok(module)
    }
}

/// Gives every operation and block argument that was read from a file `from` the same place in a file `to`.
fn rename_locations(module: &Module<'_>, from: &str, to: &str) {
    let renamed = |location: Location<'_>| match location.file_line_col() {
        Some((file, line, column)) if file == from && location.is_file() => {
            Some(Location::file(module.context, to, line, column).raw())
        }
        _ => None,
    };
    for op in preorder(module.op()) {
        if let Some(location) = renamed(op.location()) {
            // SAFETY: operation and location live in the same context.
            unsafe { mlirOperationSetLocation(op.raw(), location) }
        }
        for block in op.regions().flat_map(|region| region.blocks()) {
            for argument in block.arguments() {
                if let Some(location) = renamed(argument.location()) {
                    // SAFETY: the value is a block's argument, in the context of the location.
                    unsafe { mlirBlockArgumentSetLocation(argument.raw(), location) }
                }
            }
        }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

fn collect(diagnostic: &melior::diagnostic::Diagnostic<'_>, out: &mut Vec<Diagnostic>) {
    use melior::diagnostic::DiagnosticSeverity as S;
    let severity = match diagnostic.severity() {
        S::Error => Severity::Error,
        S::Warning => Severity::Warning,
        S::Note => Severity::Note,
        S::Remark => Severity::Remark,
    };
    // SAFETY: the location belongs to the context that reports.
    let location = unsafe { Location::from_raw(diagnostic.location().to_raw()) };
    out.push(Diagnostic {
        severity,
        location: location.to_string(),
        message: diagnostic.to_string(),
    });
    for index in 0..diagnostic.note_count() {
        if let Ok(note) = diagnostic.note(index) {
            collect(&note, out);
        }
    }
}

/// An owned MLIR module.
pub struct Module<'c> {
    raw: MlirModule,
    context: &'c Context,
}

impl<'c> Module<'c> {
    /// Takes a module over; it is destroyed with the result.
    ///
    /// # Safety
    /// It must not be null, belong to `context`, and have no other owner that destroys it.
    pub(super) unsafe fn from_raw(raw: MlirModule, context: &'c Context) -> Self {
        Module { raw, context }
    }

    /// A module without operations.
    pub fn empty(context: &'c Context, location: Location<'c>) -> Self {
        // SAFETY: the location belongs to the context.
        Module {
            raw: unsafe { mlirModuleCreateEmpty(location.raw()) },
            context,
        }
    }

    /// The context.
    pub fn context(&self) -> &'c Context {
        self.context
    }

    /// The raw pointer.
    pub fn raw(&self) -> MlirModule {
        self.raw
    }

    /// The `builtin.module` operation.
    pub fn op(&self) -> Op<'_> {
        // SAFETY: the module owns the operation.
        unsafe { Op::from_raw(mlirModuleGetOperation(self.raw)) }
    }

    /// The module's block.
    pub fn body(&self) -> Block<'_> {
        // SAFETY: the module owns the block.
        unsafe { Block::from_raw(mlirModuleGetBody(self.raw)) }
    }

    /// A deep copy.
    pub fn duplicate(&self) -> Module<'c> {
        // SAFETY: the clone of a module operation is a module that nobody owns yet.
        let raw = unsafe { mlirModuleFromOperation(mlirOperationClone(self.op().raw())) };
        Module {
            raw,
            context: self.context,
        }
    }

    /// Checks the module; MLIR's diagnostics on failure.
    pub fn verify(&self) -> Result<(), Vec<Diagnostic>> {
        self.context.take_diagnostics();
        // SAFETY: the operation lives as long as self.
        if unsafe { mlirOperationVerify(self.op().raw()) } {
            return Ok(());
        }
        Err(self.context.take_diagnostics())
    }

    /// Runs a textual pipeline of upstream passes, e.g. `builtin.module(gpu.module(canonicalize,cse))`, on a module
    /// that verifies. Neither what the passes hand each other is verified, which would take as long as they do, nor the
    /// result: see [`Module::verify`].
    pub fn run_upstream_passes(&mut self, pipeline: &str) -> Result<(), PipelineError> {
        self.context.take_diagnostics();
        let fail = |message: String| PipelineError {
            pipeline: pipeline.to_owned(),
            message,
            diagnostics: self.context.take_diagnostics(),
        };
        let manager = melior::pass::PassManager::new(&self.context.melior);
        melior::utility::parse_pass_pipeline(manager.as_operation_pass_manager(), pipeline)
            .map_err(|error| fail(error.to_string()))?;
        // SAFETY: manager and module live; run mutates the module that we hold mutably.
        let result = unsafe {
            mlirPassManagerEnableVerifier(manager.to_raw(), false);
            mlirPassManagerRunOnOp(manager.to_raw(), self.op().raw())
        };
        if result.value == 0 {
            return Err(fail("a pass reported failure".to_owned()));
        }
        Ok(())
    }
}

impl fmt::Display for Module<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.op().fmt(f)
    }
}

impl Drop for Module<'_> {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { mlirModuleDestroy(self.raw) }
    }
}

/// Calls a printing function of the C API and gathers its pieces.
pub(super) fn print(write: impl FnOnce(MlirStringCallback, *mut std::ffi::c_void)) -> String {
    unsafe extern "C" fn append(piece: MlirStringRef, out: *mut std::ffi::c_void) {
        // SAFETY: `out` is the String below, `piece` is valid during the call.
        unsafe { (*out.cast::<String>()).push_str(to_str(piece)) }
    }
    let mut out = String::new();
    write(Some(append), (&raw mut out).cast());
    out
}

/// Marks a handle's dependence on its owner.
pub(super) type Tie<'ir> = PhantomData<&'ir ()>;

//! Passes by name: textual pipelines of upstream's passes and ours on one module, as `mlir-opt` runs them.
//!
//! ```text
//! builtin.module(canonicalize,alcop-detect,gpu.module(cse),alcop-pipeline{shared-stages=3 register-stages=2})
//! ```
//!
//! [`pipeline_text`] parses the text, [`passes`] knows the passes of ours and their options, [`run()`] puts them into
//! MLIR's own pass manager, so that verification between passes, timing and printing are upstream's. A pass of ours that
//! refuses leaves the module as it found it. [`diagnostics`] prints what was said, and [`verify_diagnostics`] compares
//! it with what comments expect.

pub mod diagnostics;
pub mod passes;
pub mod pipeline_text;
pub mod verify_diagnostics;

pub mod planned;

use std::cell::Cell;
use std::rc::Rc;

use alcop_compiler::detect::Assumptions;
use alcop_compiler::ir::{Diagnostic, Module, PassLevel, PassManager, Severity};

use crate::error::Error;
use passes::{AlcopPass, PassOptionError};
use pipeline_text::{Element, Pipeline};

/// What holds for all passes of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The architecture that plans are made for, e.g. `sm_80`.
    pub architecture: String,
    /// Shared memory that a block may use there, in bytes.
    pub shared_bytes_per_block: u64,
    /// What is assumed of arguments, where a pass's own options say nothing else.
    pub assumptions: Assumptions,
    /// Print the IR to standard error after each pass.
    pub print_ir_after_all: bool,
    /// Print a table of times to standard error.
    pub timing: bool,
}

/// How a run ended. The diagnostics are with the module's context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every pass succeeded.
    Done,
    /// A pass of ours refused; the module is as it was before that pass.
    Refused,
    /// A pass of upstream failed, or left an invalid module; the module is in whatever state that pass left it.
    Failed,
    /// A pass of ours broke an invariant (a bug of ours); the module is as it was before that pass.
    Bug,
}

/// A pipeline cannot be built (the user's mistake, but for the last).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Upstream's parser refuses a name or its options.
    #[error("pass pipeline: {message}")]
    Upstream {
        /// What it says.
        message: String,
    },
    /// A name that starts as ours do, but is none of ours.
    #[error("there is no pass {name}; ours are {}", passes::names().join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// Our passes need the whole module.
    #[error(
        "can't run '{name}' on '{anchor}': it runs on 'builtin.module'; take it out of the parentheses of {anchor}(…)"
    )]
    Anchor {
        /// The pass.
        name: String,
        /// The operation that it was to run on.
        anchor: String,
    },
    /// A pipeline that starts from an operation which no file has at its top.
    #[error("can't run a pipeline for '{anchor}' on 'builtin.module': write builtin.module({anchor}(…))")]
    Top {
        /// The operation.
        anchor: String,
    },
    /// The options of a pass of ours.
    #[error("{name}: {error}")]
    Options {
        /// The pass.
        name: String,
        /// What is wrong with them.
        error: PassOptionError,
    },
}

/// Checks that a pipeline can be built: names, options, what each pass runs on.
pub fn check(module: &Module<'_>, pipeline: &Pipeline, settings: &Settings) -> Result<(), BuildError> {
    build(module, pipeline, settings).map(|_| ())
}

/// Runs a pipeline on a module. Nothing is run where it cannot be built.
pub fn run(module: &mut Module<'_>, pipeline: &Pipeline, settings: &Settings) -> Result<Outcome, BuildError> {
    let (mut manager, outcome) = build(module, pipeline, settings)?;
    let succeeded = manager.run(module);
    Ok(match (succeeded, outcome.get()) {
        (true, _) => Outcome::Done,
        (false, Outcome::Done) => Outcome::Failed,
        (false, outcome) => outcome,
    })
}

type Built<'c> = (PassManager<'c>, Rc<Cell<Outcome>>);

fn build<'c>(module: &Module<'c>, pipeline: &Pipeline, settings: &Settings) -> Result<Built<'c>, BuildError> {
    if !["builtin.module", "any"].contains(&pipeline.anchor.as_str()) {
        return Err(BuildError::Top {
            anchor: pipeline.anchor.clone(),
        });
    }
    let manager = PassManager::new(module.context(), &pipeline.anchor);
    if settings.print_ir_after_all {
        manager.print_ir_after_all();
    }
    if settings.timing {
        manager.time();
    }
    let outcome = Rc::new(Cell::new(Outcome::Done));
    let builder = Build {
        manager: &manager,
        settings,
        outcome: &outcome,
    };
    builder.add(manager.top(), &pipeline.anchor, &pipeline.elements)?;
    Ok((manager, outcome))
}

struct Build<'a, 'c> {
    manager: &'a PassManager<'c>,
    settings: &'a Settings,
    outcome: &'a Rc<Cell<Outcome>>,
}

impl Build<'_, '_> {
    /// Elements without a pass of ours are handed on in one piece.
    fn add(&self, level: PassLevel<'_>, anchor: &str, elements: &[Element]) -> Result<(), BuildError> {
        for run in elements.chunk_by(|one, other| !holds_ours(one) && !holds_ours(other)) {
            match run {
                [Element::Pass { name, options }] if passes::is_ours(name) => {
                    self.add_ours(level, anchor, name, options.as_deref())?;
                }
                [Element::Nest { anchor, elements }] if holds_ours(&run[0]) => {
                    self.add(level.nest(anchor), anchor, elements)?;
                }
                upstream => {
                    level
                        .add_upstream(&pipeline_text::text(upstream))
                        .map_err(|message| BuildError::Upstream {
                            message: message.trim_end().to_owned(),
                        })?
                }
            }
        }
        Ok(())
    }

    fn add_ours(
        &self,
        level: PassLevel<'_>,
        anchor: &str,
        name: &str,
        options: Option<&str>,
    ) -> Result<(), BuildError> {
        let pass = AlcopPass::parse(name, options.unwrap_or(""))?;
        if anchor != "builtin.module" {
            return Err(BuildError::Anchor {
                name: name.to_owned(),
                anchor: anchor.to_owned(),
            });
        }
        let (settings, outcome) = (self.settings.clone(), Rc::clone(self.outcome));
        self.manager.add_module_pass(level, name, move |module| {
            let result = pass.run(module, &settings);
            let Err(error) = result else { return true };
            outcome.set(match error {
                Error::Invalid { .. } | Error::Llvm(_) => Outcome::Bug,
                _ => Outcome::Refused,
            });
            report(module, error);
            false
        });
        Ok(())
    }
}

/// Whether an element of a pipeline is a pass of ours, or has one inside.
pub fn holds_ours(element: &Element) -> bool {
    match element {
        Element::Pass { name, .. } => passes::is_ours(name),
        Element::Nest { elements, .. } => elements.iter().any(holds_ours),
    }
}

/// Puts an error among the context's diagnostics, at its place where it has one.
fn report(module: &Module<'_>, error: Error) {
    let (location, message) = match error {
        Error::Refused {
            code,
            location,
            message,
            ..
        } => (location, format!("{message} [{code}]")),
        other => (module.op().location().to_string(), other.to_string()),
    };
    module.context().report(Diagnostic {
        severity: Severity::Error,
        location,
        message,
    });
}

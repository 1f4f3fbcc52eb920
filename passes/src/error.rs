//! What can go wrong between a plan and its PTX.

use alcop_compiler::ir::{Diagnostic, OpId, PipelineError};

/// An error of a pass. Unless a variant says otherwise, the module was not changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The plan was made for another module (the user's mistake).
    #[error("the plan is stale: it was made for a module with fingerprint {plan}, this one has {module}; make it anew")]
    StalePlan {
        /// What the plan says.
        plan: String,
        /// What the module has.
        module: String,
    },
    /// The plan's JSON is of another version (the user's mistake).
    #[error("the plan has schema {given}, this version reads schema {}", crate::plan::SCHEMA)]
    PlanSchema {
        /// What the plan says.
        given: u32,
    },
    /// The plan names an operation that the module lacks (the user's mistake).
    #[error("the plan names {id}{}, which the module does not have", .field.as_ref().map_or_else(String::new, |field| format!(" in {field}")))]
    NoSuchOp {
        /// The name.
        id: OpId,
        /// The field of the plan, if known.
        field: Option<String>,
    },
    /// The plan asks for something that the checks before the rewrite refuse.
    #[error("{location}: {message} [{code}]")]
    Refused {
        /// A stable code, one of those of verdicts where one fits.
        code: &'static str,
        /// The place in the input.
        location: String,
        /// The thing, the numbers, the way out.
        message: String,
        /// The field of the plan that asks for it, if one does: `loops[0].buffers[1].slots`.
        field: Option<String>,
    },
    /// A pass left an invalid module behind (a bug of ours).
    #[error("internal error: the module is invalid after {pass}: {}", .diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// The pass.
        pass: &'static str,
        /// What MLIR's verifier said.
        diagnostics: Vec<Diagnostic>,
    },
    /// The pipelined kernel has unordered accesses: the input had them, or the plan makes them.
    #[error("the pipelined kernel has hazards: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Hazards(Vec<crate::hazard::Hazard>),
    /// MLIR's lowering failed (a limit of ours: an operation that has no way to the GPU).
    #[error(transparent)]
    Lowering(#[from] PipelineError),
    /// A file that was given as a libdevice is none that can be linked (the user's mistake).
    #[error("the libdevice {file}: {message}")]
    Libdevice {
        /// The file.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// The module has no kernel, or more than one where one is wanted (the user's mistake).
    #[error("the module has {found} kernels, and one is wanted here")]
    Kernels {
        /// How many there are.
        found: usize,
    },
    /// LLVM refused the module or the target (a bug of ours).
    #[error("internal error: LLVM: {0}")]
    Llvm(String),
}

impl Error {
    /// A refusal by the checks before a rewrite.
    pub fn refused(code: &'static str, location: impl ToString, message: impl Into<String>) -> Self {
        Error::Refused {
            code,
            location: location.to_string(),
            message: message.into(),
            field: None,
        }
    }

    /// The same error, in a part of the plan: first in the field, then in what holds that.
    pub fn within(mut self, part: impl ToString) -> Self {
        let part = part.to_string();
        if let Error::Refused { field, .. } | Error::NoSuchOp { field, .. } = &mut self {
            *field = Some(match field.take() {
                Some(inner) => format!("{part}.{inner}"),
                None => part,
            });
        }
        self
    }

    /// The same error with the field of the plan in its message, for whoever wrote the plan.
    pub fn naming_field(self) -> Self {
        match self {
            Error::Refused {
                code,
                location,
                message,
                field: Some(field),
            } => Error::Refused {
                code,
                location,
                message: format!("the plan's {field}: {message}"),
                field: Some(field),
            },
            other => other,
        }
    }
}

//! Why an operator is not tiled as asked.

use alcop_spec::Rejection;

use crate::ir::Diagnostic;

/// Why an operator cannot be tiled as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TileError {
    /// The rules of [`alcop_spec::tiles`] that the operator and its schedule break (the user's mistake, or a limit of
    /// ours); each with its code in brackets.
    #[error("{}", .0.iter().map(|reason| format!("{reason} [{}]", reason.code())).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Rejection>),
    /// The emitted module does not verify (a bug of ours).
    #[error("internal error: the tile program is invalid: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Diagnostic>),
}

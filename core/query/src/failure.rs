//! A failed query at run time, as a state's error is made of it.

use crate::{ExpressionError, IntrinsicError, Overspent, PathError};

/// Why a field's value could not be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// A path selects nothing, or something else than the field needs.
    #[error("Invalid path '{path}' : {error}")]
    Path {
        /// As it was written.
        path: String,
        /// What went wrong at which step.
        error: PathError,
    },
    /// An intrinsic function refused its arguments.
    #[error(transparent)]
    Intrinsic(#[from] IntrinsicError),
    /// A JSONata expression failed, or went past a bound.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// What was computed takes too long, or has too many bytes.
    #[error(transparent)]
    Overspent(#[from] Overspent),
}

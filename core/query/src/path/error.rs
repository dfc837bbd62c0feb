//! What can be wrong with a path.

/// Why a path was not understood, or selects nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is no path.
    #[error("{message} at character {at}")]
    Syntax {
        /// Counted from 0, in bytes.
        at: usize,
        /// What was expected there.
        message: &'static str,
    },
    /// Longer than [`PATH_BYTES_MAX`](crate::PATH_BYTES_MAX) or with more steps than
    /// [`PATH_STEPS_MAX`](crate::PATH_STEPS_MAX).
    #[error("the path is too long")]
    TooLong,
    /// It may name several places, where one is needed.
    #[error("'{0}' is no reference path: it may name more than one place")]
    NotReference(Box<str>),
    /// A definite path leads nowhere at its last step.
    #[error("No results for path: {0}")]
    NoResults(String),
    /// A definite path leads nowhere before its last step.
    #[error("Missing property in path {0}")]
    MissingProperty(String),
    /// A name was asked of something that has none.
    #[error("Expected to find an object with property ['{name}'] in path {path} but found a {found}")]
    NotObject {
        /// The name.
        name: Box<str>,
        /// Where.
        path: String,
        /// What stands there.
        found: &'static str,
    },
    /// An index was asked of something that has none.
    #[error("Expected to find an array in path {path} but found a {found}")]
    NotArray {
        /// Where.
        path: String,
        /// What stands there.
        found: &'static str,
    },
    /// A function does not fit the value.
    #[error("{function} cannot be computed of what stands at {path}")]
    NoFunction {
        /// Its name.
        function: &'static str,
        /// Where.
        path: String,
    },
    /// No variable of that name has been assigned.
    #[error("the variable '${0}' has not been assigned")]
    NoVariable(Box<str>),
    /// The search looked at [`VISITS_MAX`](crate::VISITS_MAX) values.
    #[error("the path looks at too many values")]
    TooMuch,
    /// A value cannot be put where a reference path points.
    #[error("Unable to apply the path: a {found} stands at {path}")]
    CannotPlace {
        /// The place in the way.
        path: String,
        /// What stands there.
        found: &'static str,
    },
}

//! What is wrong with a definition, as `ValidateStateMachineDefinition` tells it.

use std::fmt;

/// One finding, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the machine can be created all the same.
    pub severity: Severity,
    /// Which rule.
    pub code: Code,
    /// For a person.
    pub message: String,
    /// A JSON pointer into the definition, `/States/Name/Field`.
    pub location: String,
    /// Where that is in the text: line and column, counted from 1.
    pub place: (usize, usize),
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The machine can be created.
    Warning,
    /// It cannot.
    Error,
}

/// Which rule was broken, under the service's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The text is no JSON, or has a key twice.
    InvalidJson,
    /// A field is missing, unknown, of another kind, or out of bounds.
    Schema,
    /// A transition leads nowhere.
    MissingTarget,
    /// A state that nothing leads to.
    Unreachable,
    /// A path or a payload template does not parse.
    InvalidPath,
    /// A JSONata expression does not parse.
    InvalidExpression,
    /// What looks like something to compute is passed on as a text.
    NotComputed,
}

impl Code {
    /// As the API prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidJson => "INVALID_JSON_DESCRIPTION",
            Self::Schema => "SCHEMA_VALIDATION_FAILED",
            // The service has one code for both.
            Self::MissingTarget | Self::Unreachable => "MISSING_TRANSITION_TARGET",
            Self::InvalidPath => "INVALID_JSON_PATH",
            Self::InvalidExpression => "INVALID_JSONATA_EXPRESSION",
            Self::NotComputed => "NO_DOLLAR",
        }
    }
}

impl Severity {
    /// As the API prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// As `CreateStateMachine` words a refusal.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} at {}", self.code.name(), self.message, self.location)
    }
}

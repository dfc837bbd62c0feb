//! What a caller is told when an operation fails.

use selvedge_model::Value;
use serde_json::Map;

/// An exception of a service's model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorShape {
    /// The name that clients compare: `NotFoundException`.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
}

/// A failed operation, as its caller sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", shape.code)]
pub struct ApiError {
    pub shape: ErrorShape,
    /// The text for the caller; never holds a secret or an address of ours.
    pub message: String,
    /// Further members of the exception, such as the identifier of what stands in the way.
    pub details: Vec<(&'static str, String)>,
}

impl ApiError {
    /// The same with a further member; what is known already is the first to be kept.
    #[must_use]
    pub fn with(mut self, member: &'static str, value: impl Into<String>) -> Self {
        self.details.push((member, value.into()));
        self
    }

    /// The body that the JSON and CBOR protocols carry.
    pub(crate) fn document(&self) -> Value {
        let mut body = Map::new();
        body.insert("__type".into(), self.shape.code.into());
        body.insert("message".into(), self.message.clone().into());
        for (member, value) in &self.details {
            body.entry(*member).or_insert_with(|| value.clone().into());
        }
        Value::Object(body)
    }
}

impl ErrorShape {
    /// Whether it is the caller's fault.
    pub const fn is_sender_fault(&self) -> bool {
        self.status < 500
    }

    /// This exception, saying so.
    pub fn because(self, message: impl Into<String>) -> ApiError {
        ApiError { shape: self, message: message.into(), details: Vec::new() }
    }
}

/// A path, target or action that no service has.
pub const UNKNOWN_OPERATION: ErrorShape = ErrorShape { code: "UnknownOperationException", status: 404 };
/// A body beyond the limit.
pub const REQUEST_TOO_LARGE: ErrorShape = ErrorShape { code: "RequestEntityTooLargeException", status: 413 };

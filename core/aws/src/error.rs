//! What a caller is told when an operation fails.

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
}

impl ErrorShape {
    /// Whether it is the caller's fault.
    pub const fn is_sender_fault(&self) -> bool {
        self.status < 500
    }

    /// This exception, saying so.
    pub fn because(self, message: impl Into<String>) -> ApiError {
        ApiError { shape: self, message: message.into() }
    }
}

/// A path, target or action that no service has.
pub const UNKNOWN_OPERATION: ErrorShape = ErrorShape { code: "UnknownOperationException", status: 404 };
/// A body beyond the limit.
pub const REQUEST_TOO_LARGE: ErrorShape = ErrorShape { code: "RequestEntityTooLargeException", status: 413 };

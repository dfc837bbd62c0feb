//! Why an operation did not happen, whichever API it belongs to.

use selvedge_aws::ApiError;
use selvedge_aws::error::ErrorShape;
use selvedge_store::{Error as StoreError, WriteError};

/// Something to tell the caller, or the store.
#[derive(Debug)]
pub(crate) enum Failure {
    Api(ApiError),
    Store(StoreError),
}

/// How an API says that the store failed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    pub(crate) unavailable: ErrorShape,
    pub(crate) internal: ErrorShape,
    /// For what is too large to be kept.
    pub(crate) invalid: ErrorShape,
    /// What makes a repeated request the same one: `client token`.
    pub(crate) token: &'static str,
}

impl Words {
    /// What the caller is told about a failure of the store. The details are for the log.
    pub(crate) fn describe(&self, error: &StoreError) -> ApiError {
        match error {
            StoreError::Unavailable(_) | StoreError::Full => {
                self.unavailable.because("the store cannot be written at the moment; nothing was changed")
            }
            StoreError::Uncertain(_) => self.internal.because(format!(
                "the outcome of the write is unknown; repeat it with the same {}",
                self.token
            )),
            StoreError::Limit(limit) => self.invalid.because(limit.to_string()),
            _ => self.internal.because("the store failed; nothing was changed"),
        }
    }
}

impl From<Failure> for WriteError<ApiError> {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Api(error) => Self::Refused(error),
            Failure::Store(error) => Self::Store(error),
        }
    }
}

impl From<WriteError<ApiError>> for Failure {
    fn from(error: WriteError<ApiError>) -> Self {
        match error {
            WriteError::Refused(error) => Self::Api(error),
            WriteError::Store(error) => Self::Store(error),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

//! Why an operation of the registry did not happen.

use selvedge_aws::ApiError;
use selvedge_aws::operations::servicediscovery::{INTERNAL_FAILURE, INVALID_INPUT, SERVICE_UNAVAILABLE};
use selvedge_store::{Error as StoreError, WriteError};

/// Something to tell the caller, or the store.
#[derive(Debug)]
pub(super) enum Failure {
    Api(ApiError),
    Store(StoreError),
}

/// What the caller is told about a failure of the store. The details are for the log.
pub(super) fn describe(error: &StoreError) -> ApiError {
    match error {
        StoreError::Unavailable(_) | StoreError::Full => {
            SERVICE_UNAVAILABLE.because("the store cannot be written at the moment; nothing was changed")
        }
        StoreError::Uncertain(_) => INTERNAL_FAILURE
            .because("the outcome of the write is unknown; repeat it with the same CreatorRequestId"),
        StoreError::Limit(limit) => INVALID_INPUT.because(limit.to_string()),
        _ => INTERNAL_FAILURE.because("the store failed; nothing was changed"),
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

/// The caller asked for something that cannot be.
pub(super) fn invalid(message: impl Into<String>) -> Failure {
    INVALID_INPUT.because(message).into()
}

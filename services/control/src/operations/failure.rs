//! Why an operation did not happen.

use selvedge_aws::ApiError;
use selvedge_aws::operations::appmesh::{
    BAD_REQUEST, INTERNAL_SERVER_ERROR, NOT_FOUND, RESOURCE_IN_USE, SERVICE_UNAVAILABLE,
};
use selvedge_model::reference::{InUse, Misfit};
use selvedge_model::{NameError, Rejected, Violations};
use selvedge_store::{Error as StoreError, WriteError};

/// Why an operation did not happen: something to tell the caller, or the store.
#[derive(Debug)]
pub(super) enum Failure {
    Api(ApiError),
    Store(StoreError),
}

/// What the caller of the API is told about a failure of the store. The details are for the log.
pub(super) fn describe(error: &StoreError) -> ApiError {
    match error {
        StoreError::Unavailable(_) | StoreError::Full => {
            SERVICE_UNAVAILABLE.because("the store cannot be written at the moment; nothing was changed")
        }
        StoreError::Uncertain(_) => INTERNAL_SERVER_ERROR
            .because("the outcome of the write is unknown; repeat it with the same client token"),
        StoreError::Limit(limit) => BAD_REQUEST.because(limit.to_string()),
        _ => INTERNAL_SERVER_ERROR.because("the store failed; nothing was changed"),
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

impl From<Violations> for Failure {
    fn from(found: Violations) -> Self {
        Self::Api(BAD_REQUEST.because(found.to_string()))
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::Api(BAD_REQUEST.because(error.to_string()))
    }
}

impl From<Misfit> for Failure {
    fn from(misfit: Misfit) -> Self {
        let shape = match &misfit {
            Misfit::Missing { .. } => NOT_FOUND,
            Misfit::Contradiction(_) => BAD_REQUEST,
        };
        Self::Api(shape.because(misfit.to_string()))
    }
}

impl From<InUse> for Failure {
    fn from(in_use: InUse) -> Self {
        Self::Api(RESOURCE_IN_USE.because(in_use.to_string()))
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        Self::Store(StoreError::Corrupt(rejected.to_string()))
    }
}

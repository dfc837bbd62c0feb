//! Failures on their way to the caller.

use selvedge_aws::ApiError;
use selvedge_aws::operations::stepfunctions::{INTERNAL_FAILURE, INVALID_ARN, SERVICE_UNAVAILABLE};
use selvedge_store::Error as StoreError;

use super::Refused;
use crate::arn::InvalidArn;

/// Why an operation did not happen.
#[derive(Debug)]
pub(crate) enum Failed {
    Api(ApiError),
    Store(StoreError),
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<InvalidArn> for Failed {
    fn from(error: InvalidArn) -> Self {
        Self::Api(INVALID_ARN.because(error.to_string()))
    }
}

impl From<selvedge_store::WriteError<ApiError>> for Failed {
    fn from(error: selvedge_store::WriteError<ApiError>) -> Self {
        match error {
            selvedge_store::WriteError::Refused(error) => Self::Api(error),
            selvedge_store::WriteError::Store(error) => Self::Store(error),
        }
    }
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Api(error) => Self { error, cause: None },
            Failed::Store(cause) => Self { error: describe(&cause), cause: Some(cause) },
        }
    }
}

fn describe(cause: &StoreError) -> ApiError {
    match cause {
        StoreError::Unavailable(_) | StoreError::Full => {
            SERVICE_UNAVAILABLE.because("the store cannot take it now; nothing was changed; try again")
        }
        StoreError::Uncertain(_) => {
            INTERNAL_FAILURE.because("the store failed while it wrote; look before you try again")
        }
        StoreError::Limit(limit) => {
            INTERNAL_FAILURE.because(format!("it is larger than the store takes: {limit}"))
        }
        _ => INTERNAL_FAILURE.because("the store failed; its reason is in the server's log"),
    }
}

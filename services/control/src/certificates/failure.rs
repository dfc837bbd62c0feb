//! Why an operation on certificates did not happen.

use selvedge_aws::ApiError;
use selvedge_aws::error::ErrorShape;
use selvedge_aws::operations::acm::{INTERNAL_FAILURE, SERVICE_UNAVAILABLE};
use selvedge_identity::authority::Refused;
use selvedge_store::{Error as StoreError, VaultError, WriteError};

use super::draw::NoKey;

/// Something to tell the caller, or the store.
#[derive(Debug)]
pub(super) enum Failure {
    Api(ApiError),
    Store(StoreError),
}

/// What the caller is told about a failure of the store. The details are for the log.
pub(super) fn describe(error: &StoreError, invalid: ErrorShape) -> ApiError {
    match error {
        StoreError::Unavailable(_) | StoreError::Full => {
            SERVICE_UNAVAILABLE.because("the store cannot be written at the moment; nothing was changed")
        }
        StoreError::Uncertain(_) => INTERNAL_FAILURE
            .because("the outcome of the write is unknown; repeat it with the same idempotency token"),
        StoreError::Limit(limit) => invalid.because(limit.to_string()),
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

/// A key of ours cannot be sealed or opened: whoever runs the server has to know, and may read it.
impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        Self::Api(SERVICE_UNAVAILABLE.because(format!("a private key cannot be kept: {error}")))
    }
}

impl From<NoKey> for Failure {
    fn from(error: NoKey) -> Self {
        Self::Api(INTERNAL_FAILURE.because(error.to_string()))
    }
}

/// What may not be signed, as the service that was asked says it.
pub(super) fn unsigned(error: &Refused, invalid: ErrorShape) -> Failure {
    match error {
        Refused::Unsigned(_) | Refused::Authority(_) | Refused::NoAuthority | Refused::KeyMismatch => {
            Failure::Api(INTERNAL_FAILURE.because(format!("the authority cannot sign: {error}")))
        }
        _ => Failure::Api(invalid.because(error.to_string())),
    }
}

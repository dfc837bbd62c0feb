//! Why an operation on a mesh did not happen.

use selvedge_aws::operations::appmesh::{
    BAD_REQUEST, INTERNAL_SERVER_ERROR, NOT_FOUND, RESOURCE_IN_USE, SERVICE_UNAVAILABLE,
};
use selvedge_model::reference::{InUse, Misfit};
use selvedge_model::{NameError, Rejected, Violations};
use selvedge_store::Error as StoreError;

pub(super) use crate::failure::Failure;
use crate::failure::Words;

pub(super) const WORDS: Words = Words {
    unavailable: SERVICE_UNAVAILABLE,
    internal: INTERNAL_SERVER_ERROR,
    invalid: BAD_REQUEST,
    token: "client token",
};

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

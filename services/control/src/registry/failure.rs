//! Why an operation of the registry did not happen.

use selvedge_aws::operations::servicediscovery::{INTERNAL_FAILURE, INVALID_INPUT, SERVICE_UNAVAILABLE};

pub(super) use crate::failure::Failure;
use crate::failure::Words;

pub(super) const WORDS: Words = Words {
    unavailable: SERVICE_UNAVAILABLE,
    internal: INTERNAL_FAILURE,
    invalid: INVALID_INPUT,
    token: "CreatorRequestId",
};

/// The caller asked for something that cannot be.
pub(super) fn invalid(message: impl Into<String>) -> Failure {
    INVALID_INPUT.because(message).into()
}

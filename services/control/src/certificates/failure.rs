//! Why an operation on certificates did not happen.

use selvedge_aws::error::ErrorShape;
use selvedge_aws::operations::acm::{INTERNAL_FAILURE, SERVICE_UNAVAILABLE};
use selvedge_identity::authority::Refused;
use selvedge_store::VaultError;

use super::draw::NoKey;
pub(super) use crate::failure::Failure;
use crate::failure::Words;

/// Two services say it: what is too large to be kept is `invalid` in the words of the one that was asked.
pub(super) fn words(invalid: ErrorShape) -> Words {
    Words {
        unavailable: SERVICE_UNAVAILABLE,
        internal: INTERNAL_FAILURE,
        invalid,
        token: "idempotency token",
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

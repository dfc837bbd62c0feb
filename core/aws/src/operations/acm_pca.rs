//! The operations of AWS Private Certificate Authority, of its public model 2017-08-22.
//!
//! Not among them are audit reports, permissions and resource policies: whoever may call may do everything.

pub use super::generated::acm_pca::*;
use crate::error::ErrorShape;
use crate::service::Service;

/// AWS Private Certificate Authority.
pub static SERVICE: Service = Service {
    name: "acm-pca",
    aliases: &[],
    target_prefix: "ACMPrivateCA",
    version: "2017-08-22",
    is_rest: false,
    operations: OPERATIONS,
    bad_request: VALIDATION_EXCEPTION,
    internal: INTERNAL_FAILURE,
};

/// What AWS answers to a request that does not have the model's shape; in no operation's list.
pub const VALIDATION_EXCEPTION: ErrorShape = ErrorShape { code: "ValidationException", status: 400 };
/// What every AWS service may answer, in no service's model.
pub const INTERNAL_FAILURE: ErrorShape = ErrorShape { code: "InternalFailure", status: 500 };
/// The same, when trying again will do.
pub const SERVICE_UNAVAILABLE: ErrorShape = ErrorShape { code: "ServiceUnavailable", status: 503 };

/// Authorities of a page when the caller names no limit.
pub const LIST_PAGE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_fifteen_operations() {
        assert_eq!(OPERATIONS.len(), 15);
    }
}

//! AWS Certificate Manager's operations on certificates, of its public model 2015-12-08.
//!
//! Not among them is what needs an authority of the public: domain validation, e-mail, ACME endpoints, transparency logs.

pub use super::generated::acm::*;
use crate::error::ErrorShape;
use crate::service::Service;

/// AWS Certificate Manager.
pub static SERVICE: Service = Service {
    name: "acm",
    aliases: &[],
    target_prefix: "CertificateManager",
    version: "2015-12-08",
    is_rest: false,
    operations: OPERATIONS,
    bad_request: VALIDATION_EXCEPTION,
    internal: INTERNAL_FAILURE,
};

/// What every AWS service may answer, in no service's model.
pub const INTERNAL_FAILURE: ErrorShape = ErrorShape { code: "InternalFailure", status: 500 };
/// The same, when trying again will do.
pub const SERVICE_UNAVAILABLE: ErrorShape = ErrorShape { code: "ServiceUnavailable", status: 503 };

/// Certificates of a page when the caller names no limit.
pub const LIST_PAGE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_thirteen_operations_and_bytes_are_never_repeated() {
        assert_eq!(OPERATIONS.len(), 13);
        let import = super::super::find_in(&SERVICE, "import-certificate").expect("an operation");
        let mut found = selvedge_model::Violations::default();
        let input = serde_json::json!({ "Certificate": "c2VjcmV0", "PrivateKey": "c2VjcmV0!", "CertificateArn": "x" });
        let strict = selvedge_model::Strictness::Strict;
        import.input.check(&input, strict, &mut selvedge_model::Path::default(), &mut found);
        let text = found.to_string();
        assert!(text.contains("PrivateKey") && text.contains("CertificateArn"), "{text}");
        assert!(!text.contains("c2VjcmV0"), "{text}");
    }
}

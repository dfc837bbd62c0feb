//! `encryptionConfiguration`: kept and shown, and held to its form. Nothing is encrypted by it.

use selvedge_aws::operations::stepfunctions::INVALID_ENCRYPTION_CONFIGURATION;
use selvedge_model::Value;

use super::{Failed, Scope};

/// The configuration of a call; null where there is none.
///
/// # Errors
/// A customer's key without its id, or an id without such a key.
pub(super) fn given(scope: &Scope<'_>) -> Result<Value, Failed> {
    let given = scope.value("encryptionConfiguration");
    let (kind, key) = (given["type"].as_str(), given["kmsKeyId"].as_str());
    let what = match (kind, key) {
        (Some("CUSTOMER_MANAGED_KMS_KEY"), None) => "type CUSTOMER_MANAGED_KMS_KEY needs a kmsKeyId",
        (Some("AWS_OWNED_KEY"), Some(_)) => "type AWS_OWNED_KEY has no kmsKeyId",
        _ => return Ok(given),
    };
    let message = format!("Invalid Encryption Configuration: encryptionConfiguration: {what}");
    Err(INVALID_ENCRYPTION_CONFIGURATION.because(message).into())
}

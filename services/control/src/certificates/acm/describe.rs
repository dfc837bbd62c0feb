//! `DescribeCertificate`: everything but the key.

use selvedge_model::{Timestamp, Value};
use serde_json::{Map, json};

use super::read;
use crate::certificates::Scope;
use crate::certificates::document::{Certificate, Origin};
use crate::certificates::failure::Failure;
use crate::certificates::in_use;

/// What certificates that are issued here are for, under ACM's names.
pub(super) const USAGES: [&str; 2] = ["DIGITAL_SIGNATURE", "KEY_ENCIPHERMENT"];
/// The same of the extended ones, with their object identifiers.
pub(super) const EXTENDED: [(&str, &str); 2] = [
    ("TLS_WEB_SERVER_AUTHENTICATION", "1.3.6.1.5.5.7.3.1"),
    ("TLS_WEB_CLIENT_AUTHENTICATION", "1.3.6.1.5.5.7.3.2"),
];

pub(super) fn describe(scope: &Scope<'_>) -> Result<Value, Failure> {
    let found = read(scope)?;
    let view = scope.office.store.snapshot()?;
    let users = in_use::users(&*view, &found.arn)?;
    Ok(json!({ "Certificate": detail(&found, &users, scope.seconds()) }))
}

fn detail(found: &Certificate, users: &[String], now: i64) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |member: &str, value: Value| drop(out.insert(member.to_owned(), value));
    put("CertificateArn", found.arn.clone().into());
    put("DomainName", found.domain.clone().into());
    put("SubjectAlternativeNames", found.names.clone().into());
    if found.by_default {
        // There was nothing to prove: clients that wait for the proof find it made.
        let proven = |name: &String| {
            json!({ "DomainName": name, "ValidationDomain": name, "ValidationStatus": "SUCCESS",
                    "ValidationMethod": "DNS" })
        };
        put("DomainValidationOptions", found.names.iter().map(proven).collect());
    }
    put("Serial", found.serial.clone().into());
    put("Subject", found.subject.clone().into());
    put("Issuer", found.issuer.clone().into());
    put("CreatedAt", Timestamp(found.created_at).to_wire());
    put("Status", found.status(now).into());
    put("NotBefore", found.not_before.into());
    put("NotAfter", found.not_after.into());
    put("KeyAlgorithm", found.algorithm.clone().into());
    put("InUseBy", users.to_vec().into());
    match found.origin {
        Origin::Imported => {
            put("Type", "IMPORTED".into());
            put("ImportedAt", Timestamp(found.issued_at).to_wire());
            put("RenewalEligibility", "INELIGIBLE".into());
            put("CertificateKeyPairOrigin", "CUSTOMER_PROVIDED".into());
        }
        Origin::Private => {
            put("Type", "PRIVATE".into());
            put("IssuedAt", Timestamp(found.issued_at).to_wire());
            put("RenewalEligibility", "ELIGIBLE".into());
            put("CertificateKeyPairOrigin", "AWS_MANAGED".into());
            put("KeyUsages", USAGES.iter().map(|name| json!({ "Name": name })).collect());
            let extended = EXTENDED.iter().map(|(name, oid)| json!({ "Name": name, "OID": oid }));
            put("ExtendedKeyUsages", extended.collect());
            if let Some(renewed) = found.renewed_at {
                put("RenewalSummary", summary("SUCCESS", found, renewed));
            }
            if found.failure.is_some() {
                put("RenewalSummary", summary("FAILED", found, found.renewed_at.unwrap_or(found.issued_at)));
            }
        }
    }
    if let Some(authority) = &found.authority {
        put("CertificateAuthorityArn", authority.clone().into());
    }
    if let Some(signature) = &found.signature {
        put("SignatureAlgorithm", signature.clone().into());
    }
    put("Options", json!({ "CertificateTransparencyLoggingPreference": "DISABLED", "Export": "ENABLED" }));
    out
}

fn summary(status: &str, found: &Certificate, at: u64) -> Value {
    let mut out = Map::new();
    out.insert("RenewalStatus".into(), status.into());
    out.insert("DomainValidationOptions".into(), Value::Array(Vec::new()));
    if status == "FAILED" {
        out.insert("RenewalStatusReason".into(), "PCA_REQUEST_FAILED".into());
    }
    out.insert("UpdatedAt".into(), Timestamp(at.max(found.issued_at)).to_wire());
    Value::Object(out)
}

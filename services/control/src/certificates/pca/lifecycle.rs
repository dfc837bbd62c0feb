//! An authority's own certificate, and its end.

use selvedge_aws::operations::acm_pca::{
    CERTIFICATE_MISMATCH_EXCEPTION, INVALID_STATE_EXCEPTION, MALFORMED_CERTIFICATE_EXCEPTION,
};
use selvedge_identity::authority::is_signed_by;
use selvedge_identity::{Certificate as Facts, pem};
use selvedge_model::Value;
use serde_json::Map;

use super::{demand, find, invalid, refusal, revoke};
use crate::certificates::authority::signer_key;
use crate::certificates::document::authority_key;
use crate::certificates::failure::Failure;
use crate::certificates::{CHAIN_MAX, Scope, in_use, put};

/// How long a deleted authority may be brought back unless told otherwise, in days.
const RESTORABLE_DAYS: u64 = 30;
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;

pub(super) fn import(scope: &Scope<'_>) -> Result<Value, Failure> {
    let malformed = |text: String| Failure::Api(MALFORMED_CERTIFICATE_EXCEPTION.because(text));
    let body = pem::certificates(&scope.bytes("Certificate"))
        .map_err(|error| malformed(format!("Certificate: {error}")))?;
    let [der] = body.as_slice() else {
        return Err(malformed(
            "Certificate: one is expected; the others belong in CertificateChain".to_owned(),
        ));
    };
    let facts = Facts::read(der).map_err(|error| malformed(format!("Certificate: {error}")))?;
    if !facts.is_authority {
        return Err(malformed("Certificate: it may not sign others".to_owned()));
    }
    let text = scope.bytes("CertificateChain");
    let links = match text.is_empty() {
        true => Vec::new(),
        false => pem::certificates(&text).map_err(|error| malformed(format!("CertificateChain: {error}")))?,
    };
    if links.len() > CHAIN_MAX {
        return Err(malformed(format!("CertificateChain: there may be at most {CHAIN_MAX} certificates")));
    }
    let chain: Vec<&[u8]> = std::iter::once(der).chain(&links).map(AsRef::as_ref).collect();
    if let Some(at) = chain.windows(2).position(|pair| !is_signed_by(pair[0], pair[1])) {
        return Err(malformed(format!(
            "CertificateChain: certificate {} did not sign the one before it",
            at + 1
        )));
    }
    scope.write(|tx| {
        let mut found = find(scope, &*tx)?;
        demand(&found, scope.seconds(), &["PENDING_CERTIFICATE", "ACTIVE"], INVALID_STATE_EXCEPTION)?;
        if !signer_key(&scope.office.vault, &found)?.fits(der) {
            let text = "Certificate: it is not about this authority's key";
            return Err(CERTIFICATE_MISMATCH_EXCEPTION.because(text).into());
        }
        let is_own = facts.subject == facts.issuer;
        if found.sort == "SUBORDINATE" && (is_own || links.is_empty()) {
            let text =
                "CertificateChain: a subordinate authority is signed by another, whose certificate is needed";
            return Err(malformed(text.to_owned()));
        }
        found.certificate = pem::write("CERTIFICATE", der);
        found.chain = links.iter().map(|link| pem::write("CERTIFICATE", link)).collect();
        (found.not_before, found.not_after) = (facts.not_before, facts.not_after);
        found.serial.clone_from(&facts.serial);
        "ACTIVE".clone_into(&mut found.status);
        found.changed_at = scope.now;
        put(tx, &authority_key(&found.id), &found)?;
        // A certificate that another made may be one that signs no lists; then nothing can be taken back.
        match scope.office.list(tx, &found, scope.now) {
            Err(Failure::Api(error)) => {
                let reason = error.message;
                tracing::warn!(authority = found.arn, reason, "it can take nothing back");
                Ok(())
            }
            signed => signed,
        }
    })?;
    Ok(Value::Object(Map::new()))
}

/// Switches an authority on or off, and its lists. What it signed is believed either way.
pub(super) fn update(scope: &Scope<'_>) -> Result<Value, Failure> {
    let revocation = scope.call.input.get("RevocationConfiguration");
    revocation.map_or(Ok(()), revoke::check)?;
    let status = scope.call.text("Status");
    if status.is_some_and(|status| !matches!(status, "ACTIVE" | "DISABLED")) {
        return Err(invalid("Status: it can be set to ACTIVE or DISABLED"));
    }
    scope.write(|tx| {
        let mut found = find(scope, &*tx)?;
        demand(&found, scope.seconds(), &["ACTIVE", "DISABLED"], INVALID_STATE_EXCEPTION)?;
        if let Some(status) = status {
            status.clone_into(&mut found.status);
            found.changed_at = scope.now;
        }
        if let Some(revocation) = revocation {
            found.revocation = Some(revocation.clone());
            scope.office.list(tx, &found, scope.now)?;
        }
        Ok(put(tx, &authority_key(&found.id), &found)?)
    })?;
    Ok(Value::Object(Map::new()))
}

/// Takes an authority out of use. It has to be switched off before, and nobody may name it. It counts among the others until
/// nobody can bring it back.
pub(super) fn delete(scope: &Scope<'_>) -> Result<Value, Failure> {
    let days = scope.call.input.get("PermanentDeletionTimeInDays").and_then(Value::as_u64);
    scope.write(|tx| {
        let mut found = find(scope, &*tx)?;
        let allowed = ["DISABLED", "PENDING_CERTIFICATE", "EXPIRED"];
        demand(&found, scope.seconds(), &allowed, INVALID_STATE_EXCEPTION)?;
        let users = in_use::users(&*tx, &found.arn)?;
        if !users.is_empty() {
            return Err(refusal(&format!("the authority {} is in use by {}", found.arn, users.join(", "))));
        }
        found.before = Some(std::mem::replace(&mut found.status, "DELETED".to_owned()));
        found.changed_at = scope.now;
        let kept = days.unwrap_or(RESTORABLE_DAYS).saturating_mul(DAY_MILLIS);
        found.restorable_until = Some(scope.now.saturating_add(kept));
        Ok(put(tx, &authority_key(&found.id), &found)?)
    })?;
    Ok(Value::Object(Map::new()))
}

pub(super) fn restore(scope: &Scope<'_>) -> Result<Value, Failure> {
    scope.write(|tx| {
        let mut found = find(scope, &*tx)?;
        demand(&found, scope.seconds(), &["DELETED"], INVALID_STATE_EXCEPTION)?;
        found.status = found.before.take().unwrap_or_else(|| "DISABLED".to_owned());
        found.restorable_until = None;
        found.changed_at = scope.now;
        Ok(put(tx, &authority_key(&found.id), &found)?)
    })?;
    Ok(Value::Object(Map::new()))
}

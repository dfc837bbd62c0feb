//! `RevokeCertificate`: what an authority takes back, and the list by which proxies know.
//!
//! ```text
//!   RevokeCertificate ─▶ acm-pca/revocations/ID: the numbers, and a list signed anew ─▶ the change feed ─▶ publish
//!                     ─▶ beside the authority, in the secrets of the proxies that believe it
//! ```
//! Each authority has a list, an empty one too: a proxy that is given lists asks each authority that it believes for one. They
//! are given out as soon as one of those authorities took something back, or was told to publish (`CrlConfiguration`).

use selvedge_aws::operations::acm_pca::{
    INVALID_REQUEST_EXCEPTION, INVALID_STATE_EXCEPTION, LIMIT_EXCEEDED_EXCEPTION,
    REQUEST_ALREADY_PROCESSED_EXCEPTION, RESOURCE_NOT_FOUND_EXCEPTION,
};
use selvedge_identity::authority::{Revoked as Entry, Validity};
use selvedge_identity::{Certificate as Facts, pem};
use selvedge_model::Value;
use selvedge_store::{Read, Transaction};
use serde_json::Map;

use super::{demand, find, invalid};
use crate::certificates::authority::{BACKDATED, colons, seconds, signer};
use crate::certificates::document::{
    Authority, CERTIFICATES, Certificate, Revocations, Revoked, revocations_key,
};
use crate::certificates::failure::{Failure, unsigned};
use crate::certificates::{Certificates, Scope, get, put, read};

/// Certificates that one authority may have taken back and that have not ended: their list goes to every proxy that believes it.
pub const REVOKED_MAX: usize = 1000;

const DAY: i64 = 86_400;

pub(super) fn revoke(scope: &Scope<'_>) -> Result<Value, Failure> {
    let serial = serial(scope.text("CertificateSerial"))?;
    scope.write(|tx| {
        let authority = find(scope, &*tx)?;
        demand(&authority, scope.seconds(), &["ACTIVE", "DISABLED"], INVALID_STATE_EXCEPTION)?;
        let not_after = ends(&*tx, &authority, &serial)?;
        let mut revocations = get::<Revocations>(&*tx, &revocations_key(&authority.id))?.unwrap_or_default();
        if revocations.revoked.iter().any(|one| one.serial == serial) {
            let text = format!("CertificateSerial: {} is revoked already", colons(&serial));
            return Err(REQUEST_ALREADY_PROCESSED_EXCEPTION.because(text).into());
        }
        revocations.revoked.retain(|one| one.not_after > scope.seconds());
        if revocations.revoked.len() >= REVOKED_MAX {
            let text =
                format!("an authority takes back at most {REVOKED_MAX} certificates that have not ended");
            return Err(LIMIT_EXCEEDED_EXCEPTION.because(text).into());
        }
        let reason = scope.text("RevocationReason").to_owned();
        revocations.revoked.push(Revoked { serial: serial.clone(), at: scope.seconds(), not_after, reason });
        scope.office.sign_list(tx, &authority, revocations, scope.now)?;
        tracing::info!(authority = authority.arn, serial, "revoked a certificate");
        Ok(())
    })?;
    Ok(Value::Object(Map::new()))
}

/// A serial number as hexadecimal digits alone, two a byte.
fn serial(given: &str) -> Result<String, Failure> {
    let digits: String = given.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    if digits.is_empty()
        || !digits.len().is_multiple_of(2)
        || !digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Err(invalid(
            "CertificateSerial: it is written in hexadecimal digits, two a byte, as 0a:1b or 0a1b",
        ));
    }
    Ok(digits)
}

/// When the certificate of that number ends, which the authority must have signed.
fn ends(view: &dyn Read, authority: &Authority, serial: &str) -> Result<i64, Failure> {
    let is_own = serial == authority.serial;
    let issued: Option<String> = get(view, &format!("acm-pca/issued/{}/{serial}", authority.id))?;
    let facts = issued.and_then(|text| Facts::read(&pem::section("CERTIFICATE", &text)?).ok());
    if is_own || facts.as_ref().is_some_and(|facts| facts.subject == facts.issuer) {
        let text =
            "CertificateSerial: nobody can take back the authority's own certificate; delete the authority";
        return Err(INVALID_REQUEST_EXCEPTION.because(text).into());
    }
    if let Some(facts) = facts {
        return Ok(facts.not_after);
    }
    let written = colons(serial);
    for document in view.scan_all(CERTIFICATES)? {
        let one: Certificate = read(&document.key, &document.value)?;
        if one.authority.as_ref() != Some(&authority.arn) {
            continue;
        }
        if one.serial == written {
            return Ok(one.not_after);
        }
        if let Some(former) = one.former.iter().find(|former| former.serial == written) {
            return Ok(former.not_after);
        }
    }
    let text = format!("CertificateSerial: {} signed no certificate {written} that is known", authority.arn);
    Err(RESOURCE_NOT_FOUND_EXCEPTION.because(text).into())
}

impl Certificates {
    /// The authority's list, signed anew with what it took back until now.
    pub(in crate::certificates) fn list(
        &self,
        tx: &mut dyn Transaction,
        authority: &Authority,
        now: u64,
    ) -> Result<(), Failure> {
        let before: Option<Revocations> = get(&*tx, &revocations_key(&authority.id))?;
        self.sign_list(tx, authority, before.unwrap_or_default(), now)
    }

    fn sign_list(
        &self,
        tx: &mut dyn Transaction,
        authority: &Authority,
        mut revocations: Revocations,
        now: u64,
    ) -> Result<(), Failure> {
        let at = seconds(now);
        revocations.revoked.retain(|one| one.not_after > at);
        let settings = Settings::of(authority.revocation.as_ref());
        let life = settings.days.map(|days| days.saturating_mul(DAY));
        // A list that ended would close every door: unless told otherwise it lives as long as the authority.
        let not_after =
            life.map_or(authority.not_after, |life| at.saturating_add(life).min(authority.not_after));
        let number = revocations.number.saturating_add(1);
        let entries: Vec<Entry> = revocations.revoked.iter().map(entry).collect();
        let validity = Validity { not_before: at - BACKDATED, not_after };
        let signer = signer(&self.vault, authority, INVALID_STATE_EXCEPTION)?;
        let list = signer
            .revocations(&entries, number, validity)
            .map_err(|error| unsigned(&error, INVALID_STATE_EXCEPTION))?;
        let is_in_force = settings.is_enabled || !revocations.revoked.is_empty();
        let revocations = Revocations {
            authority: authority.arn.clone(),
            number,
            list: pem::write("X509 CRL", &list),
            renew_at: at + (not_after - at) / 2,
            is_in_force,
            ..revocations
        };
        Ok(put(tx, &revocations_key(&authority.id), &revocations)?)
    }
}

fn entry(one: &Revoked) -> Entry {
    let byte = |at: usize| {
        u8::from_str_radix(one.serial.get(at..at + 2).unwrap_or_default(), 16).unwrap_or_default()
    };
    Entry { serial: (0..one.serial.len()).step_by(2).map(byte).collect(), at: one.at }
}

/// What a `RevocationConfiguration` says of lists.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    is_enabled: bool,
    days: Option<i64>,
}

impl Settings {
    fn of(configuration: Option<&Value>) -> Self {
        let lists = configuration.and_then(|configuration| configuration.get("CrlConfiguration"));
        let is_enabled =
            lists.and_then(|lists| lists.get("Enabled")).and_then(Value::as_bool).unwrap_or_default();
        let days = lists.and_then(|lists| lists.get("ExpirationInDays")).and_then(Value::as_i64);
        Self { is_enabled, days: days.filter(|_| is_enabled) }
    }
}

/// What of a `RevocationConfiguration` can be had: lists that go to proxies, and their lives.
pub(super) fn check(configuration: &Value) -> Result<(), Failure> {
    let at = "RevocationConfiguration";
    let enabled =
        |sort: &str| configuration.get(sort).and_then(|one| one.get("Enabled")) == Some(&Value::Bool(true));
    if enabled("OcspConfiguration") {
        return Err(invalid(format!(
            "{at}.OcspConfiguration.Enabled: nobody answers about revocations; the list goes to the proxies (CrlConfiguration)"
        )));
    }
    let lists = configuration.get("CrlConfiguration").and_then(Value::as_object);
    let other =
        lists.into_iter().flat_map(Map::keys).find(|key| !matches!(&***key, "Enabled" | "ExpirationInDays"));
    match other {
        Some(other) if enabled("CrlConfiguration") => Err(invalid(format!(
            "{at}.CrlConfiguration.{other}: the list goes to the mesh's proxies, and is put into no bucket; there is Enabled and \
             ExpirationInDays"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_serial_number_is_read_with_and_without_colons() {
        for (given, read) in
            [("0A:1b", Some("0a1b")), ("0a1b", Some("0a1b")), ("", None), ("a", None), ("xy", None)]
        {
            assert_eq!(serial(given).ok().as_deref(), read, "{given}");
        }
        assert!(serial("é0").is_err(), "no digit, and longer than one byte");
    }

    #[test]
    fn an_entry_has_the_bytes_of_its_number() {
        let one = Revoked { serial: "0a1bff".into(), at: 7, not_after: 9, reason: "SUPERSEDED".into() };
        assert_eq!(entry(&one), Entry { serial: vec![0x0a, 0x1b, 0xff], at: 7 });
    }

    #[test]
    fn days_count_only_where_lists_are_published() {
        let of = |value| Settings::of(Some(&value));
        let enabled = of(json!({ "CrlConfiguration": { "Enabled": true, "ExpirationInDays": 7 } }));
        assert_eq!(enabled, Settings { is_enabled: true, days: Some(7) });
        let disabled = of(json!({ "CrlConfiguration": { "Enabled": false, "ExpirationInDays": 7 } }));
        assert_eq!(disabled, Settings::default());
        assert_eq!(Settings::of(None), Settings::default());
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_its_name() {
        let refused = |value: Value| match check(&value) {
            Err(Failure::Api(error)) => error.message,
            other => panic!("{other:?}"),
        };
        assert!(
            refused(json!({ "OcspConfiguration": { "Enabled": true } }))
                .contains("OcspConfiguration.Enabled")
        );
        let bucket = json!({ "CrlConfiguration": { "Enabled": true, "S3BucketName": "lists" } });
        assert!(refused(bucket).contains("CrlConfiguration.S3BucketName"));
        assert!(check(&json!({ "CrlConfiguration": { "Enabled": true, "ExpirationInDays": 7 } })).is_ok());
        assert!(check(&json!({ "CrlConfiguration": { "Enabled": false, "S3BucketName": "x" } })).is_ok());
    }
}

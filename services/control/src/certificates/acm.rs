//! AWS Certificate Manager's operations.

mod describe;
mod import;
mod list;
mod request;

use selvedge_aws::error::UNKNOWN_OPERATION;
use selvedge_aws::operations::acm::{
    INVALID_TAG_EXCEPTION, RESOURCE_IN_USE_EXCEPTION, RESOURCE_NOT_FOUND_EXCEPTION, TOO_MANY_TAGS_EXCEPTION,
    VALIDATION_EXCEPTION,
};
use selvedge_identity::{Key, KeyInvalid, arn};
use selvedge_model::Value;
use selvedge_store::{Error as StoreError, Read};
use serde_json::{Map, json};

use super::document::{CERTIFICATE_COUNT, Certificate, Origin, certificate_key};
use super::failure::Failure;
use super::{Scope, count, draw, get, in_use, put, renew, tags};

/// Performs a call whose members were checked.
pub(super) fn perform(scope: &Scope<'_>) -> Result<Value, Failure> {
    match scope.call.operation.name {
        "RequestCertificate" => request::request(scope),
        "ImportCertificate" => import::import(scope),
        "DescribeCertificate" => describe::describe(scope),
        "ListCertificates" => list::list(scope),
        "GetCertificate" => show(scope),
        "ExportCertificate" => export(scope),
        "RenewCertificate" => renew_now(scope),
        "DeleteCertificate" => delete(scope),
        "AddTagsToCertificate" => add_tags(scope),
        "RemoveTagsFromCertificate" => remove_tags(scope),
        "ListTagsForCertificate" => Ok(json!({ "Tags": tags::shown(&read(scope)?.tags) })),
        "GetAccountConfiguration" => Ok(json!({ "ExpiryEvents": { "DaysBeforeExpiry": 45 } })),
        "PutAccountConfiguration" => Err(VALIDATION_EXCEPTION
            .because(
                "ExpiryEvents: no events are sent before a certificate expires; what is issued here is renewed by itself",
            )
            .into()),
        name => Err(UNKNOWN_OPERATION.because(format!("{name} is not performed here")).into()),
    }
}

/// The certificate that the call names, from a snapshot.
fn read(scope: &Scope<'_>) -> Result<Certificate, Failure> {
    let view = scope.office.store.snapshot()?;
    find(&*view, scope.text("CertificateArn"))
}

/// A certificate by its ARN.
fn find(view: &dyn Read, arn: &str) -> Result<Certificate, Failure> {
    let found = match arn::certificate_id(arn) {
        Some(id) => get::<Certificate>(view, &certificate_key(id))?,
        None => None,
    };
    let found = found.filter(|found| found.arn == arn);
    found.ok_or_else(|| {
        RESOURCE_NOT_FOUND_EXCEPTION.because(format!("CertificateArn: there is no certificate {arn}")).into()
    })
}

fn show(scope: &Scope<'_>) -> Result<Value, Failure> {
    let found = read(scope)?;
    let mut output = Map::new();
    output.insert("Certificate".into(), found.certificate.into());
    if !found.chain.is_empty() {
        output.insert("CertificateChain".into(), found.chain.into());
    }
    Ok(Value::Object(output))
}

/// The certificate with its key behind the caller's passphrase. Unlike AWS it gives out imported ones too: an edge that serves
/// them has to have them.
fn export(scope: &Scope<'_>) -> Result<Value, Failure> {
    scope.check_channel(VALIDATION_EXCEPTION)?;
    let found = read(scope)?;
    let key = key_of(scope, &found)?;
    let passphrase = scope.bytes("Passphrase");
    if passphrase.iter().any(|byte| matches!(byte, b'#' | b'$' | b'%')) {
        let message = "Passphrase: it must not hold #, $ or %";
        return Err(VALIDATION_EXCEPTION.because(message).into());
    }
    let encrypted = key
        .encrypted(&passphrase, &draw::bytes()?, draw::bytes()?)
        .map_err(|error| broken(&found, &error))?;
    if !found.exported {
        scope.write(|tx| {
            let mut found = find(&*tx, &found.arn)?;
            found.exported = true;
            Ok(put(tx, &certificate_key(&found.id), &found)?)
        })?;
    }
    tracing::info!(certificate = found.arn, "exported a certificate with its key");
    let mut output = Map::new();
    output.insert("Certificate".into(), found.certificate.into());
    if !found.chain.is_empty() {
        output.insert("CertificateChain".into(), found.chain.into());
    }
    output.insert("PrivateKey".into(), encrypted.into());
    Ok(Value::Object(output))
}

/// A certificate's key, opened.
fn key_of(scope: &Scope<'_>, found: &Certificate) -> Result<Key, Failure> {
    let opened =
        zeroize::Zeroizing::new(scope.office.vault.open(&certificate_key(&found.id), &found.sealed)?);
    Key::of_der(&opened).map_err(|error| broken(found, &error))
}

fn broken(found: &Certificate, error: &KeyInvalid) -> Failure {
    Failure::Store(StoreError::Corrupt(format!("{}: {error}", certificate_key(&found.id))))
}

fn renew_now(scope: &Scope<'_>) -> Result<Value, Failure> {
    let found = read(scope)?;
    if found.origin == Origin::Imported {
        let message =
            format!("CertificateArn: {} was imported; import its successor under the same ARN", found.arn);
        return Err(VALIDATION_EXCEPTION.because(message).into());
    }
    renew::renew_one(scope.office, &found.id, scope.now, renew::When::Now)?;
    Ok(Value::Object(Map::new()))
}

fn delete(scope: &Scope<'_>) -> Result<Value, Failure> {
    scope.write(|tx| {
        let found = find(&*tx, scope.text("CertificateArn"))?;
        let users = in_use::users(&*tx, &found.arn)?;
        if !users.is_empty() {
            let message = format!("the certificate {} is in use by {}", found.arn, users.join(", "));
            return Err(RESOURCE_IN_USE_EXCEPTION.because(message).into());
        }
        tx.delete(&certificate_key(&found.id))?;
        if let Some(token) = &found.token {
            tx.delete(&request::token_key(token))?;
        }
        count(tx, CERTIFICATE_COUNT, -1)?;
        Ok(())
    })?;
    Ok(Value::Object(Map::new()))
}

fn add_tags(scope: &Scope<'_>) -> Result<Value, Failure> {
    let added = tags::given(scope, INVALID_TAG_EXCEPTION)?;
    scope.write(|tx| {
        let mut found = find(&*tx, scope.text("CertificateArn"))?;
        tags::add(&mut found.tags, &added, TOO_MANY_TAGS_EXCEPTION)?;
        Ok(put(tx, &certificate_key(&found.id), &found)?)
    })?;
    Ok(Value::Object(Map::new()))
}

fn remove_tags(scope: &Scope<'_>) -> Result<Value, Failure> {
    scope.write(|tx| {
        let mut found = find(&*tx, scope.text("CertificateArn"))?;
        tags::remove(&mut found.tags, scope);
        Ok(put(tx, &certificate_key(&found.id), &found)?)
    })?;
    Ok(Value::Object(Map::new()))
}

//! `IssueCertificate`: what a signing request asks for, by the authority that is named.

use selvedge_aws::operations::acm_pca::{
    INVALID_ARGS_EXCEPTION, INVALID_STATE_EXCEPTION, LIMIT_EXCEEDED_EXCEPTION, MALFORMED_CSR_EXCEPTION,
    RESOURCE_NOT_FOUND_EXCEPTION,
};
use selvedge_identity::authority::{Refused, Validity};
use selvedge_identity::{Authority as Signer, Certificate as Facts, pem};
use selvedge_model::Value;
use serde_json::{Map, json};

use super::{demand, find, find_now, invalid, issued_key};
use crate::certificates::authority::{BACKDATED, ROOT_LIFE, serial, signer, signer_key, subject};
use crate::certificates::document::authority_key;
use crate::certificates::failure::{Failure, unsigned};
use crate::certificates::{Scope, put};

/// Certificates that one authority issues for signing requests, and that are kept to be asked for.
pub const ISSUED_MAX: usize = 10_000;

const DAY: i64 = 86_400;

/// Which certificate is to come of it.
enum Template {
    EndEntity,
    /// The authority's own.
    Root,
}

pub(super) fn issue(scope: &Scope<'_>) -> Result<Value, Failure> {
    let text = scope.bytes("Csr");
    let text = std::str::from_utf8(&text).unwrap_or_default();
    let request = pem::section("CERTIFICATE REQUEST", text)
        .or_else(|| pem::section("NEW CERTIFICATE REQUEST", text))
        .ok_or_else(|| MALFORMED_CSR_EXCEPTION.because("Csr: it is no signing request in PEM"))?;
    let template = template(scope.text("TemplateArn"))?;
    if scope.call.input.contains_key("ApiPassthrough") {
        return Err(invalid("ApiPassthrough: subject and names are those of the signing request"));
    }
    let validity = validity(scope)?;
    let arn = scope.write(|tx| {
        let mut found = find(scope, &*tx)?;
        demand(&found, scope.seconds(), &["ACTIVE"], INVALID_STATE_EXCEPTION)?;
        let wanted = found.configuration.get("SigningAlgorithm").and_then(Value::as_str).unwrap_or_default();
        if scope.text("SigningAlgorithm") != wanted {
            return Err(invalid(format!("SigningAlgorithm: this authority signs by {wanted}")));
        }
        if found.issued >= ISSUED_MAX {
            let text = format!("an authority issues at most {ISSUED_MAX} certificates for signing requests");
            return Err(LIMIT_EXCEEDED_EXCEPTION.because(text).into());
        }
        let number = serial(&scope.uuid());
        let der = match template {
            Template::EndEntity => {
                let signer = signer(&scope.office.vault, &found, INVALID_STATE_EXCEPTION)?;
                let issued = signer.issue_requested(&request, validity, number);
                issued.map_err(|error| match error {
                    Refused::Request(_) | Refused::AsksToSign => {
                        Failure::Api(MALFORMED_CSR_EXCEPTION.because(format!("Csr: {error}")))
                    }
                    _ => unsigned(&error, INVALID_ARGS_EXCEPTION),
                })?
            }
            Template::Root => {
                let key = signer_key(&scope.office.vault, &found)?;
                let until = validity.not_after.min(scope.seconds() + ROOT_LIFE);
                let validity = Validity { not_after: until, ..validity };
                Signer::root(&subject(&found.configuration), &key, validity, number)
                    .map_err(|error| unsigned(&error, INVALID_ARGS_EXCEPTION))?
            }
        };
        let facts = Facts::read(&der)
            .map_err(|error| unsigned(&Refused::Authority(error), INVALID_STATE_EXCEPTION))?;
        let key = format!("acm-pca/issued/{}/{}", found.id, facts.serial);
        put(tx, &key, &pem::write("CERTIFICATE", &der))?;
        found.issued += 1;
        put(tx, &authority_key(&found.id), &found)?;
        Ok(format!("{}/certificate/{}", found.arn, facts.serial))
    })?;
    Ok(json!({ "CertificateArn": arn }))
}

pub(super) fn show(scope: &Scope<'_>) -> Result<Value, Failure> {
    let authority = find_now(scope)?;
    let view = scope.office.store.snapshot()?;
    let arn = scope.text("CertificateArn");
    let found = issued_key(&*view, arn)?.filter(|_| arn.starts_with(&format!("{}/", authority.arn)));
    let Some((_, certificate)) = found else {
        let text = format!("CertificateArn: there is no certificate {arn}");
        return Err(RESOURCE_NOT_FOUND_EXCEPTION.because(text).into());
    };
    let mut output = Map::new();
    // A root's own certificate has nobody above it.
    if certificate != authority.certificate {
        let chain = format!("{}{}", authority.certificate, authority.chain);
        output.insert("CertificateChain".into(), chain.into());
    }
    output.insert("Certificate".into(), certificate.into());
    Ok(Value::Object(output))
}

fn template(arn: &str) -> Result<Template, Failure> {
    match arn.rsplit_once("template/").map_or(arn, |(_, name)| name) {
        "" | "EndEntityCertificate/V1" => Ok(Template::EndEntity),
        "RootCACertificate/V1" => Ok(Template::Root),
        other => Err(invalid(format!(
            "TemplateArn: {other} is not issued; there is EndEntityCertificate/V1 and RootCACertificate/V1"
        ))),
    }
}

/// From when to when.
fn validity(scope: &Scope<'_>) -> Result<Validity, Failure> {
    let now = scope.seconds();
    let moment = |member: &str| -> Result<Option<i64>, Failure> {
        let Some(given) = scope.call.input.get(member) else { return Ok(None) };
        let value = given.get("Value").and_then(Value::as_i64).unwrap_or_default();
        let days = |days: i64| value.checked_mul(days * DAY).and_then(|life| now.checked_add(life));
        let at = match given.get("Type").and_then(Value::as_str).unwrap_or_default() {
            "DAYS" => days(1),
            "MONTHS" => days(30),
            "YEARS" => days(365),
            "ABSOLUTE" => Some(value),
            sort => {
                return Err(invalid(format!(
                    "{member}.Type: {sort} is not read here; there is DAYS, MONTHS, YEARS, ABSOLUTE"
                )));
            }
        };
        at.map(Some).ok_or_else(|| invalid(format!("{member}.Value: it is beyond all time")))
    };
    let not_after = moment("Validity")?.unwrap_or_default();
    let not_before = moment("ValidityNotBefore")?.unwrap_or(now - BACKDATED);
    if not_after <= now {
        return Err(invalid("Validity: it lies in the past"));
    }
    Ok(Validity { not_before, not_after })
}

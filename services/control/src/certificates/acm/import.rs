//! `ImportCertificate`: a certificate that somebody else signed, new or in the place of an imported one.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use selvedge_aws::operations::acm::{
    INVALID_PARAMETER_EXCEPTION, INVALID_TAG_EXCEPTION, LIMIT_EXCEEDED_EXCEPTION, TOO_MANY_TAGS_EXCEPTION,
    VALIDATION_EXCEPTION,
};
use selvedge_identity::verify::{Authorities, Rules, Side, Trust, Verifier};
use selvedge_identity::{Certificate as Facts, Key, arn, pem};
use selvedge_model::Value;
use serde_json::json;

use super::find;
use crate::certificates::document::{CERTIFICATE_COUNT, Certificate, Origin, Tags, certificate_key};
use crate::certificates::failure::Failure;
use crate::certificates::{CERTIFICATES_MAX, CHAIN_MAX, Scope, authority, count, put, tags};

/// What was given, after it was looked at.
struct Given {
    facts: Facts,
    certificate: String,
    chain: String,
    key: Key,
}

pub(super) fn import(scope: &Scope<'_>) -> Result<Value, Failure> {
    let given = examine(scope)?;
    let added = tags::given(scope, INVALID_TAG_EXCEPTION)?;
    let again = scope.call.text("CertificateArn");
    if again.is_some() && !added.is_empty() {
        let message =
            "Tags: they cannot be given when a certificate is imported again; use AddTagsToCertificate";
        return Err(INVALID_PARAMETER_EXCEPTION.because(message).into());
    }
    let mut first = Tags::new();
    tags::add(&mut first, &added, TOO_MANY_TAGS_EXCEPTION)?;
    let office = scope.office;
    let arn = scope.write(|tx| {
        let before = match again {
            Some(arn) => {
                let before = find(&*tx, arn)?;
                if before.origin != Origin::Imported {
                    let message = format!("CertificateArn: {arn} was issued here, and is renewed by itself");
                    return Err(VALIDATION_EXCEPTION.because(message).into());
                }
                Some(before)
            }
            None if count(tx, CERTIFICATE_COUNT, 1)? > CERTIFICATES_MAX => {
                let message = format!("there may be at most {CERTIFICATES_MAX} certificates");
                return Err(LIMIT_EXCEEDED_EXCEPTION.because(message).into());
            }
            None => None,
        };
        let id = before.as_ref().map_or_else(|| scope.uuid(), |before| before.id.clone());
        let facts = &given.facts;
        let mut names = facts.names.dns.clone();
        names.extend(facts.names.ips.iter().map(ToString::to_string));
        let common = common_name(&facts.subject);
        let made = Certificate {
            arn: arn::certificate(&office.settings.partition, &scope.region, &office.settings.account, &id),
            origin: Origin::Imported,
            domain: common.or_else(|| names.first().cloned()).unwrap_or_default(),
            names,
            authority: None,
            by_default: false,
            algorithm: given.key.algorithm().name().to_owned(),
            signature: None,
            certificate: given.certificate.clone(),
            chain: given.chain.clone(),
            sealed: office.vault.seal(&certificate_key(&id), given.key.pkcs8())?,
            created_at: before.as_ref().map_or(scope.now, |before| before.created_at),
            issued_at: scope.now,
            not_before: facts.not_before,
            not_after: facts.not_after,
            serial: authority::colons(&facts.serial),
            subject: facts.subject.clone(),
            issuer: facts.issuer.clone(),
            renew_at: None,
            renewed_at: before.as_ref().map(|_| scope.now),
            failure: None,
            exported: false,
            former: Vec::new(),
            tags: before.as_ref().map_or_else(|| first.clone(), |before| before.tags.clone()),
            token: None,
            id,
        };
        let made = match before {
            Some(before) => Certificate { arn: before.arn, ..made },
            None => made,
        };
        put(tx, &certificate_key(&made.id), &made)?;
        Ok(made.arn)
    })?;
    Ok(json!({ "CertificateArn": arn }))
}

/// Reads what was given. Nothing of a key is in any message.
fn examine(scope: &Scope<'_>) -> Result<Given, Failure> {
    let invalid = |message: String| Failure::Api(VALIDATION_EXCEPTION.because(message));
    let body = pem::certificates(&scope.bytes("Certificate"))
        .map_err(|error| invalid(format!("Certificate: {error}")))?;
    let [der] = body.as_slice() else {
        return Err(invalid(
            "Certificate: one is expected; the others belong in CertificateChain".to_owned(),
        ));
    };
    let facts = Facts::read(der).map_err(|error| invalid(format!("Certificate: {error}")))?;
    let key = Key::of_pem(&scope.bytes("PrivateKey")).map_err(|error| {
        invalid(format!("PrivateKey: {error}; an encrypted one has to be decrypted first"))
    })?;
    if !key.fits(der) {
        return Err(invalid("PrivateKey: it is not the key of the certificate".to_owned()));
    }
    let now = scope.seconds();
    if facts.not_after < now || facts.not_before > now {
        return Err(invalid("Certificate: it is not valid at present".to_owned()));
    }
    let mut chain = String::new();
    if scope.call.input.contains_key("CertificateChain") {
        let text = scope.bytes("CertificateChain");
        let links =
            pem::certificates(&text).map_err(|error| invalid(format!("CertificateChain: {error}")))?;
        if links.len() > CHAIN_MAX {
            return Err(invalid(format!("CertificateChain: there may be at most {CHAIN_MAX} certificates")));
        }
        for (index, link) in links.iter().enumerate() {
            let facts = Facts::read(link)
                .map_err(|error| invalid(format!("CertificateChain: certificate {}: {error}", index + 1)))?;
            if !facts.is_authority {
                let message = format!("CertificateChain: certificate {} may not sign others", index + 1);
                return Err(invalid(message));
            }
        }
        let last = links.last().map(|link| pem::write("CERTIFICATE", link)).unwrap_or_default();
        let anchor = Authorities::read(last.as_bytes())
            .map_err(|error| invalid(format!("CertificateChain: {error}")))?;
        let verifier = Verifier::new(Trust::Authorities(anchor), Rules::default(), None)
            .map_err(|error| invalid(format!("CertificateChain: {error}")))?;
        let moment = UnixTime::since_unix_epoch(Duration::from_millis(scope.now));
        let of_side = |side| verifier.verify(der, &links, side, moment);
        // It may be for servers or for clients alone.
        of_side(Side::Server).or_else(|_| of_side(Side::Client)).map_err(|error| {
            invalid(format!(
                "CertificateChain: it does not lead from the certificate to its last one: {error}"
            ))
        })?;
        chain = links.iter().map(|link| pem::write("CERTIFICATE", link)).collect();
    }
    Ok(Given { certificate: pem::write("CERTIFICATE", der), chain, key, facts })
}

/// The common name of a subject as [`Facts`] writes it, when nothing in it had to be escaped.
fn common_name(subject: &str) -> Option<String> {
    let found = subject.split(',').find_map(|part| part.strip_prefix("CN="))?;
    (!found.contains('\\')).then(|| found.to_owned())
}

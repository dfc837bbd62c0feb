//! `RequestCertificate`: issued at once, by the authority that is named or by the mesh's own.

use selvedge_aws::operations::acm::{
    INVALID_PARAMETER_EXCEPTION, INVALID_TAG_EXCEPTION, LIMIT_EXCEEDED_EXCEPTION, TOO_MANY_TAGS_EXCEPTION,
};
use selvedge_identity::arn;
use selvedge_identity::key::Algorithm;
use selvedge_model::Value;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::certificates::document::{CERTIFICATE_COUNT, Certificate, Origin, Tags, certificate_key};
use crate::certificates::failure::Failure;
use crate::certificates::{
    CERTIFICATES_MAX, NAMES_PER_CERTIFICATE_MAX, Scope, authority, count, draw, get, put, tags,
};

/// How long a token stands for the same request, in milliseconds; an hour, as in AWS.
const TOKEN_MILLIS: u64 = 60 * 60 * 1000;

/// What a token stands for.
#[derive(Serialize, Deserialize)]
struct Token {
    arn: String,
    at: u64,
}

pub(super) fn token_key(token: &str) -> String {
    format!("acm/token/{token}")
}

pub(super) fn request(scope: &Scope<'_>) -> Result<Value, Failure> {
    let domain = scope.text("DomainName").to_owned();
    let mut names = vec![domain.clone()];
    for name in scope.texts("SubjectAlternativeNames") {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    if names.len() > NAMES_PER_CERTIFICATE_MAX + 1 {
        let message = format!("SubjectAlternativeNames: there may be at most {NAMES_PER_CERTIFICATE_MAX}");
        return Err(LIMIT_EXCEEDED_EXCEPTION.because(message).into());
    }
    if scope.call.input.contains_key("ManagedBy") {
        let message = "ManagedBy: nobody else manages certificates here";
        return Err(INVALID_PARAMETER_EXCEPTION.because(message).into());
    }
    let algorithm = algorithm(scope)?;
    let mut given = Tags::new();
    tags::add(&mut given, &tags::given(scope, INVALID_TAG_EXCEPTION)?, TOO_MANY_TAGS_EXCEPTION)?;
    let token = token(scope);
    let key = draw::key(algorithm)?;
    let office = scope.office;
    let arn = scope.write(|tx| {
        if let Some(token) = &token
            && let Some(known) = get::<Token>(&*tx, &token_key(token))?
            && known.at.saturating_add(TOKEN_MILLIS) > scope.now
        {
            return Ok(known.arn);
        }
        if count(tx, CERTIFICATE_COUNT, 1)? > CERTIFICATES_MAX {
            let message = format!("there may be at most {CERTIFICATES_MAX} certificates");
            return Err(LIMIT_EXCEEDED_EXCEPTION.because(message).into());
        }
        let named = scope.call.text("CertificateAuthorityArn");
        let signer = match named {
            Some(arn) => office.find_authority(&*tx, arn, INVALID_PARAMETER_EXCEPTION)?,
            None => office.default_authority(tx, &scope.region, scope.now)?,
        };
        let issued = office.issue(&signer, &names, &key, scope.now, INVALID_PARAMETER_EXCEPTION)?;
        let id = scope.uuid();
        let arn = arn::certificate(&office.settings.partition, &scope.region, &office.settings.account, &id);
        let facts = &issued.facts;
        let made = Certificate {
            arn: arn.clone(),
            origin: Origin::Private,
            domain: domain.clone(),
            names: names.clone(),
            authority: Some(signer.arn),
            by_default: named.is_none(),
            algorithm: algorithm.name().to_owned(),
            signature: Some(issued.signature.clone()),
            sealed: office.vault.seal(&certificate_key(&id), key.pkcs8())?,
            created_at: scope.now,
            issued_at: scope.now,
            not_before: facts.not_before,
            not_after: facts.not_after,
            serial: authority::colons(&facts.serial),
            subject: facts.subject.clone(),
            issuer: facts.issuer.clone(),
            renew_at: Some(office.renewal(facts)),
            renewed_at: None,
            failure: None,
            exported: false,
            former: Vec::new(),
            tags: given.clone(),
            token: token.clone(),
            certificate: issued.certificate,
            chain: issued.chain,
            id,
        };
        put(tx, &certificate_key(&made.id), &made)?;
        if let Some(token) = &token {
            put(tx, &token_key(token), &Token { arn: arn.clone(), at: scope.now })?;
        }
        Ok(arn)
    })?;
    Ok(json!({ "CertificateArn": arn }))
}

fn algorithm(scope: &Scope<'_>) -> Result<Algorithm, Failure> {
    let Some(name) = scope.call.text("KeyAlgorithm") else { return Ok(Algorithm::Rsa2048) };
    Algorithm::named(name).ok_or_else(|| {
        let known: Vec<&str> = Algorithm::ALL.iter().map(|one| one.name()).collect();
        let message = format!("KeyAlgorithm: {name} is not made here; there is {}", known.join(", "));
        INVALID_PARAMETER_EXCEPTION.because(message).into()
    })
}

/// The caller's token together with what it was given for.
fn token(scope: &Scope<'_>) -> Option<String> {
    let token = scope.call.text("IdempotencyToken")?;
    let digest = Sha256::digest(format!("{token}\n{}", scope.text("DomainName")));
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

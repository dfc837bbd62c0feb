//! The operations of AWS Private Certificate Authority.
//!
//! A root is made with its certificate and is active at once. Who follows AWS's order all the same – ask for its signing request,
//! have it signed by itself, import what came of it – ends where he wanted to be.

mod issue;
mod lifecycle;
mod revoke;

pub use issue::ISSUED_MAX;
pub use revoke::REVOKED_MAX;

use selvedge_aws::error::{ErrorShape, UNKNOWN_OPERATION};
use selvedge_aws::operations::acm_pca::{
    INVALID_ARGS_EXCEPTION, INVALID_NEXT_TOKEN_EXCEPTION, INVALID_STATE_EXCEPTION, INVALID_TAG_EXCEPTION,
    LIMIT_EXCEEDED_EXCEPTION, LIST_PAGE, RESOURCE_NOT_FOUND_EXCEPTION, TOO_MANY_TAGS_EXCEPTION,
};
use selvedge_identity::key::Algorithm;
use selvedge_identity::{Authority as Signer, arn, pem};
use selvedge_model::{Timestamp, Value};
use selvedge_store::Read;
use serde_json::{Map, json};

use super::authority::{signer_key, subject};
use super::document::{AUTHORITIES, Authority, Tags, authority_key};
use super::failure::{Failure, unsigned};
use super::{Scope, get, page, put, read, tags};

/// Performs a call whose members were checked.
pub(super) fn perform(scope: &Scope<'_>) -> Result<Value, Failure> {
    match scope.call.operation.name {
        "CreateCertificateAuthority" => create(scope),
        "DescribeCertificateAuthority" => {
            Ok(json!({ "CertificateAuthority": detail(scope, &find_now(scope)?) }))
        }
        "ListCertificateAuthorities" => list(scope),
        "GetCertificateAuthorityCertificate" => certificate(scope),
        "GetCertificateAuthorityCsr" => request(scope),
        "ImportCertificateAuthorityCertificate" => lifecycle::import(scope),
        "UpdateCertificateAuthority" => lifecycle::update(scope),
        "DeleteCertificateAuthority" => lifecycle::delete(scope),
        "RestoreCertificateAuthority" => lifecycle::restore(scope),
        "IssueCertificate" => issue::issue(scope),
        "GetCertificate" => issue::show(scope),
        "RevokeCertificate" => revoke::revoke(scope),
        "TagCertificateAuthority" => {
            change_tags(scope, |found, added| tags::add(&mut found.tags, added, TOO_MANY_TAGS_EXCEPTION))
        }
        "UntagCertificateAuthority" => change_tags(scope, |found, _| {
            tags::remove(&mut found.tags, scope);
            Ok(())
        }),
        "ListTags" => Ok(json!({ "Tags": tags::shown(&find_now(scope)?.tags) })),
        name => Err(UNKNOWN_OPERATION.because(format!("{name} is not performed here")).into()),
    }
}

fn refusal(text: &str) -> Failure {
    INVALID_STATE_EXCEPTION.because(text).into()
}

fn invalid(text: impl Into<String>) -> Failure {
    INVALID_ARGS_EXCEPTION.because(text).into()
}

/// The authority that the call names.
fn find(scope: &Scope<'_>, view: &dyn Read) -> Result<Authority, Failure> {
    scope.office.find_authority(view, scope.text("CertificateAuthorityArn"), RESOURCE_NOT_FOUND_EXCEPTION)
}

fn find_now(scope: &Scope<'_>) -> Result<Authority, Failure> {
    let view = scope.office.store.snapshot()?;
    find(scope, &*view)
}

fn create(scope: &Scope<'_>) -> Result<Value, Failure> {
    let configuration =
        scope.call.input.get("CertificateAuthorityConfiguration").cloned().unwrap_or_default();
    check(&configuration)?;
    let revocation = scope.call.input.get("RevocationConfiguration").cloned();
    revocation.as_ref().map_or(Ok(()), revoke::check)?;
    let mut first = Tags::new();
    tags::add(&mut first, &tags::given(scope, INVALID_TAG_EXCEPTION)?, TOO_MANY_TAGS_EXCEPTION)?;
    let is_root = scope.text("CertificateAuthorityType") == "ROOT";
    let token = scope.call.text("IdempotencyToken").map(str::to_owned);
    let arn = scope.write(|tx| {
        if let Some(token) = &token {
            let view: &dyn Read = &*tx;
            for document in view.scan_all(AUTHORITIES)? {
                let known: Authority = read(&document.key, &document.value)?;
                if known.token.as_ref() == Some(token) && known.configuration == configuration {
                    return Ok(known.arn);
                }
            }
        }
        let made =
            scope.office.make_root(tx, &configuration, &scope.region, scope.now, LIMIT_EXCEEDED_EXCEPTION)?;
        let mut made =
            Authority { tags: first.clone(), token: token.clone(), revocation: revocation.clone(), ..made };
        if let Some(usage) = scope.call.text("UsageMode") {
            usage.clone_into(&mut made.usage);
        }
        if !is_root {
            // Another has to sign it; what it signed itself counts for nothing.
            "SUBORDINATE".clone_into(&mut made.sort);
            "PENDING_CERTIFICATE".clone_into(&mut made.status);
            made.certificate.clear();
        }
        put(tx, &authority_key(&made.id), &made)?;
        if is_root {
            scope.office.list(tx, &made, scope.now)?;
        }
        Ok(made.arn)
    })?;
    Ok(json!({ "CertificateAuthorityArn": arn }))
}

/// What of a configuration can be had.
fn check(configuration: &Value) -> Result<(), Failure> {
    let at = "CertificateAuthorityConfiguration";
    let text = |member: &str| configuration.get(member).and_then(Value::as_str).unwrap_or_default();
    let name = text("KeyAlgorithm");
    let Some(algorithm) = Algorithm::named(name) else {
        return Err(invalid(format!("{at}.KeyAlgorithm: {name} is not made here")));
    };
    let signature = text("SigningAlgorithm");
    if signature != algorithm.signature() {
        let fitting = algorithm.signature();
        return Err(invalid(format!(
            "{at}.SigningAlgorithm: a key of {name} signs by {fitting} here, not {signature}"
        )));
    }
    if configuration.get("CsrExtensions").is_some() {
        return Err(invalid(format!("{at}.CsrExtensions: none are written")));
    }
    const PARTS: [&str; 6] =
        ["Country", "State", "Locality", "Organization", "OrganizationalUnit", "CommonName"];
    let parts = configuration.get("Subject").and_then(Value::as_object);
    if let Some(other) = parts.into_iter().flat_map(Map::keys).find(|part| !PARTS.contains(&part.as_str())) {
        return Err(invalid(format!(
            "{at}.Subject.{other}: it is not written; there is {}",
            PARTS.join(", ")
        )));
    }
    if parts.is_none_or(Map::is_empty) {
        return Err(invalid(format!("{at}.Subject: a part of it is needed, such as CommonName")));
    }
    Ok(())
}

fn certificate(scope: &Scope<'_>) -> Result<Value, Failure> {
    let found = find_now(scope)?;
    if found.certificate.is_empty() {
        return Err(refusal(&format!("{} has no certificate yet", found.arn)));
    }
    let mut output = Map::new();
    output.insert("Certificate".into(), found.certificate.into());
    if !found.chain.is_empty() {
        output.insert("CertificateChain".into(), found.chain.into());
    }
    Ok(Value::Object(output))
}

/// The request by which another authority, or itself, may sign it.
fn request(scope: &Scope<'_>) -> Result<Value, Failure> {
    let found = find_now(scope)?;
    let key = signer_key(&scope.office.vault, &found)?;
    let der = Signer::request(&subject(&found.configuration), &key)
        .map_err(|error| unsigned(&error, INVALID_STATE_EXCEPTION))?;
    Ok(json!({ "Csr": pem::write("CERTIFICATE REQUEST", &der) }))
}

fn list(scope: &Scope<'_>) -> Result<Value, Failure> {
    let view = scope.office.store.snapshot()?;
    let mut all: Vec<Authority> = Vec::new();
    if scope.text("ResourceOwner") != "OTHER_ACCOUNTS" {
        for document in view.scan_all(AUTHORITIES)? {
            all.push(read(&document.key, &document.value)?);
        }
    }
    let position = |one: &Authority| one.id.clone();
    let (shown, next) =
        page::of(scope, ("MaxResults", LIST_PAGE), all.into_iter(), position, |one, other| one > other)
            .map_err(|_| INVALID_NEXT_TOKEN_EXCEPTION.because("NextToken: it is not one of this list"))?;
    let mut output = Map::new();
    output.insert("CertificateAuthorities".into(), shown.iter().map(|one| detail(scope, one)).collect());
    if let Some(next) = next {
        output.insert("NextToken".into(), next.into());
    }
    Ok(Value::Object(output))
}

fn detail(scope: &Scope<'_>, one: &Authority) -> Value {
    let mut out = json!({
        "Arn": one.arn,
        "OwnerAccount": scope.office.settings.account,
        "CreatedAt": Timestamp(one.created_at).to_wire(),
        "LastStateChangeAt": Timestamp(one.changed_at).to_wire(),
        "Type": one.sort,
        "Status": one.status(scope.seconds()),
        "CertificateAuthorityConfiguration": one.configuration,
        "RevocationConfiguration": one.revocation.clone().unwrap_or_else(|| json!({ "CrlConfiguration": { "Enabled": false } })),
        "KeyStorageSecurityStandard": "CCPC_LEVEL_1_OR_HIGHER",
        "UsageMode": one.usage,
    });
    if !one.certificate.is_empty() {
        out["Serial"] = one.serial.clone().into();
        out["NotBefore"] = one.not_before.into();
        out["NotAfter"] = one.not_after.into();
    }
    if let Some(until) = one.restorable_until {
        out["RestorableUntil"] = Timestamp(until).to_wire();
    }
    out
}

fn change_tags(
    scope: &Scope<'_>,
    change: impl Fn(&mut Authority, &Tags) -> Result<(), Failure>,
) -> Result<Value, Failure> {
    let given = tags::given(scope, INVALID_TAG_EXCEPTION)?;
    scope.write(|tx| {
        let mut found = find(scope, &*tx)?;
        change(&mut found, &given)?;
        Ok(put(tx, &authority_key(&found.id), &found)?)
    })?;
    Ok(Value::Object(Map::new()))
}

/// What an authority issued, by its ARN.
fn issued_key(view: &dyn Read, arn: &str) -> Result<Option<(String, String)>, Failure> {
    let Some((authority, serial)) = arn::issued(arn) else { return Ok(None) };
    let key = format!("acm-pca/issued/{authority}/{serial}");
    let found: Option<String> = get(view, &key)?;
    Ok(found.map(|found| (key, found)))
}

/// Whether an authority is as it has to be.
fn demand(found: &Authority, now: i64, statuses: &[&str], invalid: ErrorShape) -> Result<(), Failure> {
    let status = found.status(now);
    if statuses.contains(&status) {
        return Ok(());
    }
    let text = format!("the authority {} is {status}; it has to be {}", found.arn, statuses.join(" or "));
    Err(invalid.because(text).into())
}

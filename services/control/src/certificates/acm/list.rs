//! `ListCertificates`: all of them, unless a filter says otherwise. AWS leaves out those whose key is not RSA unless they are
//! asked for; nothing is left out here.

use selvedge_aws::operations::acm::{INVALID_ARGS_EXCEPTION, LIST_PAGE};
use selvedge_model::{Timestamp, Value};
use serde_json::{Map, json};

use super::describe::{EXTENDED, USAGES};
use crate::certificates::document::{CERTIFICATES, Certificate, Origin};
use crate::certificates::failure::Failure;
use crate::certificates::{Scope, in_use, page, read};
use selvedge_store::Read;

/// Names that a summary shows.
const NAMES_SHOWN: usize = 100;

pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failure> {
    let view = scope.office.store.snapshot()?;
    let mut all = Vec::new();
    for document in view.scan_all(CERTIFICATES)? {
        let one: Certificate = read(&document.key, &document.value)?;
        if fits(scope, &one) {
            all.push(one);
        }
    }
    let by_age = scope.call.input.contains_key("SortBy");
    let descending = scope.text("SortOrder") == "DESCENDING";
    if descending && !by_age {
        return Err(INVALID_ARGS_EXCEPTION.because("SortOrder: it needs SortBy").into());
    }
    let position = |one: &Certificate| match by_age {
        true => format!("{:020}/{}", one.created_at, one.id),
        false => one.id.clone(),
    };
    all.sort_by_key(position);
    if descending {
        all.reverse();
    }
    let comes_after = |one: &str, other: &str| if descending { one < other } else { one > other };
    let (shown, next) = page::of(scope, ("MaxItems", LIST_PAGE), all.into_iter(), position, comes_after)
        .map_err(|_| INVALID_ARGS_EXCEPTION.because("NextToken: it is not one of this list"))?;
    let mut summaries = Vec::new();
    for one in &shown {
        summaries.push(summary(scope, &*view, one)?);
    }
    let mut output = Map::new();
    output.insert("CertificateSummaryList".into(), summaries.into());
    if let Some(next) = next {
        output.insert("NextToken".into(), next.into());
    }
    Ok(Value::Object(output))
}

fn fits(scope: &Scope<'_>, one: &Certificate) -> bool {
    let asked = |member: &str| -> Vec<&str> { scope.texts(member).collect() };
    let takes = |wanted: &[&str], found: &str| wanted.is_empty() || wanted.contains(&found);
    let includes = scope.call.input.get("Includes");
    let included = |member: &str| -> Vec<&str> {
        let list = includes.and_then(|includes| includes.get(member)).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let has_any = |wanted: &[&str], known: &[&str]| {
        let is_ours = one.origin == Origin::Private;
        wanted.is_empty()
            || wanted.contains(&"ANY")
            || is_ours && known.iter().any(|name| wanted.contains(name))
    };
    let extended: Vec<&str> = EXTENDED.iter().map(|(name, _)| *name).collect();
    takes(&asked("CertificateStatuses"), one.status(scope.seconds()))
        && takes(&asked("CertificateKeyPairOrigins"), origin(one))
        && takes(&included("keyTypes"), &one.algorithm)
        && has_any(&included("keyUsage"), &USAGES)
        && has_any(&included("extendedKeyUsage"), &extended)
        && includes.and_then(|includes| includes.get("exportOption")).is_none_or(|wanted| wanted == "ENABLED")
        && includes.and_then(|includes| includes.get("managedBy")).is_none()
        && asked("RootHierarchyTypes").is_empty()
}

fn origin(one: &Certificate) -> &'static str {
    match one.origin {
        Origin::Private => "AWS_MANAGED",
        Origin::Imported => "CUSTOMER_PROVIDED",
    }
}

fn summary(scope: &Scope<'_>, view: &dyn Read, one: &Certificate) -> Result<Value, Failure> {
    let in_use = !in_use::users(view, &one.arn)?.is_empty();
    let names: Vec<&String> = one.names.iter().take(NAMES_SHOWN).collect();
    let mut out = json!({
        "CertificateArn": one.arn,
        "DomainName": one.domain,
        "SubjectAlternativeNameSummaries": names,
        "HasAdditionalSubjectAlternativeNames": one.names.len() > NAMES_SHOWN,
        "Status": one.status(scope.seconds()),
        "Type": match one.origin { Origin::Private => "PRIVATE", Origin::Imported => "IMPORTED" },
        "KeyAlgorithm": one.algorithm,
        "InUse": in_use,
        "Exported": one.exported,
        "ExportOption": "ENABLED",
        "CertificateKeyPairOrigin": origin(one),
        "RenewalEligibility": match one.origin { Origin::Private => "ELIGIBLE", Origin::Imported => "INELIGIBLE" },
        "NotBefore": one.not_before,
        "NotAfter": one.not_after,
        "CreatedAt": Timestamp(one.created_at).to_wire(),
    });
    let issued = match one.origin {
        Origin::Private => "IssuedAt",
        Origin::Imported => "ImportedAt",
    };
    out[issued] = Timestamp(one.issued_at).to_wire();
    if one.origin == Origin::Private {
        out["KeyUsages"] = USAGES.to_vec().into();
        out["ExtendedKeyUsages"] = EXTENDED.iter().map(|(name, _)| *name).collect();
    }
    Ok(out)
}

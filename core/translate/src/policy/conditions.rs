//! What is wrong with policies as such, whoever's proxy it is about.

use std::collections::BTreeMap;

use selvedge_model::policy::{HostRewrite, PathRewrite, PolicyKind, PolicySpec};
use selvedge_model::{Key, Kind, Policy, PortProtocol, Snapshot};
use selvedge_traffic::rewrite::{Rewriter, Substitution};

use super::{descriptors, ext_authz, filters, rewrite, tls};
use crate::diagnostic::{Code, Diagnostic, Severity};

/// What there is to say about the policies of a mesh: which govern nothing, and why.
pub fn conditions(snapshot: &Snapshot) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut first: BTreeMap<(&Key, PolicyKind), &Policy> = BTreeMap::new();
    for policy in snapshot.policies.iter() {
        let mut say = |severity, code, text: String| {
            found.push(Diagnostic {
                severity,
                code,
                subject: policy.path(),
                path: "target".to_owned(),
                text,
            });
        };
        let target = &policy.target;
        match snapshot.arn(&target.key) {
            None => {
                say(Severity::Error, Code::PolicyTargetMissing, format!("there is no {}", target.key));
                continue;
            }
            Some(arn) if arn != target.to_string() => {
                say(Severity::Error, Code::PolicyTargetMissing, format!("{} has the ARN {arn}", target.key));
                continue;
            }
            Some(_) => {}
        }
        if let Some(text) = misfit(snapshot, policy) {
            say(Severity::Error, Code::PolicyMisfit, text);
        }
        match first.get(&(&target.key, policy.kind())) {
            Some(other) => {
                let text =
                    format!("the {} policy {} holds there: its name comes first", policy.kind(), other.name);
                say(Severity::Warning, Code::PolicyShadowed, text);
            }
            None => drop(first.insert((&target.key, policy.kind()), policy)),
        }
    }
    found
}

/// Why a policy can do nothing at what it governs, if so.
fn misfit(snapshot: &Snapshot, policy: &Policy) -> Option<String> {
    let key = &policy.target.key;
    let is_http = |protocol: PortProtocol| protocol != PortProtocol::Tcp;
    let http_only = !matches!(
        policy.kind(),
        PolicyKind::AccessLog
            | PolicyKind::Breaker
            | PolicyKind::CircuitBreaking
            | PolicyKind::Connection
            | PolicyKind::Egress
            | PolicyKind::LoadBalancing
            | PolicyKind::ProxyProtocol
            | PolicyKind::Tls
    );
    match key.kind {
        Kind::Route if http_only => {
            let route = snapshot.routes.get(key.parent.as_deref()?)?.get(&key.name)?;
            (!route.spec.protocol().is_some_and(is_http))
                .then(|| format!("a {} policy means nothing to a TCP route", policy.kind()))
        }
        Kind::VirtualNode if http_only => {
            let node = snapshot.virtual_nodes.get(&key.name)?;
            let spoken = node.spec.listeners.iter().any(|one| is_http(one.port_mapping.protocol));
            (!spoken).then(|| {
                format!("a {} policy means nothing to a node without an HTTP listener", policy.kind())
            })
        }
        _ => None,
    }
}

/// What is wrong with a policy by itself that its shape does not tell: the path of the member, and why.
///
/// # Errors
/// The path and the reason.
pub fn check(spec: &PolicySpec) -> Result<(), (String, String)> {
    let usable = |at: &str, rewrite: &PathRewrite| match Rewriter::new(&rewrite::of_path(rewrite)) {
        Ok(_) => Ok(()),
        Err(error) => Err((format!("{at}.regex.pattern"), error.to_string())),
    };
    match spec {
        PolicySpec::Rewrite(spec) => {
            if let Some(path) = &spec.path {
                usable("spec.path", path)?;
            }
            if let Some(HostRewrite::PathRegex(regex)) = &spec.host {
                Substitution::new(&regex.pattern, &regex.substitution)
                    .map_err(|error| ("spec.host.pathRegex.pattern".to_owned(), error.to_string()))?;
            }
            Ok(())
        }
        PolicySpec::Access(spec) => {
            filters::access(spec).map(drop).map_err(|error| ("spec.rules".to_owned(), error.to_string()))
        }
        PolicySpec::Cors(spec) => {
            filters::of_cors(spec).map(drop).map_err(|error| ("spec.origins".to_owned(), error.to_string()))
        }
        PolicySpec::Fault(spec) => {
            filters::of_fault(spec).map(drop).map_err(|error| ("spec.headers".to_owned(), error.to_string()))
        }
        PolicySpec::RateLimit(spec) => {
            filters::rate_limit(spec).map(drop).map_err(|error| ("spec.limits".to_owned(), error.to_string()))
        }
        PolicySpec::GlobalRateLimit(spec) => descriptors::all(&spec.descriptors)
            .map(drop)
            .map_err(|error| ("spec.descriptors".to_owned(), error.to_string())),
        PolicySpec::ExtAuthz(spec) => {
            ext_authz::check(spec).map_err(|error| ("spec.service".to_owned(), error.to_string()))
        }
        PolicySpec::Tls(spec) => tls::check(spec).map_err(|error| ("spec".to_owned(), error.to_string())),
        PolicySpec::Redirect(spec) => {
            spec.path_rewrite.as_ref().map_or(Ok(()), |rewrite| usable("spec.pathRewrite", rewrite))
        }
        _ => Ok(()),
    }
}

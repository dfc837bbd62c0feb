//! Paths and hosts on the way.

use selvedge_model::Policy;
use selvedge_model::policy::{self, Rewrite};
use selvedge_traffic::{Forward, HostRewrite, PathRewrite};

use crate::context::Context;
use crate::diagnostic::Code;

pub(super) fn apply(
    context: &mut Context<'_>,
    policy: &Policy,
    spec: &Rewrite,
    at_gateway: bool,
    forward: &mut Forward,
) {
    if let Some(path) = &spec.path {
        forward.path_rewrite = Some(of_path(path));
    }
    forward.append_forwarded_host = spec.append_forwarded_host.unwrap_or(false);
    match &spec.host {
        Some(_) if at_gateway => {
            let text = "a gateway route finds its virtual service by the host: rewrite it at that service";
            context.error(Code::PolicyMisfit, policy, "spec.host", text);
        }
        Some(policy::HostRewrite::Literal(host)) => {
            forward.host_rewrite = Some(HostRewrite::Literal(host.clone()));
        }
        Some(policy::HostRewrite::Auto(_)) => forward.host_rewrite = Some(HostRewrite::Auto),
        Some(policy::HostRewrite::Header(name)) => {
            forward.host_rewrite = Some(HostRewrite::Header(name.to_ascii_lowercase()));
        }
        Some(policy::HostRewrite::PathRegex(regex)) => {
            let (pattern, substitution) = (regex.pattern.clone(), regex.substitution.clone());
            forward.host_rewrite = Some(HostRewrite::PathRegex { pattern, substitution });
        }
        None => {}
    }
}

pub(super) fn of_path(path: &policy::PathRewrite) -> PathRewrite {
    match path {
        policy::PathRewrite::Prefix(prefix) => PathRewrite::Prefix(prefix.clone()),
        policy::PathRewrite::Full(path) => PathRewrite::Full(path.clone()),
        policy::PathRewrite::Regex(regex) => {
            PathRewrite::Regex { pattern: regex.pattern.clone(), substitution: regex.substitution.clone() }
        }
    }
}

//! What rate limits count a request by.

use selvedge_traffic::rate_limit::{Context, Descriptor, HostRateLimits};
use selvedge_traffic::{Action, RateLimit};

use super::subject::client;
use crate::request::exchange::Exchange;
use crate::request::view::Request;

/// The descriptors of a request at a stage: by `own` if there are any, else by the route's rate limits and, as `host` and
/// the route say, the virtual host's.
pub(super) fn descriptors(
    x: &Exchange<'_>,
    own: &[RateLimit],
    stage: u32,
    host: HostRateLimits,
    source_cluster: &str,
) -> Vec<Descriptor> {
    let context = Context {
        request: Request(&x.heads.request),
        metadata: &x.metadata,
        remote: client(x),
        source_cluster,
        destination_cluster: destination(x),
    };
    let of = |limits: &[RateLimit]| -> Vec<Descriptor> {
        let limits = limits.iter().filter(|limit| limit.stage == stage);
        limits.filter_map(|limit| limit.descriptor(&context)).collect()
    };
    if !own.is_empty() {
        return of(own);
    }
    let Some(matched) = &x.matched else { return Vec::new() };
    let Action::Forward(forward) = &matched.route.action else { return Vec::new() };
    let mut found = of(&forward.rate_limits);
    let of_stage = |limits: &[RateLimit]| limits.iter().any(|limit| limit.stage == stage);
    let with_host = match host {
        HostRateLimits::Include => true,
        HostRateLimits::Ignore => false,
        HostRateLimits::Override => forward.include_host_rate_limits || !of_stage(&forward.rate_limits),
    };
    if with_host {
        found.extend(of(&matched.virtual_host.rate_limits));
    }
    found
}

/// The cluster that the request goes to; empty if it goes to none.
pub(super) fn destination<'a>(x: &Exchange<'a>) -> &'a str {
    let route = x.matched.map(|matched| &matched.route.action);
    match (route, x.share) {
        (Some(Action::Forward(forward)), Some(share)) => {
            forward.clusters.get(share).map_or("", |cluster| cluster.name.as_str())
        }
        _ => "",
    }
}

/// Counts the answer of a filter that asked somebody and refused the request: to Envoy that is an answer of the cluster which
/// the request was meant for, and the request an internal one.
pub(super) fn charge_refusal(x: &Exchange<'_>, status: u16) {
    if let Some(cluster) = x.worker.clusters.get(destination(x)) {
        cluster.stats.rq.record(status);
        cluster.stats.internal.record(status);
    }
}

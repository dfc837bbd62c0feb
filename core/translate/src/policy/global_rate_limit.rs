//! Requests that a service counts for all proxies.

use std::time::Duration;

use selvedge_model::Policy;
use selvedge_model::policy;
use selvedge_traffic::filter::{GlobalRateLimit, RequestType};
use selvedge_traffic::{Cluster, Discovery, FilterEntry, HttpFilter, HttpProtocol};

use super::descriptors::{self, GLOBAL_STAGE};
use super::filters::share;
use super::service::{self, Speaks};
use super::{Governed, note};
use crate::cluster;
use crate::context::Context;
use crate::names;
use crate::timeout::CONNECT;
use crate::translation::{EndpointSource, Found};

const RATE_LIMIT: &str = "envoy.filters.http.ratelimit";
/// The service is asked over a network, and a proxy beside it may be busy.
const TIMEOUT: Duration = Duration::from_millis(100);

/// The filter; how its descriptors are made is written to the table.
pub(super) fn filter(
    context: &mut Context<'_>,
    policy: &Policy,
    spec: &policy::GlobalRateLimit,
    table: &str,
) -> Option<FilterEntry> {
    let limits = descriptors::all(&spec.descriptors).ok()?;
    let (cluster, domain) = match &spec.service {
        Some(address) => {
            let cluster = service::cluster(context, policy, "spec.service", address, Speaks::Grpc);
            (cluster, spec.domain.clone())
        }
        None => {
            let domain = domain(context.mesh(), &spec.domain);
            (control_plane(context, policy), domain)
        }
    };
    for host in context.made_table_mut(table).into_iter().flat_map(|table| &mut table.virtual_hosts) {
        host.rate_limits.clone_from(&limits);
    }
    let filter = HttpFilter::GlobalRateLimit(Box::new(GlobalRateLimit {
        domain,
        stage: GLOBAL_STAGE,
        request_type: RequestType::Both,
        timeout: spec.timeout.map_or(TIMEOUT, |span| span.0),
        failure_mode_deny: spec.fail_closed.unwrap_or(false),
        resource_exhausted: false,
        cluster,
        authority: String::new(),
        ratelimit_headers: spec.tell.unwrap_or(false),
        ratelimited_header: true,
        status: spec.status.unwrap_or(429),
        status_on_error: 500,
        response_headers: Vec::new(),
        stat_prefix: String::new(),
        enabled: spec.share.map(|part| share(Some(part))),
        enforced: None,
    }));
    Some(FilterEntry { name: RATE_LIMIT.to_owned(), disabled: false, filter })
}

/// The domain as the control plane's service knows it: meshes do not share one.
pub(super) fn domain(mesh: &str, name: &str) -> String {
    format!("{mesh}/{name}")
}

fn control_plane(context: &mut Context<'_>, policy: &Policy) -> String {
    let name = names::rate_limit_cluster(context.mesh());
    let made = Cluster {
        protocol: HttpProtocol::Http2,
        ..cluster::base(name.clone(), Discovery::Eds { service_name: String::new() }, CONNECT)
    };
    context.cluster(made);
    let source =
        EndpointSource { node: String::new(), port: 0, found: Found::ControlPlane, priorities: Vec::new() };
    context.made.endpoints.insert(name.clone(), source);
    note(context, Governed::Cluster(name.clone()), &name, vec![policy.name.clone()]);
    name
}

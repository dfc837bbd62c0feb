//! Routes: which requests go where, with which time-outs and retries.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::circuit::Priority;
use crate::endpoint::Labels;
use crate::hash::HashPolicy;
use crate::matching::RouteMatch;
use crate::{FilterOverride, Fraction, HostRewrite, PathRewrite, RateLimit, RetryPolicy, SplitBy};

/// A route configuration (RDS resource).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RouteTable {
    pub name: String,
    pub virtual_hosts: Vec<VirtualHost>,
    /// The port of the host header is left out of the match.
    pub ignore_port_in_host_matching: bool,
    /// For all its virtual hosts.
    #[serde(skip_serializing_if = "HeaderEdits::is_empty")]
    pub headers: HeaderEdits,
    /// Where levels edit the same header the route has the last word, not the table.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub most_specific_headers_win: bool,
    /// Sorted by filter, as in every list of overrides; one for each filter at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<FilterOverride>,
}

/// A set of host names with their routes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VirtualHost {
    pub name: String,
    /// Exact names, `*.suffix`, `prefix.*`, `*`; unique over the whole table.
    pub domains: Vec<String>,
    /// The first match wins.
    pub routes: Vec<Route>,
    /// For routes that have none of their own.
    #[serde(serialize_with = "crate::shared")]
    pub retry: Option<Arc<RetryPolicy>>,
    /// For routes that have none of their own, unless they or a filter say otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// For routes that have none of their own.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub hedge: Option<Hedge>,
    /// The upstream sees `x-envoy-attempt-count`.
    pub include_attempt_count: bool,
    /// The client sees it.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub include_attempt_count_in_response: bool,
    /// For all its routes.
    #[serde(skip_serializing_if = "HeaderEdits::is_empty")]
    pub headers: HeaderEdits,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<FilterOverride>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    pub name: String,
    pub matches: RouteMatch,
    pub action: Action,
    pub request_headers: Vec<HeaderEdit>,
    pub response_headers: Vec<HeaderEdit>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<FilterOverride>,
}

/// What happens to a matched request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every route forwards; a box would cost each request a jump"
)]
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Respond(DirectResponse),
}

/// Send it to a cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forward {
    /// At least one; weights are relative and may be 0, their sum may not.
    pub clusters: Vec<WeightedCluster>,
    /// What decides between them.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub split_by: SplitBy,
    /// Which changes of the protocol it takes, where that differs from its connection manager.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub upgrades: RouteUpgrades,
    /// From the end of the request to the end of the response, over all tries; zero is none, `None` is 15 s.
    pub timeout: Option<Duration>,
    /// A stream without progress ends after this; zero is none, `None` inherits the connection's.
    pub idle_timeout: Option<Duration>,
    /// Nearly all routes of a mesh have one alike: see [`RouteTable::share_policies`].
    #[serde(serialize_with = "crate::shared")]
    pub retry: Option<Arc<RetryPolicy>>,
    #[serde(skip_serializing_if = "crate::is_default")]
    pub hedge: Option<Hedge>,
    /// How long the whole stream may last.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub stream_duration: StreamDuration,
    /// Which of the cluster's thresholds count.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub priority: Priority,
    /// What a request's hash is made of, for the policies that hash; empty draws at random.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub hash: Vec<HashPolicy>,
    /// The hosts that may be asked, where the cluster has subsets; empty is any.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub labels: Labels,
    pub path_rewrite: Option<PathRewrite>,
    pub host_rewrite: Option<HostRewrite>,
    /// The host that is rewritten is appended to `x-forwarded-host`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub append_forwarded_host: bool,
    /// Copies for other clusters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// Status when the cluster is unknown; Envoy's default is 503.
    pub cluster_not_found_status: u16,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// The virtual host's rate limits count beside its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub include_host_rate_limits: bool,
}

/// So many different policies of a table are looked for; each beyond has its own copy.
const SHARED_POLICIES_MAX: usize = 16;

impl RouteTable {
    /// Lets routes with equal retry policies have one together: a table of thousands of routes has a handful.
    pub fn share_policies(&mut self) {
        let mut known: Vec<Arc<RetryPolicy>> = Vec::new();
        for host in &mut self.virtual_hosts {
            let of_routes = host.routes.iter_mut().filter_map(|route| match &mut route.action {
                Action::Forward(forward) => forward.retry.as_mut(),
                Action::Redirect(_) | Action::Respond(_) => None,
            });
            for policy in host.retry.iter_mut().chain(of_routes) {
                match known.iter().find(|known| *known == policy) {
                    Some(known) => *policy = Arc::clone(known),
                    None if known.len() < SHARED_POLICIES_MAX => known.push(Arc::clone(policy)),
                    None => {}
                }
            }
        }
    }
}

impl Route {
    /// A route without header edits.
    pub fn new(name: &str, matches: RouteMatch, action: Action) -> Self {
        Self {
            name: name.to_owned(),
            matches,
            action,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            filters: Vec::new(),
        }
    }
}

impl Forward {
    /// To these clusters, everything else at its default.
    pub fn to(clusters: Vec<WeightedCluster>) -> Self {
        Self {
            clusters,
            split_by: SplitBy::default(),
            upgrades: RouteUpgrades::default(),
            timeout: None,
            idle_timeout: None,
            retry: None,
            hedge: None,
            stream_duration: StreamDuration::default(),
            priority: Priority::default(),
            hash: Vec::new(),
            labels: Labels::default(),
            path_rewrite: None,
            host_rewrite: None,
            append_forwarded_host: false,
            mirrors: Vec::new(),
            cluster_not_found_status: CLUSTER_NOT_FOUND_STATUS_DEFAULT,
            rate_limits: Vec::new(),
            include_host_rate_limits: false,
        }
    }
}

/// Tunnels that a route takes (Envoy's `RouteAction.upgrade_configs`); `None` leaves it to the connection manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteUpgrades {
    pub websocket: Option<bool>,
    pub connect: Option<bool>,
    /// A CONNECT is not passed on: its bytes go to the cluster as they are.
    pub connect_terminates: bool,
}

/// Asking a second host before the first has answered (Envoy's `HedgePolicy`, the part that Envoy implements).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hedge {
    /// A try that takes too long is not given up: the retry runs beside it, and the first good answer wins.
    pub on_per_try_timeout: bool,
}

/// Bounds of a stream from its first byte to its last (Envoy's `MaxStreamDuration`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamDuration {
    /// 504, details `max_duration_timeout`; zero is none, `None` inherits the connection's.
    pub max: Option<Duration>,
    /// A request's `grpc-timeout` counts, up to this (zero is without bound).
    pub grpc_timeout_max: Option<Duration>,
    /// Taken off `grpc-timeout`, so that we give up before the client does.
    pub grpc_timeout_offset: Option<Duration>,
}

impl StreamDuration {
    /// Whether anything is said; then the route's own time-out does not count, as in Envoy.
    pub const fn is_set(&self) -> bool {
        self.max.is_some() || self.grpc_timeout_max.is_some() || self.grpc_timeout_offset.is_some()
    }
}

/// The answer for a request to a cluster that is not there.
pub const CLUSTER_NOT_FOUND_STATUS_DEFAULT: u16 = 503;

/// The time-out of a route that sets none (Envoy's `RouteAction.timeout`).
pub const ROUTE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

/// A share of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WeightedCluster {
    pub name: String,
    pub weight: u32,
    /// Only of HTTP routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<FilterOverride>,
    /// Made before those of the route; only of HTTP routes.
    #[serde(skip_serializing_if = "HeaderEdits::is_empty")]
    pub headers: HeaderEdits,
}

impl WeightedCluster {
    /// A share without overrides.
    pub fn new(name: impl Into<String>, weight: u32) -> Self {
        Self { name: name.into(), weight, filters: Vec::new(), headers: HeaderEdits::default() }
    }
}

/// A copy of requests, whose answers nobody waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mirror {
    pub cluster: String,
    pub share: Fraction,
    /// Otherwise `-shadow` is added to the host.
    pub keeps_host: bool,
}

/// Answer with a redirection.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Redirect {
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<String>,
    /// In place of `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_rewrite: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    pub strip_query: bool,
}

/// Answer at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DirectResponse {
    pub status: u16,
    pub body: String,
}

/// Changes to the headers of requests and of responses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderEdits {
    pub request: Vec<HeaderEdit>,
    pub response: Vec<HeaderEdit>,
}

impl HeaderEdits {
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}

/// A change to the headers. Values may hold the operators of access logs (`%REQ(x)%`; `%%` is a percent sign); one that
/// comes out empty changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HeaderEdit {
    Append { name: String, value: String },
    AddIfAbsent { name: String, value: String },
    Overwrite { name: String, value: String },
    OverwriteIfExists { name: String, value: String },
    Remove { name: String },
}

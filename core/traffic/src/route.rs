//! Routes: which requests go where, with which time-outs and retries.

use std::time::Duration;

use serde::Serialize;

use crate::matching::RouteMatch;
use crate::{FilterOverride, HostRewrite, PathRewrite, RateLimit, RetryPolicy};

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
    pub retry: Option<RetryPolicy>,
    /// For routes that have none of their own, unless they or a filter say otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// The upstream sees `x-envoy-attempt-count`.
    pub include_attempt_count: bool,
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
    /// From the end of the request to the end of the response, over all tries; zero is none, `None` is 15 s.
    pub timeout: Option<Duration>,
    /// A stream without progress ends after this; zero is none, `None` inherits the connection's.
    pub idle_timeout: Option<Duration>,
    pub retry: Option<RetryPolicy>,
    pub path_rewrite: Option<PathRewrite>,
    pub host_rewrite: Option<HostRewrite>,
    /// The host that is rewritten is appended to `x-forwarded-host`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub append_forwarded_host: bool,
    /// Status when the cluster is unknown; Envoy's default is 503.
    pub cluster_not_found_status: u16,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// The virtual host's rate limits count beside its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub include_host_rate_limits: bool,
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
            timeout: None,
            idle_timeout: None,
            retry: None,
            path_rewrite: None,
            host_rewrite: None,
            append_forwarded_host: false,
            cluster_not_found_status: CLUSTER_NOT_FOUND_STATUS_DEFAULT,
            rate_limits: Vec::new(),
            include_host_rate_limits: false,
        }
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
}

impl WeightedCluster {
    /// A share without overrides.
    pub fn new(name: impl Into<String>, weight: u32) -> Self {
        Self { name: name.into(), weight, filters: Vec::new() }
    }
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

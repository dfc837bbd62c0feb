//! Rate limits that a service keeps for many proxies.

use std::time::Duration;

use serde::Serialize;

use crate::rate_limit::{HostRateLimits, RateLimit};
use crate::{Fraction, HeaderEdit};

/// How long the service may take (Envoy's default).
pub const TIMEOUT_DEFAULT: Duration = Duration::from_millis(20);

/// Envoy's `envoy.filters.http.ratelimit`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GlobalRateLimit {
    /// Which of the service's limits apply; never empty.
    pub domain: String,
    /// Of the rate limits of route and virtual host, those of this stage make descriptors.
    pub stage: u32,
    pub request_type: RequestType,
    pub timeout: Duration,
    /// Requests are refused while the service does not answer.
    pub failure_mode_deny: bool,
    /// gRPC refusals are RESOURCE_EXHAUSTED and not UNAVAILABLE.
    pub resource_exhausted: bool,
    /// The cluster of the service.
    pub cluster: String,
    /// The authority that it is called by; empty: the cluster's name.
    pub authority: String,
    /// `x-ratelimit-limit`, `-remaining` and `-reset`.
    pub ratelimit_headers: bool,
    /// Refusals carry `x-envoy-ratelimited`.
    pub ratelimited_header: bool,
    /// 400..=599.
    pub status: u16,
    /// While the service does not answer, under `failure_mode_deny`.
    pub status_on_error: u16,
    pub response_headers: Vec<HeaderEdit>,
    /// After `ratelimit` in the names of its statistics, where it is not empty.
    pub stat_prefix: String,
    /// The share of requests that is asked about …
    pub enabled: Option<Fraction>,
    /// … and the share of those that is refused when the service says so.
    pub enforced: Option<Fraction>,
}

/// Which requests are limited: `x-envoy-internal` tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum RequestType {
    #[default]
    Both,
    Internal,
    External,
}

/// What a route says about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GlobalRateLimitRoute {
    pub host_rate_limits: HostRateLimits,
    /// In place of those of route and virtual host.
    pub rate_limits: Vec<RateLimit>,
    /// Empty: the filter's.
    pub domain: String,
}

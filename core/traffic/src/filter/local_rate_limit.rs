//! Rate limits that one proxy keeps by itself.

use serde::Serialize;

use crate::rate_limit::{HostRateLimits, RateLimit, TokenBucket};
use crate::{Fraction, HeaderEdit};

/// How many buckets a wildcard descriptor may have where nothing else is configured (Envoy's default).
pub const DYNAMIC_DESCRIPTORS_DEFAULT: u32 = 20;
/// How many may be configured.
pub const DYNAMIC_DESCRIPTORS_MAX: u32 = 100_000;

/// Envoy's `envoy.filters.http.local_ratelimit`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LocalRateLimit {
    /// Before `http_local_rate_limit` in the names of its statistics; never empty.
    pub stat_prefix: String,
    /// 400..=599.
    pub status: u16,
    /// `None`: only descriptors limit.
    pub bucket: Option<TokenBucket>,
    pub descriptors: Vec<LocalDescriptor>,
    /// The share of requests that is counted …
    pub enabled: Fraction,
    /// … and the share of those that is refused when there are too many.
    pub enforced: Fraction,
    /// To requests that would have been refused.
    pub request_headers_when_not_enforced: Vec<HeaderEdit>,
    /// To refusals.
    pub response_headers: Vec<HeaderEdit>,
    /// Of the rate limits of route and virtual host, those of this stage make descriptors.
    pub stage: u32,
    /// Each connection has buckets of its own.
    pub per_connection: bool,
    /// `x-ratelimit-limit`, `-remaining` and `-reset`.
    pub ratelimit_headers: bool,
    pub host_rate_limits: HostRateLimits,
    /// The bucket for all is taken from even where a descriptor has one.
    pub always_consume_default: bool,
    /// gRPC refusals are RESOURCE_EXHAUSTED and not UNAVAILABLE.
    pub resource_exhausted: bool,
    /// In place of those of route and virtual host.
    pub rate_limits: Vec<RateLimit>,
    /// At most [`DYNAMIC_DESCRIPTORS_MAX`].
    pub dynamic_descriptors_max: u32,
}

/// Requests with these entries have a bucket of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalDescriptor {
    /// An empty value stands for any; each that comes has its own bucket.
    pub entries: Vec<(String, String)>,
    pub bucket: TokenBucket,
}

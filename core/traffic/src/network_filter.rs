//! Network filters: what is judged of a connection before its bytes go anywhere.

use std::time::Duration;

use serde::Serialize;

use crate::access::Rules;
use crate::rate_limit::TokenBucket;

/// A filter before the last of a chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum NetworkFilter {
    Rbac(Box<NetworkRbac>),
    ConnectionLimit(ConnectionLimit),
    /// One token a connection; without one it is closed.
    RateLimit(ConnectionRateLimit),
}

/// Who may connect (Envoy's `envoy.filters.network.rbac`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkRbac {
    /// First part of its statistics' names; never empty.
    pub stat_prefix: String,
    /// `None`: everybody.
    pub rules: Option<Rules>,
    /// Only counted.
    pub shadow_rules: Option<Rules>,
    pub shadow_rules_stat_prefix: String,
}

/// How many connections there may be at once (Envoy's `envoy.filters.network.connection_limit`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConnectionLimit {
    /// Never empty.
    pub stat_prefix: String,
    /// At least 1.
    pub connections_max: u64,
    /// A connection too many is held so long before it is closed, so that its client does not come again at once.
    pub delay: Option<Duration>,
}

/// How fast connections may come (Envoy's `envoy.filters.network.local_ratelimit`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConnectionRateLimit {
    /// Never empty.
    pub stat_prefix: String,
    pub bucket: TokenBucket,
}

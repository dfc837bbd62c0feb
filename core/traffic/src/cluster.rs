//! A cluster: the hosts that can serve a request, and how they are found, chosen, watched and spoken to.

use std::time::Duration;

use serde::Serialize;

use crate::breaker::BreakerPolicy;
use crate::endpoint::Labels;
use crate::{
    CircuitBreakers, HealthCheck, Http2Settings, LoadAssignment, OutlierDetection, ProxyProtocolVersion,
    UpstreamTransport,
};

/// A named group of upstream hosts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cluster {
    pub name: String,
    pub discovery: Discovery,
    /// TCP (and TLS) must be up within this.
    pub connect_timeout: Duration,
    pub balancing: LoadBalancing,
    /// What bounds and steers the choice, whatever its policy.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub placement: Placement,
    /// Hosts in groups by their labels, so that a route can ask for some of them.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub subsets: Option<Subsets>,
    pub protocol: HttpProtocol,
    /// By HTTP/2 a WebSocket is asked for as RFC 8441 has it, where the host says that it takes that.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub extended_connect: bool,
    /// What hosts that speak HTTP/2 are told they may do, and how much of what they allow is used.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub http2: Http2Settings,
    pub transport: UpstreamTransport,
    /// Each connection begins with a word on whose it is.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    pub circuit_breakers: CircuitBreakers,
    pub outlier_detection: Option<OutlierDetection>,
    /// Our own breaker with visible states; a real Envoy ignores it.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub breaker: Option<BreakerPolicy>,
    pub health_checks: Vec<HealthCheck>,
    /// A pooled connection without requests is closed after this; `None` is Envoy's hour.
    pub idle_timeout: Option<Duration>,
    /// A pooled connection takes no further request after this; `None` and zero are none.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub connection_duration_max: Option<Duration>,
    /// … nor after so many; `None` and 0 are no bound.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub requests_per_connection_max: Option<u32>,
    /// A stream that lasts longer is reset: 504, flag `UMSDR`; `None` and zero are none.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub stream_duration_max: Option<Duration>,
    /// A host that discovery removed goes at once, even while its health check passes.
    pub ignore_health_on_host_removal: bool,
    /// Connections to a host that discovery removed are closed.
    pub close_connections_on_host_removal: bool,
}

impl Cluster {
    /// A cluster with everything but its hosts at the default.
    pub fn new(name: &str, discovery: Discovery) -> Self {
        Self {
            name: name.to_owned(),
            discovery,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            balancing: LoadBalancing::default(),
            placement: Placement::default(),
            subsets: None,
            protocol: HttpProtocol::default(),
            extended_connect: false,
            http2: Http2Settings::default(),
            transport: UpstreamTransport::Plain,
            proxy_protocol: None,
            circuit_breakers: CircuitBreakers::default(),
            outlier_detection: None,
            breaker: None,
            health_checks: Vec::new(),
            idle_timeout: None,
            connection_duration_max: None,
            requests_per_connection_max: None,
            stream_duration_max: None,
            ignore_health_on_host_removal: false,
            close_connections_on_host_removal: false,
        }
    }
}

/// Envoy's `Cluster.connect_timeout` when none is set.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Where the hosts come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Discovery {
    /// Fixed addresses.
    Static(LoadAssignment),
    /// Every address of each name is a host.
    StrictDns {
        assignment: LoadAssignment,
        family: DnsLookupFamily,
        #[serde(skip_serializing_if = "crate::is_default")]
        refresh: DnsRefresh,
    },
    /// One logical host; each new connection goes to the first address of the latest answer.
    LogicalDns {
        assignment: LoadAssignment,
        family: DnsLookupFamily,
        #[serde(skip_serializing_if = "crate::is_default")]
        refresh: DnsRefresh,
    },
    /// Endpoints by the discovery service, under `service_name` or, if empty, the cluster's own name.
    Eds { service_name: String },
    /// The address that the intercepted connection was meant for.
    OriginalDst,
}

/// When names are looked up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DnsRefresh {
    /// After this, or sooner when an answer lasts no longer; above zero.
    pub interval: Duration,
    /// Only when an answer has ended, however long it lasts; `interval` is for those that do not last at all.
    pub respects_ttl: bool,
}

impl Default for DnsRefresh {
    /// Envoy's `dns_refresh_rate` when none is set.
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), respects_ttl: false }
    }
}

impl DnsRefresh {
    /// No sooner than this, whatever is said.
    pub const MIN: Duration = Duration::from_secs(1);

    /// How long to wait after answers of which the shortest lasts `ttl`; `None` is no answer at all.
    pub fn wait(self, ttl: Option<Duration>) -> Duration {
        let wait = match ttl {
            Some(ttl) if self.respects_ttl && !ttl.is_zero() => ttl,
            Some(ttl) if !self.respects_ttl => self.interval.min(ttl),
            _ => self.interval,
        };
        wait.max(Self::MIN)
    }
}

/// Which addresses of a name are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum DnsLookupFamily {
    /// IPv6 if there is any, else IPv4.
    #[default]
    Auto,
    V4Only,
    V6Only,
    /// IPv4 if there is any, else IPv6.
    V4Preferred,
    /// Both families.
    All,
}

/// How one host is chosen among the healthy ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub enum LoadBalancing {
    #[default]
    RoundRobin,
    LeastRequest {
        choice_count: u32,
        /// Where weights differ: the exponent with which requests in flight lower a host's share.
        active_request_bias: f64,
        /// Looks at every host in the place of a few.
        full_scan: bool,
    },
    Random,
    RingHash {
        ring_size_min: u64,
        ring_size_max: u64,
        hash: RingHashFunction,
    },
    Maglev {
        table_size: u64,
    },
    /// Only with [`Discovery::OriginalDst`].
    ClusterProvided,
}

impl LoadBalancing {
    /// Least request as Envoy has it when nothing is said: the better of two.
    pub const LEAST_REQUEST: Self =
        Self::LeastRequest { choice_count: 2, active_request_bias: 1.0, full_scan: false };
    /// A ring of Envoy's default size.
    pub const RING_HASH: Self =
        Self::RingHash { ring_size_min: 1 << 10, ring_size_max: 1 << 23, hash: RingHashFunction::XxHash };
    /// A table of Envoy's default size.
    pub const MAGLEV: Self = Self::Maglev { table_size: 65_537 };
}

/// What lays a host's entries on the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum RingHashFunction {
    #[default]
    XxHash,
    /// As `std::hash<std::string>` of GNU's C++ library.
    Murmur2,
}

/// What bounds and steers the choice of a host (Envoy's `CommonLbConfig` and the slow start of its policies).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Placement {
    /// Below this share of available hosts all hosts are used, healthy or not; 0 switches that off.
    pub panic_threshold_percent: f64,
    pub locality: LocalityRouting,
    /// Hosts that were not probed yet count for nothing, in place of as unhealthy ones.
    pub ignore_new_hosts_until_first_check: bool,
    /// Consistent hashing knows hosts by their name in place of their address.
    pub hash_by_hostname: bool,
    /// Consistent hashing gives no host more than this share of the average load, in percent, at least 100.
    pub hash_balance_percent: Option<u32>,
    /// A host that comes, or comes back, is warmed up (round robin and least request).
    pub slow_start: Option<SlowStart>,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            panic_threshold_percent: 50.0,
            locality: LocalityRouting::default(),
            ignore_new_hosts_until_first_check: false,
            hash_by_hostname: false,
            hash_balance_percent: None,
            slow_start: None,
        }
    }
}

/// Whether the place where a host stands matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub enum LocalityRouting {
    #[default]
    None,
    /// A locality is drawn by its weight, then a host in it.
    Weighted,
    /// The proxy's own zone is preferred, as far as the zones of its own cluster allow.
    ZoneAware {
        /// How many of a hundred requests.
        enabled_percent: f64,
        /// Smaller clusters are not routed by zone.
        hosts_min: u64,
        /// In panic nobody is asked.
        fail_on_panic: bool,
    },
}

impl LocalityRouting {
    /// Zone-aware as Envoy has it when nothing is said.
    pub const ZONE_AWARE: Self =
        Self::ZoneAware { enabled_percent: 100.0, hosts_min: 6, fail_on_panic: false };
}

/// A new host's share grows from `weight_percent_min` to the whole over `window`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SlowStart {
    pub window: Duration,
    /// 1 grows evenly, more grows fast at first (the exponent is its inverse); above 0.
    pub aggression: f64,
    /// 0–100.
    pub weight_percent_min: f64,
}

impl SlowStart {
    /// The growth that Envoy has when only the window is said.
    pub const fn over(window: Duration) -> Self {
        Self { window, aggression: 1.0, weight_percent_min: 10.0 }
    }

    /// The part of its weight that a host has `age` after it came, in `(0, 1]`.
    pub fn factor(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        // Whole milliseconds, at least one, as Envoy counts.
        let time = (age.as_millis().max(1) as f64) / (self.window.as_millis().max(1) as f64);
        let grown = if self.aggression == 1.0 { time } else { time.powf(1.0 / self.aggression) };
        grown.clamp((self.weight_percent_min / 100.0).clamp(0.0, 1.0), 1.0)
    }
}

/// Groups of hosts by labels (Envoy's `LbSubsetConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Subsets {
    /// Each set of keys makes a group for each combination of their values; keys in order, each once.
    pub selectors: Vec<SubsetSelector>,
    pub fallback: SubsetFallback,
    /// What [`SubsetFallback::Default`] falls back to.
    pub default: Labels,
    /// Where even the fallback has no host, any will do.
    pub panic_mode_any: bool,
}

/// One way to group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SubsetSelector {
    pub keys: Vec<String>,
    /// For requests that name these keys with values that no host has; `None` is the subsets' own.
    pub fallback: Option<SubsetFallback>,
}

/// Whom a request goes to for whose labels there is no host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum SubsetFallback {
    /// Nobody: 503, flag `UH`.
    #[default]
    None,
    Any,
    Default,
}

/// The HTTP version spoken to the hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum HttpProtocol {
    #[default]
    Http1,
    Http2,
    /// The version of the downstream request.
    Downstream,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_again_by_the_interval_or_by_what_answers_say() {
        let seconds = Duration::from_secs;
        for (interval, respects_ttl, ttl, wait) in [
            (5, false, None, 5),
            (5, false, Some(60), 5),
            (5, false, Some(2), 2),
            (5, false, Some(0), 1),
            (5, true, None, 5),
            (5, true, Some(60), 60),
            (5, true, Some(2), 2),
            (7, true, Some(0), 7),
            (0, false, Some(9), 1),
        ] {
            let refresh = DnsRefresh { interval: seconds(interval), respects_ttl };
            assert_eq!(refresh.wait(ttl.map(seconds)), seconds(wait), "{refresh:?} {ttl:?}");
        }
    }

    #[test]
    fn a_new_host_grows_into_its_share() {
        let even = SlowStart::over(Duration::from_secs(10));
        let eager = SlowStart { aggression: 2.0, ..even };
        for (start, age_ms, factor) in [
            (even, 0, 0.1),
            (even, 500, 0.1),
            (even, 5_000, 0.5),
            (even, 10_000, 1.0),
            (even, 99_000, 1.0),
            (eager, 2_500, 0.5),
            (eager, 0, 0.1),
            (SlowStart { weight_percent_min: 0.0, ..even }, 0, 0.0001),
        ] {
            let grown = start.factor(Duration::from_millis(age_ms));
            assert!((grown - factor).abs() < 1e-9, "{start:?} at {age_ms} ms: {grown}");
        }
    }
}

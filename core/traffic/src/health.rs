//! Active health checks.

pub mod checker;

pub use checker::{Checker, ProbeResult, Transition};

use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

/// A probe that every user of a cluster runs against each of its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    pub interval: Duration,
    /// Other intervals, and what chance adds to them.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub pace: HealthPace,
    pub timeout: Duration,
    /// Passes in a row that make an unhealthy host healthy; the first probe of a host needs only one.
    pub healthy_threshold: u32,
    /// Time-outs or connection failures in a row that make it unhealthy; an unexpected status counts at once.
    pub unhealthy_threshold: u32,
    /// Another port than the endpoint's.
    pub port: Option<u16>,
    pub probe: HealthProbe,
    #[serde(skip_serializing_if = "HealthLog::is_nowhere")]
    pub log: HealthLog,
}

/// When a probe follows another, where it is not after the check's interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HealthPace {
    /// The first probe of a host comes so much later at most.
    pub initial_jitter: Duration,
    /// Each other one does.
    pub jitter: Duration,
    /// … and so many hundredths of its interval.
    pub jitter_percent: u32,
    /// While nobody has called the cluster; `None` is [`checker::NO_TRAFFIC_INTERVAL`].
    pub no_traffic: Option<Duration>,
    /// … and its host is healthy; `None` is `no_traffic`.
    pub no_traffic_healthy: Option<Duration>,
    /// After a probe of a host that is not healthy; `None` is the check's interval.
    pub unhealthy: Option<Duration>,
    /// After the probe that made it so; `None` is `unhealthy`.
    pub unhealthy_edge: Option<Duration>,
    /// After the probe that made it healthy; `None` is the check's interval.
    pub healthy_edge: Option<Duration>,
}

/// Where what probes find is logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HealthLog {
    /// Files; none is no log.
    pub paths: Vec<String>,
    /// Every failed probe, and not only those that take a host out and the first.
    pub failures: bool,
    /// Every passed probe, and not only those that bring a host back.
    pub successes: bool,
}

impl HealthLog {
    pub fn is_nowhere(&self) -> bool {
        *self == Self::default()
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HealthProbe {
    /// GET `path`; 200 passes, or whatever is in `statuses`, if that has anything. An empty `host` means the cluster's name.
    Http {
        path: String,
        host: String,
        http2: bool,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        statuses: Vec<Range<u16>>,
    },
    /// `grpc.health.v1.Health/Check` for `service`; an empty `authority` means the cluster's name.
    Grpc { service: String, authority: String },
    /// A connection that opens.
    Tcp,
}

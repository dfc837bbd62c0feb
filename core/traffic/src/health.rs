//! Active health checks.

pub mod checker;

pub use checker::{Checker, ProbeResult, Transition};

use std::time::Duration;

use serde::Serialize;

/// A probe that every user of a cluster runs against each of its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    pub interval: Duration,
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
    /// GET `path`; 200 passes. An empty `host` means the cluster's name.
    Http { path: String, host: String, http2: bool },
    /// `grpc.health.v1.Health/Check` for `service`; an empty `authority` means the cluster's name.
    Grpc { service: String, authority: String },
    /// A connection that opens.
    Tcp,
}

//! Opaque TCP.

use std::time::Duration;

use serde::Serialize;

use crate::{AccessLog, WeightedCluster};

/// Relay bytes to a cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TcpProxy {
    pub stat_prefix: String,
    /// At least one, each with a weight above 0 (Envoy refuses a 0 here).
    pub clusters: Vec<WeightedCluster>,
    /// No byte either way closes the connection; `None` is an hour.
    pub idle_timeout: Option<Duration>,
    pub connect_attempts_max: u32,
    pub access_logs: Vec<AccessLog>,
}

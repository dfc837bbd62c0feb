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
    /// The client's address is the hash, for the policies that hash.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub hash_source_ip: bool,
    /// The connection ends after this; `None` is none.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub connection_duration_max: Option<Duration>,
    pub access_logs: Vec<AccessLog>,
}

impl TcpProxy {
    /// One attempt to one of these, everything else at its default.
    pub fn to(stat_prefix: &str, clusters: Vec<WeightedCluster>) -> Self {
        Self {
            stat_prefix: stat_prefix.to_owned(),
            clusters,
            idle_timeout: None,
            connect_attempts_max: 1,
            hash_source_ip: false,
            connection_duration_max: None,
            access_logs: Vec::new(),
        }
    }
}

//! Circuit breakers: how much of a cluster may be in use at once.

use serde::Serialize;

/// The bounds of the two priorities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CircuitBreakers {
    pub default: Thresholds,
    pub high: Thresholds,
}

/// Bounds of one priority; each check is `current < max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Thresholds {
    pub connections_max: u32,
    pub pending_requests_max: u32,
    pub requests_max: u32,
    pub retries_max: u32,
}

impl Thresholds {
    /// What App Mesh sent where a specification set no pool: in effect no bound.
    pub const UNLIMITED: Self = Self {
        connections_max: i32::MAX as u32,
        pending_requests_max: i32::MAX as u32,
        requests_max: i32::MAX as u32,
        retries_max: i32::MAX as u32,
    };
}

impl Default for Thresholds {
    /// Envoy's defaults (`config.cluster.v3.CircuitBreakers.Thresholds`).
    fn default() -> Self {
        Self { connections_max: 1024, pending_requests_max: 1024, requests_max: 1024, retries_max: 3 }
    }
}

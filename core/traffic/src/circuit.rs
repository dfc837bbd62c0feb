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

/// What a threshold bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounded {
    Connections,
    PendingRequests,
    Requests,
    Retries,
}

impl Thresholds {
    /// Whether one more fits while `current` are in use. Counted by workers without a lock, so a bound may be
    /// overshot by as many as race for the last place.
    pub const fn admits(&self, bounded: Bounded, current: u32) -> bool {
        current < self.bound(bounded)
    }

    pub const fn bound(&self, bounded: Bounded) -> u32 {
        match bounded {
            Bounded::Connections => self.connections_max,
            Bounded::PendingRequests => self.pending_requests_max,
            Bounded::Requests => self.requests_max,
            Bounded::Retries => self.retries_max,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_is_the_one_below_the_bound() {
        let thresholds = Thresholds::default();
        for (bounded, bound) in [
            (Bounded::Connections, 1024),
            (Bounded::PendingRequests, 1024),
            (Bounded::Requests, 1024),
            (Bounded::Retries, 3),
        ] {
            assert!(thresholds.admits(bounded, bound - 1), "{bounded:?}");
            assert!(!thresholds.admits(bounded, bound), "{bounded:?}");
        }
        let closed = Thresholds { retries_max: 0, ..thresholds };
        assert!(!closed.admits(Bounded::Retries, 0), "a bound of 0 admits nothing");
    }
}

//! Circuit breakers: how much of a cluster may be in use at once.

use serde::Serialize;

/// The bounds of the two priorities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CircuitBreakers {
    pub default: Thresholds,
    pub high: Thresholds,
}

/// Which of a cluster's two sets of thresholds a request falls under (Envoy's `RoutingPriority`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum Priority {
    #[default]
    Default,
    High,
}

/// Bounds of one priority; each check is `current < max`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    pub connections_max: u32,
    pub pending_requests_max: u32,
    pub requests_max: u32,
    pub retries_max: u32,
    /// Hosts that one worker keeps connections to at once; `None` is no bound.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub pools_max: Option<u32>,
    /// In the place of `retries_max`: retries in flight relative to requests in flight.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub retry_budget: Option<RetryBudget>,
    /// The gauges `remaining_*` tell how much is left.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub track_remaining: bool,
}

/// How many retries may be in flight: `max(percent / 100 * (active + pending), retries_min)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RetryBudget {
    /// 0–100.
    pub percent: f64,
    pub retries_min: u32,
}

impl Default for RetryBudget {
    /// Envoy's defaults (`RetryBudget` in `config.cluster.v3.CircuitBreakers.Thresholds`).
    fn default() -> Self {
        Self { percent: 20.0, retries_min: 3 }
    }
}

impl RetryBudget {
    /// The bound while `in_flight` requests are active or wait for a connection.
    pub fn bound(&self, in_flight: u32) -> u32 {
        // Saturates, and a percentage that is no number is 0.
        let share = (self.percent / 100.0 * f64::from(in_flight)) as u32;
        share.max(self.retries_min)
    }
}

/// What a threshold bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounded {
    Connections,
    PendingRequests,
    Requests,
    Retries,
    Pools,
}

impl Bounded {
    pub const ALL: [Self; 5] =
        [Self::Connections, Self::PendingRequests, Self::Requests, Self::Retries, Self::Pools];
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
            Bounded::Pools => match self.pools_max {
                Some(max) => max,
                None => u32::MAX,
            },
        }
    }

    /// What App Mesh sent where a specification set no pool: in effect no bound.
    pub const UNLIMITED: Self = Self {
        connections_max: i32::MAX as u32,
        pending_requests_max: i32::MAX as u32,
        requests_max: i32::MAX as u32,
        retries_max: i32::MAX as u32,
        pools_max: None,
        retry_budget: None,
        track_remaining: false,
    };
}

impl Default for Thresholds {
    /// Envoy's defaults (`config.cluster.v3.CircuitBreakers.Thresholds`).
    fn default() -> Self {
        Self {
            connections_max: 1024,
            pending_requests_max: 1024,
            requests_max: 1024,
            retries_max: 3,
            pools_max: None,
            retry_budget: None,
            track_remaining: false,
        }
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
        assert!(thresholds.admits(Bounded::Pools, u32::MAX - 1), "pools are not bounded by default");
        let closed = Thresholds { retries_max: 0, ..thresholds };
        assert!(!closed.admits(Bounded::Retries, 0), "a bound of 0 admits nothing");
    }

    #[test]
    fn a_budget_grows_with_the_requests_in_flight() {
        let budget = RetryBudget::default();
        for (in_flight, bound) in [(0, 3), (15, 3), (19, 3), (20, 4), (100, 20), (u32::MAX, 858_993_459)] {
            assert_eq!(budget.bound(in_flight), bound, "{in_flight}");
        }
        assert_eq!(RetryBudget { percent: f64::NAN, retries_min: 0 }.bound(100), 0);
    }
}

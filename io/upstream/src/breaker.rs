//! Circuit breakers at work: counts that workers share, and guards that give back what they took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use selvedge_telemetry::{ClusterStats, Gauge, Sharded};
use selvedge_traffic::Thresholds;
use selvedge_traffic::circuit::{Bounded, Priority};

/// What one priority of a cluster has in use.
///
/// Counts are plain atomics without a lock: `current < max` is checked, then counted, so that racing workers may
/// overshoot by a few, as in Envoy.
#[derive(Debug)]
pub struct Breaker {
    thresholds: Thresholds,
    priority: Priority,
    connections: AtomicU32,
    pending: AtomicU32,
    requests: AtomicU32,
    retries: AtomicU32,
    pools: AtomicU32,
    /// Whether the gauge says that no retry fits: under a budget the bound moves.
    budget_open: AtomicBool,
    stats: Arc<Sharded<ClusterStats>>,
}

impl Breaker {
    pub(crate) fn new(
        thresholds: Thresholds,
        priority: Priority,
        stats: Arc<Sharded<ClusterStats>>,
    ) -> Arc<Self> {
        let zero = || AtomicU32::new(0);
        Arc::new(Self {
            thresholds,
            priority,
            connections: zero(),
            pending: zero(),
            requests: zero(),
            retries: zero(),
            pools: zero(),
            budget_open: AtomicBool::new(false),
            stats,
        })
    }

    /// Room for one more connection.
    pub fn try_connection(self: &Arc<Self>) -> Option<Guard> {
        self.acquire(Bounded::Connections)
    }

    /// Room for one more request that waits for a connection.
    pub fn try_pending(self: &Arc<Self>) -> Option<Guard> {
        self.acquire(Bounded::PendingRequests)
    }

    /// Room for one more request in flight.
    pub fn try_request(self: &Arc<Self>) -> Option<Guard> {
        self.acquire(Bounded::Requests)
    }

    /// Room for one more retry, those that wait in back-off included.
    pub fn try_retry(self: &Arc<Self>) -> Option<Guard> {
        self.acquire(Bounded::Retries)
    }

    /// Takes a connection whatever the threshold: the first of a cluster is always allowed, as in Envoy.
    pub fn force_connection(self: &Arc<Self>) -> Guard {
        self.count(Bounded::Connections)
    }

    /// How many are in use.
    pub fn current(&self, bounded: Bounded) -> u32 {
        self.counter(bounded).load(Ordering::Relaxed)
    }

    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Room for one more host with connections of its own.
    pub fn try_pool(self: &Arc<Self>) -> Option<Guard> {
        self.acquire(Bounded::Pools)
    }

    fn acquire(self: &Arc<Self>, bounded: Bounded) -> Option<Guard> {
        (self.current(bounded) < self.bound(bounded)).then(|| self.count(bounded))
    }

    /// How much is left of each bound, for whoever tracks it; more than the bound may be in use for a moment.
    pub fn remaining(&self) -> Option<[(Bounded, u32); 5]> {
        self.thresholds.track_remaining.then(|| {
            Bounded::ALL.map(|bounded| (bounded, self.bound(bounded).saturating_sub(self.current(bounded))))
        })
    }

    /// The bound of this moment.
    fn bound(&self, bounded: Bounded) -> u32 {
        match (bounded, &self.thresholds.retry_budget) {
            (Bounded::Retries, Some(budget)) => {
                let active = self.current(Bounded::Requests);
                budget.bound(active.saturating_add(self.current(Bounded::PendingRequests)))
            }
            _ => self.thresholds.bound(bounded),
        }
    }

    fn show_budget(&self) {
        let open = self.current(Bounded::Retries) >= self.bound(Bounded::Retries);
        if self.budget_open.swap(open, Ordering::Relaxed) != open {
            let gauge = self.open_gauge(Bounded::Retries);
            if open { gauge.inc() } else { gauge.dec() }
        }
    }

    fn is_budgeted(&self, bounded: Bounded) -> bool {
        bounded == Bounded::Retries && self.thresholds.retry_budget.is_some()
    }

    fn count(self: &Arc<Self>, bounded: Bounded) -> Guard {
        let before = self.counter(bounded).fetch_add(1, Ordering::Relaxed);
        if self.is_budgeted(bounded) {
            self.show_budget();
        } else if before + 1 == self.thresholds.bound(bounded) {
            self.open_gauge(bounded).inc();
        }
        Guard { breaker: Arc::clone(self), bounded }
    }

    fn release(&self, bounded: Bounded) {
        let before = self.counter(bounded).fetch_sub(1, Ordering::Relaxed);
        if self.is_budgeted(bounded) {
            self.show_budget();
        } else if before == self.thresholds.bound(bounded) {
            self.open_gauge(bounded).dec();
        }
    }

    fn counter(&self, bounded: Bounded) -> &AtomicU32 {
        match bounded {
            Bounded::Connections => &self.connections,
            Bounded::PendingRequests => &self.pending,
            Bounded::Requests => &self.requests,
            Bounded::Retries => &self.retries,
            Bounded::Pools => &self.pools,
        }
    }

    fn open_gauge(&self, bounded: Bounded) -> &Gauge {
        let stats: &ClusterStats = &self.stats;
        match (self.priority, bounded) {
            (Priority::Default, Bounded::Connections) => &stats.default_cx_open,
            (Priority::Default, Bounded::PendingRequests) => &stats.default_rq_pending_open,
            (Priority::Default, Bounded::Requests) => &stats.default_rq_open,
            (Priority::Default, Bounded::Retries) => &stats.default_rq_retry_open,
            (Priority::Default, Bounded::Pools) => &stats.default_cx_pool_open,
            (Priority::High, Bounded::Pools) => &stats.high_cx_pool_open,
            (Priority::High, Bounded::Connections) => &stats.high_cx_open,
            (Priority::High, Bounded::PendingRequests) => &stats.high_rq_pending_open,
            (Priority::High, Bounded::Requests) => &stats.high_rq_open,
            (Priority::High, Bounded::Retries) => &stats.high_rq_retry_open,
        }
    }
}

/// One place taken; dropping it gives the place back.
#[derive(Debug)]
pub struct Guard {
    breaker: Arc<Breaker>,
    bounded: Bounded,
}

pub type ConnectionGuard = Guard;
pub type PendingGuard = Guard;
pub type RequestGuard = Guard;
pub type RetryGuard = Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        self.breaker.release(self.bounded);
    }
}

#[cfg(test)]
mod tests {
    use selvedge_telemetry::Registry;
    use selvedge_traffic::RetryBudget;

    use super::*;

    #[test]
    fn the_threshold_closes_the_door_and_a_dropped_guard_opens_it() {
        let stats = Registry::new(0).cluster("c");
        let thresholds = Thresholds { requests_max: 2, ..Thresholds::default() };
        let breaker = Breaker::new(thresholds, Priority::Default, Arc::clone(&stats));
        let first = breaker.try_request().expect("room for two");
        assert_eq!(stats.default_rq_open.value(), 0);
        let _second = breaker.try_request().expect("room for two");
        assert_eq!(stats.default_rq_open.value(), 1);
        assert!(breaker.try_request().is_none());
        drop(first);
        assert_eq!(stats.default_rq_open.value(), 0);
        assert_eq!(breaker.current(Bounded::Requests), 1);
        assert!(breaker.try_request().is_some());
    }

    #[test]
    fn what_is_left_is_told_to_who_tracks_it() {
        let thresholds = Thresholds { requests_max: 2, track_remaining: true, ..Thresholds::default() };
        let stats = Registry::new(0).cluster("c");
        let breaker = Breaker::new(thresholds, Priority::Default, Arc::clone(&stats));
        let left = |bounded| {
            let all = breaker.remaining().expect("it is tracked");
            all.into_iter().find(|(found, _)| *found == bounded).map(|(_, left)| left)
        };
        assert_eq!(left(Bounded::Requests), Some(2));
        let _first = breaker.try_request();
        let _forced = breaker.force_connection();
        assert_eq!((left(Bounded::Requests), left(Bounded::Connections)), (Some(1), Some(1023)));
        let silent = Breaker::new(Thresholds::default(), Priority::Default, stats);
        assert!(silent.remaining().is_none());
    }

    #[test]
    fn each_bound_has_its_own_count() {
        let thresholds = Thresholds {
            connections_max: 1,
            pending_requests_max: 1,
            requests_max: 1,
            retries_max: 0,
            ..Thresholds::default()
        };
        let breaker = Breaker::new(thresholds, Priority::High, Registry::new(0).cluster("c"));
        let guards = [breaker.try_connection(), breaker.try_pending(), breaker.try_request()];
        assert!(guards.iter().all(Option::is_some));
        assert!(breaker.try_retry().is_none());
        assert!(breaker.try_connection().is_none());
        let _forced = breaker.force_connection();
        assert_eq!(breaker.current(Bounded::Connections), 2);
    }

    #[test]
    fn a_budget_bounds_retries_by_the_requests_in_flight() {
        let budget = RetryBudget { percent: 50.0, retries_min: 1 };
        let thresholds = Thresholds { retry_budget: Some(budget), retries_max: 0, ..Thresholds::default() };
        let stats = Registry::new(0).cluster("c");
        let breaker = Breaker::new(thresholds, Priority::Default, Arc::clone(&stats));
        let first = breaker.try_retry().expect("one is always allowed");
        assert!(breaker.try_retry().is_none());
        assert_eq!(stats.default_rq_retry_open.value(), 1);
        let _requests: Vec<_> = (0..4).map(|_| breaker.try_request().expect("room")).collect();
        let _second = breaker.try_retry().expect("half of four");
        assert!(breaker.try_retry().is_none());
        drop(first);
        assert_eq!(stats.default_rq_retry_open.value(), 0);
    }
}

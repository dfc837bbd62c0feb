//! Breakers with visible states at work: one for each endpoint, one for the cluster, and the leave that they give a request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use selvedge_telemetry::{ClusterStats, Sharded};
use selvedge_traffic::breaker::{Breaker, BreakerConfig, BreakerState, Permit};

/// A breaker that workers share. Its lock is held for a few comparisons, and taken only where a breaker is configured.
#[derive(Debug)]
pub struct StateBreaker {
    scope: Scope,
    cluster: Arc<str>,
    /// Of an endpoint's breaker.
    host: Option<SocketAddr>,
    breaker: Mutex<Breaker>,
    stats: Arc<Sharded<ClusterStats>>,
}

/// What a breaker stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Endpoint,
    Cluster,
}

impl StateBreaker {
    /// One before the cluster, or before one of its hosts.
    pub(crate) fn new(
        cluster: &str,
        host: Option<SocketAddr>,
        config: BreakerConfig,
        stats: Arc<Sharded<ClusterStats>>,
    ) -> Arc<Self> {
        let scope = if host.is_some() { Scope::Endpoint } else { Scope::Cluster };
        let breaker = Mutex::new(Breaker::new(config, Instant::now()));
        Arc::new(Self { scope, cluster: cluster.into(), host, breaker, stats })
    }

    /// What it is doing.
    pub fn state(&self) -> BreakerState {
        self.lock().state(Instant::now())
    }

    /// When an open breaker lets its first probe through.
    pub fn opens_at(&self) -> Option<Instant> {
        self.lock().next_timeout()
    }

    fn try_request(&self, now: Instant) -> Option<Permit> {
        let (permit, before, after) = {
            let mut breaker = self.lock();
            let before = breaker.state_entered();
            let permit = breaker.handle_request(now);
            (permit, before, breaker.state_entered())
        };
        self.told(before, after);
        permit
    }

    fn settle(&self, permit: Permit, outcome: Option<bool>) {
        let (before, after) = {
            let mut breaker = self.lock();
            let before = breaker.state_entered();
            match outcome {
                Some(success) => {
                    breaker.handle_outcome(permit, success, Instant::now());
                }
                None => breaker.handle_abandoned(permit),
            }
            (before, breaker.state_entered())
        };
        self.told(before, after);
    }

    /// Logs that the breaker has moved, and counts it.
    fn told(&self, before: BreakerState, after: BreakerState) {
        if before != after {
            let (cluster, host) = (&*self.cluster, self.host.map(tracing::field::display));
            tracing::info!(cluster, host, from = before.as_str(), to = after.as_str(), "breaker moved");
            self.moved(before, after);
        }
    }

    /// Keeps the gauges: how many breakers are in which state.
    fn moved(&self, before: BreakerState, after: BreakerState) {
        if before == after {
            return;
        }
        let stats: &ClusterStats = &self.stats;
        for (state, change) in [(before, -1_i64), (after, 1)] {
            let gauge = match (self.scope, state) {
                (_, BreakerState::Closed) => continue,
                (Scope::Endpoint, BreakerState::Open) => &stats.breaker_endpoints_open,
                (Scope::Endpoint, BreakerState::HalfOpen) => &stats.breaker_endpoints_half_open,
                (Scope::Cluster, BreakerState::Open) => &stats.breaker_cluster_open,
                (Scope::Cluster, BreakerState::HalfOpen) => &stats.breaker_cluster_half_open,
            };
            if change > 0 { gauge.inc() } else { gauge.dec() }
        }
        match (self.scope, after) {
            (Scope::Endpoint, BreakerState::Open) => stats.breaker_endpoint_opened.inc(),
            (Scope::Cluster, BreakerState::Open) => stats.breaker_cluster_opened.inc(),
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        // What panicked did so between two comparisons; the state is whole.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StateBreaker {
    fn drop(&mut self) {
        let state = self.lock().state_entered();
        self.moved(state, BreakerState::Closed);
    }
}

/// Leave to send one request; nothing where no breaker stands. It is told how the request ended; one that is dropped
/// before says nothing of the host, and frees its place.
#[derive(Debug, Default)]
pub struct Leave {
    endpoint: Option<(Arc<StateBreaker>, Permit)>,
    cluster: Option<(Arc<StateBreaker>, Permit)>,
}

impl Leave {
    /// Asks the breakers that there are.
    ///
    /// # Errors
    /// The breaker that refuses.
    pub(crate) fn ask(
        endpoint: Option<&Arc<StateBreaker>>,
        cluster: Option<&Arc<StateBreaker>>,
    ) -> Result<Self, Scope> {
        if endpoint.is_none() && cluster.is_none() {
            return Ok(Self::default());
        }
        let now = Instant::now();
        let mut leave = Self::default();
        if let Some(breaker) = cluster {
            let permit = breaker.try_request(now).ok_or(Scope::Cluster)?;
            leave.cluster = Some((Arc::clone(breaker), permit));
        }
        if let Some(breaker) = endpoint {
            let permit = breaker.try_request(now).ok_or(Scope::Endpoint)?;
            leave.endpoint = Some((Arc::clone(breaker), permit));
        }
        Ok(leave)
    }

    /// Tells how the request ended.
    pub fn ended(&mut self, success: bool) {
        for (breaker, permit) in [self.endpoint.take(), self.cluster.take()].into_iter().flatten() {
            breaker.settle(permit, Some(success));
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        for (breaker, permit) in [self.endpoint.take(), self.cluster.take()].into_iter().flatten() {
            breaker.settle(permit, None);
        }
    }
}

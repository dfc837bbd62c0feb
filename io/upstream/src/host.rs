//! One endpoint of a cluster, as all workers share it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use selvedge_telemetry::{Counter, Gauge};
use selvedge_traffic::OutlierDetection;
use selvedge_traffic::balance::HostHealth;
use selvedge_traffic::breaker::BreakerState;
use selvedge_traffic::outlier::{Detection, Outcome, Streak};
use tokio::sync::mpsc;

use crate::state_breaker::StateBreaker;

/// A host; the same one for as long as discovery names its address, so that what is known of it survives updates.
#[derive(Debug)]
pub struct Host {
    /// Unique in the process.
    pub id: u64,
    pub address: SocketAddr,
    /// The name that the address was found by.
    pub hostname: Option<Arc<str>>,
    pub stats: HostStats,
    flags: AtomicU8,
    removed: AtomicBool,
    requests: AtomicU32,
    outlier: Option<HostOutlier>,
    pub(crate) breaker: Option<Arc<StateBreaker>>,
    created: Instant,
    /// When it last became healthy, in milliseconds after `created`.
    healthy_since_ms: AtomicU64,
    /// No probe of it has ended yet.
    unchecked: AtomicBool,
}

/// What `/clusters` tells of a host.
#[derive(Debug, Default)]
pub struct HostStats {
    pub cx_active: Gauge,
    pub cx_total: Counter,
    pub cx_connect_fail: Counter,
    pub rq_active: Gauge,
    /// Requests that wait for a connection to it.
    pub rq_pending_active: Gauge,
    pub rq_total: Counter,
    pub rq_success: Counter,
    pub rq_error: Counter,
    pub rq_timeout: Counter,
}

/// A reason for which a host is not healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HealthFlag {
    FailedActiveCheck = 1,
    FailedOutlierCheck = 1 << 1,
    FailedEds = 1 << 2,
    DegradedEds = 1 << 3,
    /// Discovery took it away, but its health check still passes.
    PendingRemoval = 1 << 4,
}

impl HealthFlag {
    const ALL: [(Self, &'static str); 5] = [
        (Self::FailedActiveCheck, "/failed_active_hc"),
        (Self::FailedOutlierCheck, "/failed_outlier_check"),
        (Self::FailedEds, "/failed_eds_health"),
        (Self::DegradedEds, "/degraded_eds_health"),
        (Self::PendingRemoval, "/pending_dynamic_removal"),
    ];
}

/// The host's part of outlier detection: it counts, the cluster's detector decides.
#[derive(Debug)]
pub(crate) struct HostOutlier {
    pub(crate) config: OutlierDetection,
    pub(crate) streak: Streak,
    /// Towards the detector; when it is full a detection is lost, and the next streak finds the host again.
    pub(crate) detections: mpsc::Sender<(u64, Detection)>,
    /// Its rates in the last interval, as bits of a float; negative where it had too few requests.
    pub(crate) rates: [AtomicU64; 2],
}

impl Host {
    pub(crate) fn new(
        id: u64,
        address: SocketAddr,
        hostname: Option<Arc<str>>,
        outlier: Option<HostOutlier>,
        breaker: Option<Arc<StateBreaker>>,
    ) -> Self {
        Self {
            id,
            address,
            hostname,
            stats: HostStats::default(),
            flags: AtomicU8::new(0),
            removed: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            outlier,
            breaker,
            created: Instant::now(),
            healthy_since_ms: AtomicU64::new(0),
            unchecked: AtomicBool::new(false),
        }
    }

    /// Discovery took the host away: its idle connections are to be closed.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    pub(crate) fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }

    /// Tells outlier detection how a request or a connection ended. Cheap: atomics, and a message at a threshold.
    pub fn report(&self, outcome: Outcome) {
        let Some(outlier) = &self.outlier else { return };
        for detection in outlier.streak.record(outcome, &outlier.config).into_iter().flatten() {
            // A full channel means that the detector has plenty to decide already.
            let _ = outlier.detections.try_send((self.id, detection));
        }
    }

    /// How long it has been healthy.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        let since = self.created + Duration::from_millis(self.healthy_since_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(since)
    }

    /// It has become healthy: slow start begins.
    pub(crate) fn became_healthy(&self) {
        let elapsed = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.healthy_since_ms.store(elapsed, Ordering::Relaxed);
    }

    /// Whether it is to be probed and no probe has ended.
    pub(crate) fn is_unchecked(&self) -> bool {
        self.unchecked.load(Ordering::Relaxed)
    }

    pub(crate) fn set_unchecked(&self, unchecked: bool) {
        self.unchecked.store(unchecked, Ordering::Relaxed);
    }

    /// What its breaker is doing; `None` where it has none.
    pub fn breaker_state(&self) -> Option<BreakerState> {
        self.breaker.as_ref().map(|breaker| breaker.state())
    }

    /// The rate of success in the last interval of outlier detection, in percent, of its answers and of local attempts;
    /// `None` where it had too few.
    pub fn success_rates(&self) -> [Option<f64>; 2] {
        let Some(outlier) = &self.outlier else { return [None, None] };
        let rate =
            |rate: &AtomicU64| Some(f64::from_bits(rate.load(Ordering::Relaxed))).filter(|rate| *rate >= 0.0);
        [rate(&outlier.rates[0]), rate(&outlier.rates[1])]
    }

    pub(crate) fn set_success_rates(&self, rates: [Option<f64>; 2]) {
        let Some(outlier) = &self.outlier else { return };
        for (rate, to) in rates.into_iter().zip(&outlier.rates) {
            to.store(rate.unwrap_or(-1.0).to_bits(), Ordering::Relaxed);
        }
    }

    pub(crate) fn streak(&self) -> Option<&Streak> {
        self.outlier.as_ref().map(|outlier| &outlier.streak)
    }

    /// A request to this host begins; for least-request balancing and `rq_active`.
    pub fn request_started(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.stats.rq_active.inc();
        self.stats.rq_total.inc();
    }

    /// The request is over, however it ended.
    pub fn request_ended(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.stats.rq_active.dec();
    }

    /// Requests in flight.
    pub fn active(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sets or clears a reason; whether that changed anything.
    pub(crate) fn set_flag(&self, flag: HealthFlag, on: bool) -> bool {
        let bit = flag as u8;
        let before = if on {
            self.flags.fetch_or(bit, Ordering::Relaxed)
        } else {
            self.flags.fetch_and(!bit, Ordering::Relaxed)
        };
        (before & bit != 0) != on
    }

    pub fn has_flag(&self, flag: HealthFlag) -> bool {
        self.flags.load(Ordering::Relaxed) & flag as u8 != 0
    }

    /// What balancing makes of the flags.
    pub fn health(&self) -> HostHealth {
        let failed = [HealthFlag::FailedActiveCheck, HealthFlag::FailedOutlierCheck, HealthFlag::FailedEds];
        if failed.into_iter().any(|flag| self.has_flag(flag)) {
            HostHealth::Unhealthy
        } else if self.has_flag(HealthFlag::DegradedEds) {
            HostHealth::Degraded
        } else {
            HostHealth::Healthy
        }
    }

    /// The flags as `/clusters` prints them: `healthy`, or `/failed_active_hc/…`.
    pub fn flags_text(&self) -> String {
        let text: String =
            HealthFlag::ALL.iter().filter(|(flag, _)| self.has_flag(*flag)).map(|(_, name)| *name).collect();
        if text.is_empty() { "healthy".to_owned() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host::new(1, SocketAddr::from(([10, 0, 0, 1], 80)), None, None, None)
    }

    #[test]
    fn any_failed_check_makes_a_host_unhealthy_and_all_must_pass_again() {
        let host = host();
        assert_eq!((host.health(), host.flags_text()), (HostHealth::Healthy, "healthy".to_owned()));
        assert!(host.set_flag(HealthFlag::FailedActiveCheck, true));
        assert!(!host.set_flag(HealthFlag::FailedActiveCheck, true), "already set");
        host.set_flag(HealthFlag::FailedOutlierCheck, true);
        assert_eq!(host.flags_text(), "/failed_active_hc/failed_outlier_check");
        host.set_flag(HealthFlag::FailedActiveCheck, false);
        assert_eq!(host.health(), HostHealth::Unhealthy);
        host.set_flag(HealthFlag::FailedOutlierCheck, false);
        host.set_flag(HealthFlag::DegradedEds, true);
        assert_eq!(host.health(), HostHealth::Degraded);
    }

    #[test]
    fn requests_in_flight_are_counted() {
        let host = host();
        host.request_started();
        host.request_started();
        host.request_ended();
        assert_eq!((host.active(), host.stats.rq_total.value(), host.stats.rq_active.value()), (1, 2, 1));
    }
}

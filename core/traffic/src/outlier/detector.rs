//! Which hosts of a cluster are out, and until when.
//!
//! ```text
//!               handle_detected (room left, enforced)
//!   in service ─────────────────────────────────────▶ ejected
//!       ▲                                                │
//!       └────────── handle_interval (time served) ───────┘
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Detection, OutlierDetection};

/// The ejections of one cluster. `K` names a host.
#[derive(Debug)]
pub struct Detector<K> {
    config: OutlierDetection,
    hosts: BTreeMap<K, Standing>,
    ejected: usize,
}

/// What became of a detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ejection {
    /// The host is out.
    Ejected,
    /// It was out already.
    AlreadyOut,
    /// Too many are out (`ejections_overflow`).
    Overflow,
    /// Detected, but enforced for a part of the detections only.
    NotEnforced,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    ejected_at: Option<Instant>,
    returned_at: Option<Instant>,
    /// Ejections that still count: the multiple of the base time.
    multiple: u32,
}

/// Hosts with this many requests in an interval take part in the success rate …
pub const SUCCESS_RATE_REQUESTS_MIN: u32 = 100;
/// … if there are this many of them …
pub const SUCCESS_RATE_HOSTS_MIN: usize = 5;
/// … and those that fall this many standard deviations below the mean are out.
const SUCCESS_RATE_DEVIATIONS: f64 = 1.9;

impl<K: Copy + Ord> Detector<K> {
    pub fn new(config: OutlierDetection) -> Self {
        Self { config, hosts: BTreeMap::new(), ejected: 0 }
    }

    /// How many hosts are out (`ejections_active`).
    pub fn ejected(&self) -> usize {
        self.ejected
    }

    pub fn is_ejected(&self, host: &K) -> bool {
        self.hosts.get(host).is_some_and(|standing| standing.ejected_at.is_some())
    }

    /// Forgets hosts that discovery took away.
    pub fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.hosts.retain(|host, _| keep(host));
        self.ejected = self.hosts.values().filter(|standing| standing.ejected_at.is_some()).count();
    }

    /// Takes a host out, if there is room. `hosts` is how many the cluster has; `random` decides where only a part of
    /// the detections is enforced.
    pub fn handle_detected(
        &mut self,
        host: K,
        detection: Detection,
        now: Instant,
        hosts: usize,
        random: u64,
    ) -> Ejection {
        let config = self.config;
        let standing = self.hosts.entry(host).or_default();
        if standing.ejected_at.is_some() {
            return Ejection::AlreadyOut;
        }
        if 100 * (self.ejected as u64 + 1) > u64::from(config.max_ejection_percent.min(100)) * hosts as u64 {
            return Ejection::Overflow;
        }
        if random % 100 >= u64::from(config.enforcement(detection)) {
            return Ejection::NotEnforced;
        }
        standing.ejected_at = Some(now);
        if config.base_ejection_time * standing.multiple < config.time_max() + config.base_ejection_time {
            standing.multiple += 1;
        }
        self.ejected += 1;
        Ejection::Ejected
    }

    /// The tick of every `interval`: hosts that have served their time come back; those that stay in service for an
    /// interval are forgiven one ejection. Returns who came back; their streaks are to be cleared.
    pub fn handle_interval(&mut self, now: Instant) -> Vec<K> {
        let config = self.config;
        let mut returned = Vec::new();
        for (host, standing) in &mut self.hosts {
            match standing.ejected_at {
                Some(since) if now.duration_since(since) >= config.time(standing.multiple) => {
                    *standing = Standing { ejected_at: None, returned_at: Some(now), ..*standing };
                    returned.push(*host);
                }
                Some(_) => {}
                None if standing.returned_at.is_none_or(|at| now.duration_since(at) >= config.interval) => {
                    standing.multiple = standing.multiple.saturating_sub(1);
                }
                None => {}
            }
        }
        self.ejected -= returned.len();
        returned
    }

    /// A passed active health check brings a host back at once. Whether it was out.
    pub fn handle_healthy(&mut self, host: &K, now: Instant) -> bool {
        let Some(standing) = self.hosts.get_mut(host).filter(|standing| standing.ejected_at.is_some()) else {
            return false;
        };
        *standing = Standing { ejected_at: None, returned_at: Some(now), ..*standing };
        self.ejected -= 1;
        true
    }
}

/// The hosts whose success rate in the last interval was an outlier: more than 1.9 standard deviations below the mean.
/// `buckets` are requests and successes of each host.
pub fn success_rate_outliers<K: Copy>(buckets: &[(K, u32, u32)]) -> Vec<K> {
    let rates: Vec<(K, f64)> = buckets
        .iter()
        .filter(|(_, requests, _)| *requests >= SUCCESS_RATE_REQUESTS_MIN)
        .map(|(host, requests, successes)| (*host, f64::from(*successes) * 100.0 / f64::from(*requests)))
        .collect();
    if rates.len() < SUCCESS_RATE_HOSTS_MIN {
        return Vec::new();
    }
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    let threshold = mean - SUCCESS_RATE_DEVIATIONS * variance.sqrt();
    rates.into_iter().filter(|(_, rate)| *rate < threshold).map(|(host, _)| host).collect()
}

impl OutlierDetection {
    /// How many of a hundred detections eject.
    fn enforcement(&self, detection: Detection) -> u32 {
        match detection {
            Detection::Consecutive5xx => self.enforcing_consecutive_5xx,
            Detection::ConsecutiveGatewayFailure => self.enforcing_consecutive_gateway_failure,
            Detection::SuccessRate => self.enforcing_success_rate,
        }
    }

    fn time_max(&self) -> Duration {
        self.max_ejection_time.max(self.base_ejection_time)
    }

    fn time(&self, multiple: u32) -> Duration {
        self.base_ejection_time.saturating_mul(multiple).min(self.time_max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn detector(max_ejection_percent: u32) -> Detector<u32> {
        Detector::new(OutlierDetection {
            max_ejection_percent,
            base_ejection_time: 30 * SECOND,
            max_ejection_time: 70 * SECOND,
            ..OutlierDetection::default()
        })
    }

    fn start() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant has no other source; the tests only add to it"
        )]
        Instant::now()
    }

    #[test]
    fn the_percentage_counts_the_host_to_be_ejected() {
        for (percent, hosts, out) in
            [(10, 9, 0), (10, 10, 1), (10, 20, 2), (50, 2, 1), (50, 1, 0), (100, 3, 3), (0, 5, 0)]
        {
            let mut detector = detector(percent);
            for host in 0..hosts {
                detector.handle_detected(host, Detection::Consecutive5xx, start(), hosts as usize, 0);
            }
            assert_eq!(detector.ejected(), out, "{percent} % of {hosts}");
        }
    }

    #[test]
    fn each_ejection_lasts_longer_until_the_longest() {
        let (mut detector, mut now) = (detector(100), start());
        for seconds in [30, 60, 70, 70] {
            assert_eq!(detector.handle_detected(1, Detection::Consecutive5xx, now, 1, 0), Ejection::Ejected);
            assert_eq!(
                detector.handle_detected(1, Detection::Consecutive5xx, now, 1, 0),
                Ejection::AlreadyOut
            );
            assert!(detector.handle_interval(now + (seconds - 1) * SECOND).is_empty(), "{seconds}");
            now += seconds * SECOND;
            assert_eq!(detector.handle_interval(now), [1]);
            assert!(!detector.is_ejected(&1));
        }
    }

    #[test]
    fn good_conduct_shortens_the_next_ejection() {
        let (mut detector, now) = (detector(100), start());
        detector.handle_detected(1, Detection::Consecutive5xx, now, 1, 0);
        assert_eq!(detector.handle_interval(now + 30 * SECOND), [1]);
        assert!(detector.handle_interval(now + 40 * SECOND).is_empty());
        let later = now + 41 * SECOND;
        detector.handle_detected(1, Detection::Consecutive5xx, later, 1, 0);
        assert_eq!(detector.handle_interval(later + 30 * SECOND), [1], "as long as the first time");
    }

    #[test]
    fn enforcement_is_a_share_of_the_detections() {
        let mut detector = detector(100);
        let gateway = Detection::ConsecutiveGatewayFailure;
        assert_eq!(detector.handle_detected(1, gateway, start(), 1, 0), Ejection::NotEnforced);
        detector.config.enforcing_consecutive_gateway_failure = 30;
        assert_eq!(detector.handle_detected(1, gateway, start(), 1, 130), Ejection::NotEnforced);
        assert_eq!(detector.handle_detected(1, gateway, start(), 1, 129), Ejection::Ejected);
    }

    #[test]
    fn a_passed_health_check_and_a_removal_make_room() {
        let (mut detector, now) = (detector(50), start());
        assert_eq!(detector.handle_detected(1, Detection::Consecutive5xx, now, 2, 0), Ejection::Ejected);
        assert_eq!(detector.handle_detected(2, Detection::Consecutive5xx, now, 2, 0), Ejection::Overflow);
        assert!(detector.handle_healthy(&1, now) && !detector.handle_healthy(&1, now));
        assert_eq!(detector.handle_detected(2, Detection::Consecutive5xx, now, 2, 0), Ejection::Ejected);
        detector.retain(|host| *host != 2);
        assert_eq!(detector.ejected(), 0);
    }

    #[test]
    fn the_host_that_falls_behind_the_others_is_the_outlier() {
        let buckets = |rates: &[u32]| {
            rates.iter().enumerate().map(|(host, rate)| (host, 100, *rate)).collect::<Vec<_>>()
        };
        assert_eq!(success_rate_outliers(&buckets(&[50, 100, 100, 100, 100])), [0]);
        assert!(success_rate_outliers(&buckets(&[50, 100, 100, 100])).is_empty(), "too few hosts");
        assert!(success_rate_outliers(&buckets(&[90, 91, 92, 93, 94])).is_empty());
        let quiet: Vec<_> = (0..9).map(|host| (host, 99, 0)).collect();
        assert!(success_rate_outliers(&quiet).is_empty(), "too few requests");
    }
}

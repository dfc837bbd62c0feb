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

use super::streak::Interval;
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
    jitter: Duration,
    ejections: u32,
}

impl<K: Copy + Ord> Detector<K> {
    pub fn new(config: OutlierDetection) -> Self {
        Self { config, hosts: BTreeMap::new(), ejected: 0 }
    }

    /// How many hosts are out (`ejections_active`).
    pub fn ejected(&self) -> usize {
        self.ejected
    }

    /// How often a host has been taken out.
    pub fn ejections(&self, host: &K) -> u32 {
        self.hosts.get(host).map_or(0, |standing| standing.ejections)
    }

    /// Since when a host is out.
    pub fn ejected_at(&self, host: &K) -> Option<Instant> {
        self.hosts.get(host)?.ejected_at
    }

    /// When a host last came back.
    pub fn returned_at(&self, host: &K) -> Option<Instant> {
        self.hosts.get(host)?.returned_at
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
        let room = (config.always_eject_one_host && self.ejected == 0)
            || 100 * (self.ejected as u64 + 1)
                <= u64::from(config.max_ejection_percent.min(100)) * hosts as u64;
        if !room {
            return Ejection::Overflow;
        }
        if random % 100 >= u64::from(config.enforcement(detection)) {
            return Ejection::NotEnforced;
        }
        standing.ejected_at = Some(now);
        standing.ejections = standing.ejections.saturating_add(1);
        let jitter_ms = u64::try_from(config.ejection_time_jitter.as_millis()).unwrap_or(u64::MAX);
        // The hundreds decided on enforcement; what is above them is as random.
        standing.jitter =
            Duration::from_millis((random / 100).checked_rem(jitter_ms.saturating_add(1)).unwrap_or(0));
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
                Some(since)
                    if now.duration_since(since) >= config.time(standing.multiple) + standing.jitter =>
                {
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

/// What an interval's counts of all hosts in service come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement<K> {
    /// Whose rate of success is too far below the others'.
    pub by_success_rate: Vec<K>,
    /// Who failed too large a part.
    pub by_failure_percentage: Vec<K>,
    /// The mean of the rates that were compared, and below what a host is out; `None` where there was nothing to compare.
    pub success_rate: Option<(f64, f64)>,
}

/// Judges the hosts in service by their last interval. Nobody is judged where the cluster has fewer than `hosts` must be.
pub fn judge<K: Copy>(config: &OutlierDetection, intervals: &[(K, Interval)]) -> Judgement<K> {
    let with_volume = |requests_min: u32| {
        let busy = intervals.iter().filter(move |(_, interval)| interval.requests >= requests_min.max(1));
        busy.filter_map(|(host, interval)| Some((*host, interval.success_rate()?))).collect::<Vec<_>>()
    };
    let mut judgement =
        Judgement { by_success_rate: Vec::new(), by_failure_percentage: Vec::new(), success_rate: None };
    let rates = with_volume(config.success_rate.requests_min);
    if !rates.is_empty() && rates.len() >= config.success_rate.hosts_min as usize {
        let count = rates.len() as f64;
        let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
        let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
        let threshold = mean - f64::from(config.success_rate.deviation_factor) / 1000.0 * variance.sqrt();
        judgement.success_rate = Some((mean, threshold));
        let out = rates.iter().filter(|(_, rate)| *rate < threshold);
        judgement.by_success_rate = out.map(|(host, _)| *host).collect();
    }
    let rates = with_volume(config.failure_percentage.requests_min);
    if !rates.is_empty() && rates.len() >= config.failure_percentage.hosts_min as usize {
        let threshold = f64::from(config.failure_percentage.threshold);
        let out = rates.iter().filter(|(_, rate)| 100.0 - rate >= threshold);
        judgement.by_failure_percentage = out.map(|(host, _)| *host).collect();
    }
    judgement
}

impl OutlierDetection {
    /// How many of a hundred detections eject.
    pub fn enforcement(&self, detection: Detection) -> u32 {
        match detection {
            Detection::Consecutive5xx => self.enforcing_consecutive_5xx,
            Detection::ConsecutiveGatewayFailure => self.enforcing_consecutive_gateway_failure,
            Detection::ConsecutiveLocalOriginFailure => self.enforcing_consecutive_local_origin_failure,
            Detection::SuccessRate => self.success_rate.enforcing,
            Detection::SuccessRateLocalOrigin => self.success_rate.enforcing_local_origin,
            Detection::FailurePercentage => self.failure_percentage.enforcing,
            Detection::FailurePercentageLocalOrigin => self.failure_percentage.enforcing_local_origin,
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
    use crate::SuccessRate;

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
    fn one_host_may_always_go_where_that_is_asked() {
        let mut detector = detector(0);
        detector.config.always_eject_one_host = true;
        assert_eq!(detector.handle_detected(1, Detection::Consecutive5xx, start(), 3, 0), Ejection::Ejected);
        assert_eq!(detector.handle_detected(2, Detection::Consecutive5xx, start(), 3, 0), Ejection::Overflow);
    }

    #[test]
    fn jitter_lengthens_an_ejection_by_at_most_itself() {
        let now = start();
        for (random, millis) in [(0, 30_000), (150_000, 31_500), (500_000, 35_000), (500_100, 30_000)] {
            let mut detector = detector(100);
            detector.config.ejection_time_jitter = 5 * SECOND;
            detector.handle_detected(1, Detection::Consecutive5xx, now, 1, random);
            let end = now + Duration::from_millis(millis);
            assert!(detector.handle_interval(end - Duration::from_millis(1)).is_empty(), "{random}");
            assert_eq!(detector.handle_interval(end), [1], "{random}");
        }
    }

    fn intervals(requests: u32, rates: &[u32]) -> Vec<(usize, Interval)> {
        let interval = |rate: &u32| Interval { requests, successes: requests * rate / 100 };
        rates.iter().map(interval).enumerate().collect()
    }

    #[test]
    fn the_host_that_falls_behind_the_others_is_the_outlier() {
        let config = OutlierDetection::default();
        for (requests, rates, out, threshold) in [
            (100, &[50, 100, 100, 100, 100][..], &[0][..], Some(52.0)),
            (100, &[50, 100, 100, 100], &[], None),
            (100, &[90, 91, 92, 93, 94], &[], Some(89.313)),
            (99, &[0; 9], &[], None),
        ] {
            let judgement = judge(&config, &intervals(requests, rates));
            assert_eq!(judgement.by_success_rate, out, "{requests} {rates:?}");
            let close = match (judgement.success_rate, threshold) {
                (Some((_, found)), Some(expected)) => (found - expected).abs() < 0.001,
                (None, None) => true,
                _ => false,
            };
            assert!(close, "{rates:?}: {:?}", judgement.success_rate);
        }
        let strict =
            SuccessRate { deviation_factor: 500, hosts_min: 3, requests_min: 10, ..config.success_rate };
        let strict = OutlierDetection { success_rate: strict, ..config };
        assert_eq!(judge(&strict, &intervals(10, &[80, 100, 100])).by_success_rate, [0]);
    }

    #[test]
    fn a_host_that_fails_too_much_is_out_whatever_the_others_do() {
        let config = OutlierDetection::default();
        for (requests, rates, out) in
            [(50, &[15, 16, 15, 100, 100][..], &[0, 2][..]), (50, &[0, 0, 0, 0], &[]), (49, &[0; 5], &[])]
        {
            let judgement = judge(&config, &intervals(requests, rates));
            assert_eq!(judgement.by_failure_percentage, out, "{requests} {rates:?}");
        }
    }
}

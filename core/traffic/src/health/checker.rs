//! The health of one host by its probes.
//!
//! A host begins unhealthy. Its first pass makes it healthy at once; later it takes `healthy_threshold` passes in a row.
//! An answer that is not the expected one makes it unhealthy at once; time-outs and connection failures only after
//! `unhealthy_threshold` in a row.

use std::time::{Duration, Instant};

use super::HealthCheck;

/// Between probes of a cluster that nobody has called yet (Envoy's `no_traffic_interval`).
pub const NO_TRAFFIC_INTERVAL: Duration = Duration::from_secs(60);

/// Probes of one host: when the next is due, and what they have shown.
#[derive(Clone, Debug)]
pub struct Checker {
    healthy: bool,
    first: bool,
    passes: u32,
    failures: u32,
    due: Instant,
}

/// How one probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    Passed,
    /// An answer, but another than expected.
    Refused,
    /// An answer that asks to be left out at once (`x-envoy-immediate-health-check-fail`).
    RefusedAtOnce,
    /// No connection, or it broke.
    NetworkFailure,
    TimedOut,
}

/// What a probe changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    None,
    BecameHealthy,
    BecameUnhealthy,
}

impl Checker {
    /// A host that has just been found; its first probe is due at `now`.
    pub fn new(now: Instant) -> Self {
        Self { healthy: false, first: true, passes: 0, failures: 0, due: now }
    }

    pub fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// Whether any probe has ended: a cluster is warm when all its hosts have been checked once.
    pub fn is_checked(&self) -> bool {
        !self.first
    }

    /// When the next probe is to start; whoever runs it starts none while one is under way.
    pub fn next_timeout(&self) -> Instant {
        self.due
    }

    /// Takes a probe's result. `had_traffic` tells whether the cluster has ever been called: until then it is probed
    /// every [`NO_TRAFFIC_INTERVAL`] only.
    pub fn handle_result(
        &mut self,
        result: ProbeResult,
        check: &HealthCheck,
        had_traffic: bool,
        now: Instant,
    ) -> Transition {
        let interval = if had_traffic { check.interval } else { NO_TRAFFIC_INTERVAL.max(check.interval) };
        self.due = now + interval;
        let before = self.healthy;
        match result {
            ProbeResult::Passed => {
                self.failures = 0;
                self.passes += 1;
                self.healthy |= self.first || self.passes >= check.healthy_threshold;
            }
            ProbeResult::Refused | ProbeResult::RefusedAtOnce => {
                self.passes = 0;
                self.healthy = false;
            }
            ProbeResult::NetworkFailure | ProbeResult::TimedOut => {
                self.passes = 0;
                self.failures += 1;
                self.healthy &= self.failures < check.unhealthy_threshold;
            }
        }
        if !self.healthy {
            self.failures = 0;
        }
        self.first = false;
        match (before, self.healthy) {
            (false, true) => Transition::BecameHealthy,
            (true, false) => Transition::BecameUnhealthy,
            _ => Transition::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HealthLog, HealthProbe};
    use super::*;

    fn start() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant has no other source; the tests only add to it"
        )]
        Instant::now()
    }

    fn check() -> HealthCheck {
        HealthCheck {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            port: None,
            probe: HealthProbe::Tcp,
            log: HealthLog::default(),
        }
    }

    #[test]
    fn thresholds_decide_but_for_the_first_pass_and_the_wrong_answer() {
        use ProbeResult::{NetworkFailure, Passed, Refused, TimedOut};
        for (results, healthy) in [
            (&[][..], false),
            (&[Passed], true),
            (&[Refused], false),
            (&[Refused, Passed], false),
            (&[Refused, Passed, Passed], true),
            (&[Refused, Passed, TimedOut, Passed], false),
            (&[Passed, Refused], false),
            (&[Passed, TimedOut, TimedOut], true),
            (&[Passed, TimedOut, NetworkFailure, TimedOut], false),
            (&[Passed, TimedOut, TimedOut, Passed, TimedOut, TimedOut], true),
            (&[Passed, ProbeResult::RefusedAtOnce], false),
        ] {
            let mut checker = Checker::new(start());
            for result in results {
                checker.handle_result(*result, &check(), true, start());
            }
            assert_eq!(checker.is_healthy(), healthy, "{results:?}");
            assert_eq!(checker.is_checked(), !results.is_empty());
        }
    }

    #[test]
    fn a_change_is_told_once() {
        let (mut checker, now) = (Checker::new(start()), start());
        let mut tell = |result| checker.handle_result(result, &check(), true, now);
        assert_eq!(tell(ProbeResult::Passed), Transition::BecameHealthy);
        assert_eq!(tell(ProbeResult::Passed), Transition::None);
        assert_eq!(tell(ProbeResult::Refused), Transition::BecameUnhealthy);
        assert_eq!(tell(ProbeResult::Refused), Transition::None);
    }

    #[test]
    fn a_cluster_without_traffic_is_left_alone_for_a_minute() {
        let (mut checker, now) = (Checker::new(start()), start());
        assert!(checker.next_timeout() <= now);
        checker.handle_result(ProbeResult::Passed, &check(), false, now);
        assert_eq!(checker.next_timeout(), now + NO_TRAFFIC_INTERVAL);
        checker.handle_result(ProbeResult::Passed, &check(), true, now);
        assert_eq!(checker.next_timeout(), now + Duration::from_secs(5));
    }
}

//! The health of one host by its probes.
//!
//! A host begins unhealthy. Its first pass makes it healthy at once; later it takes `healthy_threshold` passes in a row.
//! An answer that is not the expected one makes it unhealthy at once; time-outs and connection failures only after
//! `unhealthy_threshold` in a row.

use std::time::{Duration, Instant};

use super::HealthCheck;

/// Between probes of a cluster that nobody has called yet (Envoy's `no_traffic_interval`).
pub const NO_TRAFFIC_INTERVAL: Duration = Duration::from_secs(60);
/// More hundredths of an interval than this add no more to it.
const JITTER_PERCENT_MAX: u32 = 1_000;

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

    /// The same, with what chance adds before the first probe; `random` is any number.
    pub fn of(check: &HealthCheck, random: u64, now: Instant) -> Self {
        Self::new(now + part(check.pace.initial_jitter, random))
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
    /// every [`NO_TRAFFIC_INTERVAL`] only. `random` is any number: it feeds what chance adds to the interval.
    pub fn handle_result(
        &mut self,
        result: ProbeResult,
        check: &HealthCheck,
        had_traffic: bool,
        random: u64,
        now: Instant,
    ) -> Transition {
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
        let edge = self.first || before != self.healthy;
        self.first = false;
        self.due = now + check.wait(self.healthy, edge, had_traffic, random);
        match (before, self.healthy) {
            (false, true) => Transition::BecameHealthy,
            (true, false) => Transition::BecameUnhealthy,
            _ => Transition::None,
        }
    }
}

impl HealthCheck {
    /// From a probe to the next. `edge`: the probe changed the host's health, or was its first.
    fn wait(&self, healthy: bool, edge: bool, had_traffic: bool, random: u64) -> Duration {
        let pace = &self.pace;
        let no_traffic = pace.no_traffic.unwrap_or_else(|| NO_TRAFFIC_INTERVAL.max(self.interval));
        let interval = match (had_traffic, healthy) {
            (false, true) => pace.no_traffic_healthy.unwrap_or(no_traffic),
            (false, false) => no_traffic,
            (true, true) => pace.healthy_edge.filter(|_| edge).unwrap_or(self.interval),
            (true, false) => {
                let unhealthy = pace.unhealthy.unwrap_or(self.interval);
                pace.unhealthy_edge.filter(|_| edge).unwrap_or(unhealthy)
            }
        };
        let percent = interval * self.pace.jitter_percent.min(JITTER_PERCENT_MAX) / 100;
        interval + part(pace.jitter, random) + part(percent, random.rotate_left(32))
    }
}

/// A random part of `whole`, in milliseconds below it.
fn part(whole: Duration, random: u64) -> Duration {
    let whole = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random.checked_rem(whole).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::{HealthLog, HealthPace, HealthProbe};
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
            pace: HealthPace::default(),
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
                checker.handle_result(*result, &check(), true, 0, start());
            }
            assert_eq!(checker.is_healthy(), healthy, "{results:?}");
            assert_eq!(checker.is_checked(), !results.is_empty());
        }
    }

    #[test]
    fn a_change_is_told_once() {
        let (mut checker, now) = (Checker::new(start()), start());
        let mut tell = |result| checker.handle_result(result, &check(), true, 0, now);
        assert_eq!(tell(ProbeResult::Passed), Transition::BecameHealthy);
        assert_eq!(tell(ProbeResult::Passed), Transition::None);
        assert_eq!(tell(ProbeResult::Refused), Transition::BecameUnhealthy);
        assert_eq!(tell(ProbeResult::Refused), Transition::None);
    }

    #[test]
    fn a_cluster_without_traffic_is_left_alone_for_a_minute() {
        let (mut checker, now) = (Checker::new(start()), start());
        assert!(checker.next_timeout() <= now);
        checker.handle_result(ProbeResult::Passed, &check(), false, 0, now);
        assert_eq!(checker.next_timeout(), now + NO_TRAFFIC_INTERVAL);
        checker.handle_result(ProbeResult::Passed, &check(), true, 0, now);
        assert_eq!(checker.next_timeout(), now + Duration::from_secs(5));
    }

    #[test]
    fn each_change_has_its_interval_and_chance_adds_to_it() {
        let seconds = Duration::from_secs;
        let pace = HealthPace {
            initial_jitter: seconds(2),
            jitter: Duration::ZERO,
            jitter_percent: 0,
            no_traffic: Some(seconds(20)),
            no_traffic_healthy: Some(seconds(30)),
            unhealthy: Some(seconds(7)),
            unhealthy_edge: Some(seconds(1)),
            healthy_edge: Some(seconds(3)),
        };
        let check = HealthCheck { pace, ..check() };
        let now = start();
        let mut checker = Checker::of(&check, 1_500, now);
        assert_eq!(checker.next_timeout(), now + Duration::from_millis(1_500));
        for (result, had_traffic, wait) in [
            (ProbeResult::Refused, false, 20),
            (ProbeResult::Passed, true, 7),
            (ProbeResult::Passed, true, 3),
            (ProbeResult::Passed, true, 5),
            (ProbeResult::Passed, false, 30),
            (ProbeResult::Refused, true, 1),
            (ProbeResult::Refused, true, 7),
        ] {
            checker.handle_result(result, &check, had_traffic, 0, now);
            assert_eq!(checker.next_timeout(), now + seconds(wait), "{result:?} {had_traffic}");
        }
        let jittered = HealthPace { jitter: seconds(4), jitter_percent: 50, ..pace };
        let check = HealthCheck { pace: jittered, ..check };
        let random = 3_000 + (1 << 32);
        checker.handle_result(ProbeResult::Refused, &check, true, random, now);
        let added = checker.next_timeout() - now - seconds(7);
        assert!(added > Duration::ZERO && added < seconds(4) + Duration::from_millis(3_500), "{added:?}");
    }
}

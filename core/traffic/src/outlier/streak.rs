//! What one host answered lately.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::OutlierDetection;

/// How one request or connection ended, as outlier detection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Status(u16),
    /// A connection is up. It says nothing, unless local failures are judged apart: then it ends a row of them.
    Connected,
    /// Refused, unreachable, TLS failed, not up in time, or broken off before an answer: counts as 503.
    ConnectFailed,
    /// No answer in time: counts as 504.
    TimedOut,
    /// An opaque connection that its host broke off: counts as 500.
    Failed,
}

/// Why a host should leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    Consecutive5xx,
    ConsecutiveGatewayFailure,
    ConsecutiveLocalOriginFailure,
    SuccessRate,
    SuccessRateLocalOrigin,
    FailurePercentage,
    FailurePercentageLocalOrigin,
}

/// Counters of one host; workers count without a lock, a lost race shifts a detection by one answer.
#[derive(Debug, Default)]
pub struct Streak {
    errors: AtomicU32,
    gateway_errors: AtomicU32,
    local_failures: AtomicU32,
    external: Bucket,
    local: Bucket,
}

#[derive(Debug, Default)]
struct Bucket {
    requests: AtomicU32,
    successes: AtomicU32,
}

/// What an interval brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    pub requests: u32,
    pub successes: u32,
}

/// The detections of one outcome: at most two, of different sorts.
pub type Detections = [Option<Detection>; 2];

const NOTHING: Detections = [None, None];

impl Streak {
    /// Counts an outcome. A counter that reaches its threshold starts again from 0, whatever becomes of the detection.
    pub fn record(&self, outcome: Outcome, config: &OutlierDetection) -> Detections {
        let split = config.split_local_origin;
        match outcome {
            Outcome::Status(status) => self.record_status(status, config),
            Outcome::Failed => self.record_status(500, config),
            Outcome::Connected if split => {
                self.local.count(true);
                self.local_failures.store(0, Relaxed);
                NOTHING
            }
            Outcome::Connected => NOTHING,
            Outcome::ConnectFailed | Outcome::TimedOut if split => {
                self.local.count(false);
                let reached = reaches(&self.local_failures, config.consecutive_local_origin_failure);
                [reached.then_some(Detection::ConsecutiveLocalOriginFailure), None]
            }
            Outcome::ConnectFailed => self.record_status(503, config),
            Outcome::TimedOut => self.record_status(504, config),
        }
    }

    fn record_status(&self, status: u16, config: &OutlierDetection) -> Detections {
        let success = !(500..600).contains(&status);
        self.external.count(success);
        if success {
            self.errors.store(0, Relaxed);
            self.gateway_errors.store(0, Relaxed);
            return NOTHING;
        }
        let gateway = if matches!(status, 502..=504) {
            reaches(&self.gateway_errors, config.consecutive_gateway_failure)
        } else {
            self.gateway_errors.store(0, Relaxed);
            false
        };
        let errors = reaches(&self.errors, config.consecutive_5xx);
        [gateway.then_some(Detection::ConsecutiveGatewayFailure), errors.then_some(Detection::Consecutive5xx)]
    }

    /// Forgets what has happened in a row: the host is back.
    pub fn clear(&self) {
        self.errors.store(0, Relaxed);
        self.gateway_errors.store(0, Relaxed);
        self.local_failures.store(0, Relaxed);
    }

    /// Forgets one row: it has been judged, whatever came of it.
    pub fn clear_row(&self, detection: Detection) {
        match detection {
            Detection::Consecutive5xx => self.errors.store(0, Relaxed),
            Detection::ConsecutiveGatewayFailure => self.gateway_errors.store(0, Relaxed),
            Detection::ConsecutiveLocalOriginFailure => self.local_failures.store(0, Relaxed),
            _ => {}
        }
    }

    /// What was answered since the last call.
    pub fn take_external(&self) -> Interval {
        self.external.take()
    }

    /// What succeeded and failed on this side since the last call; nothing unless that is judged apart.
    pub fn take_local(&self) -> Interval {
        self.local.take()
    }
}

impl Bucket {
    fn count(&self, success: bool) {
        self.requests.fetch_add(1, Relaxed);
        self.successes.fetch_add(u32::from(success), Relaxed);
    }

    fn take(&self) -> Interval {
        Interval { requests: self.requests.swap(0, Relaxed), successes: self.successes.swap(0, Relaxed) }
    }
}

impl Interval {
    /// The share of successes in percent; `None` without requests.
    pub fn success_rate(self) -> Option<f64> {
        (self.requests > 0).then(|| f64::from(self.successes) * 100.0 / f64::from(self.requests))
    }
}

fn reaches(counter: &AtomicU32, threshold: u32) -> bool {
    let reached = threshold > 0 && counter.fetch_add(1, Relaxed) + 1 >= threshold;
    if reached {
        counter.store(0, Relaxed);
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: 3,
            consecutive_gateway_failure: 2,
            consecutive_local_origin_failure: 2,
            ..OutlierDetection::default()
        }
    }

    fn detected(config: &OutlierDetection, outcomes: &[Outcome]) -> Vec<Vec<Detection>> {
        let streak = Streak::default();
        outcomes
            .iter()
            .map(|outcome| streak.record(*outcome, config).into_iter().flatten().collect())
            .collect()
    }

    #[test]
    fn errors_in_a_row_are_detected() {
        let (errors, gateway) = (Detection::Consecutive5xx, Detection::ConsecutiveGatewayFailure);
        let status = Outcome::Status;
        for (outcomes, expected) in [
            (vec![status(500), status(500), status(500)], vec![vec![], vec![], vec![errors]]),
            (vec![status(500), status(500), status(200), status(500)], vec![vec![]; 4]),
            (
                vec![status(503), status(503), status(503), status(502)],
                vec![vec![], vec![gateway], vec![errors], vec![gateway]],
            ),
            (vec![status(503), status(500), status(503)], vec![vec![], vec![], vec![errors]]),
            (vec![Outcome::ConnectFailed, Outcome::TimedOut], vec![vec![], vec![gateway]]),
            (vec![Outcome::Connected, Outcome::Failed, Outcome::Failed], vec![vec![], vec![], vec![]]),
            (vec![status(404), status(501), status(499)], vec![vec![]; 3]),
        ] {
            assert_eq!(detected(&config(), &outcomes), expected, "{outcomes:?}");
        }
        let together = OutlierDetection { consecutive_5xx: 2, ..config() };
        assert_eq!(detected(&together, &[status(503), status(503)])[1], [gateway, errors], "both at once");
    }

    #[test]
    fn local_failures_are_judged_apart_where_asked() {
        let split = OutlierDetection { split_local_origin: true, ..config() };
        let local = Detection::ConsecutiveLocalOriginFailure;
        for (outcomes, expected) in [
            (vec![Outcome::ConnectFailed, Outcome::TimedOut], vec![vec![], vec![local]]),
            (vec![Outcome::TimedOut, Outcome::Connected, Outcome::TimedOut], vec![vec![]; 3]),
            (
                vec![Outcome::TimedOut, Outcome::Status(200), Outcome::TimedOut],
                vec![vec![], vec![], vec![local]],
            ),
            (vec![Outcome::ConnectFailed, Outcome::Status(503)], vec![vec![]; 2]),
        ] {
            assert_eq!(detected(&split, &outcomes), expected, "{outcomes:?}");
        }
    }

    #[test]
    fn an_interval_counts_and_is_emptied() {
        let streak = Streak::default();
        for outcome in [Outcome::Status(200), Outcome::Status(503), Outcome::ConnectFailed] {
            streak.record(outcome, &OutlierDetection::default());
        }
        assert_eq!(streak.take_external(), Interval { requests: 3, successes: 1 });
        assert_eq!(streak.take_external(), Interval::default());
        assert_eq!(streak.take_local(), Interval::default());
        assert_eq!(Interval::default().success_rate(), None);
        assert_eq!(Interval { requests: 4, successes: 1 }.success_rate(), Some(25.0));
    }
}

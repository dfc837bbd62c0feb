//! What one host answered lately.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::OutlierDetection;

/// How one request or connection ended, as outlier detection sees it. An opened connection says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Status(u16),
    /// Refused, unreachable, TLS failed or not up in time: counts as 503.
    ConnectFailed,
    /// No answer in time: counts as 504.
    TimedOut,
    /// Broken off: counts as 500.
    Reset,
}

/// Why a host should leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    Consecutive5xx,
    ConsecutiveGatewayFailure,
    SuccessRate,
}

/// Counters of one host; workers count without a lock, a lost race shifts a detection by one answer.
#[derive(Debug, Default)]
pub struct Streak {
    errors: AtomicU32,
    gateway_errors: AtomicU32,
    requests: AtomicU32,
    successes: AtomicU32,
}

impl Outcome {
    fn status(self) -> u16 {
        match self {
            Self::Status(status) => status,
            Self::ConnectFailed => 503,
            Self::TimedOut => 504,
            Self::Reset => 500,
        }
    }
}

impl Streak {
    /// Counts an outcome. A counter that reaches its threshold starts again from 0, whatever becomes of the detection.
    pub fn record(&self, outcome: Outcome, config: &OutlierDetection) -> Option<Detection> {
        self.requests.fetch_add(1, Relaxed);
        let status = outcome.status();
        if !(500..600).contains(&status) {
            self.successes.fetch_add(1, Relaxed);
            self.clear();
            return None;
        }
        let gateway = matches!(status, 502..=504)
            .then(|| reaches(&self.gateway_errors, config.consecutive_gateway_failure));
        if gateway.is_none() {
            self.gateway_errors.store(0, Relaxed);
        }
        if reaches(&self.errors, config.consecutive_5xx) {
            return Some(Detection::Consecutive5xx);
        }
        (gateway == Some(true)).then_some(Detection::ConsecutiveGatewayFailure)
    }

    /// Forgets what has happened in a row: the host is back.
    pub fn clear(&self) {
        self.errors.store(0, Relaxed);
        self.gateway_errors.store(0, Relaxed);
    }

    /// Requests and successes since the last call: one interval's bucket.
    pub fn take_bucket(&self) -> (u32, u32) {
        (self.requests.swap(0, Relaxed), self.successes.swap(0, Relaxed))
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

    #[test]
    fn errors_in_a_row_are_detected() {
        let config = OutlierDetection {
            consecutive_5xx: 3,
            consecutive_gateway_failure: 2,
            ..OutlierDetection::default()
        };
        let (errors, gateway) = (Some(Detection::Consecutive5xx), Some(Detection::ConsecutiveGatewayFailure));
        let status = Outcome::Status;
        for (outcomes, detected) in [
            (vec![status(500), status(500), status(500)], vec![None, None, errors]),
            (vec![status(500), status(500), status(200), status(500)], vec![None; 4]),
            (vec![status(503), status(503), status(503)], vec![None, gateway, errors]),
            (vec![status(503), status(500), status(503)], vec![None, None, errors]),
            (vec![Outcome::ConnectFailed, Outcome::TimedOut], vec![None, gateway]),
            (
                vec![Outcome::Reset, Outcome::Reset, Outcome::Reset, Outcome::Reset],
                vec![None, None, errors, None],
            ),
            (vec![status(404), status(501), status(499)], vec![None; 3]),
        ] {
            let streak = Streak::default();
            let found: Vec<_> = outcomes.iter().map(|outcome| streak.record(*outcome, &config)).collect();
            assert_eq!(found, detected, "{outcomes:?}");
        }
    }

    #[test]
    fn a_bucket_counts_and_is_emptied() {
        let streak = Streak::default();
        for outcome in [Outcome::Status(200), Outcome::Status(503), Outcome::ConnectFailed] {
            streak.record(outcome, &OutlierDetection::default());
        }
        assert_eq!(streak.take_bucket(), (3, 1));
        assert_eq!(streak.take_bucket(), (0, 0));
    }
}

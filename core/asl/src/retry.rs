//! Retriers and catchers: what happens after an error.

use selvedge_query::Path;
use serde_json::Value;

use crate::Payload;

/// One entry of a state's `Retry`.
#[derive(Clone, Debug)]
pub struct Retrier {
    /// The names of errors that it is for.
    pub error_equals: Vec<Box<str>>,
    /// Seconds before the first try anew; at least 1.
    pub interval_seconds: u64,
    /// How often it tries; 0 is never.
    pub max_attempts: u64,
    /// What the interval is multiplied with, from one try to the next; at least 1.
    pub backoff_rate: f64,
    /// The longest interval, in seconds.
    pub max_delay_seconds: Option<u64>,
    /// Whether the interval is drawn.
    pub jitter: Jitter,
}

/// How an interval is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// It is not.
    None,
    /// Between nothing and the whole.
    Full,
}

/// One entry of a state's `Catch`.
#[derive(Clone, Debug)]
pub struct Catcher {
    /// The names of errors that it is for.
    pub error_equals: Vec<Box<str>>,
    /// The state that goes on.
    pub next: Box<str>,
    /// Where the error goes in the input; none discards it.
    pub result_path: Option<Path>,
    /// JSONata: the output.
    pub output: Option<Payload>,
    /// Variables to assign.
    pub assign: Option<Payload>,
    /// The entry's comment and everything else that was written.
    pub written: Value,
}

impl Retrier {
    /// The delay before try `attempt` anew (counted from 1) in milliseconds; `unit` is drawn from `[0, 1)`.
    pub fn delay_ms(&self, attempt: u64, unit: f64) -> u64 {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.interval_seconds as f64 * self.backoff_rate.powi(exponent);
        let longest = self.max_delay_seconds.map_or(MAX_DELAY_SECONDS, |most| most as f64);
        let seconds = if seconds.is_finite() { seconds.min(longest) } else { longest };
        let seconds = if self.jitter == Jitter::Full { seconds * unit } else { seconds };
        (seconds * 1000.0) as u64
    }
}

/// A year: longer than any execution may live.
const MAX_DELAY_SECONDS: f64 = 31_622_400.0;

/// Whether an entry for the names in `error_equals` takes an error.
pub(crate) fn takes(error_equals: &[Box<str>], error: &str) -> bool {
    // What the machine itself got wrong is nobody's to handle.
    if error == "States.Runtime" {
        return false;
    }
    let is_timeout = error == "States.Timeout" || error == "States.HeartbeatTimeout";
    error_equals.iter().any(|name| match &**name {
        "States.ALL" => error != "States.DataLimitExceeded",
        "States.TaskFailed" => {
            let is_of_task = error == "States.TaskFailed" || error.starts_with("States.Http.");
            !is_timeout && (is_of_task || !error.starts_with("States."))
        }
        "States.Timeout" => is_timeout,
        name => name == error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retrier() -> Retrier {
        Retrier {
            error_equals: Vec::new(),
            interval_seconds: 2,
            max_attempts: 5,
            backoff_rate: 2.0,
            max_delay_seconds: Some(10),
            jitter: Jitter::None,
        }
    }

    #[test]
    fn intervals_grow_to_their_bound() {
        let delays: Vec<u64> = (1..=5).map(|attempt| retrier().delay_ms(attempt, 0.5)).collect();
        assert_eq!(delays, [2000, 4000, 8000, 10_000, 10_000]);
        let drawn = Retrier { jitter: Jitter::Full, ..retrier() };
        assert_eq!(drawn.delay_ms(2, 0.25), 1000);
        let endless = Retrier { max_delay_seconds: None, backoff_rate: 1e300, ..retrier() };
        assert_eq!(endless.delay_ms(u64::MAX, 0.0), MAX_DELAY_SECONDS as u64 * 1000);
    }

    #[test]
    fn names_take_their_errors() {
        for (name, error, expected) in [
            ("States.ALL", "MyError", true),
            ("States.ALL", "States.Timeout", true),
            ("States.ALL", "States.DataLimitExceeded", false),
            ("States.ALL", "States.Runtime", false),
            ("States.Runtime", "States.Runtime", false),
            ("States.DataLimitExceeded", "States.DataLimitExceeded", true),
            ("States.TaskFailed", "MyError", true),
            ("States.TaskFailed", "States.Http.StatusCode.503", true),
            ("States.TaskFailed", "States.NoChoiceMatched", false),
            ("States.TaskFailed", "States.Timeout", false),
            ("States.Timeout", "States.HeartbeatTimeout", true),
            ("States.HeartbeatTimeout", "States.Timeout", false),
            ("MyError", "Other", false),
        ] {
            assert_eq!(takes(&[name.into()], error), expected, "{name} {error}");
        }
    }
}

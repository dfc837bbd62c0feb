//! What was served in the last five seconds, a second at a time, as mod_status counts it.

use std::sync::{Mutex, PoisonError};

use crate::stats::Snapshot;

/// The seconds that an average is of.
const SECONDS: usize = 5;

/// Totals at the ends of the last seconds, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<[Totals; SECONDS + 1]>);

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    requests: u64,
    sent: u64,
}

/// What a second saw, on average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Average {
    pub(crate) requests: u64,
    /// Bytes.
    pub(crate) sent: u64,
}

impl Recent {
    /// A second is over; `now` is what was served until then.
    pub(crate) fn tick(&self, now: Snapshot) {
        let mut seconds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seconds.rotate_left(1);
        seconds[SECONDS] = Totals { requests: now.requests, sent: now.sent };
    }

    pub(crate) fn average(&self) -> Average {
        let seconds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (oldest, newest) = (seconds[0], seconds[SECONDS]);
        Average {
            requests: newest.requests.saturating_sub(oldest.requests) / SECONDS as u64,
            sent: newest.sent.saturating_sub(oldest.sent) / SECONDS as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_is_of_the_last_five_seconds() {
        let recent = Recent::default();
        let at = |requests, sent| Snapshot { connections: 0, active: 0, requests, sent };
        assert_eq!(recent.average(), Average::default());
        recent.tick(at(100, 5000));
        assert_eq!(recent.average(), Average { requests: 20, sent: 1000 });
        for second in 1..=4 {
            recent.tick(at(100 + second * 10, 5000));
        }
        assert_eq!(recent.average(), Average { requests: 28, sent: 1000 });
        // The second with the hundred is a sixth one.
        recent.tick(at(150, 5000));
        assert_eq!(recent.average(), Average { requests: 10, sent: 0 });
    }
}

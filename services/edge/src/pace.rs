//! How fast bytes leave, where that is bounded: of a connection, of a client, of everything under one rate.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Who has slept through its turn does not catch up on more than this.
const CATCH_UP: Duration = Duration::from_millis(100);

/// A rate that several senders share. Each says what it has sent and hears how long to wait: the time that is owed is kept
/// in one place, so that all together are no faster than one would be.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    /// When everything that was sent is paid for. Locked for a sum.
    due: Mutex<Option<Instant>>,
}

impl Pacer {
    /// Notes `bytes` under a rate of bytes a second; the wait until more may be sent.
    pub(crate) fn sent(&self, bytes: usize, rate: u64, now: Instant) -> Duration {
        if rate == 0 {
            return Duration::ZERO;
        }
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let from = due.unwrap_or(now).max(now.checked_sub(CATCH_UP).unwrap_or(now));
        let until = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
        *due = Some(until);
        until.saturating_duration_since(now)
    }
}

/// Bytes that may be sent at once under a rate: a tenth of a second's, within reason.
pub(crate) fn step(rate: Option<u64>) -> usize {
    rate.map_or(usize::MAX, |rate| usize::try_from(rate / 10).unwrap_or(usize::MAX).clamp(1024, 256 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_senders_together_keep_the_rate() {
        let pacer = Pacer::default();
        let begin = Instant::now();
        let mut now = begin;
        let mut bytes = 0;
        // Two senders in turn, each of which waits as it is told.
        let mut ready = [begin; 2];
        while now < begin + Duration::from_secs(10) {
            let sender = usize::from(ready[1] < ready[0]);
            now = now.max(ready[sender]);
            bytes += 5_000;
            ready[sender] = now + pacer.sent(5_000, 100_000, now);
        }
        let took = now.duration_since(begin).as_secs_f64();
        let rate = bytes as f64 / took;
        assert!((90_000.0..112_000.0).contains(&rate), "{rate}");
        // A pause is not made up for.
        let later = now + Duration::from_secs(60);
        let wait = pacer.sent(100_000, 100_000, later);
        assert!(wait >= Duration::from_millis(900), "{wait:?}");
        assert_eq!(pacer.sent(1 << 30, 0, later), Duration::ZERO, "no rate is no bound");
    }

    #[test]
    fn a_step_is_a_tenth_of_a_second() {
        assert_eq!((step(None), step(Some(1_000_000)), step(Some(1))), (usize::MAX, 100_000, 1024));
    }
}

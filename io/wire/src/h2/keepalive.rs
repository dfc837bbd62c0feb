//! Whether the other end is still there, asked by PING frames. Whatever comes is an answer in time; only the answer to the
//! question ends the wait for it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::task::{Context, Poll};
use std::time::Duration;

use selvedge_traffic::Http2Keepalive;
use tokio::time::Instant;

use crate::deadline::Deadline;

/// What our questions hold; answers repeat it.
pub(super) const QUESTION: [u8; 8] = *b"selv-ask";

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// A question is to be sent.
    Ask,
    /// The answer has not come in time.
    Gone,
}

/// The clock of one connection's questions.
#[derive(Debug)]
pub(super) struct Keepalive {
    terms: Http2Keepalive,
    /// Of the chance by which intervals differ.
    seed: u64,
    deadline: Deadline,
    /// A question is open.
    asked: bool,
    /// Something has come since the clock was last looked at.
    heard: bool,
    heard_at: Instant,
}

impl Keepalive {
    pub(super) fn new(terms: Http2Keepalive) -> Self {
        let mut keepalive = Self {
            terms,
            seed: RandomState::new().build_hasher().finish(),
            deadline: Deadline::default(),
            asked: false,
            heard: false,
            heard_at: Instant::now(),
        };
        keepalive.wait();
        keepalive
    }

    /// Something has come.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// The answer has come.
    pub(super) fn answered(&mut self) {
        if std::mem::take(&mut self.asked) {
            self.wait();
        }
    }

    /// A stream is about to begin: whether a question goes ahead of it.
    pub(super) fn asks_ahead(&mut self) -> bool {
        let Some(idle) = self.terms.idle_interval else { return false };
        if self.asked || self.heard || self.heard_at.elapsed() < idle {
            return false;
        }
        self.ask();
        true
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Due {
        if std::mem::take(&mut self.heard) {
            self.heard_at = Instant::now();
            if self.asked {
                self.deadline.set(Some(self.heard_at + self.terms.timeout));
            }
        }
        match self.deadline.poll(cx) {
            Poll::Pending => Due::Nothing,
            Poll::Ready(()) if self.asked => Due::Gone,
            Poll::Ready(()) => {
                self.ask();
                Due::Ask
            }
        }
    }

    fn ask(&mut self) {
        self.asked = true;
        self.deadline.set(Some(Instant::now() + self.terms.timeout));
    }

    fn wait(&mut self) {
        let next = self.terms.interval.map(|interval| Instant::now() + interval + self.jitter(interval));
        self.deadline.set(next);
    }

    /// At most the share of an interval that chance may add (xorshift).
    fn jitter(&mut self, interval: Duration) -> Duration {
        let share = interval * self.terms.jitter_percent / 100;
        for shift in [13_i32, -7, 17] {
            self.seed ^= if shift > 0 { self.seed << shift } else { self.seed >> -shift };
        }
        // 53 bits are what fits a fraction.
        share.mul_f64((self.seed >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    async fn due(keepalive: &mut Keepalive) -> Due {
        poll_fn(|cx| match keepalive.poll(cx) {
            Due::Nothing => Poll::Pending,
            due => Poll::Ready(due),
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_answers_stays_and_whoever_is_silent_goes() {
        let begun = Instant::now();
        let mut keepalive =
            Keepalive::new(Http2Keepalive { jitter_percent: 0, ..Http2Keepalive::every(S(10), S(3)) });
        assert_eq!((due(&mut keepalive).await, begun.elapsed()), (Due::Ask, S(10)));
        keepalive.answered();
        assert_eq!((due(&mut keepalive).await, begun.elapsed()), (Due::Ask, S(20)));
        // Something else comes after two seconds: the answer has three more.
        let waits = tokio::time::timeout(S(2), due(&mut keepalive)).await;
        assert!(waits.is_err());
        keepalive.heard();
        assert_eq!((due(&mut keepalive).await, begun.elapsed()), (Due::Gone, S(25)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_goes_ahead_of_a_stream_after_idleness() {
        let terms =
            Http2Keepalive { interval: None, idle_interval: Some(S(5)), ..Http2Keepalive::every(S(1), S(3)) };
        let mut keepalive = Keepalive::new(terms);
        assert!(!keepalive.asks_ahead(), "it has only begun");
        assert!(tokio::time::timeout(S(6), due(&mut keepalive)).await.is_err(), "nobody asks in between");
        assert!(keepalive.asks_ahead() && !keepalive.asks_ahead(), "once");
        keepalive.answered();
        keepalive.heard();
        assert!(tokio::time::timeout(S(4), due(&mut keepalive)).await.is_err());
        assert!(!keepalive.asks_ahead(), "it has been heard of");
    }

    #[tokio::test(start_paused = true)]
    async fn chance_makes_intervals_longer_by_no_more_than_its_share() {
        let mut keepalive =
            Keepalive::new(Http2Keepalive { jitter_percent: 50, ..Http2Keepalive::every(S(10), S(3)) });
        let drawn: Vec<Duration> = (0..1000).map(|_| keepalive.jitter(S(10))).collect();
        assert!(drawn.iter().all(|jitter| *jitter <= S(5)));
        assert!(drawn.iter().any(|jitter| *jitter < S(1)) && drawn.iter().any(|jitter| *jitter > S(4)));
    }
}

//! Time-outs that are cheap to move: one timer for each connection, touched only when a deadline comes nearer than the
//! timer, or when it fires too early and is set to the deadline of that moment.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::time::{Instant, Sleep, sleep_until};

/// A movable deadline.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes: who waits for it already need not say so again.
    waits: Option<Waker>,
}

impl Deadline {
    /// Moves the deadline; `None` takes it away.
    pub fn set(&mut self, at: Option<Instant>) {
        self.at = at;
        if let (Some(at), Some(timer)) = (at, &mut self.timer)
            && at < timer.deadline()
        {
            timer.as_mut().reset(at);
            // It may have fired, and then it wakes nobody until it is asked again.
            self.waits = None;
        }
    }

    pub fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Ready once the deadline has passed. A deadline that has passed is taken away.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        loop {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if self.waits.as_ref().is_some_and(|waits| waits.will_wake(cx.waker())) && !timer.is_elapsed() {
                return Poll::Pending;
            }
            if timer.as_mut().poll(cx).is_pending() {
                self.waits = Some(cx.waker().clone());
                return Poll::Pending;
            }
            self.waits = None;
            if timer.deadline() >= at {
                self.at = None;
                self.timer = None;
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
            // It may have fired, and then it wakes nobody until it is asked again.
            self.waits = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_fires_when_it_was_last_set_to() {
        let start = Instant::now();
        let mut deadline = Deadline::default();
        for (steps, expected) in [(&[5][..], 5), (&[5, 9], 9), (&[9, 5], 5), (&[3, 20, 7], 7)] {
            let begin = Instant::now();
            for step in steps {
                deadline.set(Some(begin + Duration::from_secs(*step)));
                let pending = poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_pending())).await;
                assert!(pending, "{steps:?}");
            }
            poll_fn(|cx| deadline.poll(cx)).await;
            assert_eq!(begin.elapsed().as_secs(), expected, "{steps:?}");
        }
        assert!(start.elapsed() > Duration::from_secs(25));
    }

    /// A timer that one request has left is another's: whoever waits for it last is woken.
    #[tokio::test(start_paused = true)]
    async fn a_deadline_goes_on_in_another_task() {
        let mut deadline = Deadline::default();
        for seconds in [20, 5, 9] {
            let begin = Instant::now();
            let waiting = tokio::spawn(async move {
                deadline.set(Some(begin + Duration::from_secs(seconds)));
                let pending = poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_pending())).await;
                assert!(pending, "it is not due yet");
                deadline
            });
            let mut left = waiting.await.expect("it does not panic");
            left.set(None);
            deadline = tokio::spawn(async move {
                left.set(Some(begin + Duration::from_secs(seconds + 1)));
                poll_fn(|cx| left.poll(cx)).await;
                left
            })
            .await
            .expect("it does not panic");
            assert_eq!(begin.elapsed().as_secs(), seconds + 1);
        }
    }

    /// The timer has fired, and its waker with it, when the deadline is moved before anybody has looked.
    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_moved_when_its_timer_has_fired_fires_again() {
        for nearer in [false, true] {
            let begin = Instant::now();
            let mut deadline = Deadline::default();
            deadline.set(Some(begin + Duration::from_secs(3)));
            assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_pending())).await);
            tokio::time::sleep(Duration::from_secs(4)).await;
            deadline.set(Some(begin + Duration::from_secs(if nearer { 2 } else { 9 })));
            poll_fn(|cx| deadline.poll(cx)).await;
            assert_eq!(begin.elapsed().as_secs(), if nearer { 4 } else { 9 });
        }
    }

    /// One task's deadline may become another's.
    #[tokio::test(start_paused = true)]
    async fn whoever_asked_last_is_woken() {
        let begin = Instant::now();
        let mut deadline = Deadline::default();
        deadline.set(Some(begin + Duration::from_secs(3)));
        assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_pending())).await);
        let other = tokio::spawn(async move { poll_fn(|cx| deadline.poll(cx)).await });
        assert!(other.await.is_ok());
        assert_eq!(begin.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_deadline_nothing_fires() {
        let mut deadline = Deadline::default();
        deadline.set(Some(Instant::now() + Duration::from_secs(1)));
        assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_pending())).await);
        deadline.set(None);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_pending())).await);
    }
}

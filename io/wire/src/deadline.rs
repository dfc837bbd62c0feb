//! Time-outs that are cheap to move: one timer for each connection, touched only when a deadline comes nearer than the
//! timer, or when it fires too early and is set to the deadline of that moment.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A movable deadline.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Moves the deadline; `None` takes it away.
    pub fn set(&mut self, at: Option<Instant>) {
        self.at = at;
        if let (Some(at), Some(timer)) = (at, &mut self.timer)
            && at < timer.deadline()
        {
            timer.as_mut().reset(at);
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
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if timer.deadline() >= at {
                self.at = None;
                self.timer = None;
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
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

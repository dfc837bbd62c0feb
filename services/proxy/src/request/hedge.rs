//! Tries that took too long and go on beside the next (Envoy's `hedge_on_per_try_timeout`): the first good answer wins.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};

use selvedge_upstream::pool::UpstreamStream;
use selvedge_upstream::{Host, Leave};
use tokio::time::Instant;

use super::attempt::{self, Attempt};
use super::exchange::{Ended, Exchange, Interrupt};
use super::forward::{Plan, attempt_over};

/// A try without an answer as yet; its request is sent whole.
pub(super) struct Slow {
    pub(super) stream: UpstreamStream,
    pub(super) host: Arc<Host>,
    pub(super) leave: Leave,
}

impl Slow {
    /// Another has answered.
    pub(super) fn reset(mut self) {
        self.stream.channel.reset(h2::Reason::CANCEL);
    }
}

/// What one of the slow tries came to; it is slow no more.
fn poll(cx: &mut Context<'_>, x: &mut Exchange<'_>, plan: &mut Plan<'_>) -> Poll<Attempt> {
    for at in 0..plan.slow.len() {
        let stream = &mut plan.slow[at].stream;
        let polled = stream.poll_head(cx, x.heads.request.method(), &mut x.heads.response);
        let Poll::Ready(answer) = polled else { continue };
        let Slow { stream, host, mut leave } = plan.slow.remove(at);
        return Poll::Ready(match answer {
            Ok(framing) => {
                let logged = x.is_logged();
                x.log.connected(&stream, logged, Instant::now());
                attempt::answered(x, &mut leave, &host);
                x.log.host = Some(host);
                Attempt::Response(stream, framing)
            }
            Err(failure) => attempt::failed(plan, &mut leave, &host, stream, &failure),
        });
    }
    Poll::Pending
}

/// A good answer of a slow try; bad ones are passed over, for the try under way stands for their retry.
pub(super) fn poll_good(cx: &mut Context<'_>, x: &mut Exchange<'_>, plan: &mut Plan<'_>) -> Poll<Attempt> {
    while !plan.slow.is_empty() {
        let Poll::Ready(answer) = poll(cx, x, plan) else { return Poll::Pending };
        if !plan.would_retry(x, &answer) {
            return Poll::Ready(answer);
        }
    }
    Poll::Pending
}

/// Waits for any of the slow tries, when there is no other left.
pub(super) async fn wait(x: &mut Exchange<'_>, plan: &mut Plan<'_>) -> Result<Attempt, Ended> {
    x.limits.connected(None);
    x.arm();
    let waited = poll_fn(|cx| match poll(cx, x, plan) {
        Poll::Ready(answer) => Poll::Ready(Ok(answer)),
        Poll::Pending => x.poll_interrupt(cx).map(Err),
    })
    .await;
    waited.map_err(|interrupt| attempt_over(x, plan, interrupt))
}

/// Waits for `future`, unless a slow try answers well or the request is interrupted first.
pub(super) async fn unless_answered<F: Future + Unpin>(
    x: &mut Exchange<'_>,
    plan: &mut Plan<'_>,
    mut future: F,
) -> Result<Option<Attempt>, Interrupt> {
    x.arm();
    poll_fn(|cx| {
        if let Poll::Ready(answer) = poll_good(cx, x, plan) {
            return Poll::Ready(Ok(Some(answer)));
        }
        match std::pin::Pin::new(&mut future).poll(cx) {
            Poll::Ready(_) => Poll::Ready(Ok(None)),
            Poll::Pending => x.poll_interrupt(cx).map(Err),
        }
    })
    .await
}

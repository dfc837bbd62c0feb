//! After `101 Switching Protocols`: bytes both ways, as they come.

use std::future::poll_fn;
use std::task::{Context, Poll};

use selvedge_telemetry::{Flag, details};
use selvedge_upstream::pool::UpstreamStream;
use selvedge_wire::channel::{Channel, Content};
use tokio::time::Instant;

use crate::request::{After, Exchange};

/// Relays until both sides have ended, one of them breaks, or nothing moves for the stream's idle time.
pub(crate) async fn splice<E>(x: &mut Exchange<'_>, mut stream: UpstreamStream) -> Result<After, E> {
    for channel in [&mut *x.channel, &mut stream.channel] {
        if let Channel::Http1(http) = channel {
            http.become_opaque();
        }
    }
    let stats = &x.manager.stats;
    stats.downstream_cx_upgrades_total.inc();
    stats.downstream_cx_upgrades_active.inc();
    x.limits.set_opaque();
    let (mut up, mut down) = (Way::default(), Way::default());
    x.limits.moved(Instant::now());
    x.deadline.set(x.limits.next());
    let mut left = false;
    poll_fn(|cx| {
        let before = up.moved + down.moved;
        let sent = up.poll(cx, x.channel, &mut stream.channel);
        let received = down.poll(cx, &mut stream.channel, x.channel);
        if before != up.moved + down.moved {
            x.limits.moved(Instant::now());
        }
        // Once one side has closed a WebSocket is over: there is no talking on after the closing handshake.
        if sent.is_ready() || received.is_ready() {
            left = sent.is_ready() && received.is_pending();
            return Poll::Ready(());
        }
        while x.deadline.poll(cx).is_ready() {
            if x.limits.expired(Instant::now()).is_some() {
                x.log.flags.set(Flag::StreamIdleTimeout);
                return Poll::Ready(());
            }
            x.deadline.set(x.limits.next());
        }
        Poll::Pending
    })
    .await;
    (x.log.bytes_received, x.log.bytes_sent) = (up.moved, down.moved);
    if left {
        x.log.flags.set(Flag::DownstreamConnectionTermination);
        x.log.details = details::DOWNSTREAM_REMOTE_DISCONNECT.into();
    }
    x.manager.stats.downstream_cx_upgrades_active.dec();
    Ok(After::Close)
}

/// One direction.
#[derive(Default)]
struct Way {
    moved: u64,
    done: bool,
    failed: bool,
}

impl Way {
    /// Ready when this direction has ended.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Channel, to: &mut Channel) -> Poll<()> {
        while !self.done && !self.failed {
            let content = match from.poll_content(cx) {
                Poll::Ready(content) => content,
                Poll::Pending => {
                    self.failed = matches!(to.poll_flush(cx), Poll::Ready(Err(_)));
                    return if self.failed { Poll::Ready(()) } else { Poll::Pending };
                }
            };
            match content {
                Ok(Content::Bytes) => match to.poll_send_from(cx, from, false) {
                    Poll::Ready(Ok(sent)) => self.moved += sent as u64,
                    Poll::Ready(Err(_)) => self.failed = true,
                    Poll::Pending => return Poll::Pending,
                },
                Ok(Content::End) => match to.poll_flush(cx) {
                    Poll::Ready(_) => self.done = true,
                    Poll::Pending => return Poll::Pending,
                },
                Err(_) => self.failed = true,
            }
        }
        Poll::Ready(())
    }
}

//! After `101 Switching Protocols`, or a granted `CONNECT`: bytes both ways, as they come. Nothing that a client sends
//! before then goes anywhere.

use std::future::poll_fn;
use std::task::{Context, Poll};

use selvedge_http::framing::Framing;
use selvedge_http::parse::Upgrade;
use selvedge_telemetry::{Flag, details};
use selvedge_upstream::pool::{AcquireError, Wish};
use selvedge_upstream::{PickContext, PickedHost};
use selvedge_wire::channel::{Channel, Content};
use selvedge_wire::h1::Http1;
use tokio::time::Instant;

use crate::request::forward::{Plan, attempt_over};
use crate::request::reply::UpstreamReset;
use crate::request::respond::{send_head, stamp};
use crate::request::{After, Ended, Exchange, Reply};

/// Opens a connection to a host of the cluster, says so, and relays: the tunnel ends here.
pub(crate) async fn terminate(x: &mut Exchange<'_>, plan: &mut Plan<'_>) -> Result<After, Ended> {
    x.log.attempts = 1;
    let context =
        PickContext { hash: plan.hash, original_dst: x.peer.original_dst, ..PickContext::default() };
    let Ok(PickedHost { host, mut leave, .. }) = plan.cluster.pick(&context) else {
        plan.cluster.stats.upstream_cx_none_healthy.inc();
        return Err(Ended::Reply(Reply::no_healthy_upstream()));
    };
    x.log.host = Some(host.clone());
    let wish = Wish { client: Some(x.peer.ends()), ..Wish::new(plan.forward.priority) };
    let (worker, cluster) = (x.worker.clone(), plan.cluster.clone());
    let opening = Box::pin(worker.pools.open(&cluster, &host, wish));
    let opened = match x.unless_interrupted(opening).await {
        Ok(opened) => opened,
        Err(interrupt) => return Err(attempt_over(x, plan, interrupt)),
    };
    let (io, opened) = opened.map_err(|error| {
        let reset = match error {
            AcquireError::QueueFull | AcquireError::RequestsFull => UpstreamReset::Overflow,
            AcquireError::Connect { timeout: true, .. } => UpstreamReset::ConnectionTimeout,
            AcquireError::Connect { local: true, reason, .. } => {
                UpstreamReset::LocalConnectionFailure(reason)
            }
            AcquireError::Connect { reason, .. } => UpstreamReset::RemoteConnectionFailure(reason),
        };
        x.log.flags.set(reset.flag());
        Ended::Reply(Reply::upstream_reset(&reset, false))
    })?;
    leave.ended(true);
    x.log.details = details::VIA_UPSTREAM.into();
    x.log.response_first = Some(x.log.since_start());
    let head = &mut x.heads.response;
    head.clear();
    head.status = 200;
    stamp(x);
    x.log.charge(200);
    x.channel_stays_open = true;
    send_head(x, Framing::None, false).map_err(|_| Ended::Gone)?;
    let mut upstream = Channel::Http1(Box::new(Http1::new(io)));
    let after = splice(x, &mut upstream).await;
    if let Channel::Http1(http) = &upstream {
        opened.passed(http.io.bytes_read, http.io.bytes_written);
    }
    after
}

/// Relays until both sides have ended, one of them breaks, or nothing moves for the stream's idle time. A WebSocket ends
/// with either side: there is no talking on after its closing handshake.
pub(crate) async fn splice<E>(x: &mut Exchange<'_>, upstream: &mut Channel) -> Result<After, E> {
    for channel in [&mut *x.channel, &mut *upstream] {
        if let Channel::Http1(http) = channel {
            http.become_opaque();
        }
    }
    let stats = &x.manager.stats;
    stats.downstream_cx_upgrades_total.inc();
    stats.downstream_cx_upgrades_active.inc();
    x.limits.set_opaque();
    let halves = x.facts.upgrade == Upgrade::Connect;
    let (mut up, mut down) = (Way::default(), Way::default());
    x.limits.moved(Instant::now());
    x.deadline.set(x.limits.next());
    let (mut left, mut cut) = (false, false);
    poll_fn(|cx| {
        let before = up.moved + down.moved;
        let sent = up.poll(cx, x.channel, upstream, halves);
        let received = down.poll(cx, upstream, x.channel, halves);
        if before != up.moved + down.moved {
            x.limits.moved(Instant::now());
        }
        let broken = up.failed || down.failed;
        let over = if halves {
            broken || sent.is_ready() && received.is_ready()
        } else {
            sent.is_ready() || received.is_ready()
        };
        if over {
            left = sent.is_ready() && received.is_pending();
            return Poll::Ready(());
        }
        cut = x.is_cut();
        if cut {
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
    if left || cut {
        x.note_gone();
    }
    if !down.failed {
        // A stream by HTTP/2 ends in order where the other side has.
        let _ = x.channel.end(None);
    }
    x.manager.stats.downstream_cx_upgrades_active.dec();
    Ok(if cut { After::Cut } else { After::Close })
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
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Channel, to: &mut Channel, halves: bool) -> Poll<()> {
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
                    Poll::Ready(_) if halves => {
                        let closed = match to {
                            Channel::Http1(http) => http.io.poll_shutdown(cx).map_err(|_| ()),
                            Channel::Http2(stream) => Poll::Ready(stream.end(None).map_err(|_| ())),
                            // Within the process nobody asks by CONNECT.
                            Channel::Inner(_) | Channel::Over => Poll::Ready(Err(())),
                        };
                        match closed {
                            Poll::Ready(closed) => (self.done, self.failed) = (true, closed.is_err()),
                            Poll::Pending => return Poll::Pending,
                        }
                    }
                    Poll::Ready(_) => self.done = true,
                    Poll::Pending => return Poll::Pending,
                },
                Err(_) => self.failed = true,
            }
        }
        Poll::Ready(())
    }
}

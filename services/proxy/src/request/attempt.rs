//! One try: pick a host, get a stream to it, send the request, wait for the response's head.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use selvedge_http::framing::Framing;
use selvedge_http::head::Version;
use selvedge_http::known::HeaderId;
use selvedge_http::method;
use selvedge_http::parse::Upgrade;
use selvedge_traffic::retry::Reset;
use selvedge_traffic::{HostRewrite, HttpProtocol};
use selvedge_upstream::pool::{AcquireError, Protocol, StreamFailure, UpstreamStream, Wish};
use selvedge_upstream::{Host, Leave, Outcome, PickContext, PickFailure, PickedHost};
use selvedge_wire::channel::ChannelError;
use tokio::time::Instant;

use super::body::{Broken, RequestBody};
use super::coding::Undecodable;
use super::exchange::{Ended, Exchange, Interrupt};
use super::forward::{Plan, attempt_over, note_progress, set_host, set_millis};
use super::hedge::{self, Slow};
use super::limits::Expired;
use super::reply::{Reply, UpstreamReset};

/// What came of a try.
#[expect(
    clippy::large_enum_variant,
    reason = "made and taken apart once a try; a box would cost each request an allocation"
)]
pub(super) enum Attempt {
    /// A response's head stands in the exchange; its body is still to be read.
    Response(UpstreamStream, Framing),
    /// No response: in the words for the client, and in those for the retry policy.
    Reset(UpstreamReset, Reset),
    /// A time-out of the try's own.
    TimedOut(Expired),
    /// It took too long, and goes on beside the next.
    Slow,
}

/// What came of one stream.
enum Sent {
    Answered(Framing),
    Failed(StreamFailure),
    Interrupted(Interrupt),
    ClientGone,
    ClientBroken(Broken),
    /// An earlier try has answered.
    Other(Box<Attempt>),
}

/// Makes one try.
///
/// A kept-alive connection may have been closed by its host just when it was chosen. If nothing of a response had come and
/// the request may be sent twice, it goes out once more on a fresh connection, and that is not a retry. The same goes for
/// a stream that a GOAWAY says was never looked at.
pub(super) async fn attempt(
    x: &mut Exchange<'_>,
    plan: &mut Plan<'_>,
    body: &mut RequestBody,
) -> Result<Attempt, Ended> {
    let host = pick(x, plan)?;
    prepare(x, plan, &host);
    let mut fresh = false;
    loop {
        let mut stream = match acquire(x, plan, &host, body, fresh).await? {
            Acquired::Stream(stream) => stream,
            Acquired::Failed(error) => return Ok(not_acquired(x, plan, error)),
            Acquired::Other(answer) => return Ok(answer),
        };
        let now = Instant::now();
        x.limits.connected(Some(now));
        let logged = x.is_logged();
        x.log.connected(&stream, logged, now);
        let failure = match send(x, plan, &mut stream, body).await {
            Sent::Answered(framing) => {
                let mut leave = std::mem::take(&mut plan.leave);
                answered(x, &mut leave, &host);
                return Ok(Attempt::Response(stream, framing));
            }
            Sent::Interrupted(Interrupt::Expired(Expired::PerTry))
                if plan.timeouts.hedged && body.is_sent() =>
            {
                // It is not over: Envoy counts no time-out here either.
                host.report(Outcome::TimedOut);
                x.limits.connected(None);
                let leave = std::mem::take(&mut plan.leave);
                stream.show_interim(false);
                plan.slow.push(Slow { stream, host, leave });
                return Ok(Attempt::Slow);
            }
            Sent::Interrupted(Interrupt::Expired(
                expired @ (Expired::PerTry | Expired::PerTryIdle | Expired::UpstreamStream),
            )) => {
                let stats = &plan.cluster.stats;
                match expired {
                    Expired::PerTryIdle => stats.upstream_rq_per_try_idle_timeout.inc(),
                    Expired::UpstreamStream => stats.upstream_rq_max_duration_reached.inc(),
                    _ => stats.upstream_rq_per_try_timeout.inc(),
                }
                timed_out(plan, &host, &mut stream);
                return Ok(Attempt::TimedOut(expired));
            }
            Sent::Other(answer) => {
                plan.cluster.stats.upstream_rq_tx_reset.inc();
                stream.channel.reset(h2::Reason::CANCEL);
                return Ok(*answer);
            }
            Sent::Interrupted(interrupt) => {
                if interrupt == Interrupt::Expired(Expired::Global) {
                    timed_out(plan, &host, &mut stream);
                }
                return Err(attempt_over(x, plan, interrupt));
            }
            Sent::ClientGone => return Err(attempt_over(x, plan, Interrupt::Gone)),
            Sent::ClientBroken(error) => return Err(client_broke(x, &error)),
            Sent::Failed(failure) => failure,
        };
        let harmless = match failure {
            StreamFailure::Unprocessed => true,
            StreamFailure::Closed { started: false } if stream.is_reused() => {
                method::is_idempotent(x.heads.request.method()) || !stream.has_sent()
            }
            _ => false,
        };
        if fresh || !harmless || !body.can_replay() {
            let mut leave = std::mem::take(&mut plan.leave);
            return Ok(failed(plan, &mut leave, &host, stream, &failure));
        }
        // Not a retry, and no retry policy's business: it is told apart.
        plan.cluster.stats.upstream_rq_retry_stale_connection.inc();
        stream.closed_by_peer();
        drop(stream);
        body.rewind();
        fresh = true;
    }
}

fn pick(x: &mut Exchange<'_>, plan: &mut Plan<'_>) -> Result<Arc<Host>, Ended> {
    // Predicates look at retries alone.
    let retry = plan.policy.filter(|_| x.log.attempts > 1);
    let context = PickContext {
        hash: plan.hash,
        labels: Some(&plan.forward.labels).filter(|labels| !labels.is_empty()),
        tried: &plan.tried,
        avoid_canaries: retry.is_some_and(|policy| policy.avoid_canaries),
        avoid_labels: retry.map(|policy| &policy.avoid_labels).filter(|labels| !labels.is_empty()),
        reselect_max: retry.map_or(0, |policy| policy.host_selection_attempts_max),
        priorities_avoided: plan.priorities.avoided,
        original_dst: x.peer.original_dst,
    };
    match plan.cluster.pick(&context) {
        Ok(PickedHost { host, priority, leave }) => {
            plan.leave = leave;
            plan.note_try(&host, priority);
            x.log.host = Some(Arc::clone(&host));
            Ok(host)
        }
        Err(PickFailure::BreakerOpen(scope)) => {
            x.log.host = None;
            Err(Ended::Reply(Reply::breaker_open(scope)))
        }
        Err(PickFailure::NoHealthyHost) => {
            plan.cluster.stats.upstream_cx_none_healthy.inc();
            x.log.host = None;
            Err(Ended::Reply(Reply::no_healthy_upstream()))
        }
    }
}

/// The headers that differ from try to try.
fn prepare(x: &mut Exchange<'_>, plan: &Plan<'_>, host: &Host) {
    x.begin_attempt_span();
    let head = &mut x.heads.request;
    if x.log.attempts > 1
        && let Some(expected) = plan.timeouts.expected(x.log.started.elapsed())
    {
        set_millis(&mut head.fields, HeaderId::XEnvoyExpectedRqTimeoutMs, expected);
    }
    if plan.include_attempt_count {
        let count = itoa::Buffer::new().format(x.log.attempts).to_owned();
        head.fields.set_id(HeaderId::XEnvoyAttemptCount, count.as_bytes());
    }
    if let Some(rewrite @ HostRewrite::Auto) = &plan.forward.host_rewrite
        && let Some(name) = rewrite.apply(host.hostname.as_deref())
    {
        if x.log.attempts == 1 {
            set_host(head, name, plan.forward.append_forwarded_host);
        } else {
            head.set_authority(name);
        }
    }
}

async fn acquire(
    x: &mut Exchange<'_>,
    plan: &mut Plan<'_>,
    host: &Arc<Host>,
    body: &mut RequestBody,
    fresh: bool,
) -> Result<Acquired, Ended> {
    let worker = Rc::clone(x.worker);
    let wish = Wish { priority: plan.forward.priority, fresh, client: Some(x.peer.ends()) };
    let protocol = match plan.cluster.config.protocol {
        // An upgrade is a thing of HTTP/1, unless the host is said to take it on a stream.
        _ if x.facts.upgrade == Upgrade::WebSocket && !plan.cluster.config.extended_connect => {
            Protocol::Http1
        }
        HttpProtocol::Http1 => Protocol::Http1,
        HttpProtocol::Http2 => Protocol::Http2,
        HttpProtocol::Downstream if x.heads.request.version == Version::Http2 => Protocol::Http2,
        HttpProtocol::Downstream => Protocol::Http1,
    };
    if protocol == Protocol::Http1 && !fresh {
        match worker.pools.acquire_idle(&plan.cluster, host, wish) {
            Ok(None) => {}
            Ok(Some(stream)) => return Ok(Acquired::Stream(stream)),
            Err(error) => return Ok(Acquired::Failed(error)),
        }
    }
    // The way through a connect is long and rare; boxed, it costs nothing to those who do not take it.
    let cluster = Arc::clone(&plan.cluster);
    let mut acquiring = Box::pin(worker.pools.acquire(&cluster, host, protocol, wish));
    x.arm();
    let waited = poll_fn(|cx| {
        if let Poll::Ready(acquired) = acquiring.as_mut().poll(cx) {
            return Poll::Ready(Ok(match acquired {
                Ok(stream) => Acquired::Stream(stream),
                Err(error) => Acquired::Failed(error),
            }));
        }
        if let Poll::Ready(answer) = hedge::poll_good(cx, x, plan) {
            return Poll::Ready(Ok(Acquired::Other(answer)));
        }
        if !body.is_whole() {
            let before = body.received;
            let ahead = body.poll_ahead(cx, x.channel);
            note_progress(x, before, body.received);
            x.note_received(body.received);
            match ahead {
                Poll::Ready(Ok(())) => {
                    x.request_arrived(Instant::now());
                    x.arm();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Waited::ClientBroken(error))),
                Poll::Pending => {}
            }
        }
        x.poll_interrupt(cx).map(|interrupt| Err(Waited::Interrupted(interrupt)))
    })
    .await;
    waited.map_err(|waited| match waited {
        Waited::Interrupted(interrupt) => attempt_over(x, plan, interrupt),
        Waited::ClientBroken(error) if error.is_fault() => client_broke(x, &error),
        Waited::ClientBroken(_) => attempt_over(x, plan, Interrupt::Gone),
    })
}

/// What came of the wait for a stream.
enum Acquired {
    Stream(UpstreamStream),
    Failed(AcquireError),
    /// An earlier try has answered.
    Other(Attempt),
}

/// Why the wait for a connection ended without one.
enum Waited {
    Interrupted(Interrupt),
    ClientBroken(Broken),
}

fn not_acquired(x: &mut Exchange<'_>, plan: &mut Plan<'_>, error: AcquireError) -> Attempt {
    if matches!(error, AcquireError::Connect { .. }) {
        plan.leave.ended(false);
    }
    match error {
        AcquireError::RequestsFull => Attempt::Reset(UpstreamReset::Overflow, Reset::Overflow),
        AcquireError::QueueFull => {
            // Nobody was asked.
            x.log.host = None;
            Attempt::Reset(UpstreamReset::Overflow, Reset::Overflow)
        }
        AcquireError::Connect { timeout: true, .. } => {
            Attempt::Reset(UpstreamReset::ConnectionTimeout, Reset::ConnectTimeout)
        }
        AcquireError::Connect { local, reason, .. } => {
            x.log.upstream_failure = Some(Rc::clone(&reason));
            let reset = if local {
                UpstreamReset::LocalConnectionFailure(reason)
            } else {
                UpstreamReset::RemoteConnectionFailure(reason)
            };
            Attempt::Reset(reset, Reset::ConnectFailure)
        }
    }
}

/// Sends the request while waiting for the response: an answer may come before the request is whole.
async fn send(
    x: &mut Exchange<'_>,
    plan: &mut Plan<'_>,
    stream: &mut UpstreamStream,
    body: &mut RequestBody,
) -> Sent {
    stream.show_interim(x.manager.config.proxy_100_continue);
    if let Err(failure) = stream.send_wish(&x.heads.request, x.facts.framing, x.facts.upgrade) {
        return Sent::Failed(failure);
    }
    x.arm();
    let mut broken = false;
    poll_fn(|cx| {
        if !body.is_sent() && !broken {
            let (before, whole) = (body.received, body.is_whole());
            let polled = body.poll_send(cx, x.channel, &mut stream.channel);
            note_progress(x, before, body.received);
            let arrived = (body.is_whole() && !whole).then(Instant::now);
            if let Some(now) = arrived {
                x.request_arrived(now);
                x.arm();
            }
            x.note_received(body.received);
            match polled {
                Poll::Ready(Ok(())) => {
                    let now = arrived.unwrap_or_else(Instant::now);
                    x.log.request_sent = Some(now - x.log.started);
                }
                Poll::Ready(Err(error)) if error.is_fault() => return Poll::Ready(Sent::ClientBroken(error)),
                Poll::Ready(Err(Broken::Source(_) | Broken::Coding(_))) => {
                    return Poll::Ready(Sent::ClientGone);
                }
                // A response may have been sent before the upstream stopped listening.
                Poll::Ready(Err(Broken::Sink)) => broken = true,
                Poll::Pending => {}
            }
        }
        match stream.poll_head(cx, x.heads.request.method(), &mut x.heads.response) {
            Poll::Ready(Ok(_)) if matches!(x.heads.response.status, 100 | 103) => {
                // Not the answer, and the client may want it all the same.
                if x.inform().is_err() {
                    return Poll::Ready(Sent::ClientGone);
                }
                let _ = x.channel.poll_flush(cx);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            // Bytes of a protocol that the client does not expect are no response.
            Poll::Ready(Ok(_)) if x.heads.response.status == 101 && x.facts.upgrade != Upgrade::WebSocket => {
                Poll::Ready(Sent::Failed(StreamFailure::Protocol))
            }
            Poll::Ready(Ok(framing)) => Poll::Ready(Sent::Answered(framing)),
            Poll::Ready(Err(failure)) => Poll::Ready(Sent::Failed(failure)),
            Poll::Pending => match hedge::poll_good(cx, x, plan) {
                Poll::Ready(answer) => Poll::Ready(Sent::Other(Box::new(answer))),
                Poll::Pending => x.poll_interrupt(cx).map(Sent::Interrupted),
            },
        }
    })
    .await
}

pub(super) fn answered(x: &mut Exchange<'_>, leave: &mut Leave, host: &Host) {
    x.log.response_first = Some(x.log.since_start());
    let status = x.heads.response.status;
    host.report(Outcome::Status(status));
    leave.ended(status < 500);
    if status >= 500 {
        host.stats.rq_error.inc();
    } else {
        host.stats.rq_success.inc();
    }
}

fn timed_out(plan: &mut Plan<'_>, host: &Host, stream: &mut UpstreamStream) {
    host.report(Outcome::TimedOut);
    plan.leave.ended(false);
    host.stats.rq_timeout.inc();
    plan.cluster.stats.upstream_rq_tx_reset.inc();
    stream.channel.reset(h2::Reason::CANCEL);
}

pub(super) fn failed(
    plan: &Plan<'_>,
    leave: &mut Leave,
    host: &Host,
    mut stream: UpstreamStream,
    failure: &StreamFailure,
) -> Attempt {
    host.report(Outcome::ConnectFailed);
    leave.ended(false);
    host.stats.rq_error.inc();
    let stats = &plan.cluster.stats;
    let request_started = stream.has_sent();
    match failure {
        StreamFailure::Closed { .. } => {
            stream.closed_by_peer();
            Attempt::Reset(UpstreamReset::ConnectionTermination, Reset::Broken { request_started })
        }
        StreamFailure::Unprocessed => {
            Attempt::Reset(UpstreamReset::ConnectionTermination, Reset::Broken { request_started: false })
        }
        StreamFailure::Refused => Attempt::Reset(UpstreamReset::RemoteRefusedStream, Reset::RefusedStream),
        StreamFailure::Reset => {
            stats.upstream_rq_rx_reset.inc();
            Attempt::Reset(UpstreamReset::RemoteReset, Reset::Broken { request_started })
        }
        StreamFailure::Protocol | StreamFailure::Request => {
            stream.distrust();
            // An HTTP/2 connection counts for itself.
            if stream.protocol() == Protocol::Http1 {
                stats.upstream_cx_protocol_error.inc();
            }
            Attempt::Reset(UpstreamReset::Protocol, Reset::ProtocolError)
        }
    }
}

/// The client's bytes were wrong in the middle of its request.
pub(super) fn client_broke(x: &mut Exchange<'_>, error: &Broken) -> Ended {
    match error {
        Broken::Coding(error) => return Ended::Reply(undecodable(*error)),
        Broken::Source(ChannelError::Chunk(error)) => {
            x.manager.stats.downstream_cx_protocol_error.inc();
            let refusal = selvedge_http::parse::RequestError::from(*error).refusal();
            return Ended::Reply(Reply::refusal(refusal));
        }
        _ => {}
    }
    x.manager.stats.downstream_cx_protocol_error.inc();
    Ended::Gone
}

/// The answer to content that is not coded as it says.
pub(super) fn undecodable(error: Undecodable) -> Reply {
    let (status, details, body) = match error {
        Undecodable::Malformed => (400, "request_decompression_failed", "the body cannot be unpacked"),
        Undecodable::TooMuch => (413, "request_decompressed_too_large", "Payload Too Large"),
        Undecodable::Base64 => {
            (400, "grpc_base_64_decode_failed", "Bad gRPC-web request, invalid base64 data.")
        }
        Undecodable::Base64Length => {
            (400, "grpc_base_64_decode_failed_bad_size", "Bad gRPC-web request, invalid base64 data.")
        }
    };
    Reply { close: true, ..Reply::new(status, None, details, body) }
}

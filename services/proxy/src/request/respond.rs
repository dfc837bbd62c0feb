//! The response on its way to the client: the upstream's, or our own.

use std::future::poll_fn;
use std::task::Poll;
use std::time::SystemTime;

use selvedge_http::encode;
use selvedge_http::fields::Fields;
use selvedge_http::framing::Framing;
use selvedge_http::grpc;
use selvedge_http::head::Version;
use selvedge_http::hop;
use selvedge_http::known::HeaderId;
use selvedge_http::parse::Upgrade;
use selvedge_telemetry::{Flag, details};
use selvedge_traffic::ServerHeader;
use selvedge_upstream::pool::UpstreamStream;
use selvedge_wire::channel::{Channel, ChannelError};
use tokio::time::Instant;

use super::body::{Broken, RequestBody, poll_relay};
use super::coding;
use super::edit::{self, Side};
use super::exchange::{After, Ended, Exchange, Extra, Interrupt};
use super::filter;
use super::forward::{note_progress, set_millis};
use super::limits::Expired;
use super::reply::{Reply, UpstreamReset};
use crate::tunnel;

/// How passing a response on ended.
enum Passed {
    Whole,
    Upstream(ChannelError),
    ClientGone,
    Interrupted(Interrupt),
}

/// Passes the upstream's response on.
pub(super) async fn pass_on(
    x: &mut Exchange<'_>,
    mut stream: UpstreamStream,
    framing: Framing,
    body: &mut RequestBody,
) -> Result<After, Ended> {
    let status = x.heads.response.status;
    let upgraded = match x.facts.upgrade {
        Upgrade::Connect => status / 100 == 2,
        _ => status == 101,
    };
    if x.facts.upgrade == Upgrade::WebSocket && status == 200 {
        // Neither agreed nor refused: the client would take what follows for its new protocol.
        return Err(Ended::Reply(Reply {
            close: true,
            ..Reply::new(200, None, details::WEBSOCKET_HANDSHAKE_UNSUCCESSFUL, "")
        }));
    }
    x.log.details = details::VIA_UPSTREAM.into();
    let response = &mut x.heads.response;
    // Who asks within the process has a client of HTTP/1, where it asks for a tunnel.
    let is_http1 = matches!(x.channel, Channel::Http1(_) | Channel::Inner(_));
    hop::strip_response(&mut response.fields, status == 101 && is_http1);
    if status == 101 && !is_http1 {
        // What HTTP/2 calls this (RFC 8441 §5).
        response.status = 200;
    }
    if upgraded || response.status == 204 {
        // These have no length (RFC 9110 §8.6); a client that believed one would wait for it.
        response.fields.remove(HeaderId::ContentLength);
    }
    if let Some(whole) = x.limits.whole_at() {
        // The clock was read when the head came.
        let took = match x.log.response_first {
            Some(first) => (x.log.started + first).saturating_duration_since(whole),
            None => whole.elapsed(),
        };
        set_millis(&mut response.fields, HeaderId::XEnvoyUpstreamServiceTime, took);
    }
    add_extra(&mut response.fields, &x.extra, x.log.attempts, true);
    x.log.status = x.heads.response.status;
    edit::apply(x, &x.edits.response, Side::Response);
    x.response_has_body = framing.has_body() && x.heads.request.method() != "HEAD";
    filter::response(x);
    let framing = if x.coder.is_some() { Framing::Chunked } else { framing };
    stamp(x);
    x.log.charge(x.heads.response.status);
    let close = !upgraded && x.closes();
    if upgraded {
        x.channel_stays_open = true;
    }
    send_head(x, framing, close).map_err(|_| Ended::Gone)?;
    if upgraded {
        return Box::pin(tunnel::splice(x, &mut stream.channel)).await;
    }
    match relay(x, &mut stream, body).await {
        Passed::Whole => {}
        Passed::Upstream(error) => return Err(upstream_broke(x, stream, &error)),
        Passed::ClientGone | Passed::Interrupted(Interrupt::Gone) => return Err(Ended::Gone),
        Passed::Interrupted(Interrupt::Expired(expired)) => {
            cut_short(x, expired);
            x.manager.stats.rq_reset_after_downstream_response_started.inc();
            x.channel.reset(h2::Reason::INTERNAL_ERROR);
            return Err(Ended::Cut);
        }
    }
    if let Some(cluster) = &x.log.cluster
        && let Some(whole) = x.limits.whole_at()
    {
        let now = Instant::now();
        x.log.ended = Some(now);
        let millis = now.saturating_duration_since(whole).as_millis() as u64;
        cluster.stats.upstream_rq_time.record(millis);
        cluster.stats.external_upstream_rq_time.record(millis);
    }
    note_grpc_status(x, &stream);
    // A host that has declined a tunnel may take what comes next for it all the same.
    stream.finish(body.is_sent() && !x.facts.upgrade.is_tunnel());
    Ok(if close && x.is_http1() { After::Close } else { After::Keep })
}

/// Moves the response's body, and what is left of the request's.
async fn relay(x: &mut Exchange<'_>, stream: &mut UpstreamStream, body: &mut RequestBody) -> Passed {
    let (mut ended, mut sent, mut deaf, mut stalled) = (false, 0, false, false);
    x.limits.set_patient();
    x.arm();
    poll_fn(|cx| {
        let before = sent + body.received;
        if !body.is_sent() && !deaf {
            let polled = body.poll_send(cx, x.channel, &mut stream.channel);
            x.note_received(body.received);
            match polled {
                Poll::Ready(Err(Broken::Source(_) | Broken::Coding(_))) => {
                    return Poll::Ready(Passed::ClientGone);
                }
                // The upstream has said what it had to say, and listens no more.
                Poll::Ready(Err(Broken::Sink)) => deaf = true,
                Poll::Ready(Ok(())) => {
                    let now = Instant::now();
                    x.request_arrived(now);
                    x.log.request_sent = Some(now - x.log.started);
                    x.arm();
                }
                Poll::Pending => {}
            }
        }
        let taken = sent;
        let (from, to) = (&mut stream.channel, &mut *x.channel);
        let polled = match &mut x.coder {
            None => poll_relay(cx, from, to, &mut ended, &mut sent, &mut stalled),
            Some(coder) => coding::poll_relay(cx, coder, from, to, &mut ended, &mut sent, &mut stalled),
        };
        x.log.bytes_sent = sent;
        note_progress(x, before, sent + body.received);
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(Passed::Whole),
            Poll::Ready(Err(Broken::Source(error))) => Poll::Ready(Passed::Upstream(error)),
            Poll::Ready(Err(Broken::Coding(_))) => {
                Poll::Ready(Passed::Upstream(ChannelError::Protocol("content that cannot be unpacked")))
            }
            Poll::Ready(Err(Broken::Sink)) => Poll::Ready(Passed::ClientGone),
            Poll::Pending => {
                let again = sent != taken && x.limits.stalled(false, Instant::now);
                if x.limits.stalled(stalled, Instant::now) || again {
                    x.arm();
                }
                x.poll_interrupt(cx).map(Passed::Interrupted)
            }
        }
    })
    .await
}

/// What the router adds to a response, the upstream's or our own.
fn add_extra(fields: &mut Fields, extra: &Extra, attempts: u32, from_upstream: bool) {
    if from_upstream {
        for cookie in &extra.cookies {
            fields.append(b"set-cookie", cookie.as_bytes());
        }
    }
    if extra.attempt_count && attempts > 0 {
        fields.set_id(HeaderId::XEnvoyAttemptCount, itoa::Buffer::new().format(attempts).as_bytes());
    }
}

/// A time-out passed in the middle of the response.
fn cut_short(x: &mut Exchange<'_>, expired: Expired) {
    let cluster = x.log.cluster.as_ref().map(|cluster| &cluster.stats);
    let (flag, details) = match expired {
        Expired::Idle => {
            x.manager.stats.downstream_rq_idle_timeout.inc();
            (Some(Flag::StreamIdleTimeout), details::STREAM_IDLE_TIMEOUT)
        }
        Expired::Stream => {
            x.manager.stats.downstream_rq_max_duration_reached.inc();
            (None, details::MAX_DURATION_TIMEOUT)
        }
        Expired::UpstreamStream => {
            if let Some(stats) = cluster {
                stats.upstream_rq_max_duration_reached.inc();
            }
            (Some(Flag::UpstreamMaxStreamDurationReached), details::UPSTREAM_MAX_STREAM_DURATION_REACHED)
        }
        Expired::PerTryIdle => {
            if let Some(stats) = cluster {
                stats.upstream_rq_per_try_idle_timeout.inc();
            }
            (Some(Flag::UpstreamRequestTimeout), details::UPSTREAM_PER_TRY_IDLE_TIMEOUT)
        }
        _ => {
            if let Some(stats) = cluster {
                stats.upstream_rq_timeout.inc();
            }
            (Some(Flag::UpstreamRequestTimeout), details::RESPONSE_TIMEOUT)
        }
    };
    if let Some(flag) = flag {
        x.log.flags.set(flag);
    }
    x.log.details = details.into();
}

/// The upstream broke off in the middle of its response.
fn upstream_broke(x: &mut Exchange<'_>, mut stream: UpstreamStream, error: &ChannelError) -> Ended {
    let http1 = matches!(stream.channel, Channel::Http1(_));
    let reset = match error {
        ChannelError::Reset(_) => UpstreamReset::RemoteReset,
        error if error.is_protocol() => UpstreamReset::Protocol,
        // Closing is a way to end an HTTP/1 body only where nothing else was announced.
        ChannelError::Closed if http1 => UpstreamReset::Protocol,
        _ => UpstreamReset::ConnectionTermination,
    };
    if http1
        && reset == UpstreamReset::Protocol
        && let Some(cluster) = &x.log.cluster
    {
        cluster.stats.upstream_cx_protocol_error.inc();
    }
    stream.closed_by_peer();
    if reset == UpstreamReset::Protocol {
        stream.distrust();
    }
    x.log.flags.set(reset.flag());
    x.log.details = details::upstream_reset_after_response(reset.words(), None).into();
    x.manager.stats.rq_reset_after_downstream_response_started.inc();
    x.channel.reset(h2::Reason::INTERNAL_ERROR);
    Ended::Cut
}

fn note_grpc_status(x: &mut Exchange<'_>, stream: &UpstreamStream) {
    let text = |value: &[u8]| std::str::from_utf8(value).ok()?.parse().ok();
    let trailer = stream.channel.trailers().and_then(|fields| fields.get(HeaderId::GrpcStatus));
    x.log.grpc_status = trailer.or_else(|| x.heads.response.fields.get(HeaderId::GrpcStatus)).and_then(text);
    if x.is_recorded() && x.log.grpc_status.is_some() {
        let of_trailers = stream.channel.trailers().filter(|_| trailer.is_some());
        let fields = of_trailers.unwrap_or(&x.heads.response.fields);
        let message = fields.get(HeaderId::GrpcMessage);
        x.log.grpc_message = message.map(|message| String::from_utf8_lossy(message).into());
    }
}

/// What every response carries: `date` if it has none, and a `server`, ours or the upstream's own.
pub(crate) fn stamp(x: &mut Exchange<'_>) {
    let fields = &mut x.heads.response.fields;
    if !fields.contains(HeaderId::Date) {
        fields.append_id(HeaderId::Date, &x.worker.date(SystemTime::now()));
    }
    match x.manager.config.server_header {
        ServerHeader::Overwrite => fields.set_id(HeaderId::Server, x.manager.server_name.as_bytes()),
        ServerHeader::AppendIfAbsent if !fields.contains(HeaderId::Server) => {
            fields.append_id(HeaderId::Server, x.manager.server_name.as_bytes());
        }
        ServerHeader::AppendIfAbsent | ServerHeader::PassThrough => {}
    }
}

/// Sends the head, or queues it so that it leaves with the first body bytes.
pub(crate) fn send_head(x: &mut Exchange<'_>, framing: Framing, close: bool) -> Result<(), ChannelError> {
    if close && x.worker.sends_away(x.manager.inbound) {
        x.manager.stats.downstream_cx_drain_close.inc();
    }
    x.log.status = x.heads.response.status;
    match x.channel {
        Channel::Http1(http) => {
            let heads = &*x.heads;
            http.queue(|out| encode::response(&heads.response, framing, heads.request.method(), close, out));
            http.begin_writing(framing);
            Ok(())
        }
        Channel::Http2(stream) => {
            stream.respond(&x.heads.response, !framing.has_body() && !x.channel_stays_open)
        }
        Channel::Inner(inner) => {
            inner.respond(&x.heads.response, !framing.has_body() && !x.channel_stays_open)
        }
        Channel::Over => Err(ChannelError::Closed),
    }
}

/// Answers in the proxy's own name.
pub(super) async fn reply(x: &mut Exchange<'_>, reply: Reply) -> After {
    if let Some(flag) = reply.flag {
        x.log.flags.set(flag);
    }
    if reply.charged {
        x.log.charge(reply.status);
    }
    let is_grpc = grpc::is_grpc(&x.heads.request.fields);
    let head = &mut x.heads.response;
    head.clear();
    head.version = Version::Http11;
    let web = x.kept.iter().any(|(_, kept)| matches!(kept, filter::Kept::Web { .. }));
    head.status = if is_grpc && !web { 200 } else { reply.status };
    for (name, value) in &reply.headers {
        head.fields.append(name.as_bytes(), value);
    }
    x.log.details = reply.details;
    if reply.edited || reply.charged {
        edit::apply(x, &x.edits.response, Side::Response);
    }
    let head = &mut x.heads.response;
    let mut body = &*reply.body;
    if is_grpc {
        head.fields.set_id(HeaderId::ContentType, b"application/grpc");
        let status = reply.grpc_status.unwrap_or_else(|| grpc::status_of_http(reply.status));
        head.fields.append_id(HeaderId::GrpcStatus, itoa::Buffer::new().format(status).as_bytes());
        if !body.is_empty() {
            head.fields.append_id(HeaderId::GrpcMessage, grpc::encode_message(body).as_bytes());
        }
        x.log.grpc_status = Some(u32::from(status));
        if x.trace.is_some() && !body.is_empty() {
            x.log.grpc_message = Some(body.into());
        }
        body = "";
    } else {
        if !body.is_empty() {
            head.fields.set_id(HeaderId::ContentLength, itoa::Buffer::new().format(body.len()).as_bytes());
            if !head.fields.contains(HeaderId::ContentType) {
                head.fields.append_id(HeaderId::ContentType, b"text/plain");
            }
        }
    }
    if reply.overloaded {
        head.fields.append_id(HeaderId::XEnvoyOverloaded, b"true");
    }
    if x.heads.request.method() == "HEAD" {
        body = "";
    }
    if reply.charged {
        // The router's own answers alone; what the connection's time-outs say knows no tries.
        add_extra(&mut x.heads.response.fields, &x.extra, x.log.attempts, false);
    }
    x.response_has_body = !body.is_empty();
    filter::response(x);
    stamp(x);
    let encoded = x.coder.take().map(|coder| coder.all(body.as_bytes()));
    let body = encoded.as_deref().unwrap_or(body.as_bytes());
    let framing = match body.len() {
        0 => Framing::None,
        _ if encoded.is_some() => Framing::Chunked,
        length => Framing::Length(length as u64),
    };
    let close = reply.close || x.closes();
    let mut content = body;
    let sent = match send_head(x, framing, close) {
        Ok(()) => poll_reply(x, &mut content).await,
        Err(_) => Err(()),
    };
    x.log.bytes_sent = (body.len() - content.len()) as u64;
    let body = reply.body;
    x.log.local_body = Some(body);
    match sent {
        Err(()) => x.gone(),
        Ok(()) if close && x.is_http1() => After::Close,
        Ok(()) => After::Keep,
    }
}

/// Writes a reply's body; a client that does not read it for the stream's idle time is gone.
async fn poll_reply(x: &mut Exchange<'_>, content: &mut &[u8]) -> Result<(), ()> {
    x.deadline.set(x.manager.stream_idle_timeout.map(|idle| Instant::now() + idle));
    poll_fn(|cx| {
        while !content.is_empty() {
            match x.channel.poll_send(cx, content, true) {
                Poll::Ready(Ok(sent)) => *content = &content[sent..],
                Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                Poll::Pending => return x.deadline.poll(cx).map(Err),
            }
        }
        if x.channel.end(None).is_err() {
            return Poll::Ready(Err(()));
        }
        match x.channel.poll_flush(cx) {
            Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|_| ())),
            Poll::Pending => x.deadline.poll(cx).map(Err),
        }
    })
    .await
}

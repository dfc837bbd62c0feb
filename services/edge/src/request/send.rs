//! An answer onto the wire.

use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use selvedge_http::encode;
use selvedge_http::framing::Framing;
use selvedge_http::head::Version;
use selvedge_http::known::HeaderId;
use selvedge_site::Directives;
use selvedge_wire::channel::{Channel, ChannelError};
use tokio::time::Instant;

use super::After;
use super::exchange::Exchange;
use super::response::{Body, FileBody, Piece, Response, Source};
use crate::answer::backend::Reader;
use crate::answer::tunnel::{self, Passed};
use crate::pace;
use crate::ready::{Content, Ready};

/// A client that takes nothing for so long is gone, unless `server.max-write-idle` says less.
pub(crate) const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// Where request and answer are under way at once, somebody says something within this.
pub(crate) const BOTH_IDLE_MAX: Duration = Duration::from_secs(300);
/// What is read of a file at once, where the kernel cannot send it.
const FILE_STEP_BYTES: usize = 64 * 1024;
/// What the kernel sends at once, so that other connections get their turn.
pub(crate) const SENDFILE_STEP_BYTES: usize = 256 * 1024;

/// Sends an answer; what becomes of the connection.
pub(super) async fn send(x: &mut Exchange<'_>, mut response: Response) -> After {
    let framing = frame(x, &mut response);
    x.status = response.head.status;
    if let Some(slot) = &x.slot {
        slot.answers(&x.physical.path, response.body.length());
    }
    let bodiless = x.head.method() == "HEAD" || matches!(response.head.status, 204 | 304);
    let body = if bodiless { Body::None } else { std::mem::take(&mut response.body) };
    let announced = head(x, &response, framing, matches!(body, Body::None));
    // Logs and spans tell of them.
    x.response_fields = std::mem::take(&mut response.head.fields);
    if let Err(error) = announced {
        return cut(x, &error);
    }
    let mut trailers = None;
    let sent = match body {
        Body::Tunnel(mut tunnel) => {
            let Passed { bytes, ended } = tunnel::run(x.channel, x.deadline, &mut tunnel).await;
            x.count_sent(bytes);
            return tunnelled(x, ended);
        }
        Body::None => Ok(()),
        Body::Bytes(bytes) => bytes_out(x, &bytes, true).await,
        Body::File(file) => file_out(x, file).await,
        Body::Stream(mut source, length) => {
            let sent = match source.feeds() {
                true => both_ways(x, &mut *source, length).await,
                false => stream_out(x, &mut *source, length).await,
            };
            trailers = source.trailers();
            sent
        }
        Body::Backend(mut reader, length) if reader.feeds() => both_ways(x, &mut *reader, length).await,
        Body::Backend(mut reader, length) => backend_out(x, &mut reader, length).await,
    };
    if let Err(error) = sent {
        return cut(x, &error);
    }
    if !bodiless && let Err(error) = x.channel.end(trailers.as_ref()).map_err(into_io) {
        return cut(x, &error);
    }
    if let Err(error) = flush(x).await {
        return cut(x, &error);
    }
    let unread = !x.channel.is_read();
    if !x.keep || unread { After::Close } else { After::Keep }
}

/// Sends an answer that is ready; what becomes of the connection.
pub(super) async fn ready(x: &mut Exchange<'_>, ready: &Ready) -> After {
    x.conf = ready.conf.clone();
    x.keep = !x.facts.close && !x.worker.is_draining();
    x.status = 200;
    if x.conf.accesslog.filename.is_some() || x.conf.mesh.traces.is_some() {
        x.target_original = x.head.path().to_owned();
        x.target = ready.target.clone();
        x.physical.path.clone_from(&ready.path);
        x.server_name.clone_from(&ready.server_name);
        x.response_fields.clone_from(&ready.fields);
    }
    let date = x.worker.date(x.begun_at);
    let length = ready.content.length();
    // A short one has left before anybody looks.
    if let (Some(slot), Content::File { .. }) = (&x.slot, &ready.content) {
        slot.begin(x);
        slot.answers(&ready.path, Some(length as u64));
    }
    match &mut *x.channel {
        Channel::Http1(http) => {
            http.queue(|out| ready.form.write_head(x.keep, &date, out));
            http.begin_writing(ready.content.framing());
        }
        Channel::Http2(stream) => {
            let wrote = stream.respond_prepared(length == 0, |out| ready.form.write_block(&date, out));
            if let Err(error) = wrote.map_err(into_io) {
                return cut(x, &error);
            }
        }
        Channel::Inner(_) | Channel::Over => return After::Cut,
    }
    let sent = match &ready.content {
        Content::Memory(bytes) => bytes_out(x, bytes, true).await,
        Content::File { file, len } => range_out(x, file, 0, *len as u64, true).await,
    };
    if let Err(error) = sent {
        return cut(x, &error);
    }
    if let Err(error) = x.channel.end(None).map_err(into_io) {
        return cut(x, &error);
    }
    if let Err(error) = flush(x).await {
        return cut(x, &error);
    }
    if x.keep { After::Keep } else { After::Close }
}

/// The end of a tunnel: a connection goes with it, and a stream ends as the far side did, in order or by a reset (RFC 8441 §5).
fn tunnelled(x: &mut Exchange<'_>, ended: io::Result<()>) -> After {
    if let Err(error) = &ended {
        tracing::debug!(%error, client = %x.remote, path = x.path(), "a tunnel broke off");
    }
    if !matches!(x.channel, Channel::Http2(_)) {
        return After::Cut;
    }
    if ended.is_err() || x.channel.end(None).is_err() {
        x.channel.reset(::h2::Reason::CANCEL);
    }
    After::Close
}

fn cut(x: &Exchange<'_>, error: &io::Error) -> After {
    tracing::debug!(%error, client = %x.remote, path = x.path(), "an answer broke off");
    After::Cut
}

/// Settles how the body ends and what the head says of it.
fn frame(x: &mut Exchange<'_>, response: &mut Response) -> Framing {
    let version = match x.head.version {
        Version::Http2 => Version::Http2,
        Version::Http11 if x.conf.server.protocol_http11 => Version::Http11,
        _ => Version::Http10,
    };
    response.head.version = version;
    if version == Version::Http2 && response.head.status == 101 {
        // What HTTP/2 calls this (RFC 8441 §5).
        response.head.status = 200;
        response.head.fields.remove(HeaderId::Upgrade);
        response.head.fields.retain(|_, name, _| name != b"sec-websocket-accept");
    }
    x.keep = !x.facts.close && !response.close && !x.worker.is_draining();
    // What is left of a body is not worth reading, least of all of one that was too long.
    if !x.channel.is_read() {
        x.keep = false;
    }
    let status = response.head.status;
    let fields = &mut response.head.fields;
    fields.remove(HeaderId::Connection);
    fields.remove(HeaderId::TransferEncoding);
    let mut framing = Framing::None;
    if status >= 200 && !matches!(status, 204 | 304) {
        match response.body.length() {
            // The status of a call alone: it has no body, not an empty one.
            Some(0) if version == Version::Http2 && fields.contains(HeaderId::GrpcStatus) => {}
            Some(length) => {
                fields.set_id(HeaderId::ContentLength, itoa::Buffer::new().format(length).as_bytes());
                framing = if length > 0 { Framing::Length(length) } else { Framing::None };
            }
            None => {
                fields.remove(HeaderId::ContentLength);
                framing = match version {
                    Version::Http11 => Framing::Chunked,
                    Version::Http10 => {
                        x.keep = false;
                        Framing::UntilClose
                    }
                    Version::Http2 => Framing::None,
                };
                if version == Version::Http11 && x.head.method() != "HEAD" {
                    fields.append_id(HeaderId::TransferEncoding, b"chunked");
                }
            }
        }
    } else {
        fields.remove(HeaderId::ContentLength);
    }
    match (version, status) {
        (Version::Http2, _) => {}
        (_, 101) => fields.append_id(HeaderId::Connection, b"upgrade"),
        (_, _) if !x.keep => fields.append_id(HeaderId::Connection, b"close"),
        (Version::Http10, _) => fields.append_id(HeaderId::Connection, b"keep-alive"),
        _ => {}
    }
    if fields.get(HeaderId::Date).is_none() {
        fields.append_id(HeaderId::Date, &x.worker.date(x.begun_at));
    }
    if fields.get(HeaderId::Server).is_none()
        && let Some(tag) = x.conf.server.tag.as_deref().filter(|tag| !tag.is_empty())
    {
        fields.append_id(HeaderId::Server, tag.as_bytes());
    }
    framing
}

fn head(x: &mut Exchange<'_>, response: &Response, framing: Framing, ends: bool) -> io::Result<()> {
    let method_is_head = x.head.method() == "HEAD";
    match &mut *x.channel {
        Channel::Http1(http) => {
            http.queue(|out| encode::web_response(&response.head, out));
            http.begin_writing(if method_is_head { Framing::None } else { framing });
            Ok(())
        }
        Channel::Http2(stream) => stream.respond(&response.head, ends).map_err(into_io),
        Channel::Inner(_) | Channel::Over => Err(io::ErrorKind::NotConnected.into()),
    }
}

fn into_io(error: ChannelError) -> io::Error {
    match error {
        ChannelError::Io(error) => error,
        other => io::Error::other(other),
    }
}

fn patience(x: &Exchange<'_>) -> Duration {
    stall_max(&x.conf)
}

/// How long a client may take nothing.
pub(crate) fn stall_max(of: &Directives) -> Duration {
    Duration::from_secs(u64::from(of.server.max_write_idle.max(1))).min(WRITE_STALL_MAX)
}

async fn bytes_out(x: &mut Exchange<'_>, bytes: &[u8], last: bool) -> io::Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at.saturating_add(pace::step(rate(x))));
        let patience = patience(x);
        let (channel, deadline) = (&mut *x.channel, &mut *x.deadline);
        let part = &bytes[at..end];
        let sent = poll_fn(|cx| {
            let polled = channel.poll_send(cx, part, last && end == bytes.len());
            if polled.is_pending() {
                if deadline.at().is_none() {
                    deadline.set(Some(Instant::now() + patience));
                }
                return deadline.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
            }
            polled.map_err(into_io)
        });
        let sent = sent.await?;
        x.deadline.set(None);
        at += sent;
        x.count_sent(sent as u64);
        slow_down(x, sent).await;
    }
    Ok(())
}

async fn flush(x: &mut Exchange<'_>) -> io::Result<()> {
    let patience = patience(x);
    let (channel, deadline) = (&mut *x.channel, &mut *x.deadline);
    deadline.set(Some(Instant::now() + patience));
    let flushed = poll_fn(|cx| match channel.poll_flush(cx) {
        Poll::Ready(flushed) => Poll::Ready(flushed.map_err(into_io)),
        Poll::Pending => deadline.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
    })
    .await;
    x.deadline.set(None);
    flushed
}

async fn file_out(x: &mut Exchange<'_>, mut body: FileBody) -> io::Result<()> {
    while let Some(piece) = body.pieces.pop_front() {
        let last = body.pieces.is_empty();
        match piece {
            Piece::Bytes(bytes) => bytes_out(x, &bytes, last).await?,
            Piece::Range { offset, len } => range_out(x, &body.file, offset, len, last).await?,
        }
    }
    Ok(())
}

async fn range_out(
    x: &mut Exchange<'_>,
    file: &std::fs::File,
    offset: u64,
    len: u64,
    last: bool,
) -> io::Result<()> {
    let by_kernel = matches!(&*x.channel, Channel::Http1(http) if http.io.is_plain());
    // What fits into one read leaves with the head, in one call.
    if !by_kernel || len <= FILE_STEP_BYTES as u64 / 4 {
        let mut at = 0;
        let mut part = vec![0; FILE_STEP_BYTES.min(len as usize)];
        while at < len {
            let want = part.len().min((len - at) as usize);
            let read = file.read_at(&mut part[..want], offset + at)?;
            if read == 0 {
                // The file has become shorter: the announced length cannot be kept.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += read as u64;
            bytes_out(x, &part[..read], last && at == len).await?;
        }
        return Ok(());
    }
    let mut at = 0;
    while at < len {
        let step = SENDFILE_STEP_BYTES.min(pace::step(rate(x))).min((len - at) as usize);
        let patience = patience(x);
        let (channel, deadline) = (&mut *x.channel, &mut *x.deadline);
        let sent = poll_fn(|cx| {
            let Channel::Http1(http) = channel else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            let polled = http.poll_send_file(cx, file, offset + at, step);
            if polled.is_pending() {
                if deadline.at().is_none() {
                    deadline.set(Some(Instant::now() + patience));
                }
                return deadline.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
            }
            polled
        })
        .await?;
        x.deadline.set(None);
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += sent as u64;
        x.count_sent(sent as u64);
        slow_down(x, sent).await;
        if at < len && rate(x).is_none() {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

async fn stream_out(x: &mut Exchange<'_>, source: &mut dyn Source, length: Option<u64>) -> io::Result<()> {
    let mut left = length;
    loop {
        // While the program thinks, what it said already is on its way.
        let channel = &mut *x.channel;
        let next = poll_fn(|cx| {
            let next = source.poll_next(cx);
            if next.is_pending() && channel.poll_flush(cx).map_err(into_io)?.is_ready() {
                return Poll::Pending;
            }
            next
        })
        .await?;
        let Some(bytes) = next else { break };
        if let Some(left) = &mut left {
            *left = left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
        }
        let last = left == Some(0);
        bytes_out(x, &bytes, last).await?;
    }
    match left {
        Some(left) if left > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Sends an answer while what the client still sends goes on to whoever answers. Neither waits for the other.
async fn both_ways(x: &mut Exchange<'_>, source: &mut dyn Source, length: Option<u64>) -> io::Result<()> {
    let mut left = length;
    let mut held = Bytes::new();
    let patience = patience(x);
    let (mut over, mut fed) = (false, false);
    loop {
        let most = pace::step(rate(x));
        let (channel, deadline) = (&mut *x.channel, &mut *x.deadline);
        let mut stalled = false;
        deadline.set(None);
        let sent = poll_fn(|cx| {
            if deadline.poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if !fed {
                fed = source.poll_feed(cx, channel)?.is_ready();
            }
            while held.is_empty() && !over {
                match source.poll_next(cx)? {
                    Poll::Ready(Some(bytes)) => held = bytes,
                    Poll::Ready(None) => over = true,
                    Poll::Pending => break,
                }
            }
            let polled = match held.is_empty() {
                true if over => return Poll::Ready(Ok(0)),
                true => channel.poll_flush(cx).map_err(into_io).map_ok(|()| 0),
                false => channel.poll_send(cx, &held[..held.len().min(most)], false).map_err(into_io),
            };
            match polled {
                Poll::Ready(Ok(0)) | Poll::Pending => {}
                done => return done,
            }
            // Somebody speaks; or the client takes what is there, whatever else it says meanwhile.
            if held.is_empty() {
                deadline.set(Some(Instant::now() + BOTH_IDLE_MAX));
            } else if !std::mem::replace(&mut stalled, true) {
                deadline.set(Some(Instant::now() + patience));
            }
            deadline.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
        })
        .await?;
        x.deadline.set(None);
        if sent == 0 {
            break;
        }
        held.advance(sent);
        x.count_sent(sent as u64);
        if let Some(left) = &mut left {
            *left = left.checked_sub(sent as u64).ok_or(io::ErrorKind::InvalidData)?;
        }
        slow_down(x, sent).await;
    }
    match left {
        Some(left) if left > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Sends a backend's answer on from where it lies.
async fn backend_out(x: &mut Exchange<'_>, reader: &mut Reader, length: Option<u64>) -> io::Result<()> {
    let mut left = length;
    loop {
        // While the program thinks, what it said already is on its way.
        let channel = &mut *x.channel;
        let more = poll_fn(|cx| {
            let more = reader.poll_piece(cx);
            if more.is_pending() && channel.poll_flush(cx).map_err(into_io)?.is_ready() {
                return Poll::Pending;
            }
            more
        });
        if !more.await? {
            break;
        }
        let len = reader.piece().len();
        if let Some(left) = &mut left {
            *left = left.checked_sub(len as u64).ok_or(io::ErrorKind::InvalidData)?;
        }
        bytes_out(x, reader.piece(), left == Some(0)).await?;
        reader.used(len);
    }
    match left {
        Some(left) if left > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Bytes a second that this answer may take, by the strictest bound.
fn rate(x: &Exchange<'_>) -> Option<u64> {
    let shared = x.conf.server.kbytes_per_second.map_or(0, |rate| u64::from(rate.kbytes_per_second) * 1024);
    [connection_rate(x), shared, client_rate(x)].into_iter().filter(|rate| *rate > 0).min()
}

fn connection_rate(x: &Exchange<'_>) -> u64 {
    // `edge.toml` says both, the one in bytes more exactly.
    match x.conf.edge.bandwidth {
        0 => u64::from(x.conf.server.connection_kbytes_per_second) * 1024,
        bytes => bytes,
    }
}

fn client_rate(x: &Exchange<'_>) -> u64 {
    u64::from(x.conf.edge.client_kbytes_per_second) * 1024
}

/// Waits until what was sent is not more than the rates allow.
async fn slow_down(x: &mut Exchange<'_>, bytes: usize) {
    if rate(x).is_none() {
        return;
    }
    let now = std::time::Instant::now();
    let mut wait = x.peer.pacer.sent(bytes, connection_rate(x), now);
    if let Some(guest) = &x.peer.guest {
        wait = wait.max(guest.pacer().sent(bytes, client_rate(x), now));
    }
    if let Some(shared) = x.conf.server.kbytes_per_second {
        let rate = u64::from(shared.kbytes_per_second) * 1024;
        wait = wait.max(x.site.pacer(shared.id).sent(bytes, rate, now));
    }
    if wait.is_zero() {
        return;
    }
    // What is queued leaves before the wait.
    let channel = &mut *x.channel;
    let _ = poll_fn(|cx| {
        let _ = channel.poll_flush(cx);
        Poll::Ready(())
    })
    .await;
    tokio::time::sleep(wait).await;
}

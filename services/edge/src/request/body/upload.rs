//! A body that goes on as it comes: the backend gets a client's bytes while the client still sends.
//!
//! What is held of it is what the client's connection holds unread, whatever its length. A backend that answers before the
//! end is heard at once, and gets no more.

use std::io;
use std::time::Duration;

use selvedge_http::fastcgi;
use selvedge_http::framing::Framing;
use selvedge_wire::channel::Content;
use selvedge_wire::stream::Stream;
use tokio::time::{Instant, timeout};

use super::{Pace, next, say_continue};
use crate::request::{Exchange, Response};

/// A body of a length that is known and up to this is gathered all the same: it fits into memory, and a backend's connection
/// that turns out to be dead can be replaced.
pub(crate) const GATHERED_BYTES_MAX: u64 = 64 * 1024;
/// A backend that takes nothing for so long is given up.
pub(crate) const UPLOAD_STALL_MAX: Duration = Duration::from_secs(60);
/// What is read at once of an answer that comes before its time.
const EARLY_BYTES: usize = 16 * 1024;

/// How the bytes are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrap {
    None,
    Chunked,
    FastCgi,
}

/// Why there is no answer to wait for.
pub(crate) enum Broken {
    /// The client's fault; this is what it is told.
    Client(Response),
    Backend(io::Error),
}

/// Whether the body of a request is long enough, or of a length that is not known, to go on as it comes. Programs that have
/// to be told a length before cannot have what has none.
pub(crate) fn is_due(x: &Exchange<'_>, length_needed: bool) -> bool {
    x.gathered.is_none()
        && match x.facts.framing {
            Framing::Length(length) => length > GATHERED_BYTES_MAX,
            Framing::Chunked => !length_needed,
            Framing::None | Framing::UntilClose => false,
        }
}

/// Passes the body on to its end, or until the backend answers; what has come of that answer.
///
/// # Errors
/// See [`Broken`]. Beyond `server.max-request-size` it is the client's fault.
pub(crate) async fn upload(x: &mut Exchange<'_>, stream: &Stream, wrap: Wrap) -> Result<Vec<u8>, Broken> {
    if x.facts.expects_continue {
        say_continue(x);
    }
    let mut pace = Pace::of(x);
    let limit = super::limit(x);
    let mut passed = 0;
    let mut out = Vec::new();
    loop {
        let content = tokio::select! {
            biased;
            early = spoken(stream) => return early.map_err(Broken::Backend),
            content = next(x, &mut pace) => content.map_err(Broken::Client)?,
        };
        out.clear();
        if content == Content::End {
            match wrap {
                Wrap::None => {}
                Wrap::Chunked => out.extend_from_slice(b"0\r\n\r\n"),
                Wrap::FastCgi => fastcgi::stdin_head(0, &mut out),
            }
            let early = write(stream, &out).await.map_err(Broken::Backend)?;
            x.facts.framing = Framing::None;
            return Ok(early.unwrap_or_default());
        }
        let available = x.channel.content();
        let len = available.len().min(fastcgi::CONTENT_BYTES_MAX);
        passed += len as u64;
        if passed > limit {
            return Err(Broken::Client(Response::status(413).closing()));
        }
        match wrap {
            Wrap::None => {}
            Wrap::Chunked => out.extend_from_slice(format!("{len:x}\r\n").as_bytes()),
            Wrap::FastCgi => fastcgi::stdin_head(len, &mut out),
        }
        out.extend_from_slice(&available[..len]);
        if wrap == Wrap::Chunked {
            out.extend_from_slice(b"\r\n");
        }
        x.channel.consume(len);
        pace.came(len);
        let began = Instant::now();
        if let Some(early) = write(stream, &out).await.map_err(Broken::Backend)? {
            return Ok(early);
        }
        pace.waited(began.elapsed());
    }
}

/// Writes all of it, unless the backend says something before.
async fn write(stream: &Stream, mut bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::select! {
                biased;
                early = spoken(stream) => return early.map(Some),
                writable = timeout(UPLOAD_STALL_MAX, stream.writable()) => {
                    writable.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                }
            },
            // It may have said why it closed.
            Err(error) => return spoken(stream).await.map(Some).map_err(|_| error),
        }
    }
    Ok(None)
}

/// Waits for the backend to say something of an answer. That a body may come is no answer: it does.
async fn spoken(stream: &Stream) -> io::Result<Vec<u8>> {
    let mut early = Vec::new();
    loop {
        stream.readable().await?;
        let at = early.len();
        early.resize(at + EARLY_BYTES, 0);
        match stream.try_read(&mut early[at..]) {
            Ok(read) => early.truncate(at + read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                early.truncate(at);
                continue;
            }
            Err(error) => return Err(error),
        }
        if !(early.starts_with(b"HTTP/1.1 1") && early.ends_with(b"\r\n\r\n")) {
            return Ok(early);
        }
        early.clear();
    }
}

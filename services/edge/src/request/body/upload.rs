//! A body that goes on as it comes: the backend gets a client's bytes while the client still sends.
//!
//! What is held of it is what the client's connection holds unread, whatever its length. A backend that answers before the
//! end is heard at once, and the body goes on beside its answer, until one of the two is over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use selvedge_http::fastcgi;
use selvedge_http::framing::Framing;
use selvedge_wire::channel::{Channel, Content};
use selvedge_wire::stream::Stream;
use tokio::io::AsyncWrite as _;
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

/// What came of passing a body on.
pub(crate) struct Uploaded {
    /// What has come of the answer.
    pub(crate) early: Vec<u8>,
    /// The answer has begun before the end of the body; this goes on beside it.
    pub(crate) rest: Option<Feed>,
}

/// A body on its way to a backend.
pub(crate) struct Feed {
    wrap: Wrap,
    limit: u64,
    passed: u64,
    /// Wrapped, and not yet taken by the backend from `at` on.
    out: Vec<u8>,
    at: usize,
    /// The client's part is whole.
    ended: bool,
}

impl Feed {
    fn new(limit: u64, wrap: Wrap) -> Self {
        Self { wrap, limit, passed: 0, out: Vec::new(), at: 0, ended: false }
    }

    /// Takes what the client has sent, up to a piece; how much that was. `None`: it is more than a body may be.
    fn take(&mut self, channel: &mut Channel) -> Option<usize> {
        let available = channel.content();
        let len = available.len().min(fastcgi::CONTENT_BYTES_MAX);
        self.passed += len as u64;
        if self.passed > self.limit {
            return None;
        }
        let wrap = self.wrap;
        let out = self.cleared();
        match wrap {
            Wrap::None => {}
            Wrap::Chunked => out.extend_from_slice(format!("{len:x}\r\n").as_bytes()),
            Wrap::FastCgi => fastcgi::stdin_head(len, out),
        }
        out.extend_from_slice(&available[..len]);
        if wrap == Wrap::Chunked {
            out.extend_from_slice(b"\r\n");
        }
        channel.consume(len);
        Some(len)
    }

    fn end(&mut self) {
        self.ended = true;
        let wrap = self.wrap;
        let out = self.cleared();
        match wrap {
            Wrap::None => {}
            Wrap::Chunked => out.extend_from_slice(b"0\r\n\r\n"),
            Wrap::FastCgi => fastcgi::stdin_head(0, out),
        }
    }

    fn cleared(&mut self) -> &mut Vec<u8> {
        self.at = 0;
        self.out.clear();
        &mut self.out
    }

    /// Passes on what can be, beside the answer. Ready when there is no more to pass on, or nobody who takes it.
    ///
    /// # Errors
    /// The client's body is broken, or longer than it may be.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        channel: &mut Channel,
        stream: &mut Stream,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.at < self.out.len() {
                match ready!(Pin::new(&mut *stream).poll_write(cx, &self.out[self.at..])) {
                    Ok(written) if written > 0 => self.at += written,
                    // Whoever has said enough need not hear the rest.
                    Ok(_) | Err(_) => return Poll::Ready(Ok(())),
                }
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(channel.poll_content(cx)).map_err(|_| io::ErrorKind::UnexpectedEof)? {
                Content::End => self.end(),
                Content::Bytes => {
                    self.take(channel).ok_or(io::ErrorKind::FileTooLarge)?;
                }
            }
        }
    }
}

/// Passes the body on to its end, or until the backend answers.
///
/// # Errors
/// See [`Broken`]. Beyond `server.max-request-size` it is the client's fault.
pub(crate) async fn upload(x: &mut Exchange<'_>, stream: &Stream, wrap: Wrap) -> Result<Uploaded, Broken> {
    if x.facts.expects_continue {
        say_continue(x);
    }
    let mut pace = Pace::of(x);
    let mut feed = Feed::new(super::limit(x), wrap);
    loop {
        let content = tokio::select! {
            biased;
            early = spoken(stream) => {
                return Ok(Uploaded { early: early.map_err(Broken::Backend)?, rest: Some(feed) });
            }
            content = next(x, &mut pace) => content.map_err(Broken::Client)?,
        };
        if content == Content::End {
            feed.end();
            let early = write(stream, &mut feed).await.map_err(Broken::Backend)?;
            x.facts.framing = Framing::None;
            let rest = (feed.at < feed.out.len()).then_some(feed);
            return Ok(Uploaded { early: early.unwrap_or_default(), rest });
        }
        let len = feed.take(x.channel).ok_or_else(|| Broken::Client(Response::status(413).closing()))?;
        pace.came(len);
        let began = Instant::now();
        if let Some(early) = write(stream, &mut feed).await.map_err(Broken::Backend)? {
            return Ok(Uploaded { early, rest: Some(feed) });
        }
        pace.waited(began.elapsed());
    }
}

/// Writes all that is wrapped, unless the backend says something before.
async fn write(stream: &Stream, feed: &mut Feed) -> io::Result<Option<Vec<u8>>> {
    while feed.at < feed.out.len() {
        match stream.try_write(&feed.out[feed.at..]) {
            Ok(written) => feed.at += written,
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

#[cfg(test)]
mod tests {
    use selvedge_wire::stream::{Address, connect};

    use super::*;

    /// The clock runs by itself where nothing else does.
    #[tokio::test(start_paused = true)]
    async fn a_backend_that_takes_nothing_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backend.sock");
        let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let stream = connect(&Address::Unix(path), Duration::from_secs(1)).await.unwrap();
        let mut feed = Feed::new(u64::MAX, Wrap::None);
        feed.out = vec![0; 4 * 1024 * 1024];
        let began = Instant::now();
        let error = write(&stream, &mut feed).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), UPLOAD_STALL_MAX.as_secs());
        assert!((1..feed.out.len()).contains(&feed.at), "what fits has gone: {}", feed.at);
    }
}

//! What a program behind us answers, read and turned into a response.
//!
//! CGI, FastCGI and SCGI programs speak the same head ([`selvedge_http::cgi`]); what differs is how their bytes are
//! wrapped. HTTP backends speak HTTP/1.1.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use selvedge_http::cgi::{self, Head};
use selvedge_http::chunked;
use selvedge_http::fastcgi;
use selvedge_http::head::ResponseHead;
use selvedge_wire::channel::Channel;
use selvedge_wire::stream::{Address, Stream};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::ChildStdout;
use tokio::time::Instant;

use super::hosts::Lease;
use super::programs::Script;
use crate::request::body::upload::{Feed, Uploaded};
use crate::request::response::Source;
use crate::request::{Body, Exchange, Response};
use crate::worker::Worker;

/// Bytes of an answer that are held back so that its length can be said.
pub(crate) const HELD_BYTES_MAX: usize = 64 * 1024;
/// What is read at once.
const READ_BYTES: usize = 16 * 1024;
/// The longest line of a program's complaints that reaches the log.
const COMPLAINT_BYTES_MAX: usize = 8 * 1024;

/// Where a program's bytes come from.
pub(crate) enum Pipe {
    Stream(Stream),
    Script(ChildStdout),
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Stream(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Script(stdout) => Pin::new(stdout).poll_read(cx, buf),
        }
    }
}

/// How the bytes are wrapped.
pub(crate) enum Wrap {
    None,
    FastCgi(fastcgi::Decoder),
}

/// How the body ends.
pub(crate) enum End {
    /// With the connection, or with what the wrapping says.
    Close,
    Length(u64),
    Chunked(chunked::Decoder),
}

/// What lives as long as the answer is being read.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) _lease: Option<Lease>,
    pub(crate) _script: Option<Script>,
    /// Where the connection goes back to when the answer was read whole.
    pub(crate) pool: Option<(Rc<Worker>, Address)>,
}

/// A program's answer, as it comes.
pub(crate) struct Reader {
    pipe: Option<Pipe>,
    wrap: Wrap,
    raw: BytesMut,
    content: BytesMut,
    /// Nothing more comes.
    ended: bool,
    /// It came to an end, rather than broke off.
    pub(crate) whole: bool,
    pub(crate) end: End,
    patience: Option<Duration>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    /// The request's body, where the answer has begun before its end.
    feed: Option<Feed>,
    pub(crate) held: Held,
}

impl Reader {
    pub(crate) fn new(pipe: Pipe, wrap: Wrap, patience_seconds: u32, held: Held) -> Self {
        Self {
            pipe: Some(pipe),
            wrap,
            raw: BytesMut::new(),
            content: BytesMut::new(),
            ended: false,
            whole: false,
            end: End::Close,
            patience: (patience_seconds > 0).then(|| Duration::from_secs(u64::from(patience_seconds))),
            timer: None,
            feed: None,
            held,
        }
    }

    /// With what has come of the answer while the request's body was passed on, and what is left of that.
    pub(crate) fn after(mut self, uploaded: Uploaded) -> Self {
        let Uploaded { early, rest } = uploaded;
        match self.wrap {
            Wrap::None => self.content.extend_from_slice(&early),
            Wrap::FastCgi(_) => self.raw.extend_from_slice(&early),
        }
        self.feed = rest;
        self
    }

    /// What has come and was not used.
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    pub(crate) fn consume(&mut self, len: usize) {
        self.content.advance(len);
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The connection, for a change of protocol, and what was read of it.
    pub(crate) fn take_stream(&mut self) -> Option<(Stream, Bytes)> {
        match self.pipe.take() {
            Some(Pipe::Stream(stream)) => Some((stream, self.content.split().freeze())),
            other => {
                self.pipe = other;
                None
            }
        }
    }

    /// Waits for more content, and passes on meanwhile what is left of the request's body; `false` at the end.
    pub(crate) async fn more(&mut self, channel: &mut Channel) -> io::Result<bool> {
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.poll_feed(cx, channel) {
                return Poll::Ready(Err(error));
            }
            self.poll_more(cx)
        })
        .await
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(false));
            }
            let before = self.content.len();
            if self.unpack()? {
                if self.content.len() > before {
                    return Poll::Ready(Ok(true));
                }
                continue;
            }
            let Some(pipe) = &mut self.pipe else {
                self.ended = true;
                continue;
            };
            let into = match self.wrap {
                Wrap::None => &mut self.content,
                Wrap::FastCgi(_) => &mut self.raw,
            };
            let at = into.len();
            into.resize(at + READ_BYTES, 0);
            let mut buffer = ReadBuf::new(&mut into[at..]);
            let polled = Pin::new(pipe).poll_read(cx, &mut buffer);
            let read = buffer.filled().len();
            into.truncate(at + read);
            match polled {
                Poll::Ready(Ok(())) if read == 0 => {
                    self.ended = true;
                    self.whole |= matches!(self.wrap, Wrap::None);
                }
                Poll::Ready(Ok(())) => {
                    self.timer = None;
                    if matches!(self.wrap, Wrap::None) {
                        return Poll::Ready(Ok(true));
                    }
                }
                Poll::Ready(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    let Some(patience) = self.patience else { return Poll::Pending };
                    let timer = self
                        .timer
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
                    ready!(timer.as_mut().poll(cx));
                    self.ended = true;
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
    }

    /// Takes content out of its wrapping; whether anything was done.
    fn unpack(&mut self) -> io::Result<bool> {
        let Wrap::FastCgi(decoder) = &mut self.wrap else { return Ok(false) };
        match decoder.step(&self.raw).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            fastcgi::Step::Partial => return Ok(false),
            fastcgi::Step::Skip(len) => self.raw.advance(len),
            fastcgi::Step::Stdout(len) => {
                let bytes = self.raw.split_to(len);
                decoder.take(len);
                self.content.extend_from_slice(&bytes);
            }
            fastcgi::Step::Stderr(len) => {
                let bytes = self.raw.split_to(len);
                decoder.take(len);
                let shown = &bytes[..bytes.len().min(COMPLAINT_BYTES_MAX)];
                tracing::warn!(text = %String::from_utf8_lossy(shown).trim_end(), "FastCGI-stderr");
            }
            fastcgi::Step::End { .. } => {
                self.ended = true;
                self.whole = true;
            }
        }
        Ok(true)
    }

    /// Takes the next piece of the body from what is at hand; `None` asks for more, or says that it is over.
    fn piece(&mut self) -> io::Result<Option<Bytes>> {
        match &mut self.end {
            End::Close => {
                let bytes = self.content.split().freeze();
                Ok((!bytes.is_empty()).then_some(bytes))
            }
            End::Length(left) => {
                let len = self.content.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= len as u64;
                let bytes = self.content.split_to(len).freeze();
                Ok((!bytes.is_empty()).then_some(bytes))
            }
            End::Chunked(decoder) => {
                let step = decoder
                    .step(&self.content)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                self.content.advance(step.skip);
                decoder.take(step.content);
                let bytes = self.content.split_to(step.content).freeze();
                Ok((!bytes.is_empty()).then_some(bytes))
            }
        }
    }

    /// Whether the body has come whole.
    fn is_complete(&self) -> bool {
        match &self.end {
            End::Close => self.ended && self.whole && self.content.is_empty(),
            End::Length(left) => *left == 0,
            End::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// Lets go of what was held; a connection that can carry another request goes back.
    fn finish(&mut self) {
        let held = std::mem::take(&mut self.held);
        if let (Some((worker, address)), Some(Pipe::Stream(stream))) = (held.pool, self.pipe.take())
            && self.content.is_empty()
            && !self.ended
        {
            worker.give_back(address, stream);
        }
    }
}

impl Source for Reader {
    fn feeds(&self) -> bool {
        self.feed.is_some()
    }

    fn poll_feed(&mut self, cx: &mut Context<'_>, channel: &mut Channel) -> Poll<io::Result<()>> {
        if let (Some(feed), Some(Pipe::Stream(stream))) = (&mut self.feed, &mut self.pipe) {
            ready!(feed.poll(cx, channel, stream))?;
        }
        self.feed = None;
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            if let Some(bytes) = self.piece()? {
                return Poll::Ready(Ok(Some(bytes)));
            }
            if self.is_complete() {
                self.finish();
                return Poll::Ready(Ok(None));
            }
            if !ready!(self.poll_more(cx))? && self.content.is_empty() && !self.is_complete() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// What a program may do besides answering.
#[derive(Clone, Copy, Default)]
pub(crate) struct Powers<'a> {
    /// It may name a file to be sent, beneath these folders; anywhere if there are none.
    pub(crate) x_sendfile: Option<&'a [selvedge_site::directive::Text]>,
    /// Its local redirects are followed here.
    pub(crate) local_redir: bool,
    /// Whether it ended without a word is told by this status.
    pub(crate) silent: u16,
}

/// Reads a gateway program's head and makes a response of it.
pub(crate) async fn gateway_response(
    x: &mut Exchange<'_>,
    mut reader: Reader,
    powers: Powers<'_>,
) -> Response {
    let mut head = ResponseHead::default();
    let facts = match read_head(&mut reader, x.channel, &mut head).await {
        Ok(facts) => facts,
        Err(Refused::Silent) => return Response::status(powers.silent),
        Err(Refused::Malformed(error)) => {
            tracing::warn!(%error, path = x.path(), "a program's answer cannot be passed on");
            return Response::status(502);
        }
        Err(Refused::Io(error)) => {
            tracing::warn!(%error, path = x.path(), "a program did not answer");
            return Response::status(if error.kind() == io::ErrorKind::TimedOut { 504 } else { 502 });
        }
    };
    if powers.local_redir && !facts.status_given && head.fields.len() == 1 && head.status == 302 {
        let location = head.fields.get_str(selvedge_http::known::HeaderId::Location).unwrap_or_default();
        let same = location.split(['?', '#']).next() == Some(x.path());
        if location.starts_with('/') && !location.starts_with("//") && !same {
            x.turn_after_script();
            return Response::turn(location.to_owned());
        }
    }
    if let Some(folders) = powers.x_sendfile
        && let Some(response) = super::sendfile::requested(x, &mut head, folders)
    {
        return response;
    }
    finish(x, head, reader, facts.length).await
}

/// A head with the body that follows it.
pub(crate) async fn finish(
    x: &Exchange<'_>,
    head: ResponseHead,
    mut reader: Reader,
    length: Option<u64>,
) -> Response {
    let mut response = Response { head, from_backend: true, ..Response::default() };
    let bodiless = response.head.status == 204 || response.head.status == 304 || response.head.status < 200;
    if bodiless {
        reader.finish();
        return response;
    }
    if let Some(length) = length {
        reader.end = End::Length(length);
        response.body = Body::Stream(Box::new(reader), Some(length));
        return response;
    }
    // What a backend says before it has heard everything may be what the client waits for.
    let streams = x.conf.server.stream_response_body != 0
        || reader.feeds()
        || response.head.fields.get_str(selvedge_http::known::HeaderId::ContentType).is_some_and(|kind| {
            kind.starts_with("text/event-stream") || kind.starts_with("application/grpc")
        });
    if streams {
        response.body = Body::Stream(Box::new(reader), None);
        return response;
    }
    // A short answer is waited for, so that its length can be said.
    let mut held = BytesMut::new();
    let whole = loop {
        match poll_fn(|cx| reader.poll_next(cx)).await {
            Ok(None) => break true,
            Ok(Some(bytes)) => held.extend_from_slice(&bytes),
            Err(error) => {
                tracing::warn!(%error, path = x.path(), "a program's answer broke off");
                return Response::status(502);
            }
        }
        if held.len() >= HELD_BYTES_MAX {
            break false;
        }
    };
    response.body = match whole {
        // How long it would have been is not known where a program leaves it out.
        true if held.is_empty() && x.head.method() == "HEAD" => Body::Stream(Box::new(reader), None),
        true => Body::Bytes(held.freeze()),
        false => Body::Stream(Box::new(Joined { first: Some(held.freeze()), rest: reader }), None),
    };
    response
}

/// What was held back, and what follows.
struct Joined {
    first: Option<Bytes>,
    rest: Reader,
}

impl Source for Joined {
    fn feeds(&self) -> bool {
        self.rest.feeds()
    }

    fn poll_feed(&mut self, cx: &mut Context<'_>, channel: &mut Channel) -> Poll<io::Result<()>> {
        self.rest.poll_feed(cx, channel)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Ok(Some(first))),
            None => self.rest.poll_next(cx),
        }
    }
}

pub(crate) enum Refused {
    Silent,
    Malformed(cgi::CgiError),
    Io(io::Error),
}

/// Reads the head of a gateway program's answer; what follows it stays in the reader.
pub(crate) async fn read_head(
    reader: &mut Reader,
    channel: &mut Channel,
    head: &mut ResponseHead,
) -> Result<cgi::CgiFacts, Refused> {
    loop {
        let found = cgi::find_head(reader.content(), reader.is_ended()).map_err(Refused::Malformed)?;
        match found {
            Head::Complete(len) => {
                let facts = cgi::read_head(&reader.content()[..len], head).map_err(Refused::Malformed)?;
                reader.consume(len);
                return Ok(facts);
            }
            Head::None if reader.content().is_empty() => return Err(Refused::Silent),
            Head::None => {
                head.clear();
                head.status = 200;
                return Ok(cgi::CgiFacts::default());
            }
            Head::Partial if reader.is_ended() => return Err(Refused::Silent),
            Head::Partial => {
                reader.more(channel).await.map_err(Refused::Io)?;
            }
        }
    }
}

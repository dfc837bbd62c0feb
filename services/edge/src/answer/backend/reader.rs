//! A program's answer as its bytes come: read into a buffer of the worker's, taken out of its wrapping, looked at where it lies.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use selvedge_http::chunked;
use selvedge_http::fastcgi;
use selvedge_wire::buffer::{Buffers, Lease, SMALL_BYTES, Size};
use selvedge_wire::channel::Channel;
use selvedge_wire::stream::{Address, Stream};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::ChildStdout;
use tokio::time::Instant;

use crate::answer::hosts;
use crate::answer::programs::Script;
use crate::request::body::upload::{Feed, Uploaded};
use crate::request::response::Source;
use crate::worker::Worker;

/// What is held of a program's answer that nobody has taken yet: enough for the largest head.
const UNREAD_BYTES_MAX: usize = 96 * 1024;
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
    pub(crate) _lease: Option<hosts::Lease>,
    pub(crate) _script: Option<Script>,
    /// Where the connection goes back to when the answer was read whole.
    pub(crate) pool: Option<(Rc<Worker>, Address)>,
}

/// A program's answer, as it comes. Bytes are read into a buffer of the worker's and looked at where they lie; it goes back
/// while nothing is there.
pub(crate) struct Reader {
    pipe: Option<Pipe>,
    wrap: Wrap,
    buffers: Buffers,
    input: Option<Lease>,
    /// Content that was taken out of its wrapping.
    unwrapped: BytesMut,
    /// Bytes of the body that stand in front.
    piece: usize,
    /// Nothing more comes.
    ended: bool,
    /// It came to an end, rather than broke off.
    pub(crate) whole: bool,
    pub(crate) end: End,
    patience: Option<Duration>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    /// The request's body, where the answer has begun before its end.
    feed: Option<Box<Feed>>,
    pub(crate) held: Held,
}

/// Whether a client of HTTP/2 has taken its stream back; one of HTTP/1 may have closed its half and still wait for the answer.
pub(in crate::answer) fn is_taken_back(channel: &Channel, cx: &mut Context<'_>) -> bool {
    matches!(channel, Channel::Http2(stream) if stream.poll_gone(cx).is_ready())
}

impl Reader {
    /// Reads from `pipe` into what `buffers` lend. Boxed, for it goes through many hands.
    pub(crate) fn new(
        buffers: &Buffers,
        pipe: Pipe,
        wrap: Wrap,
        patience_seconds: u32,
        held: Held,
    ) -> Box<Self> {
        Box::new(Self {
            pipe: Some(pipe),
            wrap,
            buffers: buffers.clone(),
            input: None,
            unwrapped: BytesMut::new(),
            piece: 0,
            ended: false,
            whole: false,
            end: End::Close,
            patience: (patience_seconds > 0).then(|| Duration::from_secs(u64::from(patience_seconds))),
            timer: None,
            feed: None,
            held,
        })
    }

    /// With what has come of the answer while the request's body was passed on, and what is left of that.
    pub(crate) fn after(mut self: Box<Self>, uploaded: Uploaded) -> Box<Self> {
        let mut rest = uploaded.early.as_slice();
        while !rest.is_empty() {
            let lease = self.input.get_or_insert_with(|| self.buffers.lease(Size::Small));
            let space = lease.space(UNREAD_BYTES_MAX);
            let len = space.len().min(rest.len());
            space[..len].copy_from_slice(&rest[..len]);
            lease.filled(len);
            rest = &rest[len..];
        }
        self.feed = uploaded.rest.map(Box::new);
        self
    }

    /// What has come and was not used.
    pub(crate) fn content(&self) -> &[u8] {
        match self.wrap {
            Wrap::None => self.input.as_ref().map_or(&[], Lease::unread),
            Wrap::FastCgi(_) => &self.unwrapped,
        }
    }

    pub(crate) fn consume(&mut self, len: usize) {
        match self.wrap {
            Wrap::None => self.pass(len),
            Wrap::FastCgi(_) => self.unwrapped.advance(len),
        }
    }

    /// Lets go of bytes as they came.
    fn pass(&mut self, len: usize) {
        if let Some(lease) = &mut self.input {
            lease.consume(len);
            if lease.unread().is_empty() {
                self.input = None;
            }
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The connection, for a change of protocol, and what was read of it.
    pub(crate) fn take_stream(&mut self) -> Option<(Stream, Bytes)> {
        match self.pipe.take() {
            Some(Pipe::Stream(stream)) => {
                let early = Bytes::copy_from_slice(self.content());
                self.consume(early.len());
                Some((stream, early))
            }
            other => {
                self.pipe = other;
                None
            }
        }
    }

    /// Waits for more content, and passes on meanwhile what is left of the request's body; `false` at the end. Whoever takes its stream
    /// back waits for nothing any more: that is `ConnectionAborted`.
    pub(crate) async fn more(&mut self, channel: &mut Channel) -> io::Result<bool> {
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.poll_feed(cx, channel) {
                return Poll::Ready(Err(error));
            }
            match self.poll_more(cx) {
                Poll::Pending if is_taken_back(channel, cx) => {
                    Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
                }
                polled => polled,
            }
        })
        .await
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(false));
            }
            let before = self.unwrapped.len();
            if self.unpack()? {
                if self.unwrapped.len() > before {
                    return Poll::Ready(Ok(true));
                }
                continue;
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => {
                    self.ended = true;
                    self.whole |= matches!(self.wrap, Wrap::None);
                }
                Poll::Ready(Ok(_)) => {
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

    /// Reads once, behind what is there; 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(0)) };
        if let (None, Pipe::Stream(stream)) = (&self.input, &*pipe) {
            // Wait first, borrow then: a program takes its time.
            ready!(stream.poll_readable(cx))?;
        }
        let size = match self.end {
            End::Length(left) if left > SMALL_BYTES as u64 => Size::Large,
            _ => Size::Small,
        };
        let lease = self.input.get_or_insert_with(|| self.buffers.lease(size));
        let space = lease.space(UNREAD_BYTES_MAX);
        if space.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let mut buffer = ReadBuf::new(space);
        let polled = Pin::new(pipe).poll_read(cx, &mut buffer);
        let read = buffer.filled().len();
        lease.filled(read);
        if lease.unread().is_empty() {
            self.input = None;
        }
        ready!(polled)?;
        Poll::Ready(Ok(read))
    }

    /// Takes content out of its wrapping; whether anything was done.
    fn unpack(&mut self) -> io::Result<bool> {
        let Wrap::FastCgi(decoder) = &mut self.wrap else { return Ok(false) };
        let raw = self.input.as_ref().map_or(&[][..], Lease::unread);
        let passed =
            match decoder.step(raw).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                fastcgi::Step::Partial => return Ok(false),
                fastcgi::Step::Skip(len) => len,
                fastcgi::Step::Stdout(len) => {
                    self.unwrapped.extend_from_slice(&raw[..len]);
                    decoder.take(len);
                    len
                }
                fastcgi::Step::Stderr(len) => {
                    let shown = &raw[..len.min(COMPLAINT_BYTES_MAX)];
                    tracing::warn!(text = %String::from_utf8_lossy(shown).trim_end(), "FastCGI-stderr");
                    decoder.take(len);
                    len
                }
                fastcgi::Step::End { .. } => {
                    self.ended = true;
                    self.whole = true;
                    0
                }
            };
        self.pass(passed);
        Ok(true)
    }

    /// Finds the next piece of the body in what is at hand, if there is one.
    fn find_piece(&mut self) -> io::Result<bool> {
        let available = self.content().len();
        self.piece = match &mut self.end {
            End::Close => available,
            End::Length(left) => available.min(usize::try_from(*left).unwrap_or(usize::MAX)),
            End::Chunked(_) => self.find_chunk()?,
        };
        Ok(self.piece > 0)
    }

    /// The part of a chunk that is at hand; what stands before it is passed.
    fn find_chunk(&mut self) -> io::Result<usize> {
        let content = match self.wrap {
            Wrap::None => self.input.as_ref().map_or(&[][..], Lease::unread),
            Wrap::FastCgi(_) => &self.unwrapped,
        };
        let End::Chunked(decoder) = &mut self.end else { return Ok(0) };
        let step =
            decoder.step(content).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.consume(step.skip);
        Ok(step.content)
    }

    /// Waits for the next bytes of the body, which then stand in [`Reader::piece`]; `false` at the end.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if self.piece > 0 || self.find_piece()? {
                return Poll::Ready(Ok(true));
            }
            if self.is_complete() {
                self.finish();
                return Poll::Ready(Ok(false));
            }
            if !ready!(self.poll_more(cx))? && self.content().is_empty() && !self.is_complete() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// The bytes of the body at hand.
    pub(crate) fn piece(&self) -> &[u8] {
        &self.content()[..self.piece]
    }

    /// Marks bytes of the piece as used.
    pub(crate) fn used(&mut self, len: usize) {
        self.piece -= len;
        self.consume(len);
        match &mut self.end {
            End::Close => {}
            End::Length(left) => *left -= len as u64,
            End::Chunked(decoder) => decoder.take(len),
        }
    }

    /// Whether the body has come whole.
    fn is_complete(&self) -> bool {
        match &self.end {
            End::Close => self.ended && self.whole && self.content().is_empty(),
            End::Length(left) => *left == 0,
            End::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// Lets go of what was held; a connection that can carry another request goes back.
    pub(crate) fn finish(&mut self) {
        let held = std::mem::take(&mut self.held);
        if let (Some((worker, address)), Some(Pipe::Stream(stream))) = (held.pool, self.pipe.take())
            && self.content().is_empty()
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
        if !ready!(self.poll_piece(cx))? {
            return Poll::Ready(Ok(None));
        }
        let bytes = Bytes::copy_from_slice(self.piece());
        self.used(bytes.len());
        Poll::Ready(Ok(Some(bytes)))
    }
}

//! HTTP/1 on a connection: bodies in and out around the sans-IO codec of `selvedge-http`.
//!
//! One [`Http1`] serves either side. A server reads a request head, then the request's body, and writes a response; a
//! client writes a request and reads a response. Heads are queued and leave together with the first body bytes, in
//! one system call.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use selvedge_http::chunked::{self, ChunkError, Decoder};
use selvedge_http::framing::Framing;
use selvedge_http::head::{RequestHead, ResponseHead};
use selvedge_http::parse::{self, Dialect, RequestError, RequestFacts, ResponseError, ResponseFacts};
use selvedge_http::scan::Scanner;

use crate::buffer::{SMALL_BYTES, Size};
use crate::channel::Content;
use crate::io::Io;

/// What went wrong while bytes were read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The peer closed in the middle of a message. `started` tells whether any byte of it had arrived.
    #[error("the peer closed before the message was whole")]
    Closed { started: bool },
    #[error("the peer broke the protocol")]
    Protocol(#[source] E),
}

/// A connection that speaks HTTP/1, with the state of the message under way in each direction.
#[derive(Debug)]
pub struct Http1 {
    pub io: Io,
    /// Which requests are taken.
    pub dialect: Dialect,
    scanner: Scanner,
    reading: Reading,
    /// Queued bytes; `sent` of them have left.
    out: Vec<u8>,
    sent: usize,
    writing: Writing,
}

/// Where the body that is being read stands.
#[derive(Debug)]
enum Reading {
    /// Between messages, or the message is read whole.
    Done,
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

/// How the body that is being written is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Plain,
    /// So many bytes of the announced chunk are still to come.
    Chunked {
        left: usize,
    },
}

impl Http1 {
    pub fn new(io: Io) -> Self {
        Self {
            io,
            dialect: Dialect::ENVOY,
            scanner: Scanner::default(),
            reading: Reading::Done,
            out: Vec::new(),
            sent: 0,
            writing: Writing::Plain,
        }
    }

    // === reading ===

    /// Reads a request head. Ready with `None` when the peer closed between two messages.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
    ) -> Poll<Result<Option<RequestFacts>, ReadError<RequestError>>> {
        loop {
            if !self.io.unread().is_empty() {
                let parsed = parse::request(&mut self.scanner, self.io.unread(), head, self.dialect);
                if let Some((len, facts)) = parsed.map_err(ReadError::Protocol)? {
                    self.begin_reading(len, facts.framing);
                    return Poll::Ready(Ok(Some(facts)));
                }
            }
            if ready!(self.io.poll_fill(cx))? == 0 {
                return Poll::Ready(match self.io.unread().is_empty() {
                    true => Ok(None),
                    false => Err(ReadError::Closed { started: true }),
                });
            }
        }
    }

    /// Whether a request head has begun to arrive.
    pub fn has_begun(&self) -> bool {
        !self.io.unread().is_empty()
    }

    /// Passes a request head that begins the unread bytes and that the caller knows: whole, and without a body. Only between two
    /// messages.
    pub fn pass_head(&mut self, len: usize) {
        debug_assert!(self.is_read(), "a body is being read");
        self.begin_reading(len, Framing::None);
    }

    /// Reads the head of the response to a request with `method`. Interim responses are returned like others.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        method: &str,
        head: &mut ResponseHead,
    ) -> Poll<Result<ResponseFacts, ReadError<ResponseError>>> {
        loop {
            if !self.io.unread().is_empty() {
                let parsed = parse::response(&mut self.scanner, self.io.unread(), method, head);
                if let Some((len, facts)) = parsed.map_err(ReadError::Protocol)? {
                    self.begin_reading(len, facts.framing);
                    return Poll::Ready(Ok(facts));
                }
            }
            if ready!(self.io.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(ReadError::Closed { started: !self.io.unread().is_empty() }));
            }
        }
    }

    fn begin_reading(&mut self, head_len: usize, framing: Framing) {
        self.io.consume(head_len);
        self.scanner = Scanner::default();
        self.reading = match framing {
            Framing::None => Reading::Done,
            Framing::Length(length) => Reading::Length(length),
            Framing::Chunked => Reading::Chunked(Decoder::default()),
            Framing::UntilClose => Reading::UntilClose,
        };
        self.io.expect(match framing {
            Framing::Length(length) if length > SMALL_BYTES as u64 => Size::Large,
            _ => Size::Small,
        });
    }

    /// Takes everything that follows as it comes, until the peer closes: the connection has changed its protocol.
    pub fn become_opaque(&mut self) {
        self.reading = Reading::UntilClose;
        self.writing = Writing::Plain;
    }

    /// Waits for body bytes; they stand in [`Http1::content`] then.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Content, ReadError<ChunkError>>> {
        loop {
            if let Reading::Chunked(decoder) = &mut self.reading {
                let step = decoder.step(self.io.unread()).map_err(ReadError::Protocol)?;
                self.io.consume(step.skip);
                if step.end {
                    self.reading = Reading::Done;
                } else if step.content > 0 {
                    return Poll::Ready(Ok(Content::Bytes));
                }
            } else if !matches!(self.reading, Reading::Done) && !self.io.unread().is_empty() {
                return Poll::Ready(Ok(Content::Bytes));
            }
            if matches!(self.reading, Reading::Done) {
                self.io.expect(Size::Small);
                return Poll::Ready(Ok(Content::End));
            }
            if ready!(self.io.poll_fill(cx))? == 0 {
                if matches!(self.reading, Reading::UntilClose) {
                    self.reading = Reading::Done;
                    return Poll::Ready(Ok(Content::End));
                }
                return Poll::Ready(Err(ReadError::Closed { started: true }));
            }
        }
    }

    /// The body bytes at hand.
    pub fn content(&self) -> &[u8] {
        let unread = self.io.unread();
        match &self.reading {
            Reading::Done => &[],
            Reading::Length(left) => {
                &unread[..unread.len().min(usize::try_from(*left).unwrap_or(usize::MAX))]
            }
            Reading::Chunked(decoder) => {
                // `step` on the same bytes gives the same answer; framing bytes are gone already.
                decoder.clone().step(unread).map_or(&[], |step| &unread[step.skip..step.skip + step.content])
            }
            Reading::UntilClose => unread,
        }
    }

    /// Marks body bytes as used.
    pub fn consume(&mut self, len: usize) {
        self.io.consume(len);
        match &mut self.reading {
            Reading::Length(left) => {
                *left = left.saturating_sub(len as u64);
                if *left == 0 {
                    self.reading = Reading::Done;
                }
            }
            Reading::Chunked(decoder) => decoder.take(len),
            Reading::Done | Reading::UntilClose => {}
        }
    }

    /// Whether the message being read has been read whole.
    pub fn is_read(&self) -> bool {
        matches!(self.reading, Reading::Done)
    }

    /// Whether the bytes at hand are known to be the last of the body.
    pub fn is_last(&self) -> bool {
        matches!(self.reading, Reading::Length(left) if left <= self.io.unread().len() as u64)
    }

    // === writing ===

    /// Queues bytes in front of whatever is sent next: a head, an interim response.
    pub fn queue(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.out.capacity() == 0 {
            self.out = self.io.buffers().scratch();
        }
        write(&mut self.out);
    }

    /// Sends a head that need not be queued, and bytes of its body: `parts` begin with the `head_len` bytes of the head, all of them
    /// in the first part. What the socket does not take of the head is queued; how many bytes of the body were taken.
    ///
    /// # Errors
    /// The socket's.
    pub fn begin_prepared(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        head_len: usize,
    ) -> io::Result<usize> {
        let written = match self.is_flushed() {
            true => match self.io.poll_write(cx, parts) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            },
            false => 0,
        };
        if written < head_len {
            self.queue(|out| out.extend_from_slice(&parts[0][written..head_len]));
        }
        Ok(written.saturating_sub(head_len))
    }

    /// Begins a body; to be called when its head has been queued.
    pub fn begin_writing(&mut self, framing: Framing) {
        self.writing = match framing {
            Framing::Chunked => Writing::Chunked { left: 0 },
            _ => Writing::Plain,
        };
    }

    /// Sends queued bytes and body bytes together; how many of the body bytes were taken.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, content: &[u8]) -> Poll<io::Result<usize>> {
        if content.is_empty() {
            return self.poll_flush(cx).map_ok(|()| 0);
        }
        let (content, end) = match &mut self.writing {
            Writing::Plain => (content, &[][..]),
            Writing::Chunked { left } => {
                if *left == 0 {
                    *left = content.len();
                    if self.out.capacity() == 0 {
                        self.out = self.io.buffers().scratch();
                    }
                    chunked::encode_size(content.len(), &mut self.out);
                }
                let content = &content[..content.len().min(*left)];
                (content, if content.len() == *left { chunked::CHUNK_END } else { &[] })
            }
        };
        loop {
            let queued = self.out.len() - self.sent;
            let parts = [IoSlice::new(&self.out[self.sent..]), IoSlice::new(content), IoSlice::new(end)];
            let parts = &parts[usize::from(queued == 0)..if end.is_empty() { 2 } else { 3 }];
            let written = ready!(self.io.poll_write(cx, parts))?;
            if written < queued {
                self.sent += written;
                continue;
            }
            self.clear_out();
            let taken = (written - queued).min(content.len());
            if taken == 0 {
                continue;
            }
            if let Writing::Chunked { left } = &mut self.writing {
                *left -= taken;
                let of_end = written - queued - taken;
                if *left == 0 && of_end < end.len() {
                    self.out.extend_from_slice(&end[of_end..]);
                }
            }
            return Poll::Ready(Ok(taken));
        }
    }

    /// Sends queued bytes, then bytes of a file, by the kernel alone where the connection is plain; how many of the file's
    /// were taken, 0 at its end: what was queued may not have left then. `len` is not 0. Only for bodies whose length was announced, or that the close ends.
    ///
    /// # Errors
    /// The socket's and the file's.
    pub fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &std::fs::File,
        offset: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        while self.sent < self.out.len() {
            self.sent += ready!(self.io.poll_write_more(cx, &self.out[self.sent..]))?;
        }
        self.clear_out();
        self.io.poll_send_file(cx, file, offset, len)
    }

    /// Queues the end of the body.
    pub fn end(&mut self) {
        if matches!(self.writing, Writing::Chunked { .. }) {
            self.queue(|out| out.extend_from_slice(chunked::LAST_CHUNK));
        }
        self.writing = Writing::Plain;
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let part = [IoSlice::new(&self.out[self.sent..])];
            self.sent += ready!(self.io.poll_write(cx, &part))?;
        }
        self.clear_out();
        Poll::Ready(Ok(()))
    }

    /// Whether everything queued has left.
    pub fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    fn clear_out(&mut self) {
        self.sent = 0;
        if self.out.capacity() > 0 {
            self.out.clear();
            let scratch = std::mem::take(&mut self.out);
            self.io.buffers().give_back(scratch);
        }
    }
}

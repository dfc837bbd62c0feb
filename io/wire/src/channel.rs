//! One exchange's bytes, whichever protocol carries them: what comes in, what goes out.
//!
//! Both sides of the proxy are channels, so that forwarding is written once. Incoming bytes are looked at where they lie
//! ([`Channel::content`]) and consumed when they have been sent on.

use std::io;
use std::task::{Context, Poll};

use selvedge_http::chunked::ChunkError;
use selvedge_http::encode;
use selvedge_http::fields::Fields;
use selvedge_http::head::ResponseHead;

use crate::h1::{Http1, ReadError};
use crate::h2::Http2Stream;
use crate::inner::Callee;

/// What a wait for body bytes brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Bytes,
    /// The body is complete; trailers, if any, are known.
    End,
}

/// Why a channel cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("the peer closed before the message was whole")]
    Closed,
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
    /// The chunks of an HTTP/1 body are not what they should be.
    #[error("the peer broke the protocol")]
    Chunk(#[source] ChunkError),
    /// HTTP/2: the peer is going away and has not looked at this stream (RFC 9113 §6.8): it may be sent again elsewhere.
    #[error("the peer went away before it took the stream")]
    Unprocessed,
    /// HTTP/2: the peer gave up this stream alone.
    #[error("the peer reset the stream: {0}")]
    Reset(h2::Reason),
}

impl ChannelError {
    /// Whether the peer said something that the protocol does not allow.
    pub fn is_protocol(&self) -> bool {
        matches!(self, Self::Protocol(_) | Self::Chunk(_))
    }
}

impl From<ReadError<ChunkError>> for ChannelError {
    fn from(error: ReadError<ChunkError>) -> Self {
        match error {
            ReadError::Io(error) => Self::Io(error),
            ReadError::Closed { .. } => Self::Closed,
            ReadError::Protocol(error) => Self::Chunk(error),
        }
    }
}

/// A message exchange on some connection.
#[derive(Debug)]
pub enum Channel {
    Http1(Box<Http1>),
    Http2(Box<Http2Stream>),
    /// Another room of this process asks; it is spoken to as by HTTP/2.
    Inner(Box<Callee>),
    /// The connection was given back; nothing more can be read or sent.
    Over,
}

impl Channel {
    /// Waits for incoming body bytes.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Content, ChannelError>> {
        match self {
            Self::Http1(one) => one.poll_content(cx).map_err(ChannelError::from),
            Self::Http2(two) => two.poll_content(cx),
            Self::Inner(inner) => inner.poll_content(cx),
            Self::Over => Poll::Ready(Err(ChannelError::Closed)),
        }
    }

    /// The incoming body bytes at hand.
    pub fn content(&self) -> &[u8] {
        match self {
            Self::Http1(one) => one.content(),
            Self::Http2(two) => two.content(),
            Self::Inner(inner) => inner.content(),
            Self::Over => &[],
        }
    }

    /// Marks incoming bytes as used.
    pub fn consume(&mut self, len: usize) {
        match self {
            Self::Http1(one) => one.consume(len),
            Self::Http2(two) => two.consume(len),
            Self::Inner(inner) => inner.consume(len),
            Self::Over => {}
        }
    }

    /// Whether the bytes at hand are known to be the last ones.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Http1(one) => one.is_last(),
            Self::Http2(two) => two.is_last(),
            Self::Inner(inner) => inner.is_last(),
            Self::Over => false,
        }
    }

    /// Whether the incoming message has been read whole.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Http1(one) => one.is_read(),
            Self::Http2(two) => two.is_read(),
            Self::Inner(inner) => inner.is_read(),
            Self::Over => true,
        }
    }

    /// The trailers that followed the incoming body. HTTP/1 has none that are passed on.
    pub fn trailers(&self) -> Option<&Fields> {
        match self {
            Self::Http1(_) | Self::Over => None,
            Self::Http2(two) => two.trailers(),
            Self::Inner(inner) => inner.trailers(),
        }
    }

    /// Sends body bytes; how many were taken. `last` says that the body ends with them: HTTP/2 then ends the stream in the
    /// same frame if it takes them all.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        content: &[u8],
        last: bool,
    ) -> Poll<Result<usize, ChannelError>> {
        match self {
            Self::Http1(one) => one.poll_send(cx, content).map_err(ChannelError::from),
            Self::Http2(two) => two.poll_send(cx, content, last),
            Self::Inner(inner) => inner.poll_send(cx, content, last),
            Self::Over => Poll::Ready(Err(ChannelError::Closed)),
        }
    }

    /// Moves incoming bytes of `source` into this channel; how many.
    ///
    /// # Errors
    /// Of the outgoing side.
    pub fn poll_send_from(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Self,
        last: bool,
    ) -> Poll<Result<usize, ChannelError>> {
        let polled = self.poll_send(cx, source.content(), last);
        if let Poll::Ready(Ok(len)) = polled {
            source.consume(len);
        }
        polled
    }

    /// Ends the outgoing body, with trailers if the protocol has them.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn end(&mut self, trailers: Option<&Fields>) -> Result<(), ChannelError> {
        match self {
            Self::Http1(one) => {
                one.end();
                Ok(())
            }
            Self::Over => Err(ChannelError::Closed),
            Self::Http2(two) => two.end(trailers),
            Self::Inner(inner) => {
                inner.end(trailers);
                Ok(())
            }
        }
    }

    /// Sends an interim response to a client that has had no other.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn inform(&mut self, head: &ResponseHead) -> Result<(), ChannelError> {
        match self {
            Self::Http1(one) => {
                one.queue(|out| encode::interim(head, out));
                Ok(())
            }
            Self::Http2(two) => two.inform(head),
            // Whoever asks has its own way with its client.
            Self::Inner(_) => Ok(()),
            Self::Over => Err(ChannelError::Closed),
        }
    }

    /// Waits until what was sent has left (HTTP/1), or is the connection's task's business (HTTP/2).
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        match self {
            Self::Http1(one) => one.poll_flush(cx).map_err(ChannelError::from),
            Self::Http2(_) | Self::Inner(_) | Self::Over => Poll::Ready(Ok(())),
        }
    }

    /// Ready once the peer has gone away or reset the exchange; for waits in which nothing is read. HTTP/1 may read
    /// ahead here, one buffer at most.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(one) => match one.io.unread().is_empty() || one.io.is_eof() {
                // What a pipelining client sends early waits its turn.
                false => Poll::Pending,
                true => match one.io.poll_fill(cx) {
                    Poll::Ready(Ok(read)) if read > 0 => Poll::Pending,
                    Poll::Ready(_) => Poll::Ready(()),
                    Poll::Pending => Poll::Pending,
                },
            },
            Self::Http2(two) => two.poll_gone(cx),
            Self::Inner(inner) => inner.poll_gone(cx),
            Self::Over => Poll::Ready(()),
        }
    }

    /// Gives the exchange up: HTTP/2 resets the stream; an HTTP/1 connection must be dropped by its owner.
    pub fn reset(&mut self, reason: h2::Reason) {
        match self {
            Self::Http2(two) => two.reset(reason),
            Self::Inner(inner) => inner.reset(reason),
            Self::Http1(_) | Self::Over => {}
        }
    }
}

//! A stream as a channel.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use h2::Reason;
use selvedge_http::fields::Fields;
use selvedge_http::h2::encode;
use selvedge_http::head::{RequestHead, ResponseHead};

use super::connection::Connection;
use super::streams::Key;
use crate::channel::{ChannelError, Content};

/// A connection, as those hold it who use it; all of them live on one thread.
pub(super) type Shared = Rc<RefCell<Connection>>;

/// One stream of an HTTP/2 connection, from either side. Dropping it gives the stream up if it is not over.
#[derive(Debug)]
pub struct Http2Stream {
    connection: Shared,
    key: Key,
    /// Bytes of the incoming body, from `at` on.
    current: Vec<u8>,
    at: usize,
    /// Bytes of the incoming body that were used.
    used: u64,
    ended: bool,
    trailers: Option<Fields>,
    send: Send,
}

/// The outgoing half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Send {
    /// A server that has not answered yet.
    Answer,
    Open,
    Ended,
}

impl Http2Stream {
    /// The server side of a request that has arrived.
    pub(super) fn server(connection: Shared, key: Key) -> Self {
        Self::new(connection, key, Send::Answer)
    }

    /// The client side of a request whose head has been sent, and with `ended` everything.
    pub(super) fn client(connection: Shared, key: Key, ended: bool) -> Self {
        Self::new(connection, key, if ended { Send::Ended } else { Send::Open })
    }

    fn new(connection: Shared, key: Key, send: Send) -> Self {
        Self { connection, key, current: Vec::new(), at: 0, used: 0, ended: false, trailers: None, send }
    }

    pub(super) fn give_back(&self, head: RequestHead) {
        self.connection.borrow_mut().give_back_request(head);
    }

    /// Client side: waits for the head of a response, of which interim ones come first.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), ChannelError>> {
        let mut connection = self.connection.borrow_mut();
        let Some(stream) = connection.streams.get(self.key) else {
            return Poll::Ready(Err(ChannelError::Closed));
        };
        if let Some(mut next) = stream.answers.pop() {
            std::mem::swap(head, &mut next);
            connection.give_back_response(next);
            return Poll::Ready(Ok(()));
        }
        if let Some(fault) = stream.fault {
            return Poll::Ready(Err(fault.into()));
        }
        stream.wait(cx.waker());
        Poll::Pending
    }

    /// Server side: sends an interim response's head, before the one that counts.
    ///
    /// # Errors
    /// When the stream is gone, or the response has begun.
    pub fn inform(&mut self, head: &ResponseHead) -> Result<(), ChannelError> {
        if self.send != Send::Answer {
            return Err(ChannelError::Protocol("an interim response after the response"));
        }
        self.send_block(false, |out| encode::response(head, out))
    }

    /// Server side: sends the response's head.
    ///
    /// # Errors
    /// When the stream is gone.
    pub fn respond(&mut self, head: &ResponseHead, end: bool) -> Result<(), ChannelError> {
        if !(100..1000).contains(&head.status) {
            return Err(ChannelError::Protocol("status"));
        }
        self.respond_prepared(end, |out| encode::response(head, out))
    }

    /// Server side: sends the head of a response whose header block the caller knows how to write.
    ///
    /// # Errors
    /// When the stream is gone.
    pub fn respond_prepared(
        &mut self,
        end: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), ChannelError> {
        if self.send != Send::Answer {
            return Err(ChannelError::Protocol("a second response"));
        }
        self.send = if end { Send::Ended } else { Send::Open };
        self.send_block(end, write)
    }

    /// Server side: sends a whole response, if windows and room take all of it at once; whether they did. `write` writes its header
    /// block.
    ///
    /// # Errors
    /// When the stream is gone.
    pub fn respond_whole(
        &mut self,
        content: &[u8],
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<bool, ChannelError> {
        if self.send != Send::Answer {
            return Err(ChannelError::Protocol("a second response"));
        }
        let sent = self.connection.borrow_mut().send_whole(self.key, content, write)?;
        if sent {
            self.send = Send::Ended;
        }
        Ok(sent)
    }

    fn send_block(&self, end: bool, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), ChannelError> {
        Ok(self.connection.borrow_mut().send_block(self.key, end, write)?)
    }

    pub fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Content, ChannelError>> {
        if self.at < self.current.len() {
            return Poll::Ready(Ok(Content::Bytes));
        }
        if self.ended {
            return Poll::Ready(Ok(Content::End));
        }
        let mut connection = self.connection.borrow_mut();
        let Some(stream) = connection.streams.get(self.key) else {
            return Poll::Ready(Err(ChannelError::Closed));
        };
        if !stream.content.is_empty() {
            self.current.clear();
            self.at = 0;
            std::mem::swap(&mut self.current, &mut stream.content);
            return Poll::Ready(Ok(Content::Bytes));
        }
        if stream.remote_ended {
            self.trailers = stream.trailers.take();
            self.ended = true;
            return Poll::Ready(Ok(Content::End));
        }
        if let Some(fault) = stream.fault {
            return Poll::Ready(Err(fault.into()));
        }
        stream.wait(cx.waker());
        Poll::Pending
    }

    pub fn content(&self) -> &[u8] {
        &self.current[self.at..]
    }

    /// Marks bytes as used and opens the window for as many.
    pub fn consume(&mut self, len: usize) {
        let len = len.min(self.current.len() - self.at);
        self.at += len;
        self.used += len as u64;
        self.connection.borrow_mut().release(self.key, len);
    }

    /// Bytes of the body that have come as far as they were wanted.
    pub fn received(&self) -> u64 {
        self.used + (self.current.len() - self.at) as u64
    }

    /// Whether the bytes at hand are the last ones, and nothing follows them.
    pub fn is_last(&self) -> bool {
        if self.ended {
            return self.trailers.is_none();
        }
        self.connection.borrow_mut().streams.get(self.key).is_some_and(|stream| {
            stream.remote_ended && stream.content.is_empty() && stream.trailers.is_none()
        })
    }

    pub fn is_read(&self) -> bool {
        self.at == self.current.len() && (self.ended || self.is_last())
    }

    pub fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref()
    }

    /// Sends bytes of a body, as many as the peer's windows take; how many. With `last` the body ends with them.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        content: &[u8],
        last: bool,
    ) -> Poll<Result<usize, ChannelError>> {
        if self.send != Send::Open {
            return Poll::Ready(Err(ChannelError::Protocol("bytes outside of a body")));
        }
        if content.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let polled = self.connection.borrow_mut().poll_send(cx, self.key, content, last);
        if last && matches!(polled, Poll::Ready(Ok(sent)) if sent == content.len()) {
            self.send = Send::Ended;
        }
        polled.map_err(ChannelError::from)
    }

    /// Ends the outgoing body.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn end(&mut self, trailers: Option<&Fields>) -> Result<(), ChannelError> {
        if std::mem::replace(&mut self.send, Send::Ended) != Send::Open {
            return Ok(());
        }
        match trailers {
            Some(fields) => self.send_block(true, |out| encode::fields(fields, out)),
            None => Ok(self.connection.borrow_mut().end_body(self.key)?),
        }
    }

    /// Ready once the peer, or the connection, has given the stream up.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.connection.borrow_mut().streams.get(self.key) {
            Some(stream) if stream.fault.is_none() => {
                stream.wait(cx.waker());
                Poll::Pending
            }
            _ if self.send == Send::Ended => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    /// Gives the stream up, unless everything has been said: then dropping it says what is left to say.
    pub fn reset(&mut self, reason: Reason) {
        if std::mem::replace(&mut self.send, Send::Ended) != Send::Ended {
            self.connection.borrow_mut().give_up(self.key, reason);
        }
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        let mut connection = self.connection.borrow_mut();
        connection.release(self.key, self.current.len() - self.at);
        connection.let_go(self.key, std::mem::take(&mut self.current));
    }
}

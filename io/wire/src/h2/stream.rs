//! A stream as a channel.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use selvedge_http::fields::Fields;
use selvedge_http::head::ResponseHead;

use super::headers::{read_fields, response_message, write_fields};
use crate::channel::{ChannelError, Content};

/// One stream of an HTTP/2 connection, from either side.
#[derive(Debug)]
pub struct Http2Stream {
    receive: Option<RecvStream>,
    current: Bytes,
    ended: bool,
    trailers: Option<Fields>,
    send: Send,
}

/// The outgoing half.
#[derive(Debug)]
enum Send {
    /// A server that has not answered yet.
    Answer(SendResponse<Bytes>),
    Open(SendStream<Bytes>),
    Ended,
}

impl Http2Stream {
    /// The server side of a request that has arrived.
    pub fn server(receive: RecvStream, respond: SendResponse<Bytes>) -> Self {
        Self {
            ended: receive.is_end_stream(),
            receive: Some(receive),
            current: Bytes::new(),
            trailers: None,
            send: Send::Answer(respond),
        }
    }

    /// The client side of a request whose head has been sent; `None` if it ended with the head.
    pub fn client(send: Option<SendStream<Bytes>>) -> Self {
        Self {
            receive: None,
            current: Bytes::new(),
            ended: false,
            trailers: None,
            send: send.map_or(Send::Ended, Send::Open),
        }
    }

    /// Client side: the response's head has arrived, its body follows.
    pub fn receive(&mut self, receive: RecvStream) {
        self.ended = receive.is_end_stream();
        self.receive = Some(receive);
    }

    /// Server side: sends an interim response's head, before the one that counts.
    ///
    /// # Errors
    /// When the stream is gone, or the response has begun.
    pub fn inform(&mut self, head: &ResponseHead) -> Result<(), ChannelError> {
        let Send::Answer(respond) = &mut self.send else {
            return Err(ChannelError::Protocol("an interim response after the response"));
        };
        let message = response_message(head).ok_or(ChannelError::Protocol("status"))?;
        respond.send_informational(message).map_err(channel_error)
    }

    /// Server side: sends the response's head.
    ///
    /// # Errors
    /// When the stream is gone or the head cannot be written.
    pub fn respond(&mut self, head: &ResponseHead, end: bool) -> Result<(), ChannelError> {
        let Send::Answer(mut respond) = std::mem::replace(&mut self.send, Send::Ended) else {
            return Err(ChannelError::Protocol("a second response"));
        };
        let message = response_message(head).ok_or(ChannelError::Protocol("status"))?;
        let stream = respond.send_response(message, end).map_err(channel_error)?;
        self.send = if end { Send::Ended } else { Send::Open(stream) };
        Ok(())
    }

    pub fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Content, ChannelError>> {
        if !self.current.is_empty() {
            return Poll::Ready(Ok(Content::Bytes));
        }
        let Some(receive) = &mut self.receive else { return Poll::Pending };
        while !self.ended {
            match ready!(receive.poll_data(cx)) {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    self.current = bytes;
                    return Poll::Ready(Ok(Content::Bytes));
                }
                Some(Err(error)) => return Poll::Ready(Err(channel_error(error))),
                None => {
                    if let Some(map) = ready!(receive.poll_trailers(cx)).map_err(channel_error)? {
                        let mut fields = Fields::default();
                        read_fields(&map, &mut fields);
                        self.trailers = Some(fields);
                    }
                    self.ended = true;
                }
            }
        }
        Poll::Ready(Ok(Content::End))
    }

    pub fn content(&self) -> &[u8] {
        &self.current
    }

    /// Marks bytes as used and opens the window for as many.
    pub fn consume(&mut self, len: usize) {
        self.current.advance(len);
        self.release(len);
    }

    /// Takes bytes out without copying them.
    pub fn take(&mut self, len: usize) -> Bytes {
        let bytes = self.current.split_to(len);
        self.release(len);
        bytes
    }

    fn release(&mut self, len: usize) {
        if let Some(receive) = &mut self.receive {
            // Fails only for a stream that is gone.
            let _ = receive.flow_control().release_capacity(len);
        }
    }

    pub fn is_last(&self) -> bool {
        self.receive.as_ref().is_some_and(RecvStream::is_end_stream)
    }

    pub fn is_read(&self) -> bool {
        self.current.is_empty() && (self.ended || self.is_last())
    }

    pub fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref()
    }

    /// Sends up to `available` bytes, as many as the peer's windows take; `bytes` cuts them off the source.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        available: usize,
        last: bool,
        bytes: impl FnOnce(usize) -> Bytes,
    ) -> Poll<Result<usize, ChannelError>> {
        let Send::Open(stream) = &mut self.send else {
            return Poll::Ready(Err(ChannelError::Protocol("bytes outside of a body")));
        };
        if available == 0 {
            return Poll::Ready(Ok(0));
        }
        stream.reserve_capacity(available);
        let granted = match ready!(stream.poll_capacity(cx)) {
            Some(granted) => granted.map_err(channel_error)?,
            None => return Poll::Ready(Err(ChannelError::Closed)),
        };
        let len = granted.min(available);
        let end = last && len == available;
        stream.send_data(bytes(len), end).map_err(channel_error)?;
        if end {
            self.send = Send::Ended;
        }
        Poll::Ready(Ok(len))
    }

    /// Ends the outgoing body.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn end(&mut self, trailers: Option<&Fields>) -> Result<(), ChannelError> {
        let Send::Open(mut stream) = std::mem::replace(&mut self.send, Send::Ended) else { return Ok(()) };
        match trailers {
            Some(fields) => {
                let mut map = http::HeaderMap::new();
                write_fields(fields, &mut map);
                stream.send_trailers(map).map_err(channel_error)
            }
            None => stream.send_data(Bytes::new(), true).map_err(channel_error),
        }
    }

    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Send::Answer(respond) => respond.poll_reset(cx).map(|_| ()),
            Send::Open(stream) => stream.poll_reset(cx).map(|_| ()),
            Send::Ended => Poll::Pending,
        }
    }

    pub fn reset(&mut self, reason: Reason) {
        match &mut self.send {
            Send::Answer(respond) => respond.send_reset(reason),
            Send::Open(stream) => stream.send_reset(reason),
            Send::Ended => {}
        }
        self.send = Send::Ended;
    }
}

/// Whose fault an error of the `h2` crate is.
pub(crate) fn channel_error(error: h2::Error) -> ChannelError {
    match error.reason() {
        _ if error.is_io() => match error.into_io() {
            // The guard's word for a peer that floods us.
            Some(error) if error.kind() == std::io::ErrorKind::InvalidData => ChannelError::Protocol("flood"),
            Some(error) => ChannelError::Io(error),
            None => ChannelError::Closed,
        },
        Some(reason) if error.is_reset() && error.is_remote() => ChannelError::Reset(reason),
        Some(_) if error.is_go_away() && error.is_remote() => ChannelError::Unprocessed,
        _ => ChannelError::Protocol("HTTP/2"),
    }
}

impl From<h2::Error> for ChannelError {
    fn from(error: h2::Error) -> Self {
        channel_error(error)
    }
}

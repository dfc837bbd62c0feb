//! One request's stream to a host, whichever protocol carries it.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::h2::Reason;
use selvedge_http::encode;
use selvedge_http::framing::{self, Framing};
use selvedge_http::head::{RequestHead, ResponseHead};
use selvedge_http::known::HeaderId;
use selvedge_http::parse::{ResponseError, Upgrade};
use selvedge_wire::channel::{Channel, ChannelError};
use selvedge_wire::h1::{Http1, ReadError};
use selvedge_wire::h2::{Client, Http2Stream};
use selvedge_wire::tls::Facts;

use super::Protocol;
use super::host::HostPool;
use super::http2::Slot;
use super::token::{Active, EndedBy, Opened};

/// Interim responses that are read past before the final one.
const INTERIM_RESPONSES_MAX: u32 = 16;

/// A request's stream. Dropping it without [`UpstreamStream::finish`] gives the request up.
#[derive(Debug)]
pub struct UpstreamStream {
    pub channel: Channel,
    carrier: Option<Carrier>,
    reused: bool,
    counted: (u64, u64),
    written_before: u64,
    interim: u32,
    /// Interim responses that a client may want are handed out.
    shows_interim: bool,
    _active: Active,
}

#[derive(Debug)]
enum Carrier {
    Http1 { opened: Opened, pool: Rc<HostPool>, close: bool },
    Http2 { client: Client, slot: Slot, extended: bool },
}

/// Why a stream gave no response.
#[derive(Debug, thiserror::Error)]
pub enum StreamFailure {
    /// The connection ended. `started` tells whether any byte of a response had come.
    #[error("the upstream closed the connection")]
    Closed { started: bool },
    #[error("the upstream refused the stream")]
    Refused,
    /// The upstream goes away and has not looked at the request: sending it again does no harm.
    #[error("the upstream went away before it took the request")]
    Unprocessed,
    #[error("the upstream reset the stream")]
    Reset,
    #[error("the upstream broke the protocol")]
    Protocol,
    #[error("the request cannot be written in the upstream's protocol")]
    Request,
}

impl From<ChannelError> for StreamFailure {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Reset(Reason::REFUSED_STREAM) => Self::Refused,
            ChannelError::Unprocessed => Self::Unprocessed,
            ChannelError::Reset(_) => Self::Reset,
            error if error.is_protocol() => Self::Protocol,
            _ => Self::Closed { started: true },
        }
    }
}

impl UpstreamStream {
    pub(super) fn http1(
        http: Box<Http1>,
        mut opened: Opened,
        pool: Rc<HostPool>,
        active: Active,
        reused: bool,
    ) -> Self {
        opened.requests += 1;
        let counted = (http.io.bytes_read, http.io.bytes_written);
        Self {
            channel: Channel::Http1(http),
            carrier: Some(Carrier::Http1 { opened, pool, close: false }),
            reused,
            counted,
            written_before: counted.1,
            interim: 0,
            shows_interim: false,
            _active: active,
        }
    }

    pub(super) fn http2(client: Client, slot: Slot, active: Active, reused: bool) -> Self {
        Self {
            // Until its head is sent there is no stream.
            channel: Channel::Over,
            carrier: Some(Carrier::Http2 { client, slot, extended: false }),
            reused,
            counted: (0, 0),
            written_before: 0,
            interim: 0,
            shows_interim: false,
            _active: active,
        }
    }

    pub fn protocol(&self) -> Protocol {
        match self.channel {
            Channel::Http1(_) => Protocol::Http1,
            Channel::Http2(_) | Channel::Inner(_) | Channel::Over => Protocol::Http2,
        }
    }

    /// Whether the connection carried other requests before: it may have been closed in the meantime.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether any byte of the request has left.
    pub fn has_sent(&self) -> bool {
        match &self.channel {
            Channel::Http1(http) => http.io.bytes_written > self.written_before,
            Channel::Http2(_) | Channel::Inner(_) | Channel::Over => true,
        }
    }

    pub fn connection_id(&self) -> u64 {
        match &self.carrier {
            Some(Carrier::Http1 { opened, .. }) => opened.id,
            Some(Carrier::Http2 { slot, .. }) => slot.connection_id(),
            None => 0,
        }
    }

    /// What the handshake with the host settled; `None` of a plain connection.
    pub fn tls(&self) -> Option<&Rc<Facts>> {
        match (&self.channel, &self.carrier) {
            (Channel::Http1(http), _) => http.io.tls(),
            (_, Some(Carrier::Http2 { slot, .. })) => slot.tls(),
            _ => None,
        }
    }

    pub fn local_addr(&self) -> Option<std::net::SocketAddr> {
        match (&self.channel, &self.carrier) {
            (Channel::Http1(http), Some(Carrier::Http1 { opened, .. })) => {
                *opened.local.get_or_init(|| http.io.local_addr())
            }
            (_, Some(Carrier::Http2 { slot, .. })) => slot.local_addr(),
            _ => None,
        }
    }

    /// Whether interim responses are handed out by [`UpstreamStream::poll_head`], as others are: `100 Continue` and `103
    /// Early Hints`, which a client may want. They are read past otherwise.
    pub fn show_interim(&mut self, show: bool) {
        self.shows_interim = show;
    }

    /// Sends the request's head, or queues it so that it leaves with the first body bytes.
    ///
    /// # Errors
    /// When the connection is gone, or HTTP/2 has no place for the head.
    pub fn send_head(&mut self, head: &RequestHead, framing: Framing) -> Result<(), StreamFailure> {
        self.send_wish(head, framing, Upgrade::None)
    }

    /// As [`UpstreamStream::send_head`], for a request that may want another protocol on its stream.
    ///
    /// # Errors
    /// Also when the host does not take such a wish.
    pub fn send_wish(
        &mut self,
        head: &RequestHead,
        framing: Framing,
        upgrade: Upgrade,
    ) -> Result<(), StreamFailure> {
        match (&mut self.channel, &mut self.carrier) {
            (Channel::Http1(http), _) => {
                http.queue(|out| encode::request(head, framing, out));
                http.begin_writing(framing);
            }
            (channel, Some(Carrier::Http2 { client, extended, .. })) => {
                if upgrade == Upgrade::WebSocket {
                    if !client.extended_connect() {
                        return Err(StreamFailure::Request);
                    }
                    *extended = true;
                }
                let end = !framing.has_body() && !upgrade.is_tunnel();
                let stream = client.send(head, upgrade, end).map_err(|error| match error {
                    ChannelError::Protocol(_) => StreamFailure::Request,
                    error => error.into(),
                })?;
                *channel = Channel::Http2(Box::new(stream));
            }
            _ => return Err(StreamFailure::Request),
        }
        Ok(())
    }

    /// Waits for the final response's head: how its body is to be framed when it is sent on.
    ///
    /// # Errors
    /// See [`StreamFailure`].
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &str,
        head: &mut ResponseHead,
    ) -> Poll<Result<Framing, StreamFailure>> {
        match (&mut self.channel, &mut self.carrier) {
            (Channel::Http1(http), Some(Carrier::Http1 { close, opened, .. })) => loop {
                let facts = match ready!(http.poll_response(cx, method, head)) {
                    Ok(facts) => facts,
                    Err(error) => return Poll::Ready(Err(read_failure(&error))),
                };
                if head.status >= 200 || head.status == 101 {
                    *close = facts.close;
                    if let Some(value) = head.fields.get(HeaderId::KeepAlive) {
                        opened.learn_keep_alive(value);
                    }
                    return Poll::Ready(Ok(match facts.framing {
                        Framing::UntilClose => Framing::Chunked,
                        framing => framing,
                    }));
                }
                opened.interim(head.status);
                self.interim += 1;
                if self.interim > INTERIM_RESPONSES_MAX {
                    return Poll::Ready(Err(StreamFailure::Protocol));
                }
                if self.shows_interim && matches!(head.status, 100 | 103) {
                    return Poll::Ready(Ok(Framing::None));
                }
            },
            (Channel::Http2(stream), Some(Carrier::Http2 { extended, .. })) => {
                loop {
                    ready!(stream.poll_response(cx, head)).map_err(|error| match error {
                        ChannelError::Closed | ChannelError::Io(_) => {
                            StreamFailure::Closed { started: false }
                        }
                        error => error.into(),
                    })?;
                    if head.status >= 200 {
                        break;
                    }
                    self.interim += 1;
                    if self.interim > INTERIM_RESPONSES_MAX {
                        return Poll::Ready(Err(StreamFailure::Protocol));
                    }
                    if self.shows_interim && matches!(head.status, 100 | 103) {
                        return Poll::Ready(Ok(Framing::None));
                    }
                }
                if *extended && head.status / 100 == 2 {
                    // What HTTP/1 calls this.
                    head.status = 101;
                    head.fields.set_id(HeaderId::Upgrade, b"websocket");
                    head.fields.set_id(HeaderId::Connection, b"upgrade");
                    return Poll::Ready(Ok(Framing::None));
                }
                if method == "CONNECT" && head.status / 100 == 2 {
                    return Poll::Ready(Ok(Framing::None));
                }
                Poll::Ready(http2_framing(stream, head, method))
            }
            _ => Poll::Ready(Err(StreamFailure::Request)),
        }
    }

    /// Ends the exchange: a connection that is clean goes back to its pool. `request_sent` tells whether the request went
    /// out whole.
    pub fn finish(mut self, request_sent: bool) {
        let Some(Carrier::Http1 { mut opened, pool, close }) = self.take_http1() else { return };
        let Channel::Http1(http) = &mut self.channel else { return };
        let clean = request_sent && http.is_read() && http.is_flushed();
        if !clean {
            opened.ended_by(EndedBy::LocalWithRequest);
        } else if close || http.io.is_eof() {
            opened.ended_by(EndedBy::Remote);
        } else if http.io.unread().is_empty()
            && let Channel::Http1(http) = std::mem::replace(&mut self.channel, Channel::Over)
        {
            pool.put_back(http, opened);
        }
    }

    /// Notes that the peer, not this side, ended the connection.
    pub fn closed_by_peer(&mut self) {
        if let Some(Carrier::Http1 { opened, .. }) = &mut self.carrier {
            opened.ended_by(EndedBy::RemoteWithRequest);
        }
    }

    /// Notes that the peer broke the protocol: no later request travels with this connection.
    pub fn distrust(&mut self) {
        if let Some(Carrier::Http2 { slot, .. }) = &self.carrier {
            slot.distrust();
        }
    }

    fn take_http1(&mut self) -> Option<Carrier> {
        self.count_bytes();
        if matches!(self.carrier, Some(Carrier::Http1 { .. })) { self.carrier.take() } else { None }
    }

    fn count_bytes(&mut self) {
        if let (Channel::Http1(http), Some(Carrier::Http1 { opened, .. })) = (&self.channel, &self.carrier) {
            let (read, written) = (http.io.bytes_read, http.io.bytes_written);
            opened.passed(read - self.counted.0, written - self.counted.1);
            self.counted = (read, written);
        }
    }
}

impl Drop for UpstreamStream {
    fn drop(&mut self) {
        self.count_bytes();
        if let Some(Carrier::Http1 { opened, .. }) = &mut self.carrier {
            opened.unless_remote();
        }
    }
}

fn http2_framing(
    stream: &Http2Stream,
    head: &mut ResponseHead,
    method: &str,
) -> Result<Framing, StreamFailure> {
    let length = framing::length(&head.fields).map_err(|_| StreamFailure::Protocol)?;
    if stream.is_read() || method == "HEAD" {
        return Ok(Framing::None);
    }
    Ok(match length {
        Some(length) if length > 0 => Framing::Length(length),
        _ => {
            // Trailers may follow an empty body; by HTTP/1 that is a chunked one, and chunks tolerate no length.
            head.fields.remove(HeaderId::ContentLength);
            Framing::Chunked
        }
    })
}

fn read_failure(error: &ReadError<ResponseError>) -> StreamFailure {
    match error {
        ReadError::Io(_) => StreamFailure::Closed { started: false },
        ReadError::Closed { started } => StreamFailure::Closed { started: *started },
        ReadError::Protocol(_) => StreamFailure::Protocol,
    }
}

//! The client's end of a connection: requests go into it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use selvedge_http::h2::meter::Side;
use selvedge_http::head::RequestHead;
use selvedge_http::parse::Upgrade;
use selvedge_traffic::Http2Settings;

use super::connection::{Connection, Error, Terms};
use super::server::{Drive, drive};
use super::settings::Announced;
use super::stream::{Http2Stream, Shared};
use super::streams::Fault;
use super::{CONNECTION_WINDOW_BYTES, RESPONSE_HEADER_LIST_BYTES_MAX, STREAM_WINDOW_BYTES};
use crate::channel::ChannelError;
use crate::detect::PREFACE;
use crate::io::Io;

/// The sending half of a connection to a server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Shared,
}

/// The other half; a task must drive it. It ends with the connection.
#[derive(Debug)]
pub struct ClientConnection {
    io: Io,
    connection: Shared,
    began: Instant,
}

/// Opens HTTP/2 on a connection by prior knowledge.
pub fn connect(io: Io, settings: Http2Settings) -> (Client, ClientConnection) {
    let announced = Announced {
        streams_max: None,
        window: settings.stream_window_bytes.unwrap_or(STREAM_WINDOW_BYTES),
        header_list_max: RESPONSE_HEADER_LIST_BYTES_MAX,
        extended_connect: false,
        forbids_push: true,
    };
    let connection_window = settings.connection_window_bytes.unwrap_or(CONNECTION_WINDOW_BYTES);
    let terms = Terms { peer: Side::Server, announced, connection_window, keepalive: settings.keepalive };
    let connection = Connection::new(terms, PREFACE, io.buffers().clone());
    let connection = Rc::new(RefCell::new(connection));
    let client = Client { connection: Rc::clone(&connection) };
    (client, ClientConnection { io, connection, began: Instant::now() })
}

impl Client {
    /// Whether another stream may be opened: the server has not said that it goes away, and the connection is up.
    pub fn is_ready(&self) -> bool {
        self.connection.borrow().takes_streams()
    }

    /// Streams that the server takes at once.
    pub fn streams_max(&self) -> u32 {
        self.connection.borrow().settings.streams_max
    }

    /// Whether the server lets a stream become another protocol (RFC 8441).
    pub fn extended_connect(&self) -> bool {
        self.connection.borrow().settings.extended_connect
    }

    /// Waits until the server has said its settings, or never will.
    pub async fn greeted(&self) {
        poll_fn(|cx| self.connection.borrow_mut().poll_greeted(cx)).await;
    }

    /// Sends a request's head; with `end` nothing follows it.
    ///
    /// # Errors
    /// When the connection takes no stream any more, or the request names no authority.
    pub fn send(&self, head: &RequestHead, upgrade: Upgrade, end: bool) -> Result<Http2Stream, ChannelError> {
        let key = self.connection.borrow_mut().open(head, upgrade, end)?;
        Ok(Http2Stream::client(Rc::clone(&self.connection), key, end))
    }
}

impl Future for ClientConnection {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match drive(&mut this.io, &this.connection, this.began, cx) {
            Drive::Over(None) => Poll::Ready(Ok(())),
            Drive::Over(Some(error)) => Poll::Ready(Err(error)),
            Drive::Waiting if this.connection.borrow().flood().is_some() => {
                this.connection.borrow_mut().close(Fault::Protocol("flood"));
                Poll::Ready(Err(Error::Io(std::io::ErrorKind::InvalidData.into())))
            }
            // Nobody opens streams towards a client.
            Drive::Waiting | Drive::Arrived(_) => Poll::Pending,
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.connection.borrow_mut().close(Fault::Closed);
    }
}

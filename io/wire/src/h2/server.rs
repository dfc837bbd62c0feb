//! The server's end of a connection: requests come out of it, each with its stream.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use h2::Reason;
use selvedge_http::h2::meter::{Flood, Side};
use selvedge_http::head::RequestHead;
use selvedge_http::parse::Upgrade;
use selvedge_traffic::Http2Settings;

use super::connection::{Connection, Error, Terms};
use super::keepalive::Due;
use super::settings::Announced;
use super::stream::{Http2Stream, Shared};
use super::streams::Fault;
use super::{CONCURRENT_STREAMS_MAX, CONNECTION_WINDOW_BYTES, HEADER_LIST_BYTES_MAX, STREAM_WINDOW_BYTES};
use crate::buffer::{SMALL_BYTES, Size};
use crate::detect::PREFACE;
use crate::io::Io;

/// A connection from a client; drive it by accepting.
#[derive(Debug)]
pub struct Server {
    /// Gone only when it is taken.
    io: Option<Io>,
    connection: Shared,
    began: Instant,
}

/// A request that a client has made.
#[derive(Debug)]
pub struct Accepted {
    pub stream: Http2Stream,
    /// What the client wants its stream to become.
    pub upgrade: Upgrade,
    head: RequestHead,
}

impl Accepted {
    /// Moves the request's head into `head`, whose memory the connection uses for another.
    pub fn take_head(&mut self, head: &mut RequestHead) {
        std::mem::swap(head, &mut self.head);
        self.stream.give_back(std::mem::take(&mut self.head));
    }
}

impl Server {
    pub(super) fn new(io: Io, extended_connect: bool, settings: Http2Settings) -> Self {
        let announced = Announced {
            streams_max: Some(settings.streams_max.unwrap_or(CONCURRENT_STREAMS_MAX)),
            window: settings.stream_window_bytes.unwrap_or(STREAM_WINDOW_BYTES),
            header_list_max: HEADER_LIST_BYTES_MAX,
            extended_connect,
            forbids_push: false,
        };
        let connection_window = settings.connection_window_bytes.unwrap_or(CONNECTION_WINDOW_BYTES);
        let terms = Terms { peer: Side::Client, announced, connection_window, keepalive: settings.keepalive };
        let connection = Connection::new(terms, &[], io.buffers().clone());
        Self { io: Some(io), connection: Rc::new(RefCell::new(connection)), began: Instant::now() }
    }

    /// Waits for the client's preface.
    pub(super) fn poll_preface(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(closed())) };
        loop {
            let (unread, wanted) = (io.unread(), PREFACE);
            if !wanted.starts_with(&unread[..unread.len().min(wanted.len())]) {
                return Poll::Ready(Err(Error::Protocol(Reason::PROTOCOL_ERROR)));
            }
            if unread.len() >= wanted.len() {
                io.consume(wanted.len());
                return Poll::Ready(Ok(()));
            }
            // What we have to say need not wait for it.
            let _ = self.connection.borrow_mut().output.poll_flush(cx, io)?;
            match io.poll_fill(cx)? {
                Poll::Ready(0) => return Poll::Ready(Err(closed())),
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The next request; `None` once the connection is over. Writes what there is to write, and has to be called for that
    /// as well. Stays pending after a flood: look at [`Server::flood`].
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Accepted, Error>>> {
        let Some(io) = &mut self.io else { return Poll::Ready(None) };
        match drive(io, &self.connection, self.began, cx) {
            Drive::Arrived(accepted) => Poll::Ready(Some(Ok(accepted))),
            Drive::Over(None) => Poll::Ready(None),
            Drive::Over(Some(error)) => Poll::Ready(Some(Err(error))),
            Drive::Waiting => Poll::Pending,
        }
    }

    /// The flood that ended the reading, if one did.
    pub fn flood(&self) -> Option<Flood> {
        self.connection.borrow().flood()
    }

    /// Streams that the client has opened, whatever became of them; it counts in a circle.
    pub fn opened(&self) -> u32 {
        self.connection.borrow().meter().opened()
    }

    /// Bytes that have come on the connection.
    pub fn bytes_read(&self) -> u64 {
        self.io.as_ref().map_or(0, |io| io.bytes_read)
    }

    /// The type of the frame that came last.
    pub fn last_kind(&self) -> u8 {
        self.connection.borrow().meter().last_kind()
    }

    /// Tells the client that the connection ends; what it has asked for is served.
    pub fn graceful_shutdown(&self) {
        self.connection.borrow_mut().go_away();
    }

    /// Ends the connection and tells the client why.
    pub fn abrupt_shutdown(&self, reason: Reason) {
        self.connection.borrow_mut().abort(reason);
    }

    /// Ready once everything has been written.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(io) = &mut self.io else { return Poll::Ready(()) };
        self.connection.borrow_mut().output.poll_flush(cx, io).map(|_| ())
    }

    /// The connection itself, to be closed with care.
    pub fn into_io(mut self) -> Option<Io> {
        self.io.take()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.connection.borrow_mut().close(Fault::Closed);
    }
}

fn closed() -> Error {
    Error::Io(std::io::ErrorKind::UnexpectedEof.into())
}

/// What came of driving a connection as far as it goes.
pub(super) enum Drive {
    Arrived(Accepted),
    Waiting,
    /// With why, if it did not end in order.
    Over(Option<Error>),
}

/// Takes what has come, writes what waits, and asks a peer of which nothing is heard.
pub(super) fn drive(io: &mut Io, shared: &Shared, began: Instant, cx: &mut Context<'_>) -> Drive {
    loop {
        let driven = converse(io, shared, began, cx);
        if !matches!(driven, Drive::Waiting) {
            return driven;
        }
        match shared.borrow_mut().poll_keepalive(cx) {
            Due::Nothing => return Drive::Waiting,
            // The next turn writes the question.
            Due::Ask => {}
            Due::Gone => return Drive::Over(Some(Error::Silent)),
        }
    }
}

fn converse(io: &mut Io, shared: &Shared, began: Instant, cx: &mut Context<'_>) -> Drive {
    let mut connection = shared.borrow_mut();
    connection.stay_awake();
    loop {
        if !io.unread().is_empty() {
            let used = connection.input(io.unread(), began.elapsed().as_secs());
            io.consume(used);
            if let Some(arrived) = connection.arrived.take() {
                let stream = Http2Stream::server(Rc::clone(shared), arrived.key);
                return Drive::Arrived(Accepted { stream, upgrade: arrived.upgrade, head: arrived.head });
            }
        }
        let reads = connection.error.is_none() && connection.flood().is_none();
        // A peer that does not hear our answers is not asked for more.
        if reads && connection.output.room() > 0 {
            match io.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    connection.close(Fault::Closed);
                    return Drive::Over(None);
                }
                Poll::Ready(Ok(read)) => {
                    io.expect(if read >= SMALL_BYTES { Size::Large } else { Size::Small });
                    continue;
                }
                Poll::Ready(Err(error)) => {
                    connection.close(Fault::Closed);
                    return Drive::Over(Some(error.into()));
                }
                Poll::Pending => {}
            }
        }
        let had_room = connection.output.room() > 0;
        if !connection.output.is_empty() {
            match connection.output.poll_flush(cx, io) {
                Poll::Ready(Ok(())) => connection.make_room(),
                Poll::Ready(Err(error)) => {
                    connection.close(Fault::Closed);
                    return Drive::Over(Some(error.into()));
                }
                Poll::Pending => {
                    connection.sleep(cx.waker());
                    return Drive::Waiting;
                }
            }
        }
        if let Some(reason) = connection.error {
            return Drive::Over(Some(Error::Protocol(reason)));
        }
        if connection.is_spent() {
            return Drive::Over(None);
        }
        if had_room || !reads {
            connection.sleep(cx.waker());
            return Drive::Waiting;
        }
    }
}

//! A stream under HTTP/2 whose frames are counted on their way, before the codec sees them.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use selvedge_http::h2::meter::{Flood, Meter, Side};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::detect::PREFACE;
use crate::io::Io;

/// What the guard has seen, for whoever drives the connection.
#[derive(Clone, Debug, Default)]
pub struct Watch(Rc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    flood: Cell<Option<Flood>>,
    opened: Cell<u32>,
    last_kind: Cell<u8>,
    left: RefCell<Option<Io>>,
}

impl Watch {
    /// The flood that ended the reading, if one did.
    pub fn flood(&self) -> Option<Flood> {
        self.0.flood.get()
    }

    /// Streams that the peer has opened, whatever the codec made of them; it counts in a circle.
    pub fn opened(&self) -> u32 {
        self.0.opened.get()
    }

    /// The connection itself, once the codec has let go of it.
    pub fn take_io(&self) -> Option<Io> {
        self.0.left.borrow_mut().take()
    }

    /// The type of the frame that came last.
    pub fn last_kind(&self) -> u8 {
        self.0.last_kind.get()
    }
}

/// The stream. Once a flood is seen it reads nothing more: pending towards a client, so that the farewell can leave, and
/// broken towards an upstream, from which nobody needs to part.
#[derive(Debug)]
pub struct Guarded {
    /// Gone only when dropped.
    io: Option<Io>,
    meter: Meter,
    peer: Side,
    began: Instant,
    watch: Watch,
}

impl Guarded {
    pub(super) fn new(io: Io, peer: Side) -> Self {
        let meter = Meter::new(peer, PREFACE.len() as u32);
        Self { io: Some(io), meter, peer, began: Instant::now(), watch: Watch::default() }
    }

    pub(super) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    fn io(&mut self) -> io::Result<Pin<&mut Io>> {
        self.io.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn note(&self, flood: Option<Flood>) {
        if flood.is_some() {
            self.watch.0.flood.set(flood);
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.peer == Side::Client {
            *self.watch.0.left.borrow_mut() = self.io.take();
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.watch.flood().is_none() {
            let before = buf.filled().len();
            ready!(this.io()?.poll_read(cx, buf))?;
            let flood = this.meter.received(&buf.filled()[before..], this.began.elapsed().as_secs());
            this.note(flood);
            this.watch.0.opened.set(this.meter.opened());
            this.watch.0.last_kind.set(this.meter.last_kind());
            if flood.is_none() {
                return Poll::Ready(Ok(()));
            }
            // What completes a flood is not worth decoding.
            buf.set_filled(before);
        }
        match this.peer {
            Side::Client => Poll::Pending,
            Side::Server => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.io()?.poll_write(cx, buf))?;
        let flood = self.meter.sent(&buf[..written]);
        self.note(flood);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.io()?.poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let len = buf.len().min(left);
            left -= len;
            let flood = self.meter.sent(&buf[..len]);
            self.note(flood);
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}

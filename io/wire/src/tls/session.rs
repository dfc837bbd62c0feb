//! A connection after its handshake: records in, records out.
//!
//! ```text
//! one leased buffer:   │ read already │ plain │ gap │ records, not opened yet │ free │
//! ```
//! A record is opened where it lies; if plain bytes stand before it, its content is moved up to them, so that what is
//! unread is always one piece.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Facts;
use super::facts::Tls;
use super::record::{CONTENT_BYTES_MAX, Cipher, HEADER_BYTES, Kind, RECORDS_PER_KEY_MAX, RecordError};
use crate::buffer::{Buffers, Lease, SMALL_BYTES, Size};

/// Records in a row that bring no content: empty ones, key updates, tickets, warnings.
pub(super) const IDLE_RECORDS_MAX: u32 = 32;
/// The longest message that may follow a handshake: a ticket.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Bytes that one connection may hold before they are read, opened and not.
const HELD_BYTES_MAX: usize = 128 * 1024;

const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const UNEXPECTED_MESSAGE: [u8; 2] = [2, 10];
const BAD_RECORD_MAC: [u8; 2] = [2, 20];
const RECORD_OVERFLOW: [u8; 2] = [2, 22];

/// What rustls keeps for key updates and tickets.
pub(super) enum Kernel {
    Server(Box<KernelConnection<ServerConnectionData>>),
    Client(Box<KernelConnection<ClientConnectionData>>),
}

/// The state of an encrypted connection.
pub(crate) struct Session {
    pub(crate) facts: Rc<Facts>,
    version: Tls,
    rx: Cipher,
    tx: Cipher,
    kernel: Kernel,
    input: Option<Lease>,
    /// Where the opened bytes and the records lie in `input`.
    plain: (usize, usize),
    sealed: (usize, usize),
    /// Part of a message that follows the handshake.
    message: Vec<u8>,
    idle_records: u32,
    /// Records that wait to be written.
    output: Option<Lease>,
    /// Bytes of callers that are sealed already, though they were told to come again.
    accepted: usize,
    /// The peer wants us to change our keys before we write again.
    rekey: bool,
    ended: bool,
    said_goodbye: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Session {
    /// The keys of a client that from here on says what it likes.
    #[cfg(test)]
    pub(crate) fn into_keys(self) -> (Cipher, Cipher) {
        (self.tx, self.rx)
    }

    /// Takes over from a handshake. `early` are bytes that were opened during it, `rest` records that follow.
    pub(super) fn new(
        facts: Facts,
        (rx, tx): (Cipher, Cipher),
        kernel: Kernel,
        early: &[u8],
        rest: &[u8],
        buffers: &Buffers,
    ) -> Self {
        let mut session = Self {
            version: facts.version,
            facts: Rc::new(facts),
            rx,
            tx,
            kernel,
            input: None,
            plain: (0, 0),
            sealed: (0, 0),
            message: Vec::new(),
            idle_records: 0,
            output: None,
            accepted: 0,
            rekey: false,
            ended: false,
            said_goodbye: false,
        };
        if !early.is_empty() || !rest.is_empty() {
            let mut lease = buffers.lease(Size::Large);
            let bytes = lease.all(early.len() + rest.len());
            bytes[..early.len()].copy_from_slice(early);
            bytes[early.len()..early.len() + rest.len()].copy_from_slice(rest);
            session.plain = (0, early.len());
            session.sealed = (early.len(), early.len() + rest.len());
            session.input = Some(lease);
        }
        session
    }

    pub(crate) fn unread(&self) -> &[u8] {
        self.input.as_ref().map_or(&[], |lease| &lease.bytes()[self.plain.0..self.plain.1])
    }

    pub(crate) fn consume(&mut self, len: usize) {
        self.plain.0 = (self.plain.0 + len).min(self.plain.1);
        self.release();
    }

    /// Gives the buffer back once nothing is in it.
    fn release(&mut self) {
        if self.plain.0 == self.plain.1 && self.sealed.0 == self.sealed.1 {
            self.input = None;
            (self.plain, self.sealed) = ((0, 0), (0, 0));
        }
    }

    /// Reads until content has come; 0 means that the peer has closed its side.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        buffers: &Buffers,
        size: Size,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.open() {
                Ok(0) => {}
                Ok(opened) => return Poll::Ready(Ok(opened)),
                Err(error) => return Poll::Ready(Err(self.fail(cx, stream, buffers, error))),
            }
            self.release();
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            if self.output.is_some() {
                // An answer to a key update; nobody else would see it off.
                let _ = self.poll_flush(cx, stream)?;
            }
            if self.input.is_none() {
                // Wait first, borrow then: most connections are idle most of the time.
                ready!(stream.poll_read_ready(cx))?;
                self.input = Some(buffers.lease(size));
            }
            let room = self.make_room(buffers)?;
            let mut buffer = ReadBuf::new(room);
            let polled = Pin::new(&mut *stream).poll_read(cx, &mut buffer);
            let read = buffer.filled().len();
            self.sealed.1 += read;
            match polled {
                Poll::Ready(Ok(())) if read == 0 => self.ended = true,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.release();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Free space behind the records, enough for the one that has begun to come.
    fn make_room(&mut self, buffers: &Buffers) -> io::Result<&mut [u8]> {
        let held = self.sealed.1 - self.sealed.0;
        let (plain, needed) =
            (self.plain.1 - self.plain.0, self.record_bytes().unwrap_or(HEADER_BYTES).max(held + 1));
        let Some(lease) = &mut self.input else { return Err(io::ErrorKind::Other.into()) };
        if lease.bytes().len() < self.sealed.0 + needed {
            // What is kept moves to the front.
            let end = self.plain.0 + plain;
            let bytes = lease.all(0);
            bytes.copy_within(self.plain.0..end, 0);
            bytes.copy_within(self.sealed.0..self.sealed.1, plain);
            self.plain = (0, plain);
            self.sealed = (plain, plain + held);
        }
        let wanted = self.sealed.0 + needed;
        if lease.bytes().len() < wanted {
            if wanted > HELD_BYTES_MAX {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            if lease.bytes().len() <= SMALL_BYTES {
                let mut larger = buffers.lease(Size::Large);
                larger.all(wanted)[..self.sealed.1].copy_from_slice(&lease.bytes()[..self.sealed.1]);
                *lease = larger;
            } else {
                lease.all(HELD_BYTES_MAX);
            }
        }
        Ok(&mut lease.all(0)[self.sealed.1..])
    }

    /// How long the first record is, header and all, if that is known.
    fn record_bytes(&self) -> Option<usize> {
        let header = self.input.as_ref()?.bytes().get(self.sealed.0..self.sealed.1)?.get(3..HEADER_BYTES)?;
        Some(HEADER_BYTES + usize::from(u16::from_be_bytes([header[0], header[1]])))
    }

    /// Opens every record that is there whole; how many content bytes came out.
    fn open(&mut self) -> Result<usize, RecordError> {
        let mut opened = 0;
        while !self.ended
            && let Some(length) = self.record_bytes()
        {
            if length - HEADER_BYTES > self.rx.record_bytes_max() {
                return Err(RecordError::TooLong);
            }
            if self.sealed.1 - self.sealed.0 < length {
                break;
            }
            let Some(lease) = &mut self.input else { break };
            let begin = self.sealed.0;
            let bytes = lease.all(0);
            let (kind, content) = self.rx.open(&mut bytes[begin..begin + length])?;
            let content = begin + content.start..begin + content.end;
            self.sealed.0 += length;
            if kind == Kind::Application && !content.is_empty() {
                self.idle_records = 0;
                opened += content.len();
                if self.plain.0 == self.plain.1 {
                    self.plain = (content.start, content.end);
                } else {
                    bytes.copy_within(content.clone(), self.plain.1);
                    self.plain.1 += content.len();
                }
                continue;
            }
            self.idle_records += 1;
            if self.idle_records > IDLE_RECORDS_MAX {
                return Err(RecordError::Idle);
            }
            match kind {
                Kind::Application => {}
                Kind::Alert => self.alert(content)?,
                Kind::Handshake => {
                    let content = bytes[content].to_vec();
                    self.handshake(&content)?;
                }
            }
        }
        Ok(opened)
    }

    fn alert(&mut self, content: std::ops::Range<usize>) -> Result<(), RecordError> {
        let alert = self.input.as_ref().and_then(|lease| lease.bytes().get(content));
        match alert {
            Some([_, 0]) => self.ended = true,
            // user_canceled announces a close_notify; in 1.2 there are other warnings.
            Some([_, 90]) => {}
            Some([1, _]) if self.version == Tls::V12 => {}
            Some([_, description]) => return Err(RecordError::Alert(*description)),
            _ => return Err(RecordError::Unexpected),
        }
        Ok(())
    }

    /// Messages after the handshake: tickets and key updates; in 1.2 only the wish to begin anew, which is refused.
    fn handshake(&mut self, content: &[u8]) -> Result<(), RecordError> {
        if self.version == Tls::V12 {
            return Err(RecordError::Renegotiation);
        }
        self.message.extend_from_slice(content);
        while let Some(head) = self.message.first_chunk::<4>() {
            let length = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
            if length > MESSAGE_BYTES_MAX {
                return Err(RecordError::TooLong);
            }
            if self.message.len() < 4 + length {
                break;
            }
            let kind = head[0];
            let rest = self.message.split_off(4 + length);
            let message = std::mem::replace(&mut self.message, rest);
            match (kind, &mut self.kernel) {
                (4, Kernel::Client(kernel)) => {
                    // A ticket that cannot be used is no reason to end a connection.
                    let _ = kernel.handle_new_session_ticket(&message[4..]);
                }
                (24, _) => self.key_update(&message[4..])?,
                _ => return Err(RecordError::Unexpected),
            }
        }
        if self.message.is_empty() {
            self.message = Vec::new();
        }
        Ok(())
    }

    /// RFC 8446 §4.6.3. The peer has changed its keys, and may want us to change ours.
    fn key_update(&mut self, request: &[u8]) -> Result<(), RecordError> {
        if !self.message.is_empty() {
            return Err(RecordError::Unexpected);
        }
        let secrets = match &mut self.kernel {
            Kernel::Server(kernel) => kernel.update_rx_secret(),
            Kernel::Client(kernel) => kernel.update_rx_secret(),
        };
        let secrets = secrets.map_err(|_| RecordError::KeyUpdate)?;
        self.rx = Cipher::new(Tls::V13, secrets).ok_or(RecordError::KeyUpdate)?;
        match request {
            [0] => Ok(()),
            // Ours change with the next bytes that are written.
            [1] => {
                self.rekey = true;
                Ok(())
            }
            _ => Err(RecordError::Unexpected),
        }
    }

    // === writing ===

    /// Seals and writes; how many bytes of `parts` have left. While they have not, callers come again with the same bytes,
    /// as with any socket, though these are sealed already.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        buffers: &Buffers,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx, stream))?;
        let offered = parts.iter().map(|part| part.len()).sum::<usize>();
        if self.accepted > 0 {
            let accepted = self.accepted.min(offered);
            self.accepted -= accepted;
            return Poll::Ready(Ok(accepted));
        }
        if offered == 0 {
            return Poll::Ready(Ok(0));
        }
        let size = if offered <= Cipher::fitting(SMALL_BYTES) { Size::Small } else { Size::Large };
        let mut lease = buffers.lease(size);
        let sealed = self.seal_all(parts, offered, &mut lease).map_err(io::Error::other)?;
        self.output = Some(lease);
        match self.poll_flush(cx, stream) {
            Poll::Ready(flushed) => Poll::Ready(flushed.map(|()| sealed)),
            Poll::Pending => {
                self.accepted = sealed;
                Poll::Pending
            }
        }
    }

    /// As many bytes as the lease has room for; how many.
    fn seal_all(
        &mut self,
        parts: &[IoSlice<'_>],
        offered: usize,
        lease: &mut Lease,
    ) -> Result<usize, RecordError> {
        if self.rekey || self.tx.sequence >= RECORDS_PER_KEY_MAX {
            self.change_keys(lease)?;
        }
        let mut sealed = 0;
        while sealed < offered {
            let room = lease.space(0);
            let len = Cipher::fitting(room.len()).min(offered - sealed);
            // A sliver is not worth a record, unless it is all there is.
            if len == 0 || (len < CONTENT_BYTES_MAX / 4 && len < offered - sealed) {
                break;
            }
            let written = self.tx.seal(Kind::Application, parts, sealed, len, room)?;
            lease.filled(written);
            sealed += len;
        }
        Ok(sealed)
    }

    /// Tells the peer that what follows is under new keys; 1.2 knows no such thing.
    fn change_keys(&mut self, lease: &mut Lease) -> Result<(), RecordError> {
        if self.version == Tls::V12 {
            return Err(RecordError::KeysUsedUp);
        }
        let update = [IoSlice::new(&[24, 0, 0, 1, 0])];
        let written = self.tx.seal(Kind::Handshake, &update, 0, 5, lease.space(0))?;
        lease.filled(written);
        let secrets = match &mut self.kernel {
            Kernel::Server(kernel) => kernel.update_tx_secret(),
            Kernel::Client(kernel) => kernel.update_tx_secret(),
        };
        let secrets = secrets.map_err(|_| RecordError::KeyUpdate)?;
        self.tx = Cipher::new(Tls::V13, secrets).ok_or(RecordError::KeyUpdate)?;
        self.rekey = false;
        Ok(())
    }

    /// Writes what is sealed.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        while let Some(lease) = &mut self.output {
            if lease.unread().is_empty() {
                self.output = None;
                break;
            }
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, lease.unread()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            lease.consume(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more will be written, by TLS and then by TCP.
    pub(crate) fn poll_shutdown(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx, stream))?;
        self.say(CLOSE_NOTIFY, buffers);
        ready!(self.poll_flush(cx, stream))?;
        Pin::new(stream).poll_shutdown(cx)
    }

    /// Puts a last alert behind what is to be written, once.
    fn say(&mut self, alert: [u8; 2], buffers: &Buffers) {
        if std::mem::replace(&mut self.said_goodbye, true) {
            return;
        }
        let mut lease = self.output.take().unwrap_or_else(|| buffers.lease(Size::Small));
        let room = lease.space(0);
        if let Ok(written) = self.tx.seal(Kind::Alert, &[IoSlice::new(&alert)], 0, alert.len(), room) {
            lease.filled(written);
        }
        self.output = Some(lease);
    }

    /// The peer broke the protocol: it is told so, if it still listens, and the connection is of no more use.
    fn fail(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        buffers: &Buffers,
        error: RecordError,
    ) -> io::Error {
        self.ended = true;
        self.facts.is_broken.set(true);
        self.sealed = (self.plain.1, self.plain.1);
        let alert = match error {
            RecordError::TooLong => RECORD_OVERFLOW,
            RecordError::Forged => BAD_RECORD_MAC,
            RecordError::Alert(_) => return io::Error::new(io::ErrorKind::ConnectionReset, error),
            _ => UNEXPECTED_MESSAGE,
        };
        self.say(alert, buffers);
        let _ = self.poll_flush(cx, stream);
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    /// Takes leave in passing: what the socket does not take at once is lost.
    pub(crate) fn say_goodbye(&mut self, stream: &mut TcpStream, buffers: &Buffers) {
        if self.output.is_none() && !self.said_goodbye {
            self.say(CLOSE_NOTIFY, buffers);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let _ = self.poll_flush(&mut cx, stream);
        }
    }
}

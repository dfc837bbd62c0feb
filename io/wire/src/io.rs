//! A TCP stream, plain or encrypted, with its unread bytes.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::buffer::{Buffers, Lease, Size};
use crate::pipe::Pipe;
use crate::tls::{Facts, Session};

/// A stream whose bytes are read into a leased buffer. The lease ends when the last byte is consumed, so that an idle
/// connection costs no buffer.
#[derive(Debug)]
pub struct Io {
    stream: TcpStream,
    content: Content,
    buffers: Buffers,
    size: Size,
    eof: bool,
    /// Bytes of content read from and written to the socket so far.
    pub bytes_read: u64,
    pub bytes_written: u64,
}

/// Where the bytes that were read are.
#[derive(Debug)]
enum Content {
    /// As they came.
    Plain(Option<Lease>),
    /// In records; once the handshake is over.
    Tls(Box<Session>),
}

/// How many unread bytes one connection may hold: enough for the largest head.
const UNREAD_BYTES_MAX: usize = 96 * 1024;

impl Io {
    /// The socket, and the keys to write and to read with, of a client that from here on says what it likes.
    #[cfg(test)]
    pub(crate) fn dismantle(mut self) -> (TcpStream, crate::tls::Cipher, crate::tls::Cipher) {
        use std::os::fd::AsFd;
        let content = std::mem::replace(&mut self.content, Content::Plain(None));
        let Content::Tls(session) = content else { panic!("no TLS is spoken") };
        let (tx, rx) = session.into_keys();
        let socket =
            std::net::TcpStream::from(self.stream.as_fd().try_clone_to_owned().expect("a descriptor"));
        (TcpStream::from_std(socket).expect("a socket"), tx, rx)
    }

    pub fn new(stream: TcpStream, buffers: Buffers) -> Self {
        Self {
            stream,
            content: Content::Plain(None),
            buffers,
            size: Size::Small,
            eof: false,
            bytes_read: 0,
            bytes_written: 0,
        }
    }

    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }

    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// The unread bytes.
    pub fn unread(&self) -> &[u8] {
        match &self.content {
            Content::Plain(input) => input.as_ref().map_or(&[], Lease::unread),
            Content::Tls(tls) => tls.unread(),
        }
    }

    /// Marks unread bytes as read.
    pub fn consume(&mut self, len: usize) {
        match &mut self.content {
            Content::Tls(tls) => tls.consume(len),
            Content::Plain(input) => {
                if let Some(lease) = input {
                    lease.consume(len);
                    if lease.unread().is_empty() {
                        *input = None;
                    }
                }
            }
        }
    }

    /// Whether the peer has closed its side and everything was read.
    pub fn is_eof(&self) -> bool {
        self.eof
    }

    /// Which buffer the next bytes go to.
    pub fn expect(&mut self, size: Size) {
        self.size = size;
    }

    /// Reads once, behind the unread bytes. 0 means that the peer has closed its side.
    ///
    /// # Errors
    /// The socket's; `OutOfMemory` when more unread bytes than any head may have are held.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        let input = match &mut self.content {
            Content::Tls(tls) => {
                let read = ready!(tls.poll_fill(cx, &mut self.stream, &self.buffers, self.size))?;
                self.eof = read == 0;
                self.bytes_read += read as u64;
                return Poll::Ready(Ok(read));
            }
            Content::Plain(input) => input,
        };
        if input.is_none() {
            // Wait first, borrow then: most connections are idle most of the time.
            ready!(self.stream.poll_read_ready(cx))?;
            *input = Some(self.buffers.lease(self.size));
        }
        let Some(lease) = input else { return Poll::Pending };
        let space = lease.space(UNREAD_BYTES_MAX);
        if space.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let mut buffer = ReadBuf::new(space);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let read = buffer.filled().len();
        lease.filled(read);
        if lease.unread().is_empty() {
            *input = None;
        }
        ready!(polled)?;
        self.eof = read == 0;
        self.bytes_read += read as u64;
        Poll::Ready(Ok(read))
    }

    /// Writes what the socket takes of `parts`, in one system call.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = match &mut self.content {
            // One piece is spared the kernel's look at a list of them.
            Content::Plain(_) => match parts {
                [part] => ready!(Pin::new(&mut self.stream).poll_write(cx, part))?,
                parts => ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts))?,
            },
            Content::Tls(tls) => ready!(tls.poll_write(cx, &mut self.stream, &self.buffers, parts))?,
        };
        self.bytes_written += written as u64;
        if written == 0 && parts.iter().any(|part| !part.is_empty()) {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(written))
    }

    /// Writes bytes that others follow at once: the kernel may hold them back, to let all leave together. Only for a plain
    /// connection.
    ///
    /// # Errors
    /// The socket's; `Unsupported` for an encrypted connection.
    pub fn poll_write_more(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.is_plain() {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        }
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                Ok(rustix::net::send(&self.stream, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(sent) => {
                    self.bytes_written += sent as u64;
                    return Poll::Ready(Ok(sent));
                }
            }
        }
    }

    /// Writes bytes of a file without looking at them. 0 means that the file has no more. Only for a plain connection.
    ///
    /// # Errors
    /// The socket's and the file's; `Unsupported` for an encrypted connection.
    pub fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &std::fs::File,
        offset: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        if !self.is_plain() {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        }
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let mut at = offset;
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                Ok(rustix::fs::sendfile(&self.stream, file, Some(&mut at), len)?)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(sent) => {
                    self.bytes_written += sent as u64;
                    return Poll::Ready(Ok(sent));
                }
            }
        }
    }

    /// Whether bytes pass the socket as they are.
    pub fn is_plain(&self) -> bool {
        matches!(self.content, Content::Plain(_))
    }

    /// Ready when the socket may have bytes.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx)
    }

    /// Moves bytes that have arrived into an empty pipe. 0 means that the peer has closed its side.
    pub(crate) fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_io(Interest::READABLE, || pipe.fill(&self.stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(moved) => {
                    self.eof = moved == 0;
                    self.bytes_read += moved as u64;
                    return Poll::Ready(Ok(moved));
                }
            }
        }
    }

    /// Moves a pipe's bytes on to the socket, as many as it takes.
    pub(crate) fn poll_splice_out(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_io(Interest::WRITABLE, || pipe.drain(&self.stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(moved) => {
                    self.bytes_written += moved as u64;
                    return Poll::Ready(Ok(moved));
                }
            }
        }
    }

    /// Says that nothing more will be written.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.content {
            Content::Plain(_) => Pin::new(&mut self.stream).poll_shutdown(cx),
            Content::Tls(tls) => tls.poll_shutdown(cx, &mut self.stream, &self.buffers),
        }
    }

    /// What the handshake settled; `None` of a plain connection.
    pub fn tls(&self) -> Option<&std::rc::Rc<Facts>> {
        match &self.content {
            Content::Tls(tls) => Some(&tls.facts),
            Content::Plain(_) => None,
        }
    }

    /// The unread bytes of a connection without TLS, to be changed where they lie.
    pub(crate) fn unread_mut(&mut self) -> &mut [u8] {
        match &mut self.content {
            Content::Plain(Some(lease)) => lease.unread_mut(),
            _ => &mut [],
        }
    }

    /// The socket, for a handshake.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The handshake is over: content is what the records hold.
    pub(crate) fn begin_tls(&mut self, session: Session) {
        self.content = Content::Tls(Box::new(session));
    }

    /// Makes closing send a reset instead of a FIN, as after a failed connect of an opaque proxy.
    pub fn reset_on_close(&self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Whether an idle connection is still silent: no bytes, no close. Looks at the socket once if it was ever reported
    /// readable, and costs no system call otherwise.
    pub fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        self.unread().is_empty() && !self.eof && self.poll_fill(cx).is_pending()
    }
}

/// As a plain stream, for protocols that do their own buffering; what was read already comes first.
impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let unread = self.unread();
        if !unread.is_empty() {
            let len = unread.len().min(buf.remaining());
            buf.put_slice(&unread[..len]);
            self.consume(len);
            return Poll::Ready(Ok(()));
        }
        if matches!(self.content, Content::Tls(_)) {
            if ready!(self.poll_fill(cx))? > 0 {
                let len = self.unread().len().min(buf.remaining());
                buf.put_slice(&self.unread()[..len]);
                self.consume(len);
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.bytes_read += (buf.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self.get_mut(), cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write(self.get_mut(), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match &mut this.content {
            Content::Plain(_) => Pin::new(&mut this.stream).poll_flush(cx),
            Content::Tls(tls) => tls.poll_flush(cx, &mut this.stream),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(self.get_mut(), cx)
    }
}

impl Drop for Io {
    /// An encrypted connection is not left without a word, where that takes no waiting.
    fn drop(&mut self) {
        if let Content::Tls(tls) = &mut self.content {
            tls.say_goodbye(&mut self.stream, &self.buffers);
        }
    }
}

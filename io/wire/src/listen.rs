//! Listening sockets, one for each worker: the kernel spreads connections over them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::congestion;

/// Connections that the kernel completes before they are accepted; the kernel lowers it to `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;
/// The wait after an accept that failed for lack of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Binds one of several sockets that share an address (`SO_REUSEPORT`). For port 0, bind the first one alone and the others
/// to the port that it got.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: SocketAddr, ipv4_compat: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!ipv4_compat)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    congestion::settle(&socket, address);
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts the next connection. Failures that concern one connection are skipped, lack of resources is waited out.
///
/// # Errors
/// When the listening socket itself is of no more use.
pub async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let mut told = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                return Ok((stream, peer));
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    // Once for each shortage: twenty lines a second would be the next one.
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "accepting is paused");
                    }
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK) => return Err(error),
                _ => {}
            },
        }
    }
}

/// A connection by a socket in the file system as the stream that [`crate::io::Io`] knows: both are read and written alike.
/// It has no addresses.
///
/// # Errors
/// The system's.
pub fn as_tcp(stream: tokio::net::UnixStream) -> io::Result<TcpStream> {
    let descriptor: std::os::fd::OwnedFd = stream.into_std()?.into();
    let stream = std::net::TcpStream::from(descriptor);
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

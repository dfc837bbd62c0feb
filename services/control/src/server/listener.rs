//! Where the server is reached: a TCP port, or a socket in the file system for sidecars of the same machine.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tonic::transport::server::{Connected as _, TcpConnectInfo};

use super::{BACKLOG, Tls};
use crate::api::Channel;

/// Whoever reaches the folder may connect, as every user of the machine may to a port of loopback.
const SOCKET_MODE: u32 = 0o666;

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixSocket),
    /// A port whose connections begin with a handshake.
    Tls(TcpListener, Tls),
}

/// A socket in the file system; its file goes with it.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// An accepted connection.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(TcpStream, Tls),
}

/// A listening socket with room for a mesh's sidecars that all come back at once.
///
/// # Errors
/// The system's, when the address cannot be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that is started anew takes the address over from connections that linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl UnixSocket {
    /// Listens at that path, in the place of a socket that a server left which is gone.
    ///
    /// # Errors
    /// Somebody listens there, something else than a socket is there, or the system's.
    pub fn listen(path: &Path) -> io::Result<Self> {
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => {
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there"));
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
                Err(error) => return Err(error),
            }
        }
        let listener = UnixListener::bind(path)?;
        let socket = Self { listener, path: path.to_owned() };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        Ok(socket)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Nobody is left who could be told that it is gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are written whole, so there is nothing to wait for.
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream))
            }
            Self::Unix(socket) => Ok(Accepted::Unix(socket.listener.accept().await?.0)),
            Self::Tls(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tls(stream, tls.clone()))
            }
        }
    }
}

impl Accepted {
    /// Where the peer is; a peer on this machine has no address of its own.
    pub(super) fn peer(&self) -> Option<TcpConnectInfo> {
        match self {
            Self::Tcp(stream) | Self::Tls(stream, _) => Some(stream.connect_info()),
            Self::Unix(_) => None,
        }
    }

    /// Whether a private key may be said to whoever is at the other end.
    pub(super) fn channel(&self) -> Channel {
        let is_private = match self {
            // Loopback at both ends: an address of this machine alone would be no promise of where its packets went.
            Self::Tcp(stream) => [stream.peer_addr(), stream.local_addr()]
                .into_iter()
                .all(|address| address.is_ok_and(|address| address.ip().to_canonical().is_loopback())),
            Self::Unix(_) => true,
            Self::Tls(_, tls) => tls.asks_clients(),
        };
        if is_private { Channel::Private } else { Channel::Open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_left_is_taken_over_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("xds.sock");
        // Dropping the standard library's listener leaves its file.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        let first = UnixSocket::listen(&path).expect("it was left");
        let second = UnixSocket::listen(&path).expect_err("it is in use");
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists());
        std::fs::write(&path, "a file").expect("written");
        assert!(UnixSocket::listen(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), "a file", "it is somebody's");
    }
}

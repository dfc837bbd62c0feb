//! Listening sockets from one process to its successor, through a unix socket (`SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// The longest text of a message.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// Sockets of one message.
pub const SOCKETS_MAX: usize = 1;

/// A text, and perhaps a socket.
#[derive(Debug)]
pub struct Message {
    pub text: String,
    pub socket: Option<OwnedFd>,
}

/// Waits at `path` for a successor; only this user can connect.
///
/// # Errors
/// The path cannot be bound. What stands there already is taken away.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether the process at the other end runs as this one's user, or as root, which may do what it likes.
pub fn is_own(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid == rustix::process::geteuid() || peer.uid.is_root())
}

/// Sends one message.
///
/// # Errors
/// The other end is gone.
pub fn send(mut stream: &UnixStream, text: &str, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
    // Longer texts are not made; one that were would be refused by the other end.
    let length = (text.len() as u32).to_be_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let sockets: Vec<BorrowedFd<'_>> = socket.into_iter().collect();
    if !sockets.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&sockets));
    }
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(&length)], &mut ancillary, SendFlags::NOSIGNAL)?;
    stream.write_all(&length[sent..])?;
    stream.write_all(text.as_bytes())
}

/// Receives one message; `None` when the other end is gone.
///
/// # Errors
/// The message is too long or no text.
pub fn receive(mut stream: &UnixStream) -> io::Result<Option<Message>> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut length)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut socket = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(sockets) = message {
            socket = sockets.last().or(socket);
        }
    }
    stream.read_exact(&mut length[received.bytes..])?;
    let length = u32::from_be_bytes(length) as usize;
    if length > TEXT_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    let text = String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Some(Message { text, socket }))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_listening_socket_arrives_and_takes_the_connections_that_waited() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let _waiting = TcpStream::connect(address).expect("the kernel takes it");
        send(&here, "one", Some(listener.as_fd())).expect("sent");
        send(&here, &"x".repeat(100_000), None).expect("sent");
        drop((listener, here));
        let first = receive(&there).expect("a message").expect("not the end");
        assert_eq!(first.text, "one");
        let heir = TcpListener::from(first.socket.expect("a socket"));
        assert_eq!(heir.local_addr().expect("an address"), address);
        heir.accept().expect("the connection that waited");
        let second = receive(&there).expect("a message").expect("not the end");
        assert!(second.text.len() == 100_000 && second.socket.is_none());
        assert!(receive(&there).expect("the end").is_none());
        assert!(is_own(&there));
    }

    #[test]
    fn a_message_that_is_too_long_is_refused() {
        let (mut here, there) = UnixStream::pair().expect("a pair");
        here.write_all(&(TEXT_BYTES_MAX as u32 + 1).to_be_bytes()).expect("sent");
        assert!(receive(&there).is_err());
    }
}

//! The one connection of `-1`: standard input, where it is a socket; else what a pipe brings, answered on standard output.

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use rustix::fs::{FileType, fstat};

/// The connection, and the thread that has the answer still to write.
///
/// # Errors
/// Standard input cannot be had as a connection.
pub(super) fn connection() -> io::Result<(TcpStream, Option<JoinHandle<()>>)> {
    let input = io::stdin();
    let is_socket = FileType::from_raw_mode(fstat(input.as_fd())?.st_mode) == FileType::Socket;
    let (stream, piped) = match is_socket {
        true => (TcpStream::from(input.as_fd().try_clone_to_owned()?), None),
        false => {
            let (near, far) = UnixStream::pair()?;
            let piped = pipe(far)?;
            (TcpStream::from(OwnedFd::from(near)), Some(piped))
        }
    };
    stream.set_nonblocking(true)?;
    Ok((stream, piped))
}

/// Carries standard input to the server, and what it says to standard output.
fn pipe(far: UnixStream) -> io::Result<JoinHandle<()>> {
    let mut writes = far.try_clone()?;
    // It ends with the process: whoever writes may not have an end.
    std::thread::Builder::new().name("input".into()).spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut writes);
        let _ = writes.shutdown(Shutdown::Write);
    })?;
    std::thread::Builder::new().name("output".into()).spawn(move || {
        let mut output = io::stdout().lock();
        let _ = io::copy(&mut &far, &mut output);
        let _ = output.flush();
    })
}

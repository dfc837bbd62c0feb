//! A new binary takes the place of the running one, and no connection is refused.
//!
//! ```text
//! successor                                    predecessor
//!   SUCCEED ─────────────────────────────────▶  each listening socket under its name, then an end
//!   … checks its configuration, serves …        serves on
//!   ready ───────────────────────────────────▶  accepts no more; what is under way has its time
//! ```
//! The sockets are shared, not bound anew: connections that the kernel has completed wait in queues that both see. A successor
//! that ends before it is ready changes nothing.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use selvedge_wire::handover::{self, Message};

use crate::control::SUCCEED;
use crate::sockets::{Listening, Open, Socket};

/// The last message of a predecessor.
const END: &str = "end";
/// The word of a successor that serves.
const READY: &[u8] = b"ready\n";
/// How long a predecessor may take to hand everything over.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a successor was given, until it says that it serves.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) listening: Listening,
    predecessor: UnixStream,
}

/// Asks whoever serves at `path` for its sockets; `None` if nobody does.
///
/// # Errors
/// When it began to hand them over and did not end.
pub(crate) fn inherit(path: &Path) -> io::Result<Option<Inheritance>> {
    let Ok(mut predecessor) = UnixStream::connect(path) else { return Ok(None) };
    predecessor.set_read_timeout(Some(PATIENCE))?;
    writeln!(predecessor, "{SUCCEED}")?;
    let mut sockets: HashMap<String, (bool, bool, Vec<OwnedFd>)> = HashMap::new();
    loop {
        let Message { text, socket } =
            handover::receive(&predecessor)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let Some(socket) = socket else {
            if text == END {
                break;
            }
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut words = text.splitn(3, ' ');
        let (tls, proxied) = (words.next() == Some("tls"), words.next() == Some("proxied"));
        let token = words.next().ok_or(io::ErrorKind::InvalidData)?;
        sockets.entry(token.to_owned()).or_insert_with(|| (tls, proxied, Vec::new())).2.push(socket);
    }
    let mut listening = Listening::new();
    for (token, (tls, proxied, mut descriptors)) in sockets {
        let token: Arc<str> = token.into();
        let socket = match token.starts_with(['/', '\\']) {
            true => Socket::Unix(UnixListener::from(descriptors.remove(0))),
            false => Socket::Tcp(descriptors.into_iter().map(TcpListener::from).collect()),
        };
        listening.insert(Arc::clone(&token), Arc::new(Open { token, tls, proxied, socket, datagrams: None }));
    }
    Ok(Some(Inheritance { listening, predecessor }))
}

impl Inheritance {
    /// Tells the predecessor that it may leave.
    pub(crate) fn ready(mut self) {
        if let Err(error) = self.predecessor.write_all(READY) {
            tracing::warn!(%error, "the predecessor does not hear that it may leave");
        }
    }
}

/// Hands everything over and waits until the successor serves; whether it does. Blocks.
///
/// # Errors
/// When it is gone.
pub(crate) fn hand_over(mut successor: UnixStream, listening: &Listening) -> io::Result<()> {
    for open in listening.values() {
        let word = |yes: bool, word: &'static str| if yes { word } else { "-" };
        let text = format!("{} {} {}", word(open.tls, "tls"), word(open.proxied, "proxied"), open.token);
        let send = |socket: BorrowedFd<'_>| handover::send(&successor, &text, Some(socket));
        match &open.socket {
            Socket::Tcp(sockets) => sockets.iter().try_for_each(|socket| send(socket.as_fd()))?,
            Socket::Unix(socket) => send(socket.as_fd())?,
        }
    }
    handover::send(&successor, END, None)?;
    let mut word = [0; READY.len()];
    successor.read_exact(&mut word)?;
    if word == READY { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

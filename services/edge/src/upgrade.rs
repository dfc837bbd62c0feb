//! A new binary takes the place of the running one, and no connection is refused.
//!
//! ```text
//! successor                                    predecessor
//!   SUCCEED ─────────────────────────────────▶  each listening socket under its name, then an end
//!   … checks its configuration, serves …        serves on
//!   ready ───────────────────────────────────▶  accepts no more; what is under way has its time
//!                                       closed  reads no more of HTTP/3's sockets (crate::http3)
//! ```
//! The sockets are shared, not bound anew: connections that the kernel has completed wait in queues that both see. A successor
//! that ends before it is ready changes nothing.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use selvedge_wire::handover::{self, Message};

use tokio::sync::watch;

use crate::control::SUCCEED;
use crate::http3::{Before, Datagrams, Tag};
use crate::sockets::{Listening, Open, Socket};

/// The last message of a predecessor.
const END: &str = "end";
/// A message with a listener's UDP socket.
const DATAGRAMS: &str = "datagrams";
/// A message with a way to the predecessor, for datagrams of its own connections.
const RELAY: &str = "relay";
/// The word of a successor that serves.
const READY: &[u8] = b"ready\n";
/// How long a predecessor may take to hand everything over.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a successor was given, until it says that it serves.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) listening: Listening,
    predecessor: UnixStream,
    /// Dropped once the predecessor reads no more.
    leaving: watch::Sender<()>,
}

/// What was handed over of one listener.
#[derive(Debug, Default)]
struct Given {
    tls: bool,
    proxied: bool,
    descriptors: Vec<OwnedFd>,
    datagrams: Option<UdpSocket>,
    relay: Option<(Tag, UnixDatagram)>,
}

/// What a predecessor has left to do once its successor serves.
#[derive(Debug)]
pub(crate) struct Handed {
    /// Closed when the predecessor reads no more.
    successor: UnixStream,
    /// Where it hears of connections of its own.
    relays: Vec<(Arc<Open>, UnixDatagram)>,
}

/// Asks whoever serves at `path` for its sockets; `None` if nobody does.
///
/// # Errors
/// When it began to hand them over and did not end.
pub(crate) fn inherit(path: &Path) -> io::Result<Option<Inheritance>> {
    let Ok(mut predecessor) = UnixStream::connect(path) else { return Ok(None) };
    predecessor.set_read_timeout(Some(PATIENCE))?;
    writeln!(predecessor, "{SUCCEED}")?;
    let mut sockets: HashMap<String, Given> = HashMap::new();
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
        let (kind, detail) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let token = words.next().ok_or(io::ErrorKind::InvalidData)?;
        let given = sockets.entry(token.to_owned()).or_default();
        match kind {
            DATAGRAMS => given.datagrams = Some(UdpSocket::from(socket)),
            RELAY => {
                let tag = Tag::parse(detail).ok_or(io::ErrorKind::InvalidData)?;
                given.relay = Some((tag, UnixDatagram::from(socket)));
            }
            _ => {
                (given.tls, given.proxied) = (kind == "tls", detail == "proxied");
                given.descriptors.push(socket);
            }
        }
    }
    let (leaving, gone) = watch::channel(());
    let mut listening = Listening::new();
    for (token, given) in sockets {
        let token: Arc<str> = token.into();
        let Given { tls, proxied, mut descriptors, datagrams, relay } = given;
        if descriptors.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let socket = match token.starts_with(['/', '\\']) {
            true => Socket::Unix(UnixListener::from(descriptors.remove(0))),
            false => Socket::Tcp(descriptors.into_iter().map(TcpListener::from).collect()),
        };
        let before = relay.map(|(tag, relay)| Before { tag, relay, gone: gone.clone() });
        let datagrams = datagrams.map(|socket| Datagrams::new(socket, before)).transpose()?;
        // Whichever of them the configuration does not name were systemd's, where sockets are taken from there.
        let open = Open { token: Arc::clone(&token), tls, proxied, socket, datagrams, handed_in: true };
        listening.insert(token, Arc::new(open));
    }
    Ok(Some(Inheritance { listening, predecessor, leaving }))
}

impl Inheritance {
    /// Tells the predecessor that it may leave, and datagrams that they may be read once it has.
    pub(crate) fn ready(mut self) {
        if let Err(error) = self.predecessor.write_all(READY) {
            return tracing::warn!(%error, "the predecessor does not hear that it may leave");
        }
        tokio::task::spawn_blocking(move || {
            // It closes its end, or is taken to have done so.
            let _ = self.predecessor.read(&mut [0]);
            drop(self.leaving);
        });
    }
}

impl Handed {
    /// Leaves the sockets to the successor: from here on only what is ours is heard. To be called where sockets can be
    /// waited for.
    pub(crate) fn leave(self) {
        for (open, relay) in self.relays {
            if let Some(Err(error)) = open.datagrams.as_ref().map(|datagrams| datagrams.leave(relay)) {
                tracing::warn!(%error, socket = &*open.token, "connections of HTTP/3 are not served to their end");
            }
        }
        drop(self.successor);
    }
}

/// Hands everything over and waits until the successor serves; whether it does. Blocks.
///
/// # Errors
/// When it is gone.
pub(crate) fn hand_over(mut successor: UnixStream, listening: &Listening) -> io::Result<Handed> {
    let mut relays = Vec::new();
    for open in listening.values() {
        let word = |yes: bool, word: &'static str| if yes { word } else { "-" };
        let text = format!("{} {} {}", word(open.tls, "tls"), word(open.proxied, "proxied"), open.token);
        let send = |socket: BorrowedFd<'_>| handover::send(&successor, &text, Some(socket));
        match &open.socket {
            Socket::Tcp(sockets) => sockets.iter().try_for_each(|socket| send(socket.as_fd()))?,
            Socket::Unix(socket) => send(socket.as_fd())?,
        }
        if let Some(datagrams) = &open.datagrams {
            let (ours, theirs) = UnixDatagram::pair()?;
            theirs.set_nonblocking(true)?;
            let text = format!("{DATAGRAMS} - {}", open.token);
            handover::send(&successor, &text, Some(datagrams.socket().as_fd()))?;
            let text = format!("{RELAY} {} {}", datagrams.tag(), open.token);
            handover::send(&successor, &text, Some(theirs.as_fd()))?;
            relays.push((Arc::clone(open), ours));
        }
    }
    handover::send(&successor, END, None)?;
    let mut word = [0; READY.len()];
    successor.read_exact(&mut word)?;
    if word == READY { Ok(Handed { successor, relays }) } else { Err(io::ErrorKind::InvalidData.into()) }
}

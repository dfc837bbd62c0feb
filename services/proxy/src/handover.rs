//! Hot restart: a second process takes the place of the first, and no connection is refused.
//!
//! ```text
//! successor                                    predecessor
//!   sockets? ────────────────────────────────▶  a message a listening socket, then its epoch
//!   … starts, is configured, is live …          serves on
//!   drain ───────────────────────────────────▶  accepts no more; connections go over, one response each
//!   counters? ──── five times a second ──────▶  counts on
//!                                               ends
//! ```
//! Both speak over a unix socket in a folder of the operator's. The sockets are shared, not bound anew: connections that
//! the kernel has completed are in a queue that both see. A successor that ends before it is live changes nothing.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_telemetry::Registry;
use selvedge_telemetry::carry::{Counters, Heir};
use selvedge_wire::handover::{self, Message};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use crate::lifecycle::Lifecycle;
use crate::serve::Sockets;

/// What two processes must share to understand each other; `/hot_restart_version` tells it.
pub(crate) const VERSION: &str = "selvedge.1";
/// How often the predecessor's counters are asked for.
const COUNTERS_EVERY: Duration = Duration::from_millis(200);
/// The name under which the admin endpoint's socket is handed over.
const ADMIN: &str = "admin";

/// Why nothing could be taken over.
#[derive(Debug, Error)]
pub enum Error {
    #[error("failed to listen for a successor at {path:?}")]
    Listen {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to speak to the predecessor")]
    Io(#[from] io::Error),
    #[error("the predecessor's words are not understood")]
    Words(#[from] serde_json::Error),
    #[error("the predecessor speaks {0}, and this process {VERSION}")]
    Version(String),
    #[error("the predecessor ended before it had handed everything over")]
    Ended,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    Sockets { version: String },
    Drain,
    Counters,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// With a socket.
    Socket {
        address: String,
    },
    Sockets {
        version: String,
        epoch: u64,
    },
    Draining,
    Counters(Counters),
}

/// What a predecessor left.
pub(crate) struct Inheritance {
    stream: UnixStream,
    pub(crate) admin: Option<TcpListener>,
    /// How many processes there have been before this one.
    pub(crate) epoch: u64,
}

/// Takes the sockets of the process that listens at `path`; `None` if there is none.
pub(crate) fn inherit(path: &Path, sockets: &Sockets) -> Result<Option<Inheritance>, Error> {
    let Ok(stream) = UnixStream::connect(path) else { return Ok(None) };
    ask(&stream, &Ask::Sockets { version: VERSION.to_owned() })?;
    let mut admin = None;
    loop {
        let Message { text, socket } = handover::receive(&stream)?.ok_or(Error::Ended)?;
        match (serde_json::from_str(&text)?, socket) {
            (Answer::Socket { address }, Some(socket)) => {
                let socket = TcpListener::from(socket);
                socket.set_nonblocking(true)?;
                match address.parse::<SocketAddr>() {
                    Ok(address) => sockets.inherit(address, socket),
                    Err(_) if address == ADMIN => admin = Some(socket),
                    Err(_) => {}
                }
            }
            (Answer::Sockets { version, .. }, _) if version != VERSION => {
                return Err(Error::Version(version));
            }
            (Answer::Sockets { epoch, .. }, _) => {
                return Ok(Some(Inheritance { stream, admin, epoch: epoch + 1 }));
            }
            _ => {}
        }
    }
}

impl Inheritance {
    /// This process is live: the predecessor goes, and what it still counts is counted here. Runs until it has gone.
    pub(crate) fn take_over(self, registry: &Registry) -> Result<(), Error> {
        let mut heir = Heir::default();
        ask(&self.stream, &Ask::Drain)?;
        loop {
            let Some(Message { text, .. }) = handover::receive(&self.stream)? else { return Ok(()) };
            if let Answer::Counters(counters) = serde_json::from_str(&text)? {
                registry.take_over(counters, &mut heir);
                std::thread::sleep(COUNTERS_EVERY);
            }
            if ask(&self.stream, &Ask::Counters).is_err() {
                return Ok(());
            }
        }
    }
}

fn ask(stream: &UnixStream, ask: &Ask) -> Result<(), Error> {
    Ok(handover::send(stream, &serde_json::to_string(ask)?, None)?)
}

/// The side of the predecessor.
pub(crate) struct Estate {
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) admin: Option<TcpListener>,
    /// Stops the admin endpoint for as long as a successor has its socket.
    pub(crate) admin_paused: watch::Sender<bool>,
    pub(crate) registry: Registry,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) epoch: u64,
}

impl Estate {
    /// Waits for successors at `path`, on a thread of its own that ends with the process.
    pub(crate) fn offer(self, path: &Path) -> Result<(), Error> {
        let listen = |source| Error::Listen { path: path.to_owned(), source };
        let listener = handover::listen(path).map_err(listen)?;
        std::thread::Builder::new()
            .name("handover".to_owned())
            .spawn(move || self.wait(&listener))
            .map(drop)
            .map_err(listen)
    }

    fn wait(self, listener: &UnixListener) {
        for stream in listener.incoming().map_while(Result::ok) {
            if !handover::is_own(&stream) {
                tracing::warn!("another user asked for the sockets of this process");
                continue;
            }
            let served = self.serve(&stream);
            if self.lifecycle.is_handed_over() {
                return;
            }
            // The successor ended too early: everything goes on here.
            self.admin_paused.send_replace(false);
            match served {
                Ok(()) => tracing::warn!("a successor ended before it was live"),
                Err(error) => tracing::warn!(%error, "a successor could not take over"),
            }
        }
    }

    fn serve(&self, stream: &UnixStream) -> Result<(), Error> {
        while let Some(Message { text, .. }) = handover::receive(stream)? {
            match serde_json::from_str(&text)? {
                Ask::Sockets { version } if version == VERSION => {
                    tracing::info!("a successor takes the listening sockets");
                    for (address, socket) in self.sockets.copies() {
                        answer(stream, &Answer::Socket { address: address.to_string() }, Some(&socket))?;
                    }
                    if let Some(admin) = &self.admin {
                        self.admin_paused.send_replace(true);
                        answer(stream, &Answer::Socket { address: ADMIN.to_owned() }, Some(admin))?;
                    }
                    answer(stream, &self.sockets_answer(), None)?;
                }
                Ask::Sockets { .. } => answer(stream, &self.sockets_answer(), None)?,
                Ask::Drain => {
                    tracing::info!("the successor is live: taking leave");
                    self.lifecycle.hand_over(Instant::now());
                    answer(stream, &Answer::Draining, None)?;
                }
                Ask::Counters => answer(stream, &Answer::Counters(self.registry.counters()), None)?,
            }
        }
        Ok(())
    }

    fn sockets_answer(&self) -> Answer {
        Answer::Sockets { version: VERSION.to_owned(), epoch: self.epoch }
    }
}

fn answer(stream: &UnixStream, answer: &Answer, socket: Option<&TcpListener>) -> Result<(), Error> {
    let text = serde_json::to_string(answer)?;
    Ok(handover::send(stream, &text, socket.map(AsFd::as_fd))?)
}

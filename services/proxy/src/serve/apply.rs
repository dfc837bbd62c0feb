//! Configuration → listeners: what is new is compiled and bound, what changed is replaced on its socket, what is gone
//! is closed. A listener that cannot be served leaves the last good one in place.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::Sockets;
use super::compile::{CompileError, CompiledListener, Telemetry};
use crate::snapshot::{ActiveListener, ConfigSnapshot};

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Command {
    Listen {
        listener: Arc<CompiledListener>,
        sockets: Vec<std::net::TcpListener>,
    },
    /// The same socket, another configuration.
    Replace {
        listener: Arc<CompiledListener>,
    },
    Remove {
        name: String,
    },
    /// What is left of a configuration that has gone has until then.
    CutAt(Instant),
}

/// How a listener fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStatus {
    pub name: String,
    /// The address that was bound; that of the configuration while none is.
    pub address: SocketAddr,
    /// Why the latest configuration is not served.
    pub error: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error("cannot bind {address}")]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// The control side of serving.
pub(crate) struct Apply {
    workers: Vec<mpsc::UnboundedSender<Command>>,
    telemetry: Telemetry,
    sockets: Arc<Sockets>,
    /// Connections are cut so long after their configuration has gone.
    drain_time: Duration,
    serving: HashMap<String, Served>,
    status: watch::Sender<Vec<ListenerStatus>>,
}

struct Served {
    active: Arc<ActiveListener>,
    compiled: Arc<CompiledListener>,
    address: SocketAddr,
}

impl Apply {
    pub(crate) fn new(
        workers: Vec<mpsc::UnboundedSender<Command>>,
        telemetry: Telemetry,
        sockets: Arc<Sockets>,
        drain_time: Duration,
    ) -> (Self, watch::Receiver<Vec<ListenerStatus>>) {
        let (status, receiver) = watch::channel(Vec::new());
        (Self { workers, telemetry, sockets, drain_time, serving: HashMap::new(), status }, receiver)
    }

    /// Follows the configuration until its sender is gone; the workers end with this task.
    pub(crate) async fn run(mut self, mut config: watch::Receiver<Arc<ConfigSnapshot>>) {
        loop {
            let snapshot = Arc::clone(&config.borrow_and_update());
            self.apply(&snapshot);
            if config.changed().await.is_err() {
                return;
            }
        }
    }

    fn apply(&mut self, snapshot: &ConfigSnapshot) {
        let gone: Vec<String> = self
            .serving
            .keys()
            .filter(|name| !snapshot.listeners.iter().any(|active| active.config.name == **name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(served) = self.serving.remove(&name) {
                let cut_at = self.cut_at();
                let goes = served.compiled.retire(None, cut_at);
                self.sockets.close(&served.active.config);
                self.tell(|| Command::Remove { name: name.clone() });
                self.cut(goes, cut_at);
            }
        }
        let mut status = Vec::new();
        for active in &snapshot.listeners {
            let name = &active.config.name;
            let error = self.apply_one(active).err().map(|error| {
                tracing::error!(%error, listener = %name, "a listener cannot be served as configured");
                describe(&error)
            });
            let address = self.serving.get(name).map_or(active.config.address, |served| served.address);
            status.push(ListenerStatus { name: name.clone(), address, error });
        }
        self.status.send_replace(status);
    }

    fn apply_one(&mut self, active: &Arc<ActiveListener>) -> Result<(), ApplyError> {
        let name = &active.config.name;
        let cut_at = self.cut_at();
        if let Some(served) = self.serving.get_mut(name) {
            if Arc::ptr_eq(&served.active, active) {
                return Ok(());
            }
            if Arc::ptr_eq(&served.active.config, &active.config) {
                served.compiled.update_routes(active, &self.telemetry)?;
                served.active = Arc::clone(active);
                return Ok(());
            }
        }
        let before = self.serving.get(name).map(|served| &*served.compiled);
        let compiled = Arc::new(CompiledListener::new(active, before, &self.telemetry)?);
        let same_socket = self.serving.get(name).is_some_and(|served| {
            let (old, new) = (&served.active.config, &active.config);
            old.address == new.address && old.ipv4_compat == new.ipv4_compat
        });
        let address = match self.serving.get(name) {
            Some(served) if same_socket => {
                let address = served.address;
                let goes = served.compiled.retire(Some(&compiled), cut_at);
                if served.active.config.differs_in_chains_alone(&active.config) {
                    self.telemetry.registry.server().listener_in_place_updated.inc();
                }
                self.tell(|| Command::Replace { listener: Arc::clone(&compiled) });
                self.cut(goes, cut_at);
                address
            }
            _ => {
                let (sockets, address) = self
                    .sockets
                    .bind(&active.config, self.workers.len())
                    .map_err(|(address, source)| ApplyError::Bind { address, source })?;
                let mut goes = false;
                if let Some(served) = self.serving.get(name) {
                    goes = served.compiled.retire(Some(&compiled), cut_at);
                    if served.active.config.address != active.config.address {
                        self.sockets.close(&served.active.config);
                    }
                }
                for (worker, sockets) in self.workers.iter().zip(sockets) {
                    // Fails only when the worker has ended, and with it everything.
                    let _ = worker.send(Command::Listen { listener: Arc::clone(&compiled), sockets });
                }
                self.cut(goes, cut_at);
                address
            }
        };
        self.serving.insert(name.clone(), Served { active: Arc::clone(active), compiled, address });
        Ok(())
    }

    fn cut_at(&self) -> Instant {
        Instant::now() + self.drain_time
    }

    /// Has the workers look at that moment for what is left of a configuration, if anything goes.
    fn cut(&self, goes: bool, at: Instant) {
        if goes {
            self.tell(|| Command::CutAt(at));
        }
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            let _ = worker.send(command());
        }
    }
}

/// An error with its causes, on one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

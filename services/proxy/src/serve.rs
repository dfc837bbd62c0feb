//! The workers: one thread each, with its own sockets, connections and pools; and the control side that gives them
//! their listeners.
//!
//! ```text
//! ConfigSnapshot ─▶ Apply (control thread) ── compiled listener, socket ──▶ worker 0 ─┐ SO_REUSEPORT:
//!                                          └─ compiled listener, socket ──▶ worker 1 ─┘ the kernel spreads connections
//! ```

pub(crate) mod apply;
pub(crate) mod compile;
pub(crate) mod worker;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_telemetry::{AccessLogs, Registry};
use selvedge_upstream::Clusters;
use selvedge_wire::drain::DrainState;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, LocalSet};

pub use apply::ListenerStatus;
pub use compile::CompileError;

use crate::listener::{self, Current};
use crate::patience::{Patience, Places};
use crate::snapshot::ConfigSnapshot;
use crate::tracing::Tracers;
use apply::{Apply, Command};
use compile::Telemetry;
use worker::Worker;

/// How often idle connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What serving needs from its surroundings.
#[derive(Debug)]
pub struct Serve {
    /// Worker threads, at least one.
    pub workers: usize,
    pub clusters: Arc<Clusters>,
    pub registry: Registry,
    pub access_logs: Arc<AccessLogs>,
    /// `None` traces nothing.
    pub tracers: Option<Arc<Tracers>>,
    pub config: watch::Receiver<Arc<ConfigSnapshot>>,
    pub drain: watch::Receiver<DrainState>,
    /// Stands for a loopback client in `x-forwarded-for`.
    pub node_address: Option<IpAddr>,
    pub patience: Patience,
    /// The cluster that this node belongs to, for rate limits by it.
    pub node_cluster: Arc<str>,
}

/// The data plane at work.
#[derive(Debug)]
pub struct Serving {
    /// Each listener with the address that it got, or the reason why it does not serve; renewed with each configuration.
    pub listeners: watch::Receiver<Vec<ListenerStatus>>,
    ended: mpsc::Receiver<()>,
}

impl Serve {
    /// Starts the worker threads, and on `control` the task that hands them their listeners.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be started.
    pub fn start(self, control: &Handle) -> std::io::Result<Serving> {
        let (alive, ended) = mpsc::channel(1);
        let mut commands = Vec::new();
        let places = Places::default();
        for index in 0..self.workers.max(1) {
            let (sender, receiver) = mpsc::unbounded_channel();
            commands.push(sender);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (clusters, drain, alive) = (Arc::clone(&self.clusters), self.drain.clone(), alive.clone());
            let (node_address, patience, places) = (self.node_address, self.patience, places.clone());
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                selvedge_telemetry::enter_worker(index);
                let worker = Worker::new(index, clusters, node_address, patience, places);
                LocalSet::new().block_on(&runtime, run(worker, receiver, drain));
                drop(alive);
            })?;
        }
        let telemetry = Telemetry {
            registry: self.registry,
            access_logs: self.access_logs,
            node_cluster: self.node_cluster,
            tracers: self.tracers,
            secrets: Arc::clone(self.clusters.secrets()),
        };
        let (apply, listeners) = Apply::new(commands, telemetry);
        control.spawn(apply.run(self.config));
        Ok(Serving { listeners, ended })
    }
}

impl Serving {
    /// Resolves when every worker has ended: after a drain, or when whoever gave the configuration is gone.
    pub async fn ended(&mut self) {
        // Nothing is ever sent: the channel closes with the last worker.
        let _ = self.ended.recv().await;
    }
}

/// A listener as this worker has it.
struct Listening {
    current: Current,
    accepting: JoinHandle<()>,
}

/// A worker's life.
async fn run(
    worker: Rc<Worker>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut drain: watch::Receiver<DrainState>,
) {
    let mut listening: HashMap<String, Listening> = HashMap::new();
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => obey(&worker, &mut listening, command),
                None => return,
            },
            state = selvedge_wire::drain::begun(&mut drain) => {
                worker.set_drain_state(state);
                break;
            }
            _ = sweep.tick() => {
                worker.pools.sweep(Instant::now());
            }
        }
    }
    wind_down(&worker, listening).await;
}

fn obey(worker: &Rc<Worker>, listening: &mut HashMap<String, Listening>, command: Command) {
    match command {
        Command::Listen { listener, socket } => {
            let name = listener.config.name.clone();
            let socket = match TcpListener::from_std(socket) {
                Ok(socket) => socket,
                Err(error) => return tracing::error!(%error, %name, "a listening socket cannot be used"),
            };
            let current = Rc::new(RefCell::new(listener));
            let accepting =
                tokio::task::spawn_local(listener::accept(Rc::clone(worker), socket, Rc::clone(&current)));
            if let Some(before) = listening.insert(name, Listening { current, accepting }) {
                before.accepting.abort();
            }
        }
        Command::Replace { listener } => {
            if let Some(listening) = listening.get(&listener.config.name) {
                *listening.current.borrow_mut() = listener;
                worker.wake_all();
            }
        }
        Command::Remove { name } => {
            if let Some(removed) = listening.remove(&name) {
                removed.accepting.abort();
                worker.wake_all();
            }
        }
    }
}

/// Accepts for as long as some client may not have heard, then waits for what is in flight, at most until the deadline.
async fn wind_down(worker: &Rc<Worker>, listening: HashMap<String, Listening>) {
    let DrainState::Draining { accept_until, deadline } = worker.drain_state() else { return };
    tokio::time::sleep_until(accept_until.into()).await;
    listening.into_values().for_each(|listening| listening.accepting.abort());
    worker.wake_all();
    while worker.connections() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

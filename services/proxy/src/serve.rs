//! The workers: one thread each, with its own sockets, connections and pools; and the control side that gives them
//! their listeners.
//!
//! ```text
//! ConfigSnapshot ─▶ Apply (control thread) ── compiled listener, socket ──▶ worker 0 ─┐ SO_REUSEPORT:
//!                                          └─ compiled listener, socket ──▶ worker 1 ─┘ the kernel spreads connections
//! ```

pub(crate) mod apply;
pub(crate) mod compile;
mod cuts;
mod sockets;
pub(crate) mod worker;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_telemetry::{AccessLogs, Registry};
use selvedge_upstream::Clusters;
use selvedge_wire::drain::Drains;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, LocalSet};

pub use apply::ListenerStatus;
pub use compile::CompileError;
pub use sockets::Sockets;

use crate::listener::{self, Current};
use crate::log_service::LogServices;
use crate::patience::{Patience, Places};
use crate::request::filter::jwt::Ahead;
use crate::snapshot::ConfigSnapshot;
use crate::tracing::Tracers;
use apply::{Apply, Command};
use compile::Telemetry;
use cuts::Cuts;
use worker::Worker;

/// How often idle connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often a worker that leaves looks whether anybody is still connected.
const LEAVING_LOOK: Duration = Duration::from_millis(20);

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
    /// `None` streams no access logs.
    pub log_services: Option<Arc<LogServices>>,
    pub config: watch::Receiver<Arc<ConfigSnapshot>>,
    pub drain: watch::Receiver<Drains>,
    /// Listening sockets, those of a predecessor first.
    pub sockets: Arc<Sockets>,
    /// A socket in the file system by which a web server beside us reaches virtual services.
    pub local: Option<std::os::unix::net::UnixListener>,
    /// Stands for a loopback client in `x-forwarded-for`.
    pub node_address: Option<IpAddr>,
    pub patience: Patience,
    /// Connections that nobody can ask to leave are cut so long after their configuration has gone.
    pub drain_time: Duration,
    /// The cluster that this node belongs to, for rate limits by it.
    pub node_cluster: Arc<str>,
    /// Takes the workers onto threads of its own; `None`: they get threads here.
    pub seats: Option<std::sync::mpsc::Sender<Seat>>,
}

/// A worker that has no thread yet.
#[derive(Debug)]
pub struct Seat {
    index: usize,
    clusters: Arc<Clusters>,
    node_address: Option<IpAddr>,
    patience: Patience,
    places: Places,
    to_fetch: Option<mpsc::UnboundedReceiver<Ahead>>,
    commands: mpsc::UnboundedReceiver<Command>,
    drain: watch::Receiver<Drains>,
    sockets: Arc<Sockets>,
    local: Option<std::os::unix::net::UnixListener>,
    alive: mpsc::Sender<()>,
}

/// The listener that takes what goes out, once there is one.
pub(crate) type Outbound = Rc<RefCell<Option<Current>>>;

impl Seat {
    /// Makes the worker on this thread; the future is its life.
    pub(crate) fn sit(self, outbound: Outbound) -> (Rc<Worker>, impl Future<Output = ()>) {
        selvedge_telemetry::enter_worker(self.index);
        let worker = Worker::new(self.index, self.clusters, self.node_address, self.patience, self.places);
        let own = Rc::clone(&worker);
        let life = async move {
            let fetching = self
                .to_fetch
                .map(|to_fetch| tokio::task::spawn_local(fetch_ahead(Rc::clone(&own), to_fetch)));
            run(own, self.commands, self.drain, self.sockets, self.local, outbound).await;
            if let Some(fetching) = fetching {
                fetching.abort();
            }
            drop(self.alive);
        };
        (worker, life)
    }
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
        let (ahead, mut to_fetch) = {
            let (sender, receiver) = mpsc::unbounded_channel();
            (sender, Some(receiver))
        };
        for index in 0..self.workers.max(1) {
            let (sender, receiver) = mpsc::unbounded_channel();
            commands.push(sender);
            let seat = Seat {
                index,
                clusters: Arc::clone(&self.clusters),
                node_address: self.node_address,
                patience: self.patience,
                places: places.clone(),
                // The first worker fetches for all.
                to_fetch: to_fetch.take(),
                commands: receiver,
                drain: self.drain.clone(),
                sockets: Arc::clone(&self.sockets),
                local: self.local.as_ref().map(std::os::unix::net::UnixListener::try_clone).transpose()?,
                alive: alive.clone(),
            };
            if let Some(seats) = &self.seats {
                // Whoever takes them may be gone already: then the process is on its way out.
                let _ = seats.send(seat);
                continue;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                let tasks = LocalSet::new();
                tasks.block_on(&runtime, async move { seat.sit(Outbound::default()).1.await });
            })?;
        }
        let telemetry = Telemetry {
            registry: self.registry,
            access_logs: self.access_logs,
            node_cluster: self.node_cluster,
            tracers: self.tracers,
            log_services: self.log_services,
            secrets: Arc::clone(self.clusters.secrets()),
            ahead,
        };
        let (apply, listeners) = Apply::new(commands, telemetry, self.sockets, self.drain_time);
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
    /// One task a socket; none once its side has been closed.
    accepting: Vec<JoinHandle<()>>,
}

impl Listening {
    fn is_inbound(&self) -> bool {
        self.current.borrow().inbound
    }

    fn close(&mut self) {
        self.accepting.drain(..).for_each(|task| task.abort());
    }
}

/// A worker's life: until both sides are drained, or whoever gives the orders is gone.
async fn run(
    worker: Rc<Worker>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut drain: watch::Receiver<Drains>,
    sockets: Arc<Sockets>,
    local: Option<std::os::unix::net::UnixListener>,
    outbound: Outbound,
) {
    let local = local.map(UnixListener::from_std).transpose().unwrap_or_else(|error| {
        tracing::error!(%error, "the socket in the file system cannot be used");
        None
    });
    let local = local.map(|socket| {
        tokio::task::spawn_local(listener::accept_local(Rc::clone(&worker), socket, Rc::clone(&outbound)))
    });
    let mut listening: HashMap<String, Listening> = HashMap::new();
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut drains = Drains::default();
    let mut cuts = Cuts::default();
    while !is_over(&worker, drains, &listening) {
        let wake_at = next_look(drains, &listening).into_iter().chain(cuts.next()).min();
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::CutAt(at)) => cuts.add(at),
                Some(command) => obey(&worker, &mut listening, command),
                None => return,
            },
            Ok(()) = drain.changed() => {
                drains = *drain.borrow_and_update();
                worker.set_drains(drains);
            }
            () = tokio::time::sleep_until(wake_at.unwrap_or_else(Instant::now).into()), if wake_at.is_some() => {}
            _ = sweep.tick() => {
                worker.pools.sweep(Instant::now());
            }
        }
        let due = cuts.take_due(Instant::now());
        if close_sides(drains, &mut listening, &sockets) || due {
            worker.wake_all();
        }
        let open = listening.iter().filter(|(_, one)| !one.is_inbound() && !one.accepting.is_empty());
        *outbound.borrow_mut() = open.min_by_key(|(name, _)| *name).map(|(_, one)| Rc::clone(&one.current));
    }
    if let Some(local) = local {
        local.abort();
    }
    outbound.borrow_mut().take();
    listening.values_mut().for_each(Listening::close);
}

/// A task for each that is to be fetched; it ends with the configuration that asked for it.
async fn fetch_ahead(worker: Rc<Worker>, mut to_fetch: mpsc::UnboundedReceiver<Ahead>) {
    while let Some(ahead) = to_fetch.recv().await {
        tokio::task::spawn_local(ahead.keep(Rc::clone(&worker)));
    }
}

/// Whether there is nothing left to do: the process leaves, and nobody is connected or the deadline has passed.
fn is_over(worker: &Worker, drains: Drains, listening: &HashMap<String, Listening>) -> bool {
    if !drains.leaving {
        return false;
    }
    let inbound_open = listening.values().any(|one| one.is_inbound() && !one.accepting.is_empty());
    let late = drains.inbound.deadline().max(drains.outbound.deadline());
    late.is_some_and(|late| late <= Instant::now()) || !inbound_open && worker.connections() == 0
}

/// When to look again: at the end of a side's time for newcomers, and often once the process leaves.
fn next_look(drains: Drains, listening: &HashMap<String, Listening>) -> Option<Instant> {
    let soon = drains.leaving.then(|| Instant::now() + LEAVING_LOOK);
    let open = listening.values().filter(|one| !one.accepting.is_empty());
    open.filter_map(|one| drains.side(one.is_inbound()).listen_until()).chain(soon).min()
}

/// Closes the sockets of sides whose time for newcomers is over.
fn close_sides(drains: Drains, listening: &mut HashMap<String, Listening>, sockets: &Sockets) -> bool {
    let now = Instant::now();
    let mut closed = false;
    for one in listening.values_mut().filter(|one| !one.accepting.is_empty()) {
        if drains.side(one.is_inbound()).listen_until().is_some_and(|until| until <= now) {
            one.close();
            sockets.close(&one.current.borrow().config);
            closed = true;
        }
    }
    closed
}

fn obey(worker: &Rc<Worker>, listening: &mut HashMap<String, Listening>, command: Command) {
    match command {
        Command::Listen { listener, sockets } => {
            let name = listener.config.name.clone();
            let current = Rc::new(RefCell::new(listener));
            let mut accepting = Vec::new();
            for socket in sockets {
                match TcpListener::from_std(socket) {
                    Ok(socket) => accepting.push(tokio::task::spawn_local(listener::accept(
                        Rc::clone(worker),
                        socket,
                        Rc::clone(&current),
                    ))),
                    Err(error) => tracing::error!(%error, %name, "a listening socket cannot be used"),
                }
            }
            if let Some(mut before) = listening.insert(name, Listening { current, accepting }) {
                before.close();
            }
        }
        Command::Replace { listener } => {
            if let Some(listening) = listening.get(&listener.config.name) {
                *listening.current.borrow_mut() = listener;
                worker.wake_all();
            }
        }
        // The worker's own clock.
        Command::CutAt(_) => {}
        Command::Remove { name } => {
            if let Some(mut removed) = listening.remove(&name) {
                removed.close();
                worker.wake_all();
            }
        }
    }
}

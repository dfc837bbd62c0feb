//! HTTP/2 connections of one worker to one host: shared by many requests, opened one at a time.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use selvedge_telemetry::ClusterStats;
use selvedge_traffic::Http2Settings;
use selvedge_wire::h2::{self, Client};
use selvedge_wire::tls::Facts;
use tokio::sync::oneshot;

use super::host::HostPool;
use super::stream::UpstreamStream;
use super::token::{EndedBy, Opened};
use super::{AcquireError, Pools, Protocol};
use crate::{Cluster, Priority};

#[derive(Debug, Default)]
pub(super) struct Http2Pool {
    connections: RefCell<Vec<Shared>>,
    /// Requests that wait for the connection that is being opened; `None` while none is.
    opening: RefCell<Option<Vec<oneshot::Sender<AcquireError>>>>,
}

/// A connection that carries many requests.
#[derive(Debug)]
struct Shared {
    client: Client,
    state: Rc<SharedState>,
}

#[derive(Debug)]
struct SharedState {
    id: u64,
    local: Option<SocketAddr>,
    tls: Option<Rc<Facts>>,
    streams: Cell<usize>,
    requests: Cell<u64>,
    idle_since: Cell<Instant>,
    since: Instant,
    spent: Cell<bool>,
    /// Cleared when the connection's task has ended.
    alive: Cell<bool>,
    /// The host broke the protocol here: what it says next on this connection is nobody's answer.
    distrusted: Cell<bool>,
    /// Wakes the task to end the connection once no stream is left.
    retire: RefCell<Option<oneshot::Sender<()>>>,
}

/// A place on a shared connection.
#[derive(Debug)]
pub(super) struct Slot(Rc<SharedState>);

impl Slot {
    pub(super) fn connection_id(&self) -> u64 {
        self.0.id
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.0.local
    }

    /// No other stream is opened here; the connection ends with the last one.
    pub(super) fn distrust(&self) {
        self.0.distrusted.set(true);
    }

    pub(super) fn tls(&self) -> Option<&Rc<Facts>> {
        self.0.tls.as_ref()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.idle_since.set(Instant::now());
    }
}

impl HostPool {
    pub(super) async fn acquire_http2(
        self: &Rc<Self>,
        pools: &Pools,
        priority: Priority,
    ) -> Result<UpstreamStream, AcquireError> {
        if let Some((client, slot)) = self.http2.take(&self.cluster) {
            let reused = true;
            return Ok(UpstreamStream::http2(client, slot, self.admit(priority)?, reused));
        }
        let pending = self.pend(priority)?;
        let (client, slot, reused) = loop {
            if let Some((client, slot)) = self.http2.take(&self.cluster) {
                break (client, slot, true);
            }
            if let Some(receiver) = self.http2.join_opening() {
                match receiver.await {
                    Ok(error) => return Err(error),
                    // The sender is gone: the connection is open, or whoever opened it has given up.
                    Err(_) => continue,
                }
            }
            let (client, slot) = self.open_http2(pools, priority).await?;
            break (client, slot, false);
        };
        drop(pending);
        Ok(UpstreamStream::http2(client, slot, self.admit(priority)?, reused))
    }

    async fn open_http2(
        self: &Rc<Self>,
        pools: &Pools,
        priority: Priority,
    ) -> Result<(Client, Slot), AcquireError> {
        let opening = Opening::begin(&self.http2);
        // Streams share connections, so a request finds room here unless the breaker admits no connection at all.
        let guard = match self.room(priority) {
            Some(guard) => guard,
            None => self.cluster.breaker(priority).force_connection(),
        };
        let (io, opened) = match self.connect(pools, guard, Some(Protocol::Http2)).await {
            Ok(connected) => connected,
            Err(error) => {
                opening.fail(&error);
                return Err(error);
            }
        };
        let (local, tls) = (io.local_addr(), io.tls().cloned());
        let (client, connection) = h2::connect(io, self.cluster.config.http2);
        let (retire, retired) = oneshot::channel();
        let state = Rc::new(SharedState {
            id: opened.id,
            local,
            tls,
            streams: Cell::new(0),
            requests: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            since: Instant::now(),
            spent: Cell::new(false),
            alive: Cell::new(true),
            distrusted: Cell::new(false),
            retire: RefCell::new(Some(retire)),
        });
        tokio::task::spawn_local(drive(connection, Rc::clone(&state), opened, retired, Rc::clone(self)));
        if self.cluster.config.extended_connect {
            // What the host takes it says first of all.
            let _ = tokio::time::timeout(self.cluster.config.connect_timeout, client.greeted()).await;
        }
        self.http2.connections.borrow_mut().push(Shared { client: client.clone(), state: Rc::clone(&state) });
        Ok((client, state.take()))
    }
}

impl SharedState {
    /// Whether it has carried or lasted enough to take no further stream; counted once.
    fn is_spent(&self, config: &selvedge_traffic::Cluster, stats: &ClusterStats) -> bool {
        if self.spent.get() {
            return true;
        }
        let carried = config
            .requests_per_connection_max
            .is_some_and(|most| most > 0 && self.requests.get() >= most.into());
        let aged = config
            .connection_duration_max
            .is_some_and(|most| !most.is_zero() && self.since.elapsed() >= most);
        if carried {
            stats.upstream_cx_max_requests.inc();
        } else if aged {
            stats.upstream_cx_max_duration_reached.inc();
        }
        self.spent.set(carried || aged);
        carried || aged
    }

    fn take(self: &Rc<Self>) -> Slot {
        self.streams.set(self.streams.get() + 1);
        self.requests.set(self.requests.get() + 1);
        Slot(Rc::clone(self))
    }
}

/// Runs a connection until it ends.
async fn drive(
    connection: h2::ClientConnection,
    state: Rc<SharedState>,
    mut opened: Opened,
    retired: oneshot::Receiver<()>,
    pool: Rc<HostPool>,
) {
    let ended = tokio::select! {
        ended = connection => Some(ended),
        _ = retired => None,
    };
    state.alive.set(false);
    opened.requests = state.requests.get();
    let busy = state.streams.get() > 0;
    match ended {
        Some(ended) => {
            let stats = &pool.cluster.stats;
            opened.ended_by(match ended {
                Err(h2::Error::Silent) => {
                    stats.http2_keepalive_timeout.inc();
                    if busy { EndedBy::LocalWithRequest } else { EndedBy::Local }
                }
                ended => {
                    if ended.is_err_and(|error| !error.is_io()) {
                        stats.upstream_cx_protocol_error.inc();
                    }
                    if busy { EndedBy::RemoteWithRequest } else { EndedBy::Remote }
                }
            });
        }
        None => opened.ended_by(EndedBy::Local),
    }
    pool.http2.connections.borrow_mut().retain(|shared| !Rc::ptr_eq(&shared.state, &state));
}

impl Http2Pool {
    /// A place on a connection that is up and below its peer's limit of streams.
    fn take(&self, cluster: &Cluster) -> Option<(Client, Slot)> {
        let connections = self.connections.borrow();
        let config = &cluster.config;
        connections.iter().find_map(|shared| {
            let room = shared.state.alive.get()
                && !shared.state.distrusted.get()
                && !shared.state.is_spent(config, &cluster.stats)
                && shared.state.streams.get() < streams_max(config.http2, &shared.client);
            let ready = room && shared.client.is_ready();
            ready.then(|| (shared.client.clone(), shared.state.take()))
        })
    }

    /// Joins those who wait for the connection that is being opened, if one is.
    fn join_opening(&self) -> Option<oneshot::Receiver<AcquireError>> {
        let mut opening = self.opening.borrow_mut();
        let waiting = opening.as_mut()?;
        let (sender, receiver) = oneshot::channel();
        waiting.push(sender);
        Some(receiver)
    }

    /// Retires connections that were idle for too long, or lead to a host that is gone.
    pub(super) fn sweep(&self, removed: bool, timeout: Duration, now: Instant, cluster: &Cluster) {
        let stats = &cluster.stats;
        for shared in self.connections.borrow().iter() {
            let state = &shared.state;
            let expired = !timeout.is_zero() && now.duration_since(state.idle_since.get()) >= timeout;
            let spent = state.is_spent(&cluster.config, stats);
            if state.streams.get() == 0
                && (removed || expired || spent || state.distrusted.get())
                && let Some(retire) = state.retire.borrow_mut().take()
            {
                if expired {
                    stats.upstream_cx_idle_timeout.inc();
                }
                let _ = retire.send(());
            }
        }
    }
}

/// As many as the host allows and the configuration wants, and at least one.
fn streams_max(settings: Http2Settings, client: &Client) -> usize {
    client.streams_max().min(settings.streams_max.unwrap_or(u32::MAX)).max(1) as usize
}

/// The opening of a connection; however it ends, those who wait are told.
struct Opening<'a>(&'a Http2Pool);

impl<'a> Opening<'a> {
    fn begin(pool: &'a Http2Pool) -> Self {
        *pool.opening.borrow_mut() = Some(Vec::new());
        Self(pool)
    }

    fn fail(&self, error: &AcquireError) {
        for waiting in self.0.opening.borrow_mut().take().into_iter().flatten() {
            let _ = waiting.send(error.clone());
        }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.borrow_mut().take();
    }
}

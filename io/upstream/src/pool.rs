//! Connections to upstream hosts, one set for each worker thread: kept while idle, handed out for one request at a time
//! (HTTP/1) or for many (HTTP/2).
//!
//! A pool decides nothing about requests: it is told the host, and answers with a stream or with why there is none.

mod host;
mod http2;
mod stream;
mod token;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use selvedge_wire::buffer::Buffers;
use selvedge_wire::connect::ConnectError;
use selvedge_wire::io::Io;
use selvedge_wire::proxy_protocol::Ends;

pub use stream::{StreamFailure, UpstreamStream};
pub use token::Opened;

use crate::{Cluster, Guard, Host, Priority};
use host::HostPool;

/// How long an idle connection is kept where the cluster sets nothing (Envoy's `idle_timeout`).
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);

/// How long one is kept that is good for one client alone, since its host was told whose it is: with many clients there
/// would be many.
pub const CLIENT_IDLE_MAX: Duration = Duration::from_secs(10);

/// The HTTP version to speak to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// What is asked of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub priority: Priority,
    /// An HTTP/1 connection that no request has used, after one that had been idle turned out to be closed.
    pub fresh: bool,
    /// Both ends of the client's connection, for a host that is told whose connection it gets: such a connection
    /// carries no other client's requests.
    pub client: Option<Ends>,
}

impl Wish {
    /// Any connection that will do.
    pub const fn new(priority: Priority) -> Self {
        Self { priority, fresh: false, client: None }
    }
}

/// Why no stream could be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AcquireError {
    /// No room to wait for a connection.
    #[error("the cluster's circuit breakers leave no room to wait")]
    QueueFull,
    /// A connection is there, but no room for another request in flight.
    #[error("the cluster's circuit breakers leave no room for a request")]
    RequestsFull,
    #[error("no connection: {reason}")]
    Connect { timeout: bool, local: bool, reason: Rc<str> },
}

impl From<&ConnectError> for AcquireError {
    fn from(error: &ConnectError) -> Self {
        Self::Connect {
            timeout: matches!(error, ConnectError::Timeout(_)),
            local: matches!(error, ConnectError::Local(_)),
            reason: error.transport_failure().into(),
        }
    }
}

/// One worker's connections.
#[derive(Debug)]
pub struct Pools {
    hosts: RefCell<HashMap<HostKey, Rc<HostPool>, FixedState>>,
    buffers: Buffers,
    next_connection_id: Cell<u64>,
}

/// A host as used by a cluster, by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct HostKey {
    cluster: u64,
    host: u64,
    /// Whose connections they are, where the host is told so.
    client: Option<Ends>,
}

impl Pools {
    pub fn new(buffers: Buffers) -> Self {
        Self { hosts: RefCell::default(), buffers, next_connection_id: Cell::new(1) }
    }

    /// A stream to `host` on which a request can be sent at once: an idle connection, a place on a shared one, or a new
    /// connection. Waits where the cluster's connections are used up.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub async fn acquire(
        &self,
        cluster: &Arc<Cluster>,
        host: &Arc<Host>,
        protocol: Protocol,
        wish: Wish,
    ) -> Result<UpstreamStream, AcquireError> {
        let pool = self.host_pool(cluster, host, wish)?;
        match protocol {
            Protocol::Http1 => pool.acquire_http1(self, wish.priority, wish.fresh).await,
            Protocol::Http2 => pool.acquire_http2(self, wish.priority).await,
        }
    }

    /// An idle HTTP/1 connection to `host` if there is one; never waits.
    ///
    /// # Errors
    /// [`AcquireError::RequestsFull`] alone.
    pub fn acquire_idle(
        &self,
        cluster: &Arc<Cluster>,
        host: &Arc<Host>,
        wish: Wish,
    ) -> Result<Option<UpstreamStream>, AcquireError> {
        self.host_pool(cluster, host, wish)?.acquire_idle(wish.priority)
    }

    /// A connection of its own, outside of the pool, for opaque bytes.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub async fn open(
        &self,
        cluster: &Arc<Cluster>,
        host: &Arc<Host>,
        wish: Wish,
    ) -> Result<(Io, Opened), AcquireError> {
        let Some(guard) = cluster.breaker(wish.priority).try_connection() else {
            cluster.stats.upstream_cx_overflow.inc();
            return Err(AcquireError::QueueFull);
        };
        let pool = self.host_pool(cluster, host, wish)?;
        let pending = pool.pend(wish.priority)?;
        let (io, mut opened) = pool.connect(self, guard, None).await?;
        drop(pending);
        opened.carry();
        Ok((io, opened))
    }

    /// Closes what is idle for too long, closed by its peer, or leads to a host that is gone; forgets empty pools. To be
    /// called about once a second.
    pub fn sweep(&self, now: Instant) {
        self.hosts.borrow_mut().retain(|_, pool| {
            pool.sweep(now);
            Rc::strong_count(pool) > 1 || !pool.is_empty()
        });
    }

    fn host_pool(
        &self,
        cluster: &Arc<Cluster>,
        host: &Arc<Host>,
        wish: Wish,
    ) -> Result<Rc<HostPool>, AcquireError> {
        let client = wish.client.filter(|_| cluster.config.proxy_protocol.is_some());
        let key = HostKey { cluster: cluster.id, host: host.id, client };
        if let Some(pool) = self.hosts.borrow().get(&key) {
            return Ok(Rc::clone(pool));
        }
        let place = self.place(cluster, wish.priority)?;
        let pool = Rc::new(HostPool::new(Arc::clone(cluster), Arc::clone(host), client, place));
        self.hosts.borrow_mut().insert(key, Rc::clone(&pool));
        Ok(pool)
    }

    /// A place among the cluster's pools, where their number is bounded; one that nobody uses makes room.
    fn place(&self, cluster: &Arc<Cluster>, priority: Priority) -> Result<Option<Guard>, AcquireError> {
        let breaker = cluster.breaker(priority);
        if breaker.thresholds().pools_max.is_none() {
            return Ok(None);
        }
        if let Some(place) = breaker.try_pool() {
            return Ok(Some(place));
        }
        let unused = self.hosts.borrow().iter().find_map(|(key, pool)| {
            let idle = key.cluster == cluster.id && Rc::strong_count(pool) == 1 && pool.is_idle();
            idle.then_some(*key)
        });
        let freed = unused.and_then(|key| self.hosts.borrow_mut().remove(&key));
        drop(freed);
        breaker.try_pool().map(Some).ok_or_else(|| {
            cluster.stats.upstream_cx_pool_overflow.inc();
            AcquireError::QueueFull
        })
    }

    fn connection_id(&self) -> u64 {
        let id = self.next_connection_id.get();
        self.next_connection_id.set(id + 1);
        id
    }
}

//! The connections of one worker to one host.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use selvedge_traffic::ProxyProtocolVersion;
use selvedge_wire::connect::{self, ConnectError};
use selvedge_wire::h1::Http1;
use selvedge_wire::io::Io;
use selvedge_wire::proxy_protocol::{Ends, Version};
use tokio::sync::oneshot;

use super::http2::Http2Pool;
use super::stream::UpstreamStream;
use super::token::{Active, EndedBy, Opened, Pending};
use super::{AcquireError, CLIENT_IDLE_MAX, IDLE_TIMEOUT_DEFAULT, Pools, Protocol};
use crate::{Cluster, Guard, Host, Outcome, Priority};

/// Idle connections and those who wait for one.
#[derive(Debug)]
pub(super) struct HostPool {
    pub(super) cluster: Arc<Cluster>,
    pub(super) host: Arc<Host>,
    /// The most recently used last: it is the least likely to have been closed by the host.
    idle: RefCell<Vec<Idle>>,
    waiting: RefCell<VecDeque<oneshot::Sender<Handover>>>,
    /// Whose connections they are, where the host is told so.
    client: Option<Ends>,
    /// Its place among the cluster's pools, where they are bounded.
    _place: Option<Guard>,
    pub(super) http2: Http2Pool,
    /// Connections of this pool that are open or being opened.
    open: Cell<usize>,
}

#[derive(Debug)]
struct Idle {
    http: Box<Http1>,
    opened: Opened,
    since: Instant,
    /// The host said that it closes about then.
    until: Option<Instant>,
}

/// What a waiting request is woken with.
#[derive(Debug)]
enum Handover {
    Connection(Box<(Box<Http1>, Opened)>),
    /// Some connection has ended: there may be room for a new one.
    Room,
}

impl HostPool {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        host: Arc<Host>,
        client: Option<Ends>,
        place: Option<Guard>,
    ) -> Self {
        Self {
            cluster,
            host,
            idle: RefCell::default(),
            waiting: RefCell::default(),
            client,
            _place: place,
            http2: Http2Pool::default(),
            open: Cell::new(0),
        }
    }

    /// Takes an idle connection, if one is still good.
    pub(super) fn acquire_idle(
        self: &Rc<Self>,
        priority: Priority,
    ) -> Result<Option<UpstreamStream>, AcquireError> {
        let Some((http, opened)) = self.take_idle() else { return Ok(None) };
        match self.admit(priority) {
            Ok(active) => Ok(Some(UpstreamStream::http1(http, opened, Rc::clone(self), active, true))),
            Err(overflow) => {
                self.put_back(http, opened);
                Err(overflow)
            }
        }
    }

    pub(super) async fn acquire_http1(
        self: &Rc<Self>,
        pools: &Pools,
        priority: Priority,
        fresh: bool,
    ) -> Result<UpstreamStream, AcquireError> {
        if fresh {
            // Where one idle connection was closed, the others likely are, and they take up room.
            let closed = std::mem::take(&mut *self.idle.borrow_mut());
            drop(closed);
        } else if let Some(stream) = self.acquire_idle(priority)? {
            return Ok(stream);
        }
        let pending = self.pend(priority)?;
        let (http, opened, reused) = loop {
            if let Some(guard) = self.room(priority) {
                let (io, opened) = self.connect(pools, guard, Some(Protocol::Http1)).await?;
                break (Box::new(Http1::new(io)), opened, false);
            }
            let (sender, receiver) = oneshot::channel();
            self.waiting.borrow_mut().push_back(sender);
            if let Ok(Handover::Connection(connection)) = receiver.await {
                let (http, opened) = *connection;
                break (http, opened, true);
            }
        };
        drop(pending);
        let active = match self.admit(priority) {
            Ok(active) => active,
            Err(overflow) => {
                self.put_back(http, opened);
                return Err(overflow);
            }
        };
        Ok(UpstreamStream::http1(http, opened, Rc::clone(self), active, reused))
    }

    /// A place among the requests that wait.
    pub(super) fn pend(&self, priority: Priority) -> Result<Pending, AcquireError> {
        match self.cluster.breaker(priority).try_pending() {
            Some(guard) => Ok(Pending::new(&self.cluster, &self.host, guard)),
            None => {
                self.cluster.stats.upstream_rq_pending_overflow.inc();
                Err(AcquireError::QueueFull)
            }
        }
    }

    /// A place among the requests in flight.
    pub(super) fn admit(&self, priority: Priority) -> Result<Active, AcquireError> {
        match self.cluster.breaker(priority).try_request() {
            Some(guard) => Ok(Active::new(&self.cluster, &self.host, Some(guard))),
            None => {
                self.cluster.stats.upstream_rq_active_overflow.inc();
                Err(AcquireError::RequestsFull)
            }
        }
    }

    /// Room for one more connection. A worker without any to this host always gets one, as in Envoy: connections of
    /// other workers would never come to serve its requests.
    pub(super) fn room(&self, priority: Priority) -> Option<Guard> {
        let breaker = self.cluster.breaker(priority);
        match breaker.try_connection() {
            Some(guard) => Some(guard),
            None => {
                self.cluster.stats.upstream_cx_overflow.inc();
                (self.open.get() == 0).then(|| breaker.force_connection())
            }
        }
    }

    /// Opens a connection.
    pub(super) async fn connect(
        self: &Rc<Self>,
        pools: &Pools,
        guard: Guard,
        protocol: Option<Protocol>,
    ) -> Result<(Io, Opened), AcquireError> {
        let begin = Instant::now();
        self.open.set(self.open.get() + 1);
        let mut opened = Opened::new(pools.connection_id(), self, protocol, guard, begin);
        match self.establish(pools).await {
            Ok(io) => {
                self.cluster.stats.upstream_cx_connect_ms.record(begin.elapsed().as_millis() as u64);
                self.host.report(Outcome::Connected);
                Ok((io, opened))
            }
            Err(error) => {
                let stats = &self.cluster.stats;
                stats.upstream_cx_connect_fail.inc();
                self.host.stats.cx_connect_fail.inc();
                stats.upstream_rq_pending_failure_eject.inc();
                self.host.report(Outcome::ConnectFailed);
                if matches!(error, ConnectError::Timeout(_)) {
                    stats.upstream_cx_connect_timeout.inc();
                } else {
                    opened.ended_by(EndedBy::Remote);
                }
                Err(AcquireError::from(&error))
            }
        }
    }

    /// A connection that bytes can be sent on, encrypted if the cluster wants it; all of it within its connect time-out.
    async fn establish(&self, pools: &Pools) -> Result<Io, ConnectError> {
        let (begin, timeout) = (Instant::now(), self.cluster.config.connect_timeout);
        let stream = connect::connect(self.host.address, timeout).await?;
        let mut io = Io::new(stream, pools.buffers.clone());
        if let Some(version) = self.cluster.config.proxy_protocol {
            let left = timeout.saturating_sub(begin.elapsed());
            Box::pin(connect::introduce(&mut io, version_of(version), self.client, left)).await?;
        }
        if let Some(tls) = &self.cluster.tls {
            let left = timeout.saturating_sub(begin.elapsed());
            let secured = connect::secure(&mut io, tls, self.host.address, left).await;
            if let Some(ssl) = &self.cluster.ssl {
                match (&secured, io.tls()) {
                    (Ok(()), Some(facts)) => ssl.made(&facts.handshake()),
                    (Err(ConnectError::Tls(failure)), _) if failure.is_fault() => {
                        ssl.failed(failure.verification());
                    }
                    _ => {}
                }
            }
            if let (Err(ConnectError::NoSecrets), Some(secrets)) = (&secured, &self.cluster.secrets) {
                secrets.upstream_not_ready();
            }
            secured?;
        }
        Ok(io)
    }

    /// Takes a connection back that can carry another request.
    pub(super) fn put_back(&self, http: Box<Http1>, opened: Opened) {
        let now = Instant::now();
        if self.host.is_removed() || self.cluster.is_removed() || self.is_spent(&opened, now) {
            return;
        }
        let mut connection = Box::new((http, opened));
        while let Some(waiter) = self.next_waiting() {
            match waiter.send(Handover::Connection(connection)) {
                Ok(()) => return,
                Err(Handover::Connection(refused)) => connection = refused,
                Err(Handover::Room) => return,
            }
        }
        let (http, opened) = *connection;
        let until = opened.keep_alive.map(|keep| now + keep);
        self.idle.borrow_mut().push(Idle { http, opened, since: now, until });
    }

    /// A connection of this pool has ended.
    pub(super) fn connection_closed(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        while let Some(waiter) = self.next_waiting() {
            if waiter.send(Handover::Room).is_ok() {
                return;
            }
        }
    }

    fn next_waiting(&self) -> Option<oneshot::Sender<Handover>> {
        self.waiting.borrow_mut().pop_front()
    }

    fn take_idle(&self) -> Option<(Box<Http1>, Opened)> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            if idle.until.is_some_and(|until| Instant::now() >= until) || self.is_aged(&idle.opened) {
                continue;
            }
            if is_quiet(&mut idle) {
                return Some((idle.http, idle.opened));
            }
        }
    }

    /// Whether a connection has carried or lasted enough to take no further request.
    fn is_spent(&self, opened: &Opened, now: Instant) -> bool {
        let config = &self.cluster.config;
        let carried =
            config.requests_per_connection_max.is_some_and(|most| most > 0 && opened.requests >= most.into());
        if carried {
            self.cluster.stats.upstream_cx_max_requests.inc();
            return true;
        }
        let aged =
            config.connection_duration_max.is_some_and(|most| !most.is_zero() && opened.age(now) >= most);
        if aged {
            self.cluster.stats.upstream_cx_max_duration_reached.inc();
        }
        aged
    }

    fn is_aged(&self, opened: &Opened) -> bool {
        self.cluster.config.connection_duration_max.is_some() && self.is_spent(opened, Instant::now())
    }

    pub(super) fn sweep(&self, now: Instant) {
        let mut timeout = self.cluster.config.idle_timeout.unwrap_or(IDLE_TIMEOUT_DEFAULT);
        if self.client.is_some() && (timeout.is_zero() || timeout > CLIENT_IDLE_MAX) {
            timeout = CLIENT_IDLE_MAX;
        }
        let removed = self.host.is_removed() || self.cluster.is_removed();
        let old = std::mem::take(&mut *self.idle.borrow_mut());
        for mut idle in old {
            let expired = !timeout.is_zero() && now.duration_since(idle.since) >= timeout;
            if expired {
                self.cluster.stats.upstream_cx_idle_timeout.inc();
            }
            let expired =
                expired || idle.until.is_some_and(|until| now >= until) || self.is_aged(&idle.opened);
            if !removed && !expired && is_quiet(&mut idle) {
                self.idle.borrow_mut().push(idle);
            }
        }
        self.http2.sweep(removed, timeout, now, &self.cluster);
    }

    /// Whether no request uses it: its connections, if any, are idle.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.borrow().is_empty() && self.open.get() == self.idle.borrow().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.get() == 0 && self.waiting.borrow().is_empty()
    }
}

fn version_of(version: ProxyProtocolVersion) -> Version {
    match version {
        ProxyProtocolVersion::V1 => Version::V1,
        ProxyProtocolVersion::V2 => Version::V2,
    }
}

/// Whether the host has neither closed nor said anything since the last response.
fn is_quiet(idle: &mut Idle) -> bool {
    let quiet = idle.http.io.is_quiet(&mut Context::from_waker(Waker::noop()));
    if !quiet {
        idle.opened.ended_by(EndedBy::Remote);
    }
    quiet
}

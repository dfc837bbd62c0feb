//! What a connection and a request count for while they last.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Weak;
use std::sync::Arc;
use std::time::Instant;

use super::Protocol;
use super::host::HostPool;
use crate::breaker::Guard;
use crate::{Cluster, Host};

/// An open connection's place in breaker and statistics; dropping it is the connection's end.
#[derive(Debug)]
pub struct Opened {
    pub id: u64,
    cluster: Arc<Cluster>,
    host: Arc<Host>,
    since: Instant,
    /// Requests carried so far.
    pub(super) requests: u64,
    /// The socket's own address, asked for once.
    pub(super) local: OnceCell<Option<SocketAddr>>,
    /// Whose pool to tell that there is room again.
    pool: Weak<HostPool>,
    end: EndedBy,
    /// An opaque connection counts as one request for as long as it lasts.
    carried: Option<Active>,
    _guard: Guard,
}

/// Who ended a connection, for its statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    Local,
    LocalWithRequest,
    Remote,
    RemoteWithRequest,
}

impl Opened {
    pub(super) fn new(
        id: u64,
        pool: &std::rc::Rc<HostPool>,
        protocol: Option<Protocol>,
        guard: Guard,
        now: Instant,
    ) -> Self {
        let (cluster, host) = (Arc::clone(&pool.cluster), Arc::clone(&pool.host));
        let stats = &cluster.stats;
        stats.upstream_cx_total.inc();
        stats.upstream_cx_active.inc();
        match protocol {
            Some(Protocol::Http1) => stats.upstream_cx_http1_total.inc(),
            Some(Protocol::Http2) => stats.upstream_cx_http2_total.inc(),
            None => {}
        }
        host.stats.cx_total.inc();
        host.stats.cx_active.inc();
        let pool = std::rc::Rc::downgrade(pool);
        Self {
            id,
            cluster,
            host,
            since: now,
            requests: 0,
            local: OnceCell::new(),
            pool,
            end: EndedBy::Local,
            carried: None,
            _guard: guard,
        }
    }

    /// The connection carries opaque bytes from here on.
    pub(super) fn carry(&mut self) {
        self.requests += 1;
        self.carried = Some(Active::new(&self.cluster, &self.host, None));
    }

    /// Notes who ends the connection.
    pub(super) fn ended_by(&mut self, end: EndedBy) {
        self.end = end;
    }

    /// The connection is given up in the middle of a request, unless the peer did so first.
    pub(super) fn unless_remote(&mut self) {
        if !matches!(self.end, EndedBy::Remote | EndedBy::RemoteWithRequest) {
            self.end = EndedBy::LocalWithRequest;
        }
    }

    /// Counts an interim response.
    pub(super) fn interim(&self, status: u16) {
        self.cluster.stats.rq.record(status);
        self.cluster.stats.external.record(status);
    }

    /// Counts bytes that passed.
    pub fn passed(&self, received: u64, sent: u64) {
        self.cluster.stats.upstream_cx_rx_bytes_total.add(received);
        self.cluster.stats.upstream_cx_tx_bytes_total.add(sent);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let stats = &self.cluster.stats;
        stats.upstream_cx_active.dec();
        self.host.stats.cx_active.dec();
        stats.upstream_cx_destroy.inc();
        let (of_side, with_request) = match self.end {
            EndedBy::Local => (&stats.upstream_cx_destroy_local, None),
            EndedBy::LocalWithRequest => {
                (&stats.upstream_cx_destroy_local, Some(&stats.upstream_cx_destroy_local_with_active_rq))
            }
            EndedBy::Remote => (&stats.upstream_cx_destroy_remote, None),
            EndedBy::RemoteWithRequest => {
                (&stats.upstream_cx_destroy_remote, Some(&stats.upstream_cx_destroy_remote_with_active_rq))
            }
        };
        of_side.inc();
        if let Some(with_request) = with_request {
            with_request.inc();
            stats.upstream_cx_destroy_with_active_rq.inc();
        }
        stats.upstream_cx_length_ms.record(self.since.elapsed().as_millis() as u64);
        stats.upstream_rq_per_cx.record(self.requests);
        if let Some(pool) = self.pool.upgrade() {
            pool.connection_closed();
        }
    }
}

/// A request's place in breaker and statistics while it is in flight.
#[derive(Debug)]
pub(super) struct Active {
    cluster: Arc<Cluster>,
    host: Arc<Host>,
    _guard: Option<Guard>,
}

impl Active {
    pub(super) fn new(cluster: &Arc<Cluster>, host: &Arc<Host>, guard: Option<Guard>) -> Self {
        cluster.stats.upstream_rq_total.inc();
        cluster.stats.upstream_rq_active.inc();
        host.request_started();
        Self { cluster: Arc::clone(cluster), host: Arc::clone(host), _guard: guard }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.cluster.stats.upstream_rq_active.dec();
        self.host.request_ended();
    }
}

/// A request that waits for a connection.
#[derive(Debug)]
pub(super) struct Pending {
    cluster: Arc<Cluster>,
    _guard: Guard,
}

impl Pending {
    pub(super) fn new(cluster: &Arc<Cluster>, guard: Guard) -> Self {
        cluster.stats.upstream_rq_pending_total.inc();
        cluster.stats.upstream_rq_pending_active.inc();
        Self { cluster: Arc::clone(cluster), _guard: guard }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.cluster.stats.upstream_rq_pending_active.dec();
    }
}

//! What a connection and a request count for while they last.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Weak;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// How long the host keeps the connection when it is idle, as far as it is worth relying on.
    pub(super) keep_alive: Option<Duration>,
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
            keep_alive: None,
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

    /// How long it has been open.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Learns from `keep-alive: timeout=…`. The connection is given up a second earlier, or after half of a short time: what
    /// the host closes just when it is chosen costs a request.
    pub(super) fn learn_keep_alive(&mut self, value: &[u8]) {
        if let Some(keep_alive) = keep_alive(value) {
            self.keep_alive = Some(keep_alive);
        }
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

/// How long an idle connection is relied on, by its host's words.
fn keep_alive(value: &[u8]) -> Option<Duration> {
    let parameters = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let mut seconds = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_at_checked(b"timeout=".len())?;
        let digits = name.eq_ignore_ascii_case(b"timeout=").then_some(value)?;
        std::str::from_utf8(digits.trim_ascii()).ok()?.parse::<u32>().ok()
    });
    let told = Duration::from_secs(seconds.next_back()?.into());
    Some(told.saturating_sub(Duration::from_secs(1)).max(told / 2))
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
    host: Arc<Host>,
    _guard: Guard,
}

impl Pending {
    pub(super) fn new(cluster: &Arc<Cluster>, host: &Arc<Host>, guard: Guard) -> Self {
        cluster.stats.upstream_rq_pending_total.inc();
        cluster.stats.upstream_rq_pending_active.inc();
        host.stats.rq_pending_active.inc();
        Self { cluster: Arc::clone(cluster), host: Arc::clone(host), _guard: guard }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.cluster.stats.upstream_rq_pending_active.dec();
        self.host.stats.rq_pending_active.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_keep_alive_is_believed_but_for_a_second() {
        for (value, millis) in [
            ("timeout=5", Some(4_000)),
            ("max=100, Timeout=30", Some(29_000)),
            ("timeout=1", Some(500)),
            ("timeout=0", Some(0)),
            ("timeout=soon", None),
            ("max=5", None),
            ("timeout=99999999999", None),
            ("", None),
        ] {
            assert_eq!(keep_alive(value.as_bytes()), millis.map(Duration::from_millis), "{value:?}");
        }
    }
}

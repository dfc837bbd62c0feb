//! Opaque connections: a cluster by weight, a host, and bytes both ways.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use selvedge_telemetry::{Flag, Protocol, Record, RecordKind, ResponseFlags, TlsSource};
use selvedge_traffic::{hash, weights};
use selvedge_upstream::pool::{AcquireError, Opened, Wish};
use selvedge_upstream::{Cluster, Host, PickContext, PickedHost, Priority, random};
use selvedge_wire::deadline::Deadline;
use selvedge_wire::io::Io;
use selvedge_wire::relay::{self, End};
use selvedge_wire::tls::Facts;
use tokio::time::Instant;

use crate::request::Peer;
use crate::serve::compile::TcpManager;
use crate::serve::worker::{Place, Worker};

/// A connection without bytes either way is closed after this (Envoy's `idle_timeout`).
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);

/// What is remembered of a connection until it is logged.
#[derive(Default)]
struct Log {
    flags: ResponseFlags,
    cluster: Option<Arc<Cluster>>,
    host: Option<Arc<Host>>,
    failure: Option<Rc<str>>,
    upstream_local: Option<std::net::SocketAddr>,
    upstream_tls: Option<Rc<Facts>>,
    attempts: u32,
    connected: bool,
    /// Another configuration took this one's place, and the time to leave was over.
    cut: bool,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, manager: Arc<TcpManager>, peer: Rc<Peer>, mut io: Io) {
    let (started, start) = (Instant::now(), SystemTime::now());
    manager.stats.downstream_cx_total.inc();
    let place = worker.place();
    let mut log = Log::default();
    match connect(&worker, &manager, &peer, &mut log).await {
        Some((mut upstream, opened)) => {
            log.upstream_local = upstream.local_addr();
            log.upstream_tls = upstream.tls().cloned();
            let idle =
                Some(manager.config.idle_timeout.unwrap_or(IDLE_TIMEOUT_DEFAULT)).filter(|t| !t.is_zero());
            let most = manager.config.connection_duration_max.filter(|most| !most.is_zero());
            let until = most.map(|most| started + most);
            let relayed = relay::relay_until(&mut io, &mut upstream, idle, until);
            match until_cut(relayed, &manager, &place).await.unwrap_or_else(|| {
                log.cut = true;
                End::Closed
            }) {
                End::Idle => {
                    manager.stats.idle_timeout.inc();
                    log.flags.set(Flag::StreamIdleTimeout);
                }
                End::Spent => {
                    manager.stats.max_downstream_connection_duration.inc();
                    log.flags.set(Flag::DurationTimeout);
                }
                End::Broken { left: false, .. } => log.flags.set(Flag::UpstreamRemoteReset),
                End::Closed | End::Broken { left: true, .. } => {}
            }
            opened.passed(upstream.bytes_read, upstream.bytes_written);
        }
        // The client learns at once that nobody is there.
        None => io.reset_on_close(),
    }
    manager.stats.downstream_cx_rx_bytes_total.add(io.bytes_read);
    manager.stats.downstream_cx_tx_bytes_total.add(io.bytes_written);
    drop(place);
    record(&manager, &peer, &io, &log, start, started.elapsed());
}

/// Relays until the end, or (`None`) until the connection is cut because its configuration has gone.
async fn until_cut(relayed: impl Future<Output = End>, manager: &TcpManager, place: &Place) -> Option<End> {
    let mut relayed = pin!(relayed);
    let mut deadline = Deadline::default();
    let mut is_set = false;
    poll_fn(|cx| {
        if let Poll::Ready(end) = relayed.as_mut().poll(cx) {
            return Poll::Ready(Some(end));
        }
        place.park(cx);
        if let Some(cut_at) = manager.cut_at().filter(|_| !is_set) {
            is_set = true;
            deadline.set(Some(cut_at.into()));
        }
        deadline.poll(cx).map(|()| None)
    })
    .await
}

/// Finds a host that takes the connection, in as many attempts as are allowed.
async fn connect(
    worker: &Rc<Worker>,
    manager: &TcpManager,
    peer: &Peer,
    log: &mut Log,
) -> Option<(Io, Opened)> {
    let found = weights::pick(&manager.config.clusters, random::next())
        .and_then(|weighted| worker.clusters.get(&weighted.name));
    let Some(cluster) = found else {
        manager.stats.downstream_cx_no_route.inc();
        log.flags.set(Flag::NoClusterFound);
        return None;
    };
    log.cluster = Some(Arc::clone(&cluster));
    let stats = &cluster.stats;
    let hash = manager.config.hash_source_ip.then(|| hash::source_ip(peer.remote.ip()));
    while log.attempts < manager.config.connect_attempts_max.max(1) {
        let context = PickContext { hash, original_dst: peer.original_dst, ..PickContext::default() };
        let Ok(PickedHost { host, mut leave, .. }) = cluster.pick(&context) else {
            stats.upstream_cx_none_healthy.inc();
            log.flags.set(Flag::NoHealthyUpstream);
            return None;
        };
        log.attempts += 1;
        log.host = Some(Arc::clone(&host));
        let wish = Wish { client: Some(peer.ends()), ..Wish::new(Priority::Default) };
        match worker.pools.open(&cluster, &host, wish).await {
            Ok(connected) => {
                log.connected = true;
                leave.ended(true);
                log.flags = ResponseFlags::default();
                return Some(connected);
            }
            Err(AcquireError::QueueFull | AcquireError::RequestsFull) => {
                log.flags.set(Flag::UpstreamOverflow);
                return None;
            }
            Err(AcquireError::Connect { reason, .. }) => {
                leave.ended(false);
                log.flags.set(Flag::UpstreamConnectionFailure);
                log.failure = Some(reason);
            }
        }
    }
    stats.upstream_cx_connect_attempts_exceeded.inc();
    log.flags.set(Flag::UpstreamRetryLimitExceeded);
    None
}

fn record(manager: &TcpManager, peer: &Peer, io: &Io, log: &Log, start: SystemTime, duration: Duration) {
    let record = Record {
        kind: RecordKind::Tcp,
        start: Some(start),
        duration: Some(duration),
        protocol: None::<Protocol>,
        flags: log.flags,
        bytes_received: io.bytes_read,
        bytes_sent: io.bytes_written,
        downstream_wire_received: io.bytes_read,
        downstream_wire_sent: io.bytes_written,
        chain_name: Some(&*peer.chain).filter(|name| !name.is_empty()),
        connection_id: Some(peer.connection_id),
        cluster: log.cluster.as_ref().map(|cluster| &*cluster.name),
        upstream_host: log.host.as_ref().map(|host| host.address),
        upstream_host_name: log.host.as_ref().and_then(|host| host.hostname.as_deref()),
        upstream_local: log.upstream_local,
        upstream_failure: log.failure.as_deref(),
        local_close_reason: match log {
            Log { connected: false, .. } => Some("tcp_initializion_failure:0"),
            Log { cut: true, .. } => Some("filter_chain_is_being_removed"),
            _ => None,
        },
        attempts: log.attempts,
        downstream_remote: Some(peer.remote),
        downstream_direct_remote: Some(peer.direct),
        downstream_local: Some(peer.original_dst.unwrap_or(peer.local)),
        downstream_direct_local: Some(peer.local),
        server_name: peer.server_name.as_deref(),
        downstream_tls: peer.tls.as_deref().map(|tls| tls as &dyn TlsSource),
        upstream_tls: log.upstream_tls.as_deref().map(|tls| tls as &dyn TlsSource),
        ..Record::default()
    };
    manager.loggers.iter().for_each(|logger| logger.log(&record));
}

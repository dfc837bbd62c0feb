//! Accepting connections, and handing each to the chain that takes it.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use selvedge_telemetry::{Record, RecordKind, TlsSource};
use selvedge_traffic::Codec;
use selvedge_wire::detect::{self, Protocol};
use selvedge_wire::io::Io;
use selvedge_wire::listen;
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::connection::{Asked, first_words};
use crate::opening::{self, Client, Opened};
use crate::patience::Places;
use crate::request::Peer;
use crate::serve::compile::{Chain, CompiledListener, Serving};
use crate::serve::worker::{CONNECTIONS_MAX, Worker};
use crate::{http1, http2, network_filter, tcp};

/// A listener as one worker has it: its configuration may be replaced while its socket stays.
pub(crate) type Current = Rc<RefCell<Arc<CompiledListener>>>;

/// After a connection that could not be accepted.
const LOCAL_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the socket is of no more use; the task is dropped when the listener goes.
pub(crate) async fn accept(worker: Rc<Worker>, socket: TcpListener, current: Current) {
    loop {
        match listen::accept(&socket).await {
            Ok((stream, remote)) => {
                let listener = Arc::clone(&current.borrow());
                let patience = &worker.patience;
                if !worker.places.take(patience.connections_max) {
                    listener.stats.downstream_global_cx_overflow.inc();
                    continue;
                }
                if worker.connections() >= CONNECTIONS_MAX
                    || !listener.places.take(patience.listener_connections_max)
                {
                    worker.places.give_back();
                    listener.stats.downstream_cx_overflow.inc();
                    continue;
                }
                let accepted = Accepted::new(listener, worker.places.clone());
                if !accepted.listener.opens_at_once {
                    tokio::task::spawn_local(connection_to_open(
                        Rc::clone(&worker),
                        accepted,
                        stream,
                        remote,
                    ));
                } else if let Some(connection) = connection(Rc::clone(&worker), accepted, stream, remote) {
                    tokio::task::spawn_local(connection);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a listening socket failed");
                return;
            }
        }
    }
}

/// Accepts from a socket in the file system, for whichever listener takes what goes out. Nobody is let in while there is
/// none.
pub(crate) async fn accept_local(
    worker: Rc<Worker>,
    socket: UnixListener,
    outbound: Rc<RefCell<Option<Current>>>,
) {
    loop {
        let stream = match socket.accept().await.and_then(|(stream, _)| listen::as_tcp(stream)) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting from a socket in the file system is paused");
                tokio::time::sleep(LOCAL_PAUSE).await;
                continue;
            }
        };
        let Some(listener) = outbound.borrow().as_ref().map(|current| Arc::clone(&current.borrow())) else {
            continue;
        };
        if !worker.places.take(worker.patience.connections_max) {
            listener.stats.downstream_global_cx_overflow.inc();
            continue;
        }
        if worker.connections() >= CONNECTIONS_MAX
            || !listener.places.take(worker.patience.listener_connections_max)
        {
            worker.places.give_back();
            listener.stats.downstream_cx_overflow.inc();
            continue;
        }
        let accepted = Accepted::new(listener, worker.places.clone());
        let client = Client::by_socket();
        if let Some(opened) = opening::at_once(&worker, &accepted.listener, client, stream) {
            tokio::task::spawn_local(served(Rc::clone(&worker), accepted, opened));
        }
    }
}

/// A connection's place in the listener's statistics.
struct Accepted {
    listener: Arc<CompiledListener>,
    since: Instant,
    /// Where it has one among all; it has one among the listener's as well.
    places: Places,
}

impl Accepted {
    fn new(listener: Arc<CompiledListener>, places: Places) -> Self {
        listener.stats.downstream_cx_total.inc();
        listener.stats.downstream_cx_active.inc();
        if let Some(extension) = &listener.extension {
            extension.sidecar().new_connections.inc();
            extension.sidecar().active_connections.inc();
        }
        Self { listener, since: Instant::now(), places }
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.places.give_back();
        self.listener.places.give_back();
        let stats = &self.listener.stats;
        stats.downstream_cx_active.dec();
        if let Some(extension) = &self.listener.extension {
            extension.sidecar().active_connections.dec();
        }
        stats.downstream_cx_destroy.inc();
        stats.downstream_cx_length_ms.record(self.since.elapsed().as_millis() as u64);
        if std::thread::panicking() {
            // The runtime catches it: one connection ends, the worker goes on.
            self.listener.registry.server().envoy_bug_failures.inc();
            tracing::error!("serving a connection panicked");
        }
    }
}

/// What becomes of a connection. What is known at once is settled here, so that the task does not carry it.
fn connection(
    worker: Rc<Worker>,
    accepted: Accepted,
    stream: TcpStream,
    remote: SocketAddr,
) -> Option<impl Future<Output = ()>> {
    let client = Client::of(&accepted.listener, &stream, remote)?;
    let opened = opening::at_once(&worker, &accepted.listener, client, stream)?;
    Some(served(worker, accepted, opened))
}

/// As [`connection`], where something must be waited for first.
async fn connection_to_open(worker: Rc<Worker>, accepted: Accepted, stream: TcpStream, remote: SocketAddr) {
    let Some(client) = Client::of(&accepted.listener, &stream, remote) else { return };
    // Boxed, so that a connection does not carry the room of its beginning for as long as it lasts.
    let (of_worker, listener) = (Rc::clone(&worker), Arc::clone(&accepted.listener));
    let opening = Box::pin(opening::open(of_worker, listener, client, stream, accepted.since));
    if let Some(opened) = opening.await {
        served(worker, accepted, *opened).await;
    }
}

fn served(worker: Rc<Worker>, accepted: Accepted, opened: Opened) -> impl Future<Output = ()> {
    let Opened { chain, peer, io } = opened;
    // Boxed: it passes through several futures, and each would carry it twice.
    let io = Box::new(io);
    let kept = (!accepted.listener.loggers.is_empty()).then(|| (SystemTime::now(), Rc::clone(&peer)));
    async move {
        let tls = peer.tls.clone();
        let permits = match chain.filters.as_slice() {
            [] => Some(Vec::new()),
            // Boxed: few chains have filters.
            filters => Box::pin(network_filter::admit(filters, &peer)).await,
        };
        if permits.is_some() {
            serve(worker, &chain, peer, io).await;
        }
        drop(permits);
        if let (Some(tls), Some(ssl)) = (tls, &accepted.listener.ssl)
            && tls.is_broken.get()
        {
            ssl.failed(None);
        }
        if let Some((start, peer)) = kept {
            record(&accepted.listener, &peer, start, accepted.since, None);
        }
    }
}

async fn serve(worker: Rc<Worker>, chain: &Chain, peer: Rc<Peer>, mut io: Box<Io>) {
    let manager = match &chain.network {
        Serving::Tcp(manager) => return Box::pin(tcp::serve(worker, Arc::clone(manager), peer, *io)).await,
        Serving::Http(manager) => Arc::clone(manager),
    };
    let protocol = match manager.config.codec {
        Codec::Http1 => Protocol::Http1,
        Codec::Http2 => Protocol::Http2,
        Codec::Auto if peer.tls.as_ref().is_some_and(|tls| tls.alpn.as_deref() == Some(b"h2")) => {
            Protocol::Http2
        }
        Codec::Auto if peer.tls.as_ref().is_some_and(|tls| tls.alpn.as_deref() == Some(b"http/1.1")) => {
            Protocol::Http1
        }
        Codec::Auto => {
            let place = worker.place();
            let detected = first_words(&worker, &place, Asked::Manager(&manager), detect::http(&mut io));
            let detected = Box::pin(detected).await;
            drop(place);
            match detected {
                Some(Ok(Some(protocol))) => protocol,
                _ => return,
            }
        }
    };
    match protocol {
        Protocol::Http1 => http1::serve(worker, manager, peer, io).await,
        Protocol::Http2 => Box::pin(http2::serve(worker, manager, peer, *io)).await,
    }
}

pub(crate) fn record(
    listener: &CompiledListener,
    peer: &Peer,
    start: SystemTime,
    since: Instant,
    failure: Option<&str>,
) {
    let record = Record {
        kind: RecordKind::Connection,
        start: Some(start),
        duration: Some(since.elapsed()),
        chain_name: Some(&*peer.chain).filter(|name| !name.is_empty()),
        connection_id: Some(peer.connection_id),
        downstream_remote: Some(peer.remote),
        downstream_direct_remote: Some(peer.direct),
        downstream_local: Some(peer.original_dst.unwrap_or(peer.local)),
        downstream_direct_local: Some(peer.local),
        server_name: peer.server_name.as_deref(),
        downstream_failure: failure,
        downstream_tls: peer.tls.as_deref().map(|tls| tls as &dyn TlsSource),
        ..Record::default()
    };
    listener.loggers.iter().for_each(|logger| logger.log(&record));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use selvedge_telemetry::{AccessLogs, Registry};
    use selvedge_traffic::Listener;
    use selvedge_upstream::Clusters;
    use selvedge_upstream::dns::Resolver;

    use super::*;
    use crate::patience::Patience;
    use crate::serve::compile::Telemetry;
    use crate::snapshot::ActiveListener;

    /// The memory of an idle connection is mostly that of its task.
    const TASK_BYTES_MAX: usize = 608;

    /// A worker, and a connection that it has accepted.
    fn accepted() -> (Registry, Rc<Worker>, Accepted) {
        let registry = Registry::new(1);
        let access_logs = AccessLogs::start(1, registry.clone(), Duration::from_secs(1)).unwrap();
        let clusters =
            Clusters::new(registry.clone(), Resolver::from_system(), tokio::runtime::Handle::current());
        let tcp = selvedge_traffic::TcpProxy::to("t", Vec::new());
        let chain = selvedge_traffic::FilterChain {
            name: "c".into(),
            matches: selvedge_traffic::ChainMatch::default(),
            transport: selvedge_traffic::Transport::Plain,
            filters: Vec::new(),
            network: selvedge_traffic::Network::Tcp(tcp),
        };
        let secrets = Arc::clone(clusters.secrets());
        let config = Listener {
            name: "l".into(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            ipv4_compat: false,
            direction: selvedge_traffic::Direction::Inbound,
            original_dst: false,
            proxy_protocol: None,
            tls_inspector: false,
            inspection: selvedge_traffic::Inspection::default(),
            chains: Vec::new(),
            default_chain: Some(chain),
            access_logs: Vec::new(),
        };
        let active = ActiveListener { config: Arc::new(config), routes: BTreeMap::new() };
        let listener = Arc::new(
            CompiledListener::new(
                &active,
                None,
                &Telemetry {
                    registry: registry.clone(),
                    access_logs,
                    node_cluster: "".into(),
                    tracers: None,
                    log_services: None,
                    secrets,
                    ahead: tokio::sync::mpsc::unbounded_channel().0,
                },
            )
            .unwrap(),
        );
        let places = Places::default();
        assert!(places.take(1) && listener.places.take(1));
        let accepted = Accepted::new(listener, places.clone());
        let worker = Worker::new(0, clusters, None, Patience::with_neighbours(), places);
        (registry, worker, accepted)
    }

    #[tokio::test]
    async fn the_task_of_a_connection_is_small() {
        let (_registry, worker, accepted) = accepted();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let remote = stream.peer_addr().unwrap();
        let task = connection(worker, accepted, stream, remote).unwrap();
        let bytes = size_of_val(&task);
        assert!(bytes <= TASK_BYTES_MAX, "{bytes} bytes");
    }

    #[tokio::test]
    async fn a_panic_ends_one_connection_and_is_counted() {
        let (registry, _worker, accepted) = accepted();
        let listener = Arc::clone(&accepted.listener);
        let tasks = tokio::task::LocalSet::new();
        let query_of_death = tasks.spawn_local(async move {
            let _accepted = accepted;
            panic!("a bug of ours");
        });
        let next = tasks.spawn_local(async { "served" });
        tasks.await;
        assert!(query_of_death.await.is_err());
        assert_eq!(next.await.unwrap(), "served");
        let text =
            registry.text(&selvedge_telemetry::Filter::default(), selvedge_telemetry::Buckets::default());
        assert!(text.contains("server.envoy_bug_failures: 1"));
        assert!(listener.places.take(1), "its place is free again");
    }
}

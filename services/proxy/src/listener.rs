//! Accepting connections, and handing each to the chain that takes it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use selvedge_telemetry::{Record, RecordKind};
use selvedge_traffic::Codec;
use selvedge_wire::detect::{self, Protocol};
use selvedge_wire::io::Io;
use selvedge_wire::{listen, original_dst};
use tokio::net::{TcpListener, TcpStream};

use crate::connection::first_words;
use crate::request::Peer;
use crate::serve::compile::{Chain, CompiledListener, Serving};
use crate::serve::worker::{CONNECTIONS_MAX, Worker};
use crate::{http1, http2, tcp};

/// A listener as one worker has it: its configuration may be replaced while its socket stays.
pub(crate) type Current = Rc<RefCell<Arc<CompiledListener>>>;

/// Accepts until the socket is of no more use; the task is dropped when the listener goes.
pub(crate) async fn accept(worker: Rc<Worker>, socket: TcpListener, current: Current) {
    loop {
        match listen::accept(&socket).await {
            Ok((stream, remote)) => {
                let listener = Arc::clone(&current.borrow());
                if worker.connections() >= CONNECTIONS_MAX {
                    listener.stats.downstream_cx_overflow.inc();
                    continue;
                }
                tokio::task::spawn_local(connection(Rc::clone(&worker), listener, stream, remote));
            }
            Err(error) => {
                tracing::error!(%error, "a listening socket failed");
                return;
            }
        }
    }
}

/// A connection's place in the listener's statistics.
struct Accepted {
    listener: Arc<CompiledListener>,
    since: Instant,
}

impl Accepted {
    fn new(listener: Arc<CompiledListener>) -> Self {
        listener.stats.downstream_cx_total.inc();
        listener.stats.downstream_cx_active.inc();
        if let Some(extension) = &listener.extension {
            extension.sidecar().new_connections.inc();
            extension.sidecar().active_connections.inc();
        }
        Self { listener, since: Instant::now() }
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        let stats = &self.listener.stats;
        stats.downstream_cx_active.dec();
        if let Some(extension) = &self.listener.extension {
            extension.sidecar().active_connections.dec();
        }
        stats.downstream_cx_destroy.inc();
        stats.downstream_cx_length_ms.record(self.since.elapsed().as_millis() as u64);
        if std::thread::panicking() {
            // The runtime catches it: one connection ends, the worker goes on.
            tracing::error!("serving a connection panicked");
        }
    }
}

async fn connection(
    worker: Rc<Worker>,
    listener: Arc<CompiledListener>,
    stream: TcpStream,
    remote: SocketAddr,
) {
    let stats = &listener.stats;
    let accepted = Accepted::new(Arc::clone(&listener));
    let Ok(local) = stream.local_addr() else { return };
    let original_dst = if listener.config.original_dst { original_dst::of(&stream) } else { None };
    let Some(chain) = listener.chain(original_dst.unwrap_or(local)).map(Arc::clone) else {
        stats.no_filter_chain_match.inc();
        return;
    };
    let peer = Rc::new(Peer {
        remote,
        local,
        original_dst,
        connection_id: worker.connection_id(),
        chain: chain.name.as_str().into(),
    });
    let (start, logged) = (SystemTime::now(), !listener.loggers.is_empty());
    let kept = logged.then(|| Rc::clone(&peer));
    let io = Io::new(stream, worker.buffers.clone());
    serve(worker, &chain, peer, io).await;
    if let Some(peer) = kept {
        record(&listener, &peer, start, accepted.since);
    }
}

async fn serve(worker: Rc<Worker>, chain: &Chain, peer: Rc<Peer>, mut io: Io) {
    let manager = match &chain.network {
        Serving::Tcp(manager) => return Box::pin(tcp::serve(worker, Arc::clone(manager), peer, io)).await,
        Serving::Http(manager) => Arc::clone(manager),
    };
    let protocol = match manager.config.codec {
        Codec::Http1 => Protocol::Http1,
        Codec::Http2 => Protocol::Http2,
        Codec::Auto => {
            let place = worker.place();
            let detected = first_words(&worker, &place, manager.idle_timeout, detect::http(&mut io));
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
        Protocol::Http2 => Box::pin(http2::serve(worker, manager, peer, io)).await,
    }
}

fn record(listener: &CompiledListener, peer: &Peer, start: SystemTime, since: Instant) {
    let record = Record {
        kind: RecordKind::Connection,
        start: Some(start),
        duration: Some(since.elapsed()),
        chain_name: Some(&*peer.chain).filter(|name| !name.is_empty()),
        connection_id: Some(peer.connection_id),
        downstream_remote: Some(peer.remote),
        downstream_direct_remote: Some(peer.remote),
        downstream_local: Some(peer.original_dst.unwrap_or(peer.local)),
        downstream_direct_local: Some(peer.local),
        ..Record::default()
    };
    listener.loggers.iter().for_each(|logger| logger.log(&record));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use selvedge_telemetry::{AccessLogs, Registry};
    use selvedge_traffic::Listener;
    use selvedge_upstream::Clusters;
    use selvedge_upstream::dns::Resolver;

    use super::*;
    use crate::serve::compile::Telemetry;
    use crate::snapshot::ActiveListener;

    /// The memory of an idle connection is mostly that of its task.
    const TASK_BYTES_MAX: usize = 1024;

    #[tokio::test]
    async fn the_task_of_a_connection_is_small() {
        let registry = Registry::new(1);
        let access_logs = AccessLogs::start(1, registry.clone(), Duration::from_secs(1)).unwrap();
        let clusters =
            Clusters::new(registry.clone(), Resolver::from_system(), tokio::runtime::Handle::current());
        let config = Listener {
            name: "l".into(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            ipv4_compat: false,
            direction: selvedge_traffic::Direction::Inbound,
            original_dst: false,
            tls_inspector: false,
            chains: Vec::new(),
            default_chain: None,
            access_logs: Vec::new(),
        };
        let active = ActiveListener { config: Arc::new(config), routes: BTreeMap::new() };
        let listener =
            Arc::new(CompiledListener::new(&active, &Telemetry { registry, access_logs }).unwrap());
        let worker = Worker::new(0, clusters, None);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let remote = stream.peer_addr().unwrap();
        let bytes = size_of_val(&connection(worker, listener, stream, remote));
        assert!(bytes <= TASK_BYTES_MAX, "{bytes} bytes");
    }
}

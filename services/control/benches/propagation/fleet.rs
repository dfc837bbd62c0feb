//! Proxies that take what they are given.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use selvedge_traffic::ResourceKind;
use selvedge_xds::client::DELTA_METHOD;
use selvedge_xds::{ClientSession, Node};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::wire::Raw;

/// A proxy applied a route table.
pub(crate) struct Seen {
    pub(crate) node: usize,
    pub(crate) at: Instant,
}

pub(crate) struct Fleet {
    seen: mpsc::UnboundedReceiver<Seen>,
    nodes: usize,
    /// The kind of resource that proxies tell of, as a number.
    kind: Arc<AtomicUsize>,
    /// Ends with the fleet.
    _proxies: JoinSet<()>,
}

impl Fleet {
    /// Connects a proxy for every node.
    pub(crate) async fn start(control: SocketAddr, nodes: usize) -> Self {
        let (tell, seen) = mpsc::unbounded_channel();
        let mut proxies = JoinSet::new();
        let kind = Arc::new(AtomicUsize::new(ResourceKind::Routes as usize));
        for node in 0..nodes {
            proxies.spawn(proxy(control, node, tell.clone(), Arc::clone(&kind)));
        }
        Self { seen, nodes, kind, _proxies: proxies }
    }

    /// From now on proxies tell of this kind.
    pub(crate) fn watch(&self, kind: ResourceKind) {
        self.kind.store(kind as usize, Ordering::Relaxed);
    }

    pub(crate) async fn seen(&mut self) -> Seen {
        self.seen.recv().await.expect("some proxy lives")
    }

    /// Waits until every proxy has its first route table, and nothing moves any more.
    pub(crate) async fn wait_until_settled(&mut self, patience: Duration) {
        let started = Instant::now();
        let mut known = vec![false; self.nodes];
        loop {
            let complete = known.iter().all(|known| *known);
            let wait = if complete { Duration::from_secs(2) } else { patience };
            match tokio::time::timeout(wait, self.seen()).await {
                Ok(seen) => known[seen.node] = true,
                Err(_) if complete => return,
                Err(_) => panic!("not every proxy was served within {:?}", started.elapsed()),
            }
        }
    }
}

async fn proxy(
    control: SocketAddr,
    number: usize,
    tell: mpsc::UnboundedSender<Seen>,
    watched: Arc<AtomicUsize>,
) {
    let direct =
        json!({ "interception": "none", "ingress_port": 20_000 + number % 20_000, "egress_port": 50_000 });
    let node = Node {
        id: format!("mesh/m/virtualNode/n{number}"),
        metadata: json!({ "selvedge": direct }).as_object().cloned().unwrap_or_default(),
        user_agent: "bench".to_owned(),
        ..Node::default()
    };
    let mut session = ClientSession::new(node, number as u64);
    session.listen();
    session.handle_connected();

    let endpoint = Endpoint::from_shared(format!("http://{control}")).expect("an address");
    let channel = endpoint.connect().await.expect("the control plane listens");
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("it is ready");
    let (send, requests) = mpsc::channel::<Bytes>(64);
    flush(&mut session, &send).await;
    let request = tonic::Request::new(ReceiverStream::new(requests));
    let path = DELTA_METHOD.parse().expect("a path");
    let mut responses = client.streaming(request, path, Raw).await.expect("a stream").into_inner();
    while let Ok(Some(response)) = responses.message().await {
        session.handle_response(&response).expect("a response that is fine");
        while let Some(update) = session.poll_update() {
            assert!(update.refused.is_empty(), "{:?}", update.refused);
            let is_watched = update.kind as usize == watched.load(Ordering::Relaxed);
            let routes = is_watched && !update.changed.is_empty();
            session.handle_applied(&update.nonce, Vec::new());
            if routes && tell.send(Seen { node: number, at: Instant::now() }).is_err() {
                return;
            }
        }
        flush(&mut session, &send).await;
    }
}

async fn flush(session: &mut ClientSession, send: &mpsc::Sender<Bytes>) {
    while let Some(request) = session.poll_request() {
        if send.send(request).await.is_err() {
            return;
        }
    }
}

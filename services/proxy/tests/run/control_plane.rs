//! A control plane for one proxy: the real server session behind a bare gRPC stream.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use selvedge_traffic::Resource;
use selvedge_xds::ServerSession;
use selvedge_xds::secret::{self, Request, Secret};
use selvedge_xds::server::{Form, Scope, View};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Held orders of the session are looked at so often.
const TICK: Duration = Duration::from_millis(20);

/// What a test sees of the control plane.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// Names and messages of the resources that the proxy rejects at present.
    pub(crate) rejected: Vec<(String, String)>,
    /// Streams that the proxy has ended in an orderly way.
    pub(crate) left: usize,
    /// What the proxy said about secrets.
    pub(crate) secrets: Vec<Request>,
}

/// It serves until it is dropped.
pub(crate) struct ControlPlane {
    pub(crate) address: SocketAddr,
    view: watch::Sender<Arc<View>>,
    secrets: watch::Sender<Vec<(Secret, String)>>,
    seen: Arc<Mutex<Seen>>,
    revision: u64,
    _runtime: tokio::runtime::Runtime,
}

impl ControlPlane {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (view, watched) = watch::channel(Arc::new(View::default()));
        let (secrets, watched_secrets) = watch::channel(Vec::new());
        let watched = (watched, watched_secrets);
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let theirs = Arc::clone(&seen);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, watched.clone(), Arc::clone(&theirs)));
            }
        });
        Self { address, view, secrets, seen, revision: 0, _runtime: runtime }
    }

    /// From here on the proxy is to have exactly these.
    pub(crate) fn publish(&mut self, resources: &[Resource]) {
        self.revision += 1;
        let encoded = resources.iter().map(|resource| Arc::new(selvedge_xds::encode(resource)));
        self.view.send_replace(Arc::new(View::new(self.revision, encoded)));
    }

    /// Hands out exactly these secrets to whoever asks for them, each with its version.
    pub(crate) fn publish_secrets(&self, secrets: Vec<(Secret, String)>) {
        self.secrets.send_replace(secrets);
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().expect("no panic").clone()
    }
}

type Watched = (watch::Receiver<Arc<View>>, watch::Receiver<Vec<(Secret, String)>>);

async fn connection(stream: TcpStream, watched: Watched, seen: Arc<Mutex<Seen>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(serve(request.into_body(), respond, watched.clone(), Arc::clone(&seen)));
    }
}

async fn serve(
    mut requests: h2::RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
    (mut view, mut secrets): Watched,
    seen: Arc<Mutex<Seen>>,
) {
    let head = http::Response::builder().header("content-type", "application/grpc").body(()).expect("valid");
    let Ok(mut responses) = respond.send_response(head, false) else { return };
    let mut session = ServerSession::new(Form::Delta, Scope::Aggregated);
    session.set_view(view.borrow_and_update().clone());
    let mut bytes = BytesMut::new();
    let (mut asked, mut sent, mut nonce) = (BTreeSet::new(), BTreeMap::new(), 0);
    loop {
        tokio::select! {
            chunk = requests.data() => match chunk {
                Some(Ok(chunk)) => {
                    let _ = requests.flow_control().release_capacity(chunk.len());
                    bytes.extend_from_slice(&chunk);
                }
                Some(Err(_)) => return,
                None => {
                    seen.lock().expect("no panic").left += 1;
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                    let _ = responses.send_trailers(trailers);
                    return;
                }
            },
            _ = view.changed() => session.set_view(view.borrow_and_update().clone()),
            _ = secrets.changed() => {}
            () = tokio::time::sleep(TICK) => {}
        }
        while let Some(message) = message(&mut bytes) {
            if let Some(request) = Request::decode_delta(&message) {
                asked.extend(request.names.iter().cloned());
                seen.lock().expect("no panic").secrets.push(request);
                continue;
            }
            session.handle_request(&message).expect("the proxy speaks the protocol");
        }
        while let Some(response) = session.poll_response(Instant::now()) {
            if responses.send_data(framed(&response), false).is_err() {
                return;
            }
        }
        let due: Vec<(Secret, String)> = secrets.borrow_and_update().clone();
        let due = due.into_iter().filter(|(secret, version)| {
            asked.contains(&secret.name) && sent.get(&secret.name) != Some(version)
        });
        let due: Vec<_> = due.collect();
        if !due.is_empty() {
            nonce += 1;
            let response = secret::delta_response(&format!("s{nonce}"), &due, &[]);
            sent.extend(due.into_iter().map(|(secret, version)| (secret.name, version)));
            if responses.send_data(framed(&response), false).is_err() {
                return;
            }
        }
        let rejected = session.rejected().map(|rejected| (rejected.name, rejected.message)).collect();
        seen.lock().expect("no panic").rejected = rejected;
    }
}

/// gRPC's frame: not compressed, length, message.
pub(crate) fn message(bytes: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?) as usize;
    if bytes.len() < 5 + length {
        return None;
    }
    bytes.advance(5);
    Some(bytes.split_to(length).freeze())
}

pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).expect("a short message").to_be_bytes());
    frame.extend_from_slice(message);
    frame.into()
}

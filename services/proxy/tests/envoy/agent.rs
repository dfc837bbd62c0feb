//! A secret discovery service on a socket in the file system, as an agent of SPIRE's is, in both forms of the protocol; a
//! stream ends when a name is asked for that nobody may have.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use selvedge_xds::client::{DELTA_SECRETS_METHOD, SECRETS_METHOD};
use selvedge_xds::secret::{Request, Secret, delta_response, response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::control_plane::{framed, message};

/// `None` is a name that nobody may have.
type Known = BTreeMap<String, Option<(Secret, u64)>>;

/// Serves until it is dropped.
pub(crate) struct Agent {
    pub(crate) socket: PathBuf,
    /// It listens here too.
    pub(crate) address: SocketAddr,
    known: watch::Sender<Known>,
    requests: Arc<Mutex<Vec<Request>>>,
    /// Names of the streams that are open.
    open: Arc<Mutex<Vec<String>>>,
    version: Mutex<u64>,
    _runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// By TLS where it listens on an address.
    pub(crate) fn start_with(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
        let folder = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = folder.path().join("agent.sock");
        let listener = {
            let _runtime = runtime.enter();
            UnixListener::bind(&socket).unwrap()
        };
        let tcp = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = tcp.local_addr().unwrap();
        let (known, watched) = watch::channel(Known::new());
        let (requests, open) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let seen = (Arc::clone(&requests), Arc::clone(&open));
        runtime.spawn(async move {
            loop {
                let (watched, seen, acceptor) = (watched.clone(), seen.clone(), acceptor.clone());
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => drop(tokio::spawn(connection(stream, watched, seen))),
                    Ok((stream, _)) = tcp.accept() => drop(tokio::spawn(async move {
                        let Some(acceptor) = acceptor else { return connection(stream, watched, seen).await };
                        if let Ok(stream) = acceptor.accept(stream).await {
                            connection(stream, watched, seen).await;
                        }
                    })),
                }
            }
        });
        Self {
            socket,
            address,
            known,
            requests,
            open,
            version: Mutex::new(0),
            _runtime: runtime,
            _folder: folder,
        }
    }

    /// Hands a secret out, to those who wait and those who will ask; its version.
    pub(crate) fn put(&self, secret: Secret) -> u64 {
        let mut version = self.version.lock().unwrap();
        *version += 1;
        self.known.send_modify(|known| {
            known.insert(secret.name.clone(), Some((secret, *version)));
        });
        *version
    }

    /// Nobody may have it.
    pub(crate) fn deny(&self, name: &str) {
        self.known.send_modify(|known| {
            known.insert(name.to_owned(), None);
        });
    }

    /// All that was said by streams about a secret.
    pub(crate) fn requests(&self, name: &str) -> Vec<Request> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|request| request.names == [name]).cloned().collect()
    }

    pub(crate) fn open(&self, name: &str) -> usize {
        self.open.lock().unwrap().iter().filter(|open| *open == name).count()
    }
}

type Seen = (Arc<Mutex<Vec<Request>>>, Arc<Mutex<Vec<String>>>);

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, known: watch::Receiver<Known>, seen: Seen) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let delta = request.uri().path() == DELTA_SECRETS_METHOD;
        assert!(delta || request.uri().path() == SECRETS_METHOD, "{}", request.uri());
        let (known, seen) = (known.clone(), seen.clone());
        tokio::spawn(async move {
            let mut name = String::new();
            serve(request.into_body(), respond, known, &seen, &mut name, delta).await;
            let mut open = seen.1.lock().unwrap();
            if let Some(at) = open.iter().position(|open| *open == name) {
                open.remove(at);
            }
        });
    }
}

async fn serve(
    mut body: h2::RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
    mut known: watch::Receiver<Known>,
    seen: &Seen,
    name: &mut String,
    delta: bool,
) {
    let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let Ok(mut responses) = respond.send_response(head, false) else { return };
    let (mut bytes, mut sent, mut node) = (BytesMut::new(), 0, String::new());
    loop {
        tokio::select! {
            chunk = body.data() => {
                let Some(Ok(chunk)) = chunk else { return };
                let _ = body.flow_control().release_capacity(chunk.len());
                bytes.extend_from_slice(&chunk);
            }
            changed = known.changed() => if changed.is_err() { return },
        }
        while let Some(message) = message(&mut bytes) {
            let mut request = if delta {
                let mut request = Request::decode_delta(&message).expect("it is about secrets");
                if !name.is_empty() {
                    // Names are told once.
                    assert!(request.names.is_empty(), "{request:?}");
                    request.names.push(name.clone());
                }
                request
            } else {
                Request::decode(&message).unwrap()
            };
            if request.names.is_empty() && !name.is_empty() {
                // So Envoy says that it needs it no more.
                return;
            }
            assert_eq!(request.names.len(), 1, "a stream for each secret");
            if name.is_empty() {
                assert!(!request.node_id.is_empty(), "the first request says whose it is");
                name.clone_from(&request.names[0]);
                node.clone_from(&request.node_id);
                seen.1.lock().unwrap().push(name.clone());
            }
            request.node_id.clone_from(&node);
            seen.0.lock().unwrap().push(request);
        }
        let due = known.borrow_and_update().get(name.as_str()).cloned();
        match due {
            Some(Some((secret, version))) if version > sent => {
                sent = version;
                let text = version.to_string();
                let response = if delta {
                    delta_response(&text, &[(secret, text.clone())], &[])
                } else {
                    response(&text, &text, &[secret])
                };
                if responses.send_data(framed(&response), false).is_err() {
                    return;
                }
            }
            Some(None) => {
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("3"));
                let _ = responses.send_trailers(trailers);
                return;
            }
            _ => {}
        }
    }
}

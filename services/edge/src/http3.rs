//! HTTP/3, behind a switch: QUIC and its frames are a library's; every stream then goes on as one of HTTP/2.
//!
//! A connection of QUIC has a connection of HTTP/2 inside of this process, over a pair of sockets, so that everything that is
//! decided about streams – limits, floods, times, who is asking – is decided once ([`crate::http2`]). The detour costs two copies
//! of each byte and two system calls; who wants the cheapest byte speaks HTTP/2.

mod datagrams;
mod stream;

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::h2::client::SendRequest;
use bytes::Bytes;
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{Endpoint, IdleTimeout, Incoming, ServerConfig, TransportConfig, VarInt};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use selvedge_wire::io::Io;
use selvedge_wire::tls::Facts;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) use datagrams::{Before, Datagrams, Tag};

use crate::connection::{Counted, HANDSHAKE_TIMEOUT};
use crate::http2;
use crate::pace::Pacer;
use crate::request::{Exchange, Peer};
use crate::sockets::Open;
use crate::worker::{Shared, Worker};

/// Requests of one connection at a time.
const STREAMS_MAX: u32 = 100;
/// Streams of a client's own that carry no request: control, and those of field compression.
const CONTROL_STREAMS_MAX: u32 = 8;
/// What a client may send on one stream before it is read.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// And on one connection; as much is kept until a client has acknowledged it.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// The fields of a request.
const FIELD_SECTION_BYTES_MAX: u64 = 64 * 1024;
/// How long nothing may come from a client.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a client that was told to leave may take to do so.
const LEAVE_MAX: Duration = Duration::from_secs(1);
/// How long browsers may remember that there is HTTP/3, in seconds.
const OFFER_SECONDS: u32 = 86_400;

/// Begins to serve a listener's datagrams, if it has any.
pub(crate) fn start(worker: &Rc<Worker>, open: &Arc<Open>) -> Option<JoinHandle<()>> {
    open.datagrams.as_ref()?;
    Some(tokio::task::spawn_local(speak(Rc::clone(worker), Arc::clone(open))))
}

async fn speak(worker: Rc<Worker>, open: Arc<Open>) {
    let Some(datagrams) = &open.datagrams else { return };
    let made = match config(Arc::clone(&worker.shared), Arc::clone(&open.token)) {
        Ok(config) => datagrams.endpoint(config).await.map_err(|error| error.to_string()),
        Err(error) => Err(error),
    };
    match made {
        Ok(endpoint) => accept(worker, Arc::clone(&open.token), endpoint).await,
        Err(error) => tracing::error!(error, socket = &*open.token, "HTTP/3 is not spoken"),
    }
}

/// What tells a client by another protocol that there is HTTP/3 (RFC 7838), on a listener where there is.
pub(crate) fn offer(x: &Exchange<'_>) -> Option<String> {
    if x.peer.http3 || !x.https {
        return None;
    }
    let listener = x.site.program.listener(&x.peer.socket)?;
    listener.http3.then(|| format!("h3=\":{}\"; ma={OFFER_SECONDS}", x.peer.local.port()))
}

fn config(shared: Arc<Shared>, token: Arc<str>) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName { shared, token }));
    tls.alpn_protocols = vec![b"h3".to_vec()];
    // Nothing is taken from a client before its handshake is over: what is sent early may be sent again by anybody.
    tls.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(CONTROL_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(IDLE_MAX).ok());
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// The certificate for the name that a client asks for, as on the TCP port of the same number.
struct ByName {
    shared: Arc<Shared>,
    token: Arc<str>,
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByName").field("token", &self.token).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let site = self.shared.site.load();
        let context = site.certificates.context(&site.program, &self.token, hello.server_name()).ok()?;
        // Who has to show a certificate cannot do so here, and must not come in without.
        context.verifier().is_none().then(|| context.material().certified_key())
    }
}

async fn accept(worker: Rc<Worker>, token: Arc<str>, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let stats = &worker.shared.stats;
        stats.accepted.add(1);
        let (open, most) = (stats.connections(), worker.shared.connections_max);
        if open >= most {
            stats.turned_away.add(1);
            incoming.refuse();
        } else if open * 2 >= most && !incoming.remote_address_validated() {
            // Before half of the room is gone, an address has to be shown to be its sender's. It can only fail for one that
            // has been, which this one has not.
            let _ = incoming.retry();
        } else {
            tokio::task::spawn_local(serve(
                Rc::clone(&worker),
                Arc::clone(&token),
                incoming,
                endpoint.clone(),
            ));
        }
    }
}

/// Serves a connection until it ends.
async fn serve(worker: Rc<Worker>, token: Arc<str>, incoming: Incoming, endpoint: Endpoint) {
    let _counted = Counted::new(&worker);
    let stats = &worker.shared.stats;
    stats.handshakes.add(1);
    match timeout(HANDSHAKE_TIMEOUT, async { incoming.await }).await {
        Ok(Ok(connection)) => {
            let port = endpoint.local_addr().map_or(0, |address| address.port());
            if let Err(reason) = bridge(&worker, token, &connection, port).await {
                tracing::debug!(reason, client = %connection.remote_address(), "a connection of HTTP/3 ended");
            }
            connection.close(VarInt::from_u32(0), b"");
        }
        _ => stats.handshakes_failed.add(1),
    }
}

async fn bridge(
    worker: &Rc<Worker>,
    token: Arc<str>,
    connection: &quinn::Connection,
    port: u16,
) -> Result<(), String> {
    let remote = connection.remote_address();
    let most = worker.site().program.base().directives.mesh.connections_per_client;
    let Some(guest) = worker.shared.clients.enter(remote.ip(), most) else {
        worker.shared.stats.turned_away.add(1);
        return Err("the client holds as many connections as it may".into());
    };
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    let theirs = selvedge_wire::listen::as_tcp(theirs).map_err(|error| error.to_string())?;
    let io = Io::new(theirs, worker.buffers.clone());
    let local = SocketAddr::new(connection.local_ip().unwrap_or_else(|| remote.ip()), port);
    let peer = Rc::new(Peer {
        remote,
        local,
        socket: token,
        tls: Some(Rc::new(facts(connection))),
        guest: Some(guest),
        pacer: Pacer::default(),
        http3: true,
    });
    let own = (worker.place(), worker.scoreboard.connection(remote));
    let mut serving = pin!(http2::serve(Rc::clone(worker), peer, io, own));
    let mut bridging = pin!(async {
        let (sender, driver) = ::h2::client::handshake(ours).await.map_err(|error| error.to_string())?;
        streams(connection.clone(), sender, driver).await
    });
    // Whichever ends first takes the other along: a flood that HTTP/2 cuts is cut here, a client that left is left.
    tokio::select! {
        () = &mut serving => bridging.await,
        ended = &mut bridging => ended,
    }
}

/// Carries streams until the client leaves, or until the inner connection has ended and all that it said has been passed on.
async fn streams(
    connection: quinn::Connection,
    sender: SendRequest<Bytes>,
    driver: impl Future<Output = Result<(), ::h2::Error>>,
) -> Result<(), String> {
    let mut server = h3::server::builder()
        .max_field_section_size(FIELD_SECTION_BYTES_MAX)
        .build(h3_quinn::Connection::new(connection))
        .await
        .map_err(|error| error.to_string())?;
    let mut tasks = tokio::task::JoinSet::new();
    let mut driver = pin!(driver);
    loop {
        tokio::select! {
            accepted = server.accept() => match accepted {
                Ok(Some(request)) => drop(tasks.spawn_local(stream::carry(request, sender.clone()))),
                Ok(None) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            },
            Some(_) = tasks.join_next() => {}
            ended = &mut driver => {
                ended.map_err(|error| error.to_string())?;
                break;
            }
        }
    }
    // What is asked from here on is to be asked anew, of whoever serves now.
    server.shutdown(0).await.map_err(|error| error.to_string())?;
    while tasks.join_next().await.is_some() {}
    // A client that has heard everything leaves by itself; one that is cut before may not have.
    let left = async { while let Ok(Some(_)) = server.accept().await {} };
    let _ = timeout(LEAVE_MAX, left).await;
    Ok(())
}

/// What is known of the handshake; the library does not tell its cipher.
fn facts(connection: &quinn::Connection) -> Facts {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let name = data.and_then(|data| data.server_name);
    Facts::of_quic(name.map(String::into_boxed_str))
}

//! A client's connection from its first byte: PROXY header, TLS, protocol.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use selvedge_site::RequestFacts;
use selvedge_wire::deadline::Deadline;
use selvedge_wire::detect::{self, Protocol};
use selvedge_wire::io::Io;
use selvedge_wire::proxy_protocol::{self, Parsed};
use selvedge_wire::tls::{self, hello};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::handshakes::Reason;
use crate::pace::Pacer;
use crate::request::Peer;
use crate::worker::Worker;
use crate::{http1, http2};

/// A handshake, its ClientHello included, is over within this.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client is heard out after the last answer, so that closing does not reset it away.
const LINGER: Duration = Duration::from_secs(1);
/// How many bytes of it.
const LINGER_BYTES_MAX: u64 = 256 * 1024;

/// A listener as its connections know it.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) token: Arc<str>,
    pub(crate) tls: bool,
    /// Connections begin with the PROXY protocol.
    pub(crate) proxied: bool,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, door: Rc<Door>, stream: TcpStream, remote: SocketAddr) {
    let place = worker.place();
    let seat = worker.scoreboard.connection(remote);
    let _counted = Counted::new(&worker);
    let mut io = Io::new(stream, worker.buffers.clone());
    // A socket in the file system has no address.
    let local = io.local_addr().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let (pacer, socket) = (Pacer::default(), Arc::clone(&door.token));
    let mut peer = Peer { remote, local, socket, tls: None, guest: None, pacer, http3: false };
    if door.proxied && !introduced(&worker, &mut peer, &mut io).await {
        return worker.shared.stats.refused.add(1);
    }
    seat.belongs_to(peer.remote);
    // A socket in the file system has no client to be counted by.
    let most = match peer.remote.port() {
        0 => 0,
        _ => worker.site().program.base().directives.mesh.connections_per_client,
    };
    peer.guest = worker.shared.clients.enter(peer.remote.ip(), most);
    if peer.guest.is_none() {
        tracing::debug!(client = %peer.remote, "a client holds as many connections as it may");
        return worker.shared.stats.turned_away.add(1);
    }
    if door.tls {
        worker.shared.stats.handshakes.add(1);
        let outcome = timeout(HANDSHAKE_TIMEOUT, Box::pin(handshake(&worker, &door, &mut io))).await;
        match outcome.unwrap_or(Err(Reason::Timeout)) {
            Ok(true) => peer.tls = io.tls().cloned(),
            Ok(false) => return,
            Err(reason) => {
                worker.shared.handshakes.failed(reason);
                return worker.shared.stats.handshakes_failed.add(1);
            }
        }
        if let Some(facts) = &peer.tls {
            worker.shared.handshakes.agreed(facts);
        }
    }
    let spoken = spoken(&worker, &door);
    let agreed = peer.tls.as_ref().and_then(|facts| facts.alpn.clone());
    let protocol = match agreed.as_deref() {
        Some(b"h2") => Protocol::Http2,
        Some(_) => Protocol::Http1,
        // In the clear by prior knowledge, where it is switched on.
        None if peer.tls.is_none() && spoken.1 => {
            let words = timeout(Duration::from_secs(10), detect::http(&mut io));
            match words.await {
                Ok(Ok(Some(protocol))) if protocol == Protocol::Http2 || spoken.0 => protocol,
                _ => return,
            }
        }
        None if spoken.0 => Protocol::Http1,
        None => return,
    };
    let peer = Rc::new(peer);
    match protocol {
        Protocol::Http1 => http1::serve(worker, peer, io, (place, seat)).await,
        Protocol::Http2 => Box::pin(http2::serve(worker, peer, io, (place, seat))).await,
    }
}

/// Whether HTTP/1 and HTTP/2 are spoken here. A socket that the configuration does not name is one like any other.
fn spoken(worker: &Worker, door: &Door) -> (bool, bool) {
    let site = worker.site();
    let global = site.program.global();
    site.program.listener(&door.token).map_or_else(
        || (true, !door.tls && global.feature_flags.bool("server.h2c", false)),
        |listener| (listener.http1, listener.http2),
    )
}

/// Hears from a load balancer whose connection it passes on; whether it goes on. Only those who are trusted to say so are
/// listened to: from anybody else the same words are a request that is none.
async fn introduced(worker: &Worker, peer: &mut Peer, io: &mut Io) -> bool {
    let site = worker.site();
    let remote = peer.remote.ip().to_canonical();
    let facts = RequestFacts { socket: Some(&peer.socket), remote: Some(remote), ..RequestFacts::default() };
    let Ok(resolved) = worker.resolve(&site, &facts) else { return false };
    if !resolved.directives.extforward.forwarder.trusts(remote) {
        return true;
    }
    let patience = Duration::from_millis(resolved.directives.edge.header_timeout_ms);
    match timeout(patience, proxy_protocol::read(io)).await {
        Ok(Ok(Some(Parsed::Word { ends, len, .. }))) => {
            io.consume(len);
            if let Some(ends) = ends {
                (peer.remote, peer.local) = (ends.source, ends.destination);
            }
            true
        }
        // Whoever does not say who it is may be anybody.
        _ => false,
    }
}

/// Counts a connection for as long as it is open.
pub(crate) struct Counted(Rc<Worker>);

impl Counted {
    pub(crate) fn new(worker: &Rc<Worker>) -> Self {
        worker.counts().connections.add(1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counts().connections.sub(1);
        // The task ends, and with it the connection; no other.
        if std::thread::panicking() {
            self.0.shared.stats.panics.add(1);
            tracing::error!("serving a connection panicked");
        }
    }
}

/// Makes the handshake; whether the client is served.
async fn handshake(worker: &Worker, door: &Door, io: &mut Io) -> Result<bool, Reason> {
    let (name, offered) = match hello::read(io).await {
        Ok(Some(hello::Inspected::Tls(hello))) => (hello.server_name, hello.alpn),
        _ => (None, Vec::new()),
    };
    if let [only] = offered.as_slice()
        && *only == selvedge_acme::Proofs::ALPN
    {
        // An authority looks whether the name is ours. It is shown that, and nothing is served.
        let acme = worker.shared.acme.load_full().ok_or(Reason::NoCertificate)?;
        let context =
            acme.challenge(name.as_deref().unwrap_or_default()).await.ok_or(Reason::NoCertificate)?;
        tls::accept(io, &context).await.map_err(|failure| Reason::from(&failure))?;
        return Ok(false);
    }
    let site = worker.site();
    let context = match site.certificates.context(&site.program, &door.token, name.as_deref()) {
        Ok(context) => context,
        Err(error) => {
            tracing::error!(%error, name, "a client cannot be shown a certificate");
            return Err(Reason::NoCertificate);
        }
    };
    match tls::accept(io, &context).await {
        Ok(()) => Ok(true),
        Err(failure) => {
            tracing::debug!(reason = failure.reason(), "a handshake failed");
            Err(Reason::from(&failure))
        }
    }
}

/// Says that nothing more will come, and hears the client out for a moment.
pub(crate) async fn linger(io: &mut Io, deadline: &mut Deadline) {
    if poll_fn(|cx| io.poll_shutdown(cx)).await.is_err() {
        return;
    }
    deadline.set(Some(Instant::now() + LINGER));
    let until = io.bytes_read + LINGER_BYTES_MAX;
    poll_fn(|cx| {
        while io.bytes_read < until {
            let unread = io.unread().len();
            io.consume(unread);
            match io.poll_fill(cx) {
                std::task::Poll::Ready(Ok(read)) if read > 0 => {}
                std::task::Poll::Ready(_) => return std::task::Poll::Ready(()),
                std::task::Poll::Pending => return deadline.poll(cx),
            }
        }
        std::task::Poll::Ready(())
    })
    .await;
}

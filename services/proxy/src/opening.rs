//! From an accepted connection to one whose content can be read: its first bytes inspected, its chain chosen, its
//! handshake made.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use selvedge_traffic::chain::Incoming;
use selvedge_traffic::listener::DetectedTransport;
use selvedge_wire::io::Io;
use selvedge_wire::original_dst;
use selvedge_wire::tls::hello::{self, Hello, Inspected};
use selvedge_wire::tls::{self, Facts, Failure, HANDSHAKE_TIMEOUT, ServerTls};

use tokio::net::TcpStream;

use crate::connection::{Asked, first_words};
use crate::listener;
use crate::request::Peer;
use crate::serve::compile::{Chain, CompiledListener};
use crate::serve::worker::{HANDSHAKES_MAX, Worker};

/// The first bytes must have come within this (Envoy's `listener_filters_timeout`).
pub(crate) const INSPECTION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// The client, as PROXY protocol may tell it.
    pub(crate) remote: SocketAddr,
    /// The other end of the socket.
    pub(crate) direct: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Where an intercepted connection wanted to go.
    pub(crate) original_dst: Option<SocketAddr>,
    /// It came by the socket in the file system, from a web server that we stand beside.
    pub(crate) by_socket: bool,
}

/// A connection that can be served; boxed where it was waited for, so that its task does not carry its room twice.
pub(crate) struct Opened {
    pub(crate) chain: Arc<Chain>,
    pub(crate) peer: Rc<Peer>,
    pub(crate) io: Io,
}

impl Client {
    /// The ends of a connection that has been accepted.
    pub(crate) fn of(listener: &CompiledListener, stream: &TcpStream, remote: SocketAddr) -> Option<Self> {
        let local = stream.local_addr().ok()?;
        let original_dst = if listener.config.original_dst { original_dst::of(stream) } else { None };
        Some(Self { remote, direct: remote, local, original_dst, by_socket: false })
    }

    /// The ends of a connection by a socket in the file system, which has none.
    pub(crate) fn by_socket() -> Self {
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { remote: here, direct: here, local: here, original_dst: None, by_socket: true }
    }

    /// What requests are told of the connection.
    pub(crate) fn peer(
        self,
        worker: &Worker,
        chain: &Chain,
        tls: Option<&Rc<Facts>>,
        server_name: Option<Box<str>>,
    ) -> Rc<Peer> {
        Rc::new(Peer {
            remote: self.remote,
            direct: self.direct,
            local: self.local,
            original_dst: self.original_dst,
            by_socket: self.by_socket,
            connection_id: worker.connection_id(),
            chain: chain.name.as_str().into(),
            tls: tls.cloned(),
            server_name,
            kept: RefCell::default(),
        })
    }
}

/// Opens a connection of which nothing need be known but where it goes.
pub(crate) fn at_once(
    worker: &Worker,
    listener: &CompiledListener,
    client: Client,
    stream: TcpStream,
) -> Option<Opened> {
    let chain = choose(listener, &client, None)?;
    let io = Io::new(stream, worker.buffers.clone());
    let peer = client.peer(worker, &chain, io.tls(), None);
    Some(Opened { chain, peer, io })
}

/// Opens a connection; `None` if it goes no further.
pub(crate) async fn open(
    worker: Rc<Worker>,
    listener: Arc<CompiledListener>,
    mut client: Client,
    stream: TcpStream,
    since: Instant,
) -> Option<Box<Opened>> {
    let (place, start) = (worker.place(), SystemTime::now());
    let mut io = Io::new(stream, worker.buffers.clone());
    if let Some(words) = &listener.proxy_protocol {
        words.read(&worker, &place, &listener, &mut client, &mut io).await?;
    }
    let port = client.original_dst.unwrap_or(client.local).port();
    let inspects = listener.inspects && listener.config.inspection.takes(port);
    let hello = if inspects { inspect(&worker, &place, &listener, &mut io).await? } else { None };
    let chain = choose(&listener, &client, hello.as_ref())?;
    let mut server_name = hello.and_then(|hello| hello.server_name);
    if let Some(tls) = &chain.tls
        && let Err(failure) =
            handshake(&worker, &place, &listener, tls, chain.handshake_timeout, &mut io).await
    {
        let reason = failure?.reason();
        let peer = client.peer(&worker, &chain, io.tls(), server_name);
        listener::record(&listener, &peer, start, since, Some(&reason));
        return None;
    }
    if server_name.is_none() {
        server_name = io.tls().and_then(|facts| facts.server_name.clone());
    }
    let peer = client.peer(&worker, &chain, io.tls(), server_name);
    Some(Box::new(Opened { chain, peer, io }))
}

/// The chain that takes a connection; it is counted if there is none.
pub(crate) fn choose(
    listener: &CompiledListener,
    client: &Client,
    hello: Option<&Hello>,
) -> Option<Arc<Chain>> {
    let incoming = Incoming {
        destination_port: client.original_dst.unwrap_or(client.local).port(),
        server_name: hello.and_then(|hello| hello.server_name.as_deref()),
        transport: if hello.is_some() { DetectedTransport::Tls } else { DetectedTransport::Plain },
        application_protocols: hello.map_or(&[], |hello| &hello.alpn),
        direct_source: client.direct.ip().to_canonical(),
        source: client.remote.ip().to_canonical(),
    };
    let chain = listener.chain(&incoming).map(Arc::clone);
    if chain.is_none() {
        listener.stats.no_filter_chain_match.inc();
    }
    chain
}

/// Looks at the first bytes: `Some(None)` if they are no TLS, `None` if the connection ends here.
async fn inspect(
    worker: &Rc<Worker>,
    place: &crate::serve::worker::Place,
    listener: &CompiledListener,
    io: &mut Io,
) -> Option<Option<Hello>> {
    let inspection = &listener.config.inspection;
    let timeout = Some(inspection.timeout.unwrap_or(INSPECTION_TIMEOUT_DEFAULT)).filter(|t| !t.is_zero());
    listener.stats.downstream_pre_cx_active.inc();
    let inspected = first_words(
        worker,
        place,
        Asked::Opening { inbound: listener.inbound, limit: timeout },
        hello::read(io),
    )
    .await;
    listener.stats.downstream_pre_cx_active.dec();
    match inspected {
        Some(Ok(Some(Inspected::Tls(hello)))) => Some(Some(hello)),
        Some(Ok(Some(Inspected::Plain | Inspected::Undecided))) => Some(None),
        Some(Ok(None)) => {
            listener.stats.downstream_listener_filter_remote_close.inc();
            None
        }
        Some(Err(_)) => {
            listener.stats.downstream_listener_filter_error.inc();
            None
        }
        None => {
            listener.stats.downstream_pre_cx_timeout.inc();
            inspection.continue_on_timeout.then_some(None)
        }
    }
}

/// Makes the handshake; without a word of why if it was not even begun.
async fn handshake(
    worker: &Rc<Worker>,
    place: &crate::serve::worker::Place,
    listener: &CompiledListener,
    tls: &ServerTls,
    timeout: Option<Duration>,
    io: &mut Io,
) -> Result<(), Option<Failure>> {
    let Some(context) = tls.current() else {
        // The secrets have not come: Envoy, too, closes what it cannot answer.
        if let Some(secrets) = &listener.secrets {
            secrets.downstream_not_ready();
        }
        return Err(None);
    };
    let Some(_under_way) = worker.begin_handshake() else {
        listener.stats.downstream_cx_overload_reject.inc();
        tracing::debug!(limit = HANDSHAKES_MAX, "too many handshakes at once");
        return Err(None);
    };
    let timeout = timeout.unwrap_or(HANDSHAKE_TIMEOUT);
    let limit = Some(timeout).filter(|timeout| !timeout.is_zero());
    match first_words(
        worker,
        place,
        Asked::Opening { inbound: listener.inbound, limit },
        tls::accept(io, &context),
    )
    .await
    {
        Some(Ok(())) => {
            if let (Some(ssl), Some(facts)) = (&listener.ssl, io.tls()) {
                ssl.made(&facts.handshake());
            }
            Ok(())
        }
        Some(Err(failure)) => {
            if let Some(ssl) = listener.ssl.as_ref().filter(|_| failure.is_fault()) {
                ssl.failed(failure.verification());
            }
            Err(Some(failure))
        }
        None => {
            listener.stats.downstream_cx_transport_socket_connect_timeout.inc();
            Err(Some(Failure::Timeout(timeout)))
        }
    }
}

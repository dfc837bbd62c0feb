//! The DNS server: private namespaces and virtual services' names from what is known here, everything else from other servers.
//!
//! ```text
//!  UDP, TCP ─▶ Directory (registry, names of virtual services) ─▶ answer
//!      │                 │ somebody else's
//!      │                 ▼
//!      └──────── Forwarder: cache ─▶ one question for all who ask it ─▶ servers in turn ─▶ cache
//! ```
//! A question about what is known here is answered where it was read, without a task of its own.

mod directory;
pub mod forward;
pub mod tcp;
pub mod udp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use selvedge_dns::Guard;
use selvedge_dns::local::{self, Local};
use selvedge_dns::{Answer, Question};
use selvedge_registry::address::Cidr;
use selvedge_store::Store;
use selvedge_wire::udp::Server;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::registry::Mirror;

use directory::Directory;
use forward::Forwarder;

/// Sockets that read questions by UDP.
const SOCKETS: usize = 2;

/// What an installation decides about its DNS server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens, by UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Who is asked about names of others, in this order; empty for nobody.
    pub upstreams: Vec<SocketAddr>,
    /// Who may ask.
    pub clients: Vec<Cidr>,
    /// Where the addresses of virtual services' names come from, and its prefix' length.
    pub virtual_block: (Ipv4Addr, u8),
    /// Where they have IPv6 addresses from besides, if they do.
    pub virtual_block_v6: Option<(Ipv6Addr, u8)>,
    /// Which addresses no name of others may have, besides those of virtual services.
    pub guarded: Vec<Cidr>,
    /// Domains that may point anywhere.
    pub guard_exempt: Vec<String>,
    /// How long another server may take.
    pub timeout: Duration,
}

impl Settings {
    /// This machine and private networks may ask.
    pub const CLIENTS_DEFAULT: [&str; 9] = [
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    ];
    /// Addresses that nobody has, in a block that is reserved for nothing (RFC 1112 section 4).
    pub const VIRTUAL_BLOCK_DEFAULT: (Ipv4Addr, u8) = (Ipv4Addr::new(240, 240, 0, 0), 16);
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
}

/// What everybody who answers shares.
pub(crate) struct Shared {
    clients: Vec<Cidr>,
    directory: Directory,
    forwarder: Forwarder,
}

/// A running server.
pub struct Running {
    addresses: Vec<SocketAddr>,
    tasks: JoinSet<()>,
}

/// Starts the server. It ends when `drain` turns true.
///
/// # Errors
/// When an address cannot be bound, or no task be started.
pub fn start(
    store: Arc<dyn Store>,
    mirror: Arc<Mirror>,
    settings: Settings,
    drain: watch::Receiver<bool>,
) -> io::Result<Running> {
    let bound: Vec<_> = settings.listen.iter().map(|address| bind(*address)).collect::<io::Result<_>>()?;
    let addresses: Vec<SocketAddr> =
        bound.iter().map(|(listener, _)| listener.local_addr()).collect::<io::Result<_>>()?;
    let upstreams = settings.upstreams.into_iter().filter(|server| !addresses.contains(server)).collect();
    let (v4, v6) = (settings.virtual_block, settings.virtual_block_v6);
    let virtual_blocks = v6.map(|(network, bits)| Cidr::new(network.into(), bits));
    let virtual_blocks = virtual_blocks.into_iter().chain([Cidr::new(v4.0.into(), v4.1)]);
    let guarded = settings.guarded.into_iter().chain(virtual_blocks).collect();
    let guard = Guard::new(guarded, settings.guard_exempt);
    let shared = Arc::new(Shared {
        clients: settings.clients,
        directory: Directory::new(mirror, settings.virtual_block, settings.virtual_block_v6),
        forwarder: Forwarder::new(upstreams, settings.timeout, guard),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(directory::follow(Arc::clone(&shared), store, drain.clone()));
    for (listener, sockets) in bound {
        for socket in sockets {
            tasks.spawn(udp::serve(Arc::clone(&shared), socket, drain.clone()));
        }
        tasks.spawn(tcp::serve(Arc::clone(&shared), listener, drain.clone()));
    }
    Ok(Running { addresses, tasks })
}

/// The same port for both; where the system draws it, one that is free for both.
fn bind(address: SocketAddr) -> io::Result<(TcpListener, Vec<Server>)> {
    const TRIES: usize = 8;
    let mut last = None;
    for _ in 0..TRIES {
        let listener = selvedge_wire::listen::bind(address, false)?;
        let bound = listener.local_addr()?;
        match (0..SOCKETS).map(|_| selvedge_wire::udp::bind(bound)).collect::<io::Result<Vec<_>>>() {
            Ok(sockets) => return Ok((TcpListener::from_std(listener)?, sockets)),
            Err(error) if address.port() == 0 => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

impl Running {
    /// In the order in which they were asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits for the end, which the drain brings.
    pub async fn stop(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// What is to be done for a question.
pub(crate) enum Next {
    Say(Answer),
    /// Somebody else has to be asked, about this name in lower case.
    Ask {
        so_far: Vec<selvedge_dns::answer::Record>,
        name: String,
    },
}

impl Shared {
    fn may_ask(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.clients.iter().any(|block| block.contains(peer))
    }

    /// Answers from what is known here.
    fn look_up(&self, question: &Question) -> Next {
        let local = self
            .directory
            .with(|snapshot, names| local::answer(question, snapshot, names, forward::chance()));
        match local {
            Local::Known(answer) => Next::Say(answer),
            Local::Elsewhere if question.kind == selvedge_dns::RecordType::ANY => {
                Next::Say(Answer::to_any(question))
            }
            Local::Elsewhere => Next::Ask { so_far: Vec::new(), name: question.text.clone() },
            Local::Leads { so_far, to } => Next::Ask { so_far, name: selvedge_dns::question::text(&to) },
        }
    }

    /// Answers with the help of others.
    async fn ask(
        &self,
        question: &Question,
        so_far: Vec<selvedge_dns::answer::Record>,
        name: &str,
    ) -> Answer {
        if !question.recursion_desired {
            return Answer::of_code(selvedge_dns::answer::ResponseCode::Refused);
        }
        let mut answer = self.forwarder.ask(name, question.kind).await;
        if so_far.is_empty() {
            selvedge_dns::upstream::restore(&mut answer, &question.name);
        } else {
            answer.answers.splice(0..0, so_far);
        }
        answer
    }
}

//! What the server listens on: bound before privileges are dropped, or handed in by systemd.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use selvedge_site::{ListenAddress, Listener, Program};
use selvedge_wire::listen;

use crate::http3::Datagrams;

/// A socket that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{address} cannot be listened on")]
pub struct ListenError {
    address: String,
    source: io::Error,
}

/// One listening socket, or one for each worker.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(Vec<TcpListener>),
    Unix(UnixListener),
}

/// An open listener.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) token: Arc<str>,
    pub(crate) tls: bool,
    /// Trusted peers begin with the PROXY protocol.
    pub(crate) proxied: bool,
    pub(crate) socket: Socket,
    /// The UDP socket of the same address, where HTTP/3 is spoken.
    pub(crate) datagrams: Option<Datagrams>,
    /// Opened by systemd: it stays, whether the configuration names it or not.
    pub(crate) handed_in: bool,
}

/// All listeners by what conditions call them.
pub(crate) type Listening = HashMap<Arc<str>, Arc<Open>>;

/// Opens what a program listens on; what is open already stays as it is.
///
/// # Errors
/// [`ListenError`]; nothing that was open is closed then.
pub(crate) fn open(program: &Program, workers: usize, before: &Listening) -> Result<Listening, ListenError> {
    let activated = program.global().systemd_socket_activation;
    let given = match before.is_empty() && activated {
        true => handed_in(program)?,
        false => Listening::new(),
    };
    let before = if given.is_empty() { before } else { &given };
    let is_given = |open: &&Arc<Open>| activated && open.handed_in;
    let mut listening = Listening::new();
    let wanted =
        program.listeners.iter().filter(|one| !one.spare || !before.values().any(|open| is_given(&open)));
    for listener in wanted {
        let (tls, proxied) = (listener.ssl.engine, listener.proxy_protocol);
        let same = |known: &&Arc<Open>| {
            known.tls == tls && known.proxied == proxied && known.datagrams.is_some() == listener.http3
        };
        if let Some(known) = before.get(&listener.token).filter(same) {
            listening.insert(Arc::clone(&listener.token), Arc::clone(known));
            continue;
        }
        let socket = match before.get(&listener.token) {
            // The same socket, spoken to in another way.
            Some(known) => known.socket.copy(),
            None => bind(listener, workers, before),
        };
        let failed = |source| ListenError { address: listener.token.to_string(), source };
        let socket = socket.map_err(failed)?;
        let datagrams = match before.get(&listener.token).and_then(|known| known.datagrams.as_ref()) {
            Some(known) if listener.http3 => Some(known.socket().try_clone().map_err(failed)?),
            None if listener.http3 => socket.datagrams().map_err(failed)?,
            _ => None,
        };
        let datagrams = datagrams.map(|socket| Datagrams::new(socket, None)).transpose().map_err(failed)?;
        let handed_in = before.get(&listener.token).is_some_and(|known| known.handed_in);
        let open = Open { token: Arc::clone(&listener.token), tls, proxied, socket, datagrams, handed_in };
        listening.insert(Arc::clone(&listener.token), Arc::new(open));
    }
    for open in before.values().filter(is_given) {
        listening.entry(Arc::clone(&open.token)).or_insert_with(|| Arc::clone(open));
    }
    Ok(listening)
}

/// The sockets that systemd opened (`LISTEN_FDS`), in whichever order.
fn handed_in(program: &Program) -> Result<Listening, ListenError> {
    let mut descriptors = listenfd::ListenFd::from_env();
    let mut opened = Vec::new();
    for index in 0..descriptors.len() {
        opened.extend(inherited(&mut descriptors, index, program));
    }
    for index in 0..descriptors.len() {
        let Ok(Some(socket)) = descriptors.take_udp_socket(index) else { continue };
        inherit_datagrams(socket, &mut opened, program)
            .map_err(|source| ListenError { address: "a UDP socket of systemd's".to_owned(), source })?;
    }
    Ok(opened.into_iter().map(|open| (Arc::clone(&open.token), Arc::new(open))).collect())
}

/// A socket that systemd opened. Its address says which listener it is; else it is as the global block has it.
fn inherited(descriptors: &mut listenfd::ListenFd, index: usize, program: &Program) -> Option<Open> {
    let (token, socket) = if let Ok(Some(socket)) = descriptors.take_tcp_listener(index) {
        socket.set_nonblocking(true).ok()?;
        (socket.local_addr().ok()?.to_string(), Socket::Tcp(vec![socket]))
    } else {
        let socket = descriptors.take_unix_listener(index).ok().flatten()?;
        socket.set_nonblocking(true).ok()?;
        let path = socket.local_addr().ok()?.as_pathname()?.to_string_lossy().into_owned();
        (path, Socket::Unix(socket))
    };
    let global = &program.base().directives;
    let (tls, proxied) = match program.listener(&token) {
        Some(listener) => (listener.ssl.engine, listener.proxy_protocol),
        None => (global.ssl.engine, global.extforward.hap_proxy),
    };
    Some(Open { token: token.into(), tls, proxied, socket, datagrams: None, handed_in: true })
}

/// A UDP socket that systemd opened (`ListenDatagram=`) is the HTTP/3 of the listener with the same address.
fn inherit_datagrams(socket: UdpSocket, opened: &mut [Open], program: &Program) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let of_same_address = |open: &&mut Open| match &open.socket {
        Socket::Tcp(sockets) => sockets.iter().any(|tcp| tcp.local_addr().is_ok_and(|own| own == address)),
        Socket::Unix(_) => false,
    };
    if let Some(open) = opened.iter_mut().find(of_same_address)
        && program.listener(&open.token).is_some_and(|listener| listener.http3)
    {
        open.datagrams = Some(Datagrams::new(socket, None)?);
    }
    Ok(())
}

fn bind(listener: &Listener, workers: usize, before: &Listening) -> io::Result<Socket> {
    let address = match &listener.address {
        ListenAddress::Inet(address) => *address,
        ListenAddress::Name { host, port, ipv6 } => {
            use std::net::ToSocketAddrs as _;
            let mut found = (&**host, *port).to_socket_addrs()?.filter(|address| address.is_ipv6() == *ipv6);
            found.next().ok_or(io::ErrorKind::NotFound)?
        }
        ListenAddress::Unix(path) => return bind_unix(path, listener),
    };
    let v4_too = match listener.socket.v4mapped {
        Some(mapped) => mapped,
        None => !listener.socket.set_v6only,
    };
    let backlog = i32::try_from(listener.socket.listen_backlog).unwrap_or(listen::BACKLOG);
    // What is open already and goes over to another address of its port is our own.
    if !before.values().any(|open| open.socket.has_port(address.port())) {
        refuse_shared(address, v4_too)?;
    }
    let first = listen::bind(address, v4_too)?;
    let address: SocketAddr = first.local_addr()?;
    let mut sockets = vec![first];
    while sockets.len() < workers {
        sockets.push(listen::bind(address, v4_too)?);
    }
    for socket in &sockets {
        // Again, with the configured queue.
        rustix::net::listen(socket, backlog)?;
    }
    Ok(Socket::Tcp(sockets))
}

/// Fails where somebody listens already. Workers share an address with each other, and another server that allows the same
/// would get a part of its connections.
fn refuse_shared(address: SocketAddr, v4_too: bool) -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let alone = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // What is left of connections that have ended is not in the way.
    sockopt::set_socket_reuseaddr(&alone, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&alone, !v4_too)?;
    }
    Ok(rustix::net::bind(&alone, &address)?)
}

fn bind_unix(path: &str, listener: &Listener) -> io::Result<Socket> {
    if let Some(name) = path.strip_prefix("\\x00") {
        use std::os::linux::net::SocketAddrExt as _;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        let socket = UnixListener::bind_addr(&address)?;
        socket.set_nonblocking(true)?;
        return Ok(Socket::Unix(socket));
    }
    // What is left of an earlier run is in the way; a socket where somebody listens, and anything else, is not ours.
    if std::fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket()) {
        if UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
    if let Some(mode) = &listener.socket.socket_perms
        && let Ok(mode) = u32::from_str_radix(mode, 8)
    {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o777))?;
    }
    Ok(Socket::Unix(socket))
}

impl Socket {
    fn copy(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(sockets) => {
                Self::Tcp(sockets.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?)
            }
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }

    fn has_port(&self, port: u16) -> bool {
        let Self::Tcp(sockets) = self else { return false };
        sockets.iter().any(|socket| socket.local_addr().is_ok_and(|address| address.port() == port))
    }

    /// A UDP socket with the same address and port.
    fn datagrams(&self) -> io::Result<Option<UdpSocket>> {
        let Self::Tcp(sockets) = self else { return Ok(None) };
        let Some(first) = sockets.first() else { return Ok(None) };
        let socket = UdpSocket::bind(first.local_addr()?)?;
        socket.set_nonblocking(true)?;
        Ok(Some(socket))
    }

    /// The copy that a worker accepts from.
    pub(crate) fn of_worker(&self, index: usize) -> io::Result<WorkerSocket> {
        Ok(match self {
            Self::Tcp(sockets) => WorkerSocket::Tcp(sockets[index % sockets.len()].try_clone()?),
            Self::Unix(socket) => WorkerSocket::Unix(socket.try_clone()?),
        })
    }
}

/// What one worker accepts from.
#[derive(Debug)]
pub(crate) enum WorkerSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

#[cfg(test)]
mod tests {
    use selvedge_site::lighttpd::{Alone, Level, Options as Reading, compile, parse};
    use selvedge_site::{Compat, Program};

    use super::*;

    fn program(text: &str) -> Program {
        let options = Reading { compat: Compat::V1_4_69, allow_shell: false };
        let Ok(document) = parse("test.conf", &mut Alone(text.to_owned()), options) else {
            panic!("it does not parse")
        };
        compile(&document, Compat::V1_4_69, Level::Modules).program.expect("it compiles")
    }

    #[test]
    fn a_port_and_a_path_have_one_server() {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for place in [format!("127.0.0.1:{port}"), format!("{}/edge.sock", folder.path().display())] {
            let (host, port) = place.rsplit_once(':').unwrap_or((&place, "0"));
            let program = program(&format!(
                "server.document-root = \"/srv\"\nserver.bind = \"{host}\"\nserver.port = {port}\n"
            ));
            let first = open(&program, 2, &Listening::new()).unwrap();
            let second = open(&program, 2, &Listening::new()).unwrap_err();
            assert_eq!(second.source.kind(), io::ErrorKind::AddrInUse, "{place}");
            // A reload keeps what is open.
            let again = open(&program, 2, &first).unwrap();
            drop((first, again));
            open(&program, 2, &Listening::new()).unwrap();
        }
    }

    #[test]
    fn a_reload_goes_over_to_another_address_of_its_port() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |host: &str| {
            program(&format!(
                "server.document-root = \"/srv\"\nserver.bind = \"{host}\"\nserver.port = {port}\n"
            ))
        };
        let first = open(&at("127.0.0.1"), 2, &Listening::new()).unwrap();
        open(&at("0.0.0.0"), 2, &first).unwrap();
    }
}

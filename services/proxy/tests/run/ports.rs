//! Addresses for processes that bind them themselves, taken from everybody else until the test ends.

use std::net::SocketAddr;
use std::sync::Mutex;

use socket2::{Domain, Socket, Type};

/// Sockets that are bound and never listen.
static TAKEN: Mutex<Vec<Socket>> = Mutex::new(Vec::new());

/// An address on which nobody listens, and that the kernel gives to nobody who asks for any: another test that runs beside
/// this one, or this one's own next listener. Whoever names it may still bind it, as proxies do.
pub(crate) fn free() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket.set_reuse_port(true).expect("an option");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let address = socket.local_addr().expect("an address").as_socket().expect("of IP");
    TAKEN.lock().expect("no panic").push(socket);
    address
}

//! Datagrams.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Bytes of datagrams that the kernel holds until they are read; it may hold fewer.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// Binds one of several sockets that share an address (`SO_REUSEPORT`): the kernel spreads the askers over them. For port 0,
/// bind the first one alone and the others to the port that it got.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // It does with less, and then drops sooner.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// A socket on a port that the system draws, which hears one peer only.
///
/// # Errors
/// When there is no socket or no way to the peer.
pub async fn connect(peer: SocketAddr) -> io::Result<UdpSocket> {
    let any = match peer {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(peer).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connected_socket_hears_its_peer_alone() {
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let (server, stranger) = (bind(here).expect("a port"), bind(here).expect("a port"));
        let client = connect(server.local_addr().expect("an address")).await.expect("a socket");
        client.send(b"question").await.expect("sent");
        let mut bytes = [0; 16];
        let (_, asker) = server.recv_from(&mut bytes).await.expect("it came");
        stranger.send_to(b"made up", asker).await.expect("sent");
        server.send_to(b"answer", asker).await.expect("sent");
        let length = client.recv(&mut bytes).await.expect("it came");
        assert_eq!(&bytes[..length], b"answer");
    }

    #[tokio::test]
    async fn sockets_share_a_port() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        bind(first.local_addr().expect("an address")).expect("the same port");
    }
}

//! Datagrams.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd as _;

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Bytes of datagrams that the kernel holds until they are read; it may hold fewer.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// A socket that answers from the address that it was asked at, though it be bound to all of them: an answer from another one
/// is not believed, by a resolver or by a kernel that redirected the question.
#[derive(Debug)]
pub struct Server {
    socket: UdpSocket,
    /// It is bound to all addresses, so that the kernel has to be asked which one was meant.
    is_wild: bool,
}

/// Who asked, and where.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    pub address: SocketAddr,
    asked_at: Option<Place>,
}

/// An address of this machine, with its interface where that matters.
#[derive(Clone, Copy, Debug)]
enum Place {
    V4(in_addr),
    V6(in6_pktinfo),
}

impl Server {
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next datagram, of which what does not fit is lost. May be dropped and called again without loss.
    ///
    /// # Errors
    /// About an answer that did not arrive, or a shortage that passes.
    pub async fn receive(&self, bytes: &mut [u8]) -> io::Result<(usize, Asker)> {
        if !self.is_wild {
            let (length, address) = self.socket.recv_from(bytes).await?;
            return Ok((length, Asker { address, asked_at: None }));
        }
        self.socket.async_io(Interest::READABLE, || receive(&self.socket, bytes)).await
    }

    /// Answers.
    ///
    /// # Errors
    /// When the asker cannot be reached.
    pub async fn answer(&self, bytes: &[u8], asker: &Asker) -> io::Result<()> {
        match asker.asked_at {
            None => self.socket.send_to(bytes, asker.address).await.map(drop),
            Some(place) => {
                let send = || send(&self.socket, bytes, asker.address, place);
                self.socket.async_io(Interest::WRITABLE, send).await
            }
        }
    }
}

fn receive(socket: &UdpSocket, bytes: &mut [u8]) -> io::Result<(usize, Asker)> {
    let mut parts = [IoSliceMut::new(bytes)];
    let mut space = cmsg_space!(in6_pktinfo);
    let received =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let from = received.address.as_ref().ok_or(io::ErrorKind::InvalidData)?;
    let v4 = from.as_sockaddr_in().map(|from| SocketAddrV4::from(*from).into());
    let address = v4.or_else(|| from.as_sockaddr_in6().map(|from| SocketAddrV6::from(*from).into()));
    let address = address.ok_or(io::ErrorKind::InvalidData)?;
    let asked_at = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Place::V4(info.ipi_addr)),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Place::V6(info)),
        _ => None,
    });
    Ok((received.bytes, Asker { address, asked_at }))
}

fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr, place: Place) -> io::Result<()> {
    let parts = [IoSlice::new(bytes)];
    let to = SockaddrStorage::from(to);
    let none = in_addr { s_addr: 0 };
    let (v4, v6);
    let from = match place {
        Place::V4(address) => {
            v4 = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: none };
            ControlMessage::Ipv4PacketInfo(&v4)
        }
        Place::V6(info) => {
            // An address that is one only on its link needs the link; any other is reached as routes say.
            let is_of_link = is_link_local(&info.ipi6_addr);
            v6 = in6_pktinfo { ipi6_ifindex: if is_of_link { info.ipi6_ifindex } else { 0 }, ..info };
            ControlMessage::Ipv6PacketInfo(&v6)
        }
    };
    sendmsg(socket.as_raw_fd(), &parts, &[from], MsgFlags::empty(), Some(&to))?;
    Ok(())
}

fn is_link_local(address: &in6_addr) -> bool {
    Ipv6Addr::from(address.s6_addr).segments()[0] & 0xffc0 == 0xfe80
}

/// Binds one of several sockets that share an address (`SO_REUSEPORT`): the kernel spreads the askers over them. For port 0,
/// bind the first one alone and the others to the port that it got.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: SocketAddr) -> io::Result<Server> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // It does with less, and then drops sooner.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    let is_wild = address.ip().is_unspecified();
    if is_wild && address.is_ipv4() {
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
    } else if is_wild {
        setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(Server { socket: UdpSocket::from_std(socket.into())?, is_wild })
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
        let (_, asker) = server.receive(&mut bytes).await.expect("it came");
        stranger.answer(b"made up", &asker).await.expect("sent");
        server.answer(b"answer", &asker).await.expect("sent");
        let length = client.recv(&mut bytes).await.expect("it came");
        assert_eq!(&bytes[..length], b"answer");
    }

    #[tokio::test]
    async fn whoever_asks_is_answered_from_where_it_asked() {
        let server = bind(SocketAddr::from(([0, 0, 0, 0], 0))).expect("a port");
        let port = server.local_addr().expect("an address").port();
        // Both are this machine, and a route back would begin at the first.
        for host in [[127, 0, 0, 1], [127, 9, 8, 7]] {
            let client = connect(SocketAddr::from((host, port))).await.expect("a socket");
            client.send(b"question").await.expect("sent");
            let mut bytes = [0; 16];
            let (length, asker) = server.receive(&mut bytes).await.expect("it came");
            assert_eq!(
                (&bytes[..length], asker.address),
                (&b"question"[..], client.local_addr().expect("one"))
            );
            server.answer(b"answer", &asker).await.expect("sent");
            let length = client.recv(&mut bytes).await.expect("it came from there");
            assert_eq!(&bytes[..length], b"answer");
        }
    }

    #[tokio::test]
    async fn sockets_share_a_port() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        bind(first.local_addr().expect("an address")).expect("the same port");
    }
}

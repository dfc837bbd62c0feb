//! One listener's datagrams while two processes have connections on it.
//!
//! A successor gets the socket itself, so that what comes for the port waits for whoever reads. Connections that the predecessor
//! has are still its own: the identifiers that a process gives to its connections begin with its tag, and a successor passes on
//! what bears the predecessor's.
//!
//! ```text
//! predecessor   reads the socket │                      reads the relay … until its connections have ended
//! successor                      │ reads the socket, and sends into the relay what bears the predecessor's tag
//!                          hand over
//! ```
//! The first reads no more before the other begins: nothing is read by who does not know it.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, Runtime as _,
    ServerConfig, TokioRuntime, UdpPoller,
};
use tokio::io::ReadBuf;
use tokio::sync::watch;

/// An identifier's length: a tag, and as many bytes again and more that nobody can guess.
const IDENTIFIER_BYTES: usize = 12;
/// What stands before a datagram in the relay.
const HEAD_BYTES: usize = 16 + 4 + 2 + 1 + 17 + 4;

/// What the identifiers of one process begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u32);

/// A listener's UDP socket, and what is left of who had it before.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    tag: Tag,
    before: Option<Before>,
    /// Who reads it, once somebody does.
    bound: OnceLock<Bound>,
}

/// The process before.
#[derive(Debug)]
pub(crate) struct Before {
    pub(crate) tag: Tag,
    pub(crate) relay: UnixDatagram,
    /// Closed once that process reads no more.
    pub(crate) gone: watch::Receiver<()>,
}

#[derive(Debug)]
struct Bound {
    endpoint: Endpoint,
    socket: Arc<dyn AsyncUdpSocket>,
}

impl Datagrams {
    /// # Errors
    /// The system gives no randomness.
    pub(crate) fn new(socket: UdpSocket, before: Option<Before>) -> io::Result<Self> {
        let mut tag = [0; 4];
        rustix::rand::getrandom(&mut tag, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self { socket, tag: Tag(u32::from_be_bytes(tag)), before, bound: OnceLock::new() })
    }

    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    pub(crate) fn tag(&self) -> Tag {
        self.tag
    }

    /// Begins to read, once whoever read before has ended.
    ///
    /// # Errors
    /// The socket cannot be read.
    pub(super) async fn endpoint(&self, config: ServerConfig) -> io::Result<Endpoint> {
        let socket: Arc<dyn AsyncUdpSocket> = TokioRuntime.wrap_udp_socket(self.socket.try_clone()?)?;
        let mut read = Arc::clone(&socket);
        if let Some(before) = &self.before {
            let mut gone = before.gone.clone();
            while gone.changed().await.is_ok() {}
            read = Arc::new(Sorted {
                socket: Arc::clone(&socket),
                tag: before.tag,
                relay: before.relay.try_clone()?,
            });
        }
        let mut own = EndpointConfig::default();
        let tag = self.tag;
        own.cid_generator(move || Box::new(Tagged(tag)));
        let endpoint = Endpoint::new_with_abstract_socket(own, Some(config), read, Arc::new(TokioRuntime))?;
        // Told of a change once and bound once: a listener that is opened anew has datagrams of its own.
        let _ = self.bound.set(Bound { endpoint: endpoint.clone(), socket });
        Ok(endpoint)
    }

    /// Leaves the socket to a successor, and hears from it what is still ours.
    ///
    /// # Errors
    /// The relay cannot be read: connections are then left to their time-outs.
    pub(crate) fn leave(&self, relay: UnixDatagram) -> io::Result<()> {
        let Some(bound) = self.bound.get() else { return Ok(()) };
        relay.set_nonblocking(true)?;
        let relay = tokio::net::UnixDatagram::from_std(relay)?;
        bound.endpoint.rebind_abstract(Arc::new(Relayed { socket: Arc::clone(&bound.socket), relay }))
    }
}

// === impl Tag ===

impl Tag {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        u32::from_str_radix(text, 16).ok().map(Self)
    }

    /// Whether a packet is for a connection of this process (RFC 9000 §17): the identifier of who is to get it stands at a
    /// fixed place.
    fn is_in(self, packet: &[u8]) -> bool {
        let from = match packet.first() {
            Some(first) if first & 0x80 != 0 => match packet.get(5) {
                Some(&length) if usize::from(length) == IDENTIFIER_BYTES => 6,
                _ => return false,
            },
            _ => 1,
        };
        packet.get(from..from + 4) == Some(&self.0.to_be_bytes()[..])
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Makes identifiers.
struct Tagged(Tag);

impl ConnectionIdGenerator for Tagged {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; IDENTIFIER_BYTES];
        bytes[..4].copy_from_slice(&self.0.0.to_be_bytes());
        // Without randomness identifiers would repeat; the library then draws another.
        let _ = rustix::rand::getrandom(&mut bytes[4..], rustix::rand::GetRandomFlags::empty());
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        IDENTIFIER_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The successor's: what is the predecessor's goes into the relay.
#[derive(Debug)]
struct Sorted {
    socket: Arc<dyn AsyncUdpSocket>,
    tag: Tag,
    relay: UnixDatagram,
}

/// The predecessor's: what the relay brings, and answers by the socket.
#[derive(Debug)]
struct Relayed {
    socket: Arc<dyn AsyncUdpSocket>,
    relay: tokio::net::UnixDatagram,
}

impl AsyncUdpSocket for Sorted {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.socket.poll_recv(cx, buffers, meta))?;
        for (meta, buffer) in meta.iter_mut().zip(buffers.iter()).take(received) {
            let bytes = &buffer[..meta.len];
            if self.tag.is_in(bytes) {
                // A full relay, or one that nobody reads any more, loses it as a network may.
                let _ = self.relay.send(&[&head(meta), bytes].concat());
                meta.len = 0;
            }
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

impl AsyncUdpSocket for Relayed {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let mut message = vec![0; HEAD_BYTES + buffer.len()];
        let mut read = ReadBuf::new(&mut message);
        ready!(self.relay.poll_recv(cx, &mut read))?;
        match read_head(read.filled()) {
            Some((told, bytes)) => {
                buffer[..bytes.len()].copy_from_slice(bytes);
                *meta = told;
            }
            None => meta.len = 0,
        }
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// What the system said of a datagram: who sent it and to which of our addresses, how congested the way was, and how it is parted.
fn head(meta: &RecvMeta) -> [u8; HEAD_BYTES] {
    let scope = match meta.addr {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    let mut out = [0; HEAD_BYTES];
    out[..16].copy_from_slice(&sixteen(meta.addr.ip()));
    out[16..20].copy_from_slice(&scope.to_be_bytes());
    out[20..22].copy_from_slice(&meta.addr.port().to_be_bytes());
    out[22] = meta.ecn.map_or(0, |ecn| ecn as u8);
    if let Some(address) = meta.dst_ip {
        out[23] = if address.is_ipv4() { 4 } else { 6 };
        out[24..40].copy_from_slice(&sixteen(address));
    }
    let stride = u32::try_from(meta.stride).unwrap_or(u32::MAX);
    out[40..44].copy_from_slice(&stride.to_be_bytes());
    out
}

fn read_head(message: &[u8]) -> Option<(RecvMeta, &[u8])> {
    let (head, bytes) = message.split_at_checked(HEAD_BYTES)?;
    let address = |from: usize| -> Option<Ipv6Addr> {
        Some(Ipv6Addr::from(<[u8; 16]>::try_from(&head[from..from + 16]).ok()?))
    };
    let number =
        |from: usize| -> Option<u32> { Some(u32::from_be_bytes(head[from..from + 4].try_into().ok()?)) };
    let port = u16::from_be_bytes([head[20], head[21]]);
    let from = address(0)?;
    let addr = match from.to_ipv4_mapped() {
        Some(from) => SocketAddr::from((from, port)),
        None => SocketAddr::V6(SocketAddrV6::new(from, port, 0, number(16)?)),
    };
    let dst_ip = match head[23] {
        4 => address(24)?.to_ipv4_mapped().map(IpAddr::V4),
        6 => Some(IpAddr::V6(address(24)?)),
        _ => None,
    };
    let stride = number(40)? as usize;
    Some((RecvMeta { addr, len: bytes.len(), stride, ecn: EcnCodepoint::from_bits(head[22]), dst_ip }, bytes))
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_apart_by_the_tag_of_their_connection() {
        let tag = Tag(0x0102_0304);
        let mut short = vec![0x40];
        short.extend_from_slice(&[1, 2, 3, 4, 9, 9, 9, 9, 9, 9, 9, 9, 0xaa]);
        let mut long = vec![0xe0, 0, 0, 0, 1, 12];
        long.extend_from_slice(&short[1..]);
        let mut of_a_client = long.clone();
        of_a_client[5] = 8;
        for (packet, expected) in
            [(&short[..], true), (&long[..], true), (&of_a_client[..], false), (&[], false)]
        {
            assert_eq!(tag.is_in(packet), expected, "{packet:?}");
        }
        assert!(!Tag(0x0102_0305).is_in(&short));
        let made = Tagged(tag).generate_cid();
        assert!(tag.is_in(&[&[0x40], &made[..]].concat()));
        assert_eq!(Tag::parse(&tag.to_string()), Some(tag));
    }

    #[test]
    fn what_is_known_of_a_datagram_goes_along() {
        for (addr, dst_ip, ecn) in [
            ("192.0.2.7:4711", Some("192.0.2.1"), Some(EcnCodepoint::Ect0)),
            ("[2001:db8::7]:4711", Some("2001:db8::1"), Some(EcnCodepoint::Ce)),
            ("[fe80::7%3]:4711", None, None),
        ] {
            let dst_ip = dst_ip.map(|address| address.parse().unwrap());
            let meta = RecvMeta { addr: addr.parse().unwrap(), len: 5, stride: 3, ecn, dst_ip };
            let message = [&head(&meta)[..], b"bytes"].concat();
            let (told, bytes) = read_head(&message).unwrap();
            assert_eq!(
                (told.addr, told.len, told.stride, told.dst_ip),
                (meta.addr, 5, 3, meta.dst_ip),
                "{addr}"
            );
            assert_eq!((told.ecn, bytes), (ecn, &b"bytes"[..]));
        }
        assert!(read_head(b"short").is_none());
    }
}

//! The address that a redirected connection was meant for (`SO_ORIGINAL_DST`, netfilter's REDIRECT).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::TcpStream;

/// The original destination; `None` if the connection was not redirected.
///
/// A connection that came straight to our own port reports that port as its destination: it must not be dialled again,
/// or it would go round for ever.
pub fn of(stream: &TcpStream) -> Option<SocketAddr> {
    let local = stream.local_addr().ok()?;
    let original = match local.ip() {
        IpAddr::V4(_) => v4(stream)?,
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => v4(stream)?,
        IpAddr::V6(_) => v6(stream)?,
    };
    (!is_loop(original, local)).then_some(original)
}

/// Whether dialling `original` would reach the listener that the connection came in by.
fn is_loop(original: SocketAddr, local: SocketAddr) -> bool {
    original.port() == local.port() && original.ip().to_canonical() == local.ip().to_canonical()
}

fn v4(stream: &TcpStream) -> Option<SocketAddr> {
    let raw = getsockopt(stream, sockopt::OriginalDst).ok()?;
    let address = Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr));
    Some(SocketAddr::from((address, u16::from_be(raw.sin_port))))
}

fn v6(stream: &TcpStream) -> Option<SocketAddr> {
    let raw = getsockopt(stream, sockopt::Ip6tOriginalDst).ok()?;
    let address = Ipv6Addr::from(raw.sin6_addr.s6_addr);
    Some(SocketAddr::from((address, u16::from_be(raw.sin6_port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_port_is_no_destination() {
        for (original, local, expected) in [
            ("127.0.0.1:15001", "127.0.0.1:15001", true),
            ("127.0.0.1:15001", "[::ffff:127.0.0.1]:15001", true),
            ("10.0.0.1:80", "127.0.0.1:15001", false),
            ("10.0.0.1:15001", "127.0.0.1:15001", false),
        ] {
            let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
            assert_eq!(is_loop(parse(original), parse(local)), expected, "{original} {local}");
        }
    }
}

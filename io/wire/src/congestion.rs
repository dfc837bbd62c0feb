//! Congestion control of connections that do not leave the machine.
//!
//! Whoever makes BBR the system's congestion control means the network. BBR paces what it sends: the kernel sets a timer for
//! nearly each segment, on loopback too, where there is no path whose rate could be guessed, and sending a long answer then
//! costs many times what copying it does. A sidecar and its application, or an edge and what stands beside it, only ever talk
//! over loopback, so such connections use Reno, which every kernel has and everybody may choose.
//!
//! A connection that BBR has begun is paced to its end, whatever it is told afterwards. So it is settled on the socket that
//! listens on loopback, from which connections inherit it, or before a connection is opened; one that comes over loopback to a
//! socket that listens to everybody stays paced.

use std::net::SocketAddr;
use std::os::fd::AsFd;

/// What connections within the machine use where the system's choice paces.
const WITHIN_MACHINE: &str = "reno";

/// Takes pacing off the connections of a socket that has none yet: one that is bound to `address` and will listen, or that will be
/// connected to it. What the system refuses stays as it is: a paced connection works as well.
pub(crate) fn settle(socket: impl AsFd, address: SocketAddr) {
    if !address.ip().to_canonical().is_loopback() {
        return;
    }
    let socket = socket.as_fd();
    if rustix::net::sockopt::tcp_congestion(socket).is_ok_and(|name| name.starts_with("bbr")) {
        let _ = rustix::net::sockopt::set_tcp_congestion(socket, WITHIN_MACHINE);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use rustix::net::sockopt::{set_tcp_congestion, tcp_congestion};
    use socket2::{Domain, Socket, Type};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{connect, listen, stream};

    /// What this kernel has; as a rule `reno` and `cubic`.
    fn available() -> Vec<String> {
        let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
        text.expect("what the kernel has").split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn within_the_machine_nothing_is_paced_and_everything_else_stays() {
        let addresses = [
            (SocketAddr::from((Ipv4Addr::LOCALHOST, 80)), true),
            (SocketAddr::from((Ipv4Addr::new(127, 8, 9, 10), 80)), true),
            (SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 80)), true),
            (SocketAddr::from((Ipv6Addr::LOCALHOST, 80)), true),
            (SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80)), false),
            (SocketAddr::from((Ipv6Addr::UNSPECIFIED, 80)), false),
            (SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 80)), false),
        ];
        for (name, (address, within)) in available().iter().flat_map(|name| addresses.map(|one| (name, one)))
        {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
            // Whoever may not choose it does not have it either.
            if set_tcp_congestion(&socket, name).is_err() {
                continue;
            }
            settle(&socket, address);
            let expected = if within && name.starts_with("bbr") { WITHIN_MACHINE } else { name };
            assert_eq!(tcp_congestion(&socket).expect("a name"), expected, "{name}, {address}");
        }
    }

    /// Where the system's choice is BBR, this is what keeps both ends from it; elsewhere it is what the system chose.
    #[tokio::test]
    async fn both_ends_of_a_connection_have_it_from_their_beginning() {
        let wait = std::time::Duration::from_secs(5);
        let socket = listen::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false).expect("a socket");
        let listener = TcpListener::from_std(socket).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let named = stream::Address::Tcp(address);
        let (first, second) = tokio::join!(connect::connect(address, wait), stream::connect(&named, wait));
        let stream::Stream::Tcp(second) = second.expect("connected") else { panic!("it is TCP") };
        let mut ends = vec![first.expect("connected"), second];
        for _ in 0..2 {
            ends.push(listen::accept(&listener).await.expect("accepted").0);
        }
        for end in &ends {
            let name = tcp_congestion(end).expect("a name");
            assert!(!name.starts_with("bbr"), "{name}");
        }
    }
}

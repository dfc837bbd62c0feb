//! Where an instance of a node is reached.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use selvedge_model::Key;
use selvedge_translate::{Interception, Proxy};

/// One instance of a virtual node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub mesh: String,
    pub node: String,
    pub spot: Spot,
}

/// Its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spot {
    /// A host, where each of the node's listeners has its own port.
    Host(IpAddr),
    /// One port for all, of a sidecar without interception.
    Port(SocketAddr),
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(ip) => ip.fmt(f),
            Self::Port(address) => address.fmt(f),
        }
    }
}

impl Place {
    /// The place of a node's sidecar that connects from `peer`.
    pub(crate) fn of(key: &Key, proxy: &Proxy, peer: IpAddr) -> Self {
        let spot = match proxy.interception {
            Interception::Redirect => Spot::Host(peer),
            Interception::Direct(_) => Spot::Port(proxy.endpoint(peer, 0)),
        };
        Self { mesh: key.mesh.clone(), node: key.name.clone(), spot }
    }

    /// The least place of a node, in the order of places.
    pub(super) fn first(mesh: &str, node: &str) -> Self {
        let spot = Spot::Host(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Self { mesh: mesh.to_owned(), node: node.to_owned(), spot }
    }

    /// The address of the listener of that port.
    pub fn address(&self, listener_port: u16) -> SocketAddr {
        match self.spot {
            Spot::Host(ip) => SocketAddr::new(ip, listener_port),
            Spot::Port(address) => address,
        }
    }
}

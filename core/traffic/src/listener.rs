//! Listeners: an address, and what happens to the connections that it accepts.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::matching::Cidr;
use crate::{AccessLog, HttpConnection, NetworkFilter, ProxyProtocol, TcpProxy, Transport};

/// A socket with its filter chains.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    pub name: String,
    pub address: SocketAddr,
    /// An IPv6 address also takes IPv4 clients.
    pub ipv4_compat: bool,
    pub direction: Direction,
    /// The intercepted connection's own destination is asked of the kernel and used in the match.
    pub original_dst: bool,
    /// Load balancers say whose connections they pass on.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The first bytes are inspected for TLS, so that a chain can match on SNI.
    pub tls_inspector: bool,
    #[serde(skip_serializing_if = "Inspection::is_default")]
    pub inspection: Inspection,
    /// The most specific match wins: destination port, then server name, then transport.
    pub chains: Vec<FilterChain>,
    /// For connections that no chain takes; without it they are closed.
    pub default_chain: Option<FilterChain>,
    /// One record a connection.
    pub access_logs: Vec<AccessLog>,
}

impl Listener {
    /// Whether the two differ in their filter chains at most.
    pub fn differs_in_chains_alone(&self, other: &Self) -> bool {
        let Self {
            name,
            address,
            ipv4_compat,
            direction,
            original_dst,
            proxy_protocol,
            tls_inspector,
            inspection,
            access_logs,
            chains: _,
            default_chain: _,
        } = self;
        *name == other.name
            && *address == other.address
            && *ipv4_compat == other.ipv4_compat
            && *direction == other.direction
            && *original_dst == other.original_dst
            && *proxy_protocol == other.proxy_protocol
            && *tls_inspector == other.tls_inspector
            && *inspection == other.inspection
            && *access_logs == other.access_logs
    }
}

/// Which connections are inspected, and how long their first bytes are waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Only connections to these ports; empty is all. A client that waits for its server's greeting says nothing first,
    /// and would wait for as long as the inspection does.
    pub only_ports: Vec<u16>,
    /// `None` is 15 s, zero for ever.
    pub timeout: Option<Duration>,
    /// When the time is over, go on as if the connection were a plain one, instead of closing it.
    pub continue_on_timeout: bool,
}

impl Inspection {
    /// Whether a connection to that port is inspected.
    pub fn takes(&self, port: u16) -> bool {
        self.only_ports.is_empty() || self.only_ports.contains(&port)
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Towards the application, or away from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Direction {
    #[default]
    Unspecified,
    Inbound,
    Outbound,
}

/// What to do with one sort of connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilterChain {
    pub name: String,
    pub matches: ChainMatch,
    pub transport: Transport,
    /// In the order in which they judge.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<NetworkFilter>,
    pub network: Network,
}

/// Which connections a chain takes; what is absent matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChainMatch {
    pub destination_port: Option<u16>,
    /// Exact or `*.suffix`.
    pub server_names: Vec<String>,
    pub transport: Option<DetectedTransport>,
    /// Any of those that a TLS client offers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub application_protocols: Vec<String>,
    /// Of the other end of the socket, whatever PROXY protocol says of the client: who may say so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub direct_sources: Vec<Cidr>,
    /// Of the client.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Cidr>,
}

/// What the first bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DetectedTransport {
    Plain,
    Tls,
}

/// The chain's last filter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Network {
    Http(Box<HttpConnection>),
    Tcp(TcpProxy),
}

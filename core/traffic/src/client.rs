//! Who a request's client is, when others stand between it and this proxy: how far `x-forwarded-for` is believed, and
//! which clients count as inside.

use std::net::IpAddr;

use serde::Serialize;

use crate::matching::Cidr;

/// What a connection manager makes of `x-forwarded-for` besides
/// [`use_remote_address`](crate::HttpConnection::use_remote_address).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientAddress {
    /// Proxies in front of this one whose entries are believed (Envoy's `xff_num_trusted_hops`).
    #[serde(skip_serializing_if = "crate::is_default")]
    pub trusted_hops: u32,
    /// The peer's address is not appended.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub skip_append: bool,
    /// Clients whose `x-envoy-*` headers steer retries and time-outs; empty is nobody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub internal: Vec<Cidr>,
    /// In place of the count of hops, where the peer's address is not the client's.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub detection: Option<ClientDetection>,
    /// A request's id is kept even if it comes from outside.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub keep_request_id: bool,
}

/// Finding the client in `x-forwarded-for` (Envoy's `envoy.http.original_ip_detection.xff`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientDetection {
    pub by: DetectBy,
    /// The peer's address is appended.
    pub append: bool,
}

/// Which entry is the client's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum DetectBy {
    /// The last but so many.
    Hops(u32),
    /// The last that is none of these, if the peer itself is one of them; at least one.
    Proxies(Vec<Cidr>),
}

impl ClientAddress {
    /// Whether a client with that address counts as inside.
    pub fn is_internal(&self, address: IpAddr) -> bool {
        self.internal.iter().any(|block| block.contains(address))
    }
}

//! What is judged of a request and its connection.

use std::net::IpAddr;

use selvedge_http::known::HeaderId;
use selvedge_traffic::access::{Connection, Subject};

use crate::request::exchange::Exchange;
use crate::request::view::Request;

/// Everything that access rules look at.
pub(super) fn subject<'a>(x: &'a Exchange<'_>) -> Subject<'a, Request<'a>> {
    Subject {
        request: Some(Request(&x.heads.request)),
        metadata: &x.metadata,
        connection: Connection {
            destination: x.peer.original_dst.unwrap_or(x.peer.local),
            direct_remote: x.peer.remote.ip().to_canonical(),
            remote: client(x),
            server_name: None,
            peer: None,
        },
    }
}

/// The client's address: the peer's, or what the proxy before us says, if this connection manager trusts it (Envoy's
/// `use_remote_address`: false).
pub(super) fn client(x: &Exchange<'_>) -> IpAddr {
    let peer = x.peer.remote.ip().to_canonical();
    if x.manager.config.use_remote_address {
        return peer;
    }
    let last = x.heads.request.fields.all(HeaderId::XForwardedFor).last();
    let forwarded = last.and_then(|line| std::str::from_utf8(line).ok());
    forwarded.and_then(|line| line.rsplit(',').next()?.trim().parse().ok()).unwrap_or(peer)
}

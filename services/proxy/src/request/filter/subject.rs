//! What is judged of a request and its connection.

use std::net::IpAddr;

use selvedge_http::known::HeaderId;
use selvedge_traffic::access::{Connection, PeerIdentity, Subject};

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
            server_name: x.peer.server_name.as_deref(),
            peer: identity(x),
        },
    }
}

/// Who the client proved to be. A certificate that nobody vouched for proves nothing.
fn identity<'a>(x: &'a Exchange<'_>) -> Option<PeerIdentity<'a>> {
    let facts = x.peer.tls.as_ref().filter(|facts| facts.verified)?;
    let certificate = facts.peer.as_ref()?;
    Some(PeerIdentity {
        uri_sans: &certificate.names.uris,
        dns_sans: &certificate.names.dns,
        subject: &certificate.subject,
    })
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

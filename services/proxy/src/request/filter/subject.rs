//! What is judged of a request and its connection.

use std::net::IpAddr;

use selvedge_traffic::access::{Connection, PeerIdentity, Subject};

use crate::request::exchange::{Exchange, Peer};
use crate::request::view::Request;

/// Everything that access rules look at.
pub(super) fn subject<'a>(x: &'a Exchange<'_>) -> Subject<'a, Request<'a>> {
    Subject {
        request: Some(Request(&x.heads.request)),
        metadata: &x.metadata,
        connection: Connection {
            destination: x.peer.original_dst.unwrap_or(x.peer.local),
            source: x.peer.remote.ip().to_canonical(),
            direct_remote: x.peer.direct.ip().to_canonical(),
            remote: client(x),
            server_name: x.peer.server_name.as_deref(),
            peer: identity(x.peer),
        },
    }
}

/// Who the client proved to be. A certificate that nobody vouched for proves nothing.
pub(crate) fn identity(peer: &Peer) -> Option<PeerIdentity<'_>> {
    let facts = peer.tls.as_ref().filter(|facts| facts.verified)?;
    let certificate = facts.peer.as_ref()?;
    Some(PeerIdentity {
        uri_sans: &certificate.names.uris,
        dns_sans: &certificate.names.dns,
        subject: &certificate.subject,
    })
}

/// The client's address: the peer's, or what proxies before us say, as far as they are believed.
pub(super) fn client(x: &Exchange<'_>) -> IpAddr {
    x.client.ip().to_canonical()
}

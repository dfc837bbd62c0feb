//! What a proxy adds to a request and what it takes away because only a trusted hop may say it (Envoy's
//! `ConnectionManagerUtility::mutateRequestHeaders`).

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::head::RequestHead;
use crate::known::HeaderId;
use crate::request_id::{self, ID_BYTES};

/// Where a request came from, and how far that is believed.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    pub peer: IpAddr,
    /// The peer is the client itself: its address is appended to `x-forwarded-for`, and its ids are not believed.
    pub use_remote_address: bool,
    /// What stands for a loopback peer in `x-forwarded-for`: this node's own address.
    pub node_address: Option<IpAddr>,
    pub tls: bool,
}

/// Headers that steer this proxy; from outside they are dropped. No address counts as inside unless configured so,
/// which is what Envoy 1.40 does.
const STEERING: &[HeaderId] = &[
    HeaderId::XEnvoyRetryOn,
    HeaderId::XEnvoyRetryGrpcOn,
    HeaderId::XEnvoyMaxRetries,
    HeaderId::XEnvoyUpstreamRqTimeoutMs,
    HeaderId::XEnvoyUpstreamRqPerTryTimeoutMs,
    HeaderId::XEnvoyUpstreamRqTimeoutAltResponse,
    HeaderId::XEnvoyExpectedRqTimeoutMs,
    HeaderId::XEnvoyHedgeOnPerTryTimeout,
    HeaderId::XEnvoyRetriableHeaderNames,
    HeaderId::XEnvoyRetriableStatusCodes,
    HeaderId::XEnvoyIpTags,
    HeaderId::XEnvoyOriginalUrl,
    HeaderId::XEnvoyForceTrace,
    HeaderId::XEnvoyInternal,
    // Sanitize is the default of forward_client_cert_details.
    HeaderId::XForwardedClientCert,
];

/// Brings the headers of an incoming request into the state in which they are routed and passed on. `random` becomes the
/// request id where one is needed; the id in use is returned by reading `x-request-id`.
pub fn request(head: &mut RequestHead, origin: &Origin, random: impl FnOnce() -> u128) {
    let fields = &mut head.fields;
    if fields.iter_ids().any(|(id, _, _)| STEERING.contains(&id)) {
        fields.retain(|id, _, _| !STEERING.contains(&id));
    }
    if origin.use_remote_address {
        append_forwarded_for(head, origin);
        let fields = &mut head.fields;
        fields.retain(|id, _, _| {
            !matches!(
                id,
                HeaderId::XRequestId
                    | HeaderId::XEnvoyDecoratorOperation
                    | HeaderId::XEnvoyDownstreamServiceCluster
                    | HeaderId::XEnvoyDownstreamServiceNode
                    | HeaderId::XForwardedProto
            )
        });
    }
    let fields = &mut head.fields;
    if !fields.contains(HeaderId::XForwardedProto) {
        fields.append_id(HeaderId::XForwardedProto, if origin.tls { b"https" } else { b"http" });
    }
    if origin.use_remote_address {
        fields.set_id(HeaderId::XEnvoyExternalAddress, Address::of(origin.peer).as_bytes());
    }
    if !fields.contains(HeaderId::XRequestId) {
        let id: [u8; ID_BYTES] = request_id::from_random(random());
        fields.append_id(HeaderId::XRequestId, &id);
    }
}

fn append_forwarded_for(head: &mut RequestHead, origin: &Origin) {
    let peer =
        if origin.peer.is_loopback() { origin.node_address.unwrap_or(origin.peer) } else { origin.peer };
    let mut joined: Vec<u8> = Vec::new();
    for value in head.fields.all(HeaderId::XForwardedFor) {
        joined.extend_from_slice(value);
        joined.push(b',');
    }
    joined.extend_from_slice(Address::of(peer).as_bytes());
    head.fields.set_id(HeaderId::XForwardedFor, &joined);
}

/// An address as text, without allocation.
struct Address {
    bytes: [u8; 46],
    len: usize,
}

impl Address {
    fn of(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; 46], len: 0 };
        // The longest address has 45 characters.
        let _ = write!(text, "{address}");
        text
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl std::fmt::Write for Address {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pairs: &[(&str, &str)], origin: &Origin) -> Vec<(String, String)> {
        let mut head = RequestHead::default();
        for (name, value) in pairs {
            head.fields.append(name.as_bytes(), value.as_bytes());
        }
        request(&mut head, origin, || 0);
        head.fields.iter().map(|(n, v)| (n.to_owned(), String::from_utf8_lossy(v).into_owned())).collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    const ID: &str = "00000000-0000-4000-8000-000000000000";

    #[test]
    fn a_sidecar_adds_protocol_and_id_and_believes_no_steering_header() {
        let origin = Origin {
            peer: IpAddr::from([127, 0, 0, 1]),
            use_remote_address: false,
            node_address: None,
            tls: false,
        };
        assert_eq!(after(&[], &origin), owned(&[("x-forwarded-proto", "http"), ("x-request-id", ID)]));
        assert_eq!(
            after(&[("x-envoy-retry-on", "5xx"), ("x-envoy-foo", "1"), ("x-request-id", "abc")], &origin),
            owned(&[("x-envoy-foo", "1"), ("x-request-id", "abc"), ("x-forwarded-proto", "http")])
        );
        assert_eq!(
            after(&[("x-forwarded-client-cert", "By=x")], &origin),
            owned(&[("x-forwarded-proto", "http"), ("x-request-id", ID)])
        );
    }

    #[test]
    fn an_edge_appends_the_peer_and_replaces_the_id() {
        let node = Some(IpAddr::from([192, 0, 2, 2]));
        let origin = Origin {
            peer: IpAddr::from([127, 0, 0, 1]),
            use_remote_address: true,
            node_address: node,
            tls: true,
        };
        assert_eq!(
            after(
                &[("x-forwarded-for", "1.2.3.4"), ("x-request-id", "abc"), ("x-forwarded-proto", "ftp")],
                &origin
            ),
            owned(&[
                ("x-forwarded-for", "1.2.3.4,192.0.2.2"),
                ("x-forwarded-proto", "https"),
                ("x-envoy-external-address", "127.0.0.1"),
                ("x-request-id", ID),
            ])
        );
    }
}

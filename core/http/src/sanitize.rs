//! What a proxy adds to a request and what it takes away because only a trusted hop may say it (Envoy's
//! `ConnectionManagerUtility::mutateRequestHeaders`).

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::fields::Fields;
use crate::head::RequestHead;
use crate::known::HeaderId;
use crate::request_id::{self, ID_BYTES};

/// Where a request came from, and how far that is believed.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    pub peer: IpAddr,
    /// The peer's address is appended to `x-forwarded-for`, and unless others are trusted it is the client itself: its
    /// ids are not believed.
    pub use_remote_address: bool,
    /// What stands for a loopback peer in `x-forwarded-for`: this node's own address.
    pub node_address: Option<IpAddr>,
    pub tls: bool,
    /// With `use_remote_address`: proxies before this one whose entries in `x-forwarded-for` are believed, the peer among
    /// them.
    pub trusted_hops: u32,
    /// With `use_remote_address`: the peer's address is not appended.
    pub skip_append: bool,
    /// Without `use_remote_address`: which entry is the client's.
    pub detection: Detection<'a>,
    /// Without `use_remote_address`: the peer's address is appended.
    pub append_detected: bool,
    /// Whether a client with that address counts as inside, where its headers may steer this proxy.
    pub is_internal: &'a dyn Fn(IpAddr) -> bool,
    /// A request's id is kept even if it comes from outside.
    pub keep_request_id: bool,
}

/// Which entry of `x-forwarded-for` is the client's.
#[derive(Clone, Copy)]
pub enum Detection<'a> {
    /// The last but so many.
    Hops(u32),
    /// The last that is no trusted proxy's, if the peer is one of them.
    Proxies(&'a dyn Fn(IpAddr) -> bool),
}

/// Whom a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// `None`: the peer's own.
    pub address: Option<IpAddr>,
    /// It counts as inside: its headers steer this proxy.
    pub internal: bool,
}

/// Whether the header steers this proxy, and so is taken off before the request is passed on.
pub fn is_steering(id: HeaderId) -> bool {
    matches!(
        id,
        HeaderId::XEnvoyRetryOn
            | HeaderId::XEnvoyRetryGrpcOn
            | HeaderId::XEnvoyMaxRetries
            | HeaderId::XEnvoyUpstreamRqTimeoutMs
            | HeaderId::XEnvoyUpstreamRqPerTryTimeoutMs
            | HeaderId::XEnvoyUpstreamRqTimeoutAltResponse
            | HeaderId::XEnvoyHedgeOnPerTryTimeout
            | HeaderId::XEnvoyRetriableHeaderNames
            | HeaderId::XEnvoyRetriableStatusCodes
            | HeaderId::XEnvoyForceTrace
    )
}

/// Whether nobody outside may say it. What a caller inside expects of the whole is for whoever answers.
fn is_for_insiders(id: HeaderId) -> bool {
    is_steering(id)
        || matches!(
            id,
            HeaderId::XEnvoyExpectedRqTimeoutMs | HeaderId::XEnvoyIpTags | HeaderId::XEnvoyOriginalUrl
        )
}

/// Whether only this proxy may say it: it is dropped from whomever it comes.
fn is_ours(id: HeaderId) -> bool {
    matches!(id, HeaderId::XEnvoyInternal | HeaderId::XForwardedClientCert)
}

/// Brings the headers of an incoming request into the state in which they are routed and passed on, and finds out who
/// its client is. `random` becomes the request id where one is needed; the id in use is returned by reading
/// `x-request-id`.
pub fn request(head: &mut RequestHead, origin: &Origin<'_>, random: impl FnOnce() -> u128) -> Client {
    let client = client(head, origin);
    let fields = &mut head.fields;
    let drops = |id: HeaderId| is_ours(id) || !client.internal && is_for_insiders(id);
    if fields.iter_ids().any(|(id, _, _)| drops(id)) {
        fields.retain(|id, _, _| !drops(id));
    }
    let appends = if origin.use_remote_address { !origin.skip_append } else { origin.append_detected };
    if appends {
        append_forwarded_for(head, origin);
    }
    let fields = &mut head.fields;
    let edge = origin.use_remote_address && !client.internal;
    if origin.use_remote_address && origin.trusted_hops == 0 {
        fields.remove(HeaderId::XForwardedProto);
    }
    if edge {
        fields.retain(|id, _, _| match id {
            HeaderId::XRequestId => origin.keep_request_id,
            HeaderId::XEnvoyDecoratorOperation
            | HeaderId::XEnvoyDownstreamServiceCluster
            | HeaderId::XEnvoyDownstreamServiceNode => false,
            _ => true,
        });
    }
    if !fields.contains(HeaderId::XForwardedProto) {
        fields.append_id(HeaderId::XForwardedProto, if origin.tls { b"https" } else { b"http" });
    }
    if client.internal {
        fields.append_id(HeaderId::XEnvoyInternal, b"true");
    } else if edge {
        let address = client.address.unwrap_or(origin.peer);
        fields.set_id(HeaderId::XEnvoyExternalAddress, Address::of(address).as_bytes());
    }
    if !fields.contains(HeaderId::XRequestId) {
        let id: [u8; ID_BYTES] = request_id::from_random(random());
        fields.append_id(HeaderId::XRequestId, &id);
    }
    client
}

/// Who the client is, before anything is appended to `x-forwarded-for`.
fn client(head: &RequestHead, origin: &Origin<'_>) -> Client {
    let fields = &head.fields;
    let forwarded = fields.contains(HeaderId::XForwardedFor);
    let (address, alone) = match origin.detection {
        _ if origin.use_remote_address => {
            let trusted = origin.trusted_hops.checked_sub(1);
            (trusted.and_then(|skipped| last_but(fields, skipped)), !forwarded)
        }
        Detection::Hops(hops) if forwarded => {
            let alone = hops == 0 && entries(fields).nth(1).is_none();
            (last_but(fields, hops), alone)
        }
        Detection::Proxies(trusted) if forwarded && trusted(origin.peer) => behind_proxies(fields, trusted),
        Detection::Hops(_) | Detection::Proxies(_) => (None, false),
    };
    // A list of one is what a client inside has, or one that nobody has passed on yet; a longer one came from further.
    let judged = if origin.use_remote_address { Some(address.unwrap_or(origin.peer)) } else { address };
    let internal = alone && judged.is_some_and(|address| (origin.is_internal)(address));
    Client { address, internal }
}

/// The entries of `x-forwarded-for` from the last to the first, over all its lines.
fn entries(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    let lines = fields.all(HeaderId::XForwardedFor).rev();
    lines.flat_map(|line| line.rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn last_but(fields: &Fields, skipped: u32) -> Option<IpAddr> {
    address(entries(fields).nth(usize::try_from(skipped).ok()?)?)
}

/// The last entry that is no trusted proxy's, or the first of all if they are all trusted; whether it is the only one.
fn behind_proxies(fields: &Fields, trusted: &dyn Fn(IpAddr) -> bool) -> (Option<IpAddr>, bool) {
    let mut last = None;
    for (at, entry) in entries(fields).enumerate() {
        let Some(address) = address(entry) else { break };
        last = Some(address);
        if !trusted(address) {
            let alone = at == 0 && entries(fields).nth(1).is_none();
            return (last, alone);
        }
    }
    (last, false)
}

fn address(entry: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(entry).ok()?.parse().ok()
}

fn append_forwarded_for(head: &mut RequestHead, origin: &Origin<'_>) {
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

    fn after(pairs: &[(&str, &str)], origin: &Origin<'_>) -> Vec<(String, String)> {
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

    fn origin(peer: [u8; 4]) -> Origin<'static> {
        Origin {
            peer: IpAddr::from(peer),
            use_remote_address: false,
            node_address: None,
            tls: false,
            trusted_hops: 0,
            skip_append: false,
            detection: Detection::Hops(0),
            append_detected: false,
            is_internal: &|address| matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10),
            keep_request_id: false,
        }
    }

    #[test]
    fn a_sidecar_adds_protocol_and_id_and_believes_no_steering_header() {
        let origin = origin([127, 0, 0, 1]);
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
        let origin =
            Origin { use_remote_address: true, node_address: node, tls: true, ..origin([127, 0, 0, 1]) };
        let from = &[("x-forwarded-for", "1.2.3.4"), ("x-request-id", "abc"), ("x-forwarded-proto", "ftp")];
        assert_eq!(
            after(from, &origin),
            owned(&[
                ("x-forwarded-for", "1.2.3.4,192.0.2.2"),
                ("x-forwarded-proto", "https"),
                ("x-envoy-external-address", "127.0.0.1"),
                ("x-request-id", ID),
            ])
        );
        let believing = Origin { trusted_hops: 1, skip_append: true, keep_request_id: true, ..origin };
        assert_eq!(
            after(from, &believing),
            owned(&[
                ("x-forwarded-for", "1.2.3.4"),
                ("x-request-id", "abc"),
                ("x-forwarded-proto", "ftp"),
                ("x-envoy-external-address", "1.2.3.4"),
            ])
        );
    }

    #[test]
    fn the_client_is_found_as_far_as_others_are_believed() {
        let proxies: &dyn Fn(IpAddr) -> bool =
            &|address| matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 172);
        let remote = Origin { use_remote_address: true, ..origin([10, 0, 0, 1]) };
        let behind = |peer| Origin { detection: Detection::Proxies(proxies), ..origin(peer) };
        let hops = |hops| Origin { detection: Detection::Hops(hops), ..origin([9, 9, 9, 9]) };
        let rows: &[(Origin<'_>, &[&str], Option<&str>, bool)] = &[
            // The peer is the client: inside only if nobody passed the request on.
            (remote, &[], None, true),
            (remote, &["10.1.1.1"], None, false),
            (Origin { trusted_hops: 1, ..remote }, &["1.1.1.1, 2.2.2.2"], Some("2.2.2.2"), false),
            (Origin { trusted_hops: 2, ..remote }, &["1.1.1.1, 2.2.2.2"], Some("1.1.1.1"), false),
            (Origin { trusted_hops: 3, ..remote }, &["1.1.1.1, 2.2.2.2"], None, false),
            (hops(0), &[], None, false),
            (hops(0), &["10.1.1.1"], Some("10.1.1.1"), true),
            (hops(0), &["8.8.8.8,10.1.1.1"], Some("10.1.1.1"), false),
            (hops(0), &["8.8.8.8", "10.1.1.1"], Some("10.1.1.1"), false),
            (hops(1), &["8.8.8.8", "10.1.1.1"], Some("8.8.8.8"), false),
            (hops(0), &["busted"], None, false),
            (hops(0), &["1.1.1.1, "], None, false),
            (behind([172, 0, 0, 1]), &["10.1.1.1, 172.1.1.1"], Some("10.1.1.1"), false),
            (behind([172, 0, 0, 1]), &["10.1.1.1"], Some("10.1.1.1"), true),
            (behind([172, 0, 0, 1]), &["6.6.6.6, 5.5.5.5, 172.1.1.1"], Some("5.5.5.5"), false),
            (behind([172, 0, 0, 1]), &["172.2.2.2, 172.1.1.1"], Some("172.2.2.2"), false),
            (behind([9, 0, 0, 1]), &["10.1.1.1"], None, false),
        ];
        for (origin, lines, address, internal) in rows {
            let mut head = RequestHead::default();
            for line in *lines {
                head.fields.append(b"x-forwarded-for", line.as_bytes());
            }
            let found = request(&mut head, origin, || 0);
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(found, Client { address, internal: *internal }, "{lines:?}");
            assert_eq!(head.fields.contains(HeaderId::XEnvoyInternal), *internal, "{lines:?}");
        }
    }

    #[test]
    fn headers_of_a_client_inside_steer() {
        let inside = Origin { use_remote_address: true, ..origin([10, 0, 0, 1]) };
        assert_eq!(
            after(&[("x-envoy-retry-on", "5xx"), ("x-envoy-internal", "false")], &inside),
            owned(&[
                ("x-envoy-retry-on", "5xx"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("x-envoy-internal", "true"),
                ("x-request-id", ID),
            ])
        );
    }
}

//! Who a request comes from, when others passed it on: `extforward.*`, `proxy.forwarded`, `proxy.header`.

use std::sync::Arc;

use super::reading::{Reading, boolean, keyed, named_texts, truth};
use super::{Named, Text, Texts};
use crate::condition::Network;
use crate::value::Value;

/// `extforward.forwarder`: whose forwarding headers are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarder {
    /// `"all" => "trust"`, or nobody.
    pub all: Option<bool>,
    /// Names and networks, and whether each is believed; an exact address counts before a network.
    pub peers: Arc<[(Trust, bool)]>,
    /// Whoever is not believed has no say: someone is named, or the form is our own, where that holds always.
    pub configured: bool,
}

/// A peer by address, or by another name, such as a socket's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// One address.
    Address(std::net::IpAddr),
    /// A network.
    Network(Network),
    /// Anything else.
    Name(Text),
}

/// What of `Forwarded` is taken besides `for`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardedParts {
    /// `host`.
    pub host: bool,
    /// `remote_user`.
    pub remote_user: bool,
}

/// `proxy.forwarded`: what a `Forwarded` header is made of; none is sent when all are off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// `by`.
    pub by: bool,
    /// `for`.
    pub for_client: bool,
    /// `host`.
    pub host: bool,
    /// `proto`.
    pub proto: bool,
    /// `remote_user`.
    pub remote_user: bool,
}

/// `proxy.header`: how headers are changed on the way to a backend and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Prefixes of paths and what they become for the backend; the other way round in answers.
    pub map_urlpath: Named<Text>,
    /// Hosts and what they become for the backend; `-` stands for the request's own.
    pub map_host_request: Named<Text>,
    /// Hosts of answers and what they become for the client; `-` stands for the request's own.
    pub map_host_response: Named<Text>,
    /// Whether `https://` in requests becomes `http://`, and back.
    pub https_remap: bool,
    /// Whether HTTP/1.0 is spoken.
    pub force_http10: bool,
    /// Whether connections may be upgraded.
    pub upgrade: bool,
    /// Whether CONNECT is passed on.
    pub connect: bool,
}

impl Default for ProxyHeader {
    fn default() -> Self {
        Self {
            map_urlpath: Arc::from([]),
            map_host_request: Arc::from([]),
            map_host_response: Arc::from([]),
            https_remap: false,
            force_http10: false,
            upgrade: false,
            connect: false,
        }
    }
}

impl Forwarder {
    /// Whether forwarding headers of this peer are believed.
    pub fn trusts(&self, peer: std::net::IpAddr) -> bool {
        let peer = peer.to_canonical();
        if let Some(all) = self.all {
            return all;
        }
        let exact =
            self.peers.iter().find(|(trust, _)| matches!(trust, Trust::Address(address) if *address == peer));
        let network = || {
            self.peers
                .iter()
                .find(|(trust, _)| matches!(trust, Trust::Network(network) if network.contains(peer)))
        };
        exact.or_else(network).is_some_and(|(_, trusted)| *trusted)
    }

    /// Whether a peer with another name, such as a socket in the file system, is believed.
    pub fn trusts_name(&self, name: &str) -> bool {
        self.all.unwrap_or_else(|| {
            let named = |(trust, trusted): &(Trust, bool)| {
                *trusted && matches!(trust, Trust::Name(found) if **found == *name)
            };
            self.peers.iter().any(named)
        })
    }
}

pub(super) fn default_headers() -> Texts {
    Arc::from(["X-Forwarded-For".into(), "Forwarded-For".into()])
}

pub(super) fn forwarder(value: &Value, reading: &mut Reading<'_>) -> Result<Forwarder, String> {
    let named = named_texts(value, reading)?;
    let mut forwarder = Forwarder { all: None, peers: Arc::from([]), configured: !named.is_empty() };
    let mut peers = Vec::new();
    for (name, text) in &*named {
        let trusted = if **name == *"all" {
            **text == *"trust" || truth(&Value::Text(text.clone())).unwrap_or(false)
        } else {
            match &**text {
                "trust" => true,
                "untrusted" => false,
                other => {
                    let trusted = truth(&Value::Text(other.into())).unwrap_or(false);
                    if !trusted {
                        reading.warn(format!(
                            "extforward.forwarder: {name} => {other} is taken for untrusted: write \"trust\" or \"untrusted\""
                        ));
                    }
                    trusted
                }
            }
        };
        if **name == *"all" {
            forwarder.all = Some(trusted);
            continue;
        }
        let trust = if name.contains('/') && !name.starts_with('/') {
            let network = Network::parse(name).ok_or_else(|| {
                format!("ERROR: invalid IP address or netmask in extforward.forwarder: {name}")
            })?;
            Trust::Network(network)
        } else if let Ok(address) = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            Trust::Address(address.to_canonical())
        } else {
            Trust::Name(name.clone())
        };
        peers.push((trust, trusted));
    }
    forwarder.peers = peers.into();
    Ok(forwarder)
}

pub(super) fn params(value: &Value, reading: &mut Reading<'_>) -> Result<ForwardedParts, String> {
    let mut parts = ForwardedParts::default();
    for (key, value) in keyed(value, reading)?.iter() {
        let key = key.map_or("", |key| &**key);
        let on = truth(value).ok_or_else(|| {
            format!("extforward.params values must be one of: 0, 1, enable, disable; error for key: {key}")
        })?;
        match key {
            "host" => parts.host = on,
            "remote_user" => parts.remote_user = on,
            other => {
                return Err(format!(
                    "extforward.params keys must be one of: host, remote_user, but not: {other}"
                ));
            }
        }
    }
    Ok(parts)
}

pub(super) fn forwarded(value: &Value, reading: &mut Reading<'_>) -> Result<Forwarded, String> {
    let mut forwarded = Forwarded::default();
    for (key, value) in keyed(value, reading)?.iter() {
        let key = key.map_or("", |key| &**key);
        let on = truth(value).ok_or_else(|| {
            format!("proxy.forwarded values must be one of: 0, 1, enable, disable; error for key: {key}")
        })?;
        match key {
            "by" => forwarded.by = on,
            "for" => forwarded.for_client = on,
            "host" => forwarded.host = on,
            "proto" => forwarded.proto = on,
            "remote_user" => forwarded.remote_user = on,
            other => {
                return Err(format!(
                    "proxy.forwarded keys must be one of: by, for, host, proto, remote_user, but not: {other}"
                ));
            }
        }
    }
    Ok(forwarded)
}

pub(super) fn proxy_header(value: &Value, reading: &mut Reading<'_>) -> Result<ProxyHeader, String> {
    let mut header = ProxyHeader::default();
    for (key, value) in keyed(value, reading)?.iter() {
        let key = key.map_or("", |key| &**key);
        let switch = || {
            truth(value).ok_or_else(|| {
                format!("unexpected value for proxy.header; expected \"{key}\" => \"enable\" or \"disable\"")
            })
        };
        let near = || {
            format!(
                "unexpected value for proxy.header; expected ( \"param\" => ( \"key\" => \"value\" ) ) near key {key}"
            )
        };
        match key {
            "https-remap" => header.https_remap = switch()?,
            "force-http10" => header.force_http10 = switch()?,
            "upgrade" => header.upgrade = switch()?,
            "connect" => header.connect = switch()?,
            "map-urlpath" => header.map_urlpath = named_texts(value, reading).map_err(|_| near())?,
            "map-host-request" => {
                header.map_host_request = named_texts(value, reading).map_err(|_| near())?
            }
            "map-host-response" => {
                header.map_host_response = named_texts(value, reading).map_err(|_| near())?
            }
            _ => return Err(near()),
        }
    }
    Ok(header)
}

/// Whoever counts on a load balancer's word for certificates has to know that it is not taken.
pub(super) fn verified_elsewhere(value: &Value, reading: &mut Reading<'_>) -> Result<bool, String> {
    let asked = boolean(value, reading)?;
    if asked {
        reading.warn(format!(
            "{}: certificates that a load balancer has verified make nobody known here; end TLS here, with ssl.verifyclient",
            reading.key
        ));
    }
    Ok(asked)
}

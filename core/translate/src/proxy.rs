//! The proxy that a translation is for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use selvedge_model::{Key, Kind};
use serde_json::{Map, Value};

/// A sidecar or a gateway: which resource it stands for, and how connections reach it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proxy {
    pub kind: ProxyKind,
    /// The virtual node's or virtual gateway's name.
    pub name: String,
    pub interception: Interception,
    /// It says in which zone it stands.
    pub in_zone: bool,
}

/// What a proxy stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyKind {
    VirtualNode,
    VirtualGateway,
}

/// How connections reach a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interception {
    /// The kernel redirects the application's connections to ports 15000 and 15001, as under App Mesh.
    #[default]
    Redirect,
    /// Nothing is redirected: callers connect to the proxy's own ports.
    Direct(Direct),
}

/// The ports of a proxy without interception.
///
/// As node metadata:
/// `{"selvedge": {"interception": "none", "bind": "127.0.0.1", "ingress_port": 31000, "egress_port": 31001,
/// "app_host": "127.0.0.1", "app_port": {"8080": 31234}, "advertise": "10.0.0.7"}}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Direct {
    /// Where both listeners listen; default 127.0.0.1.
    pub bind: IpAddr,
    /// For a node its first listener, for a gateway likewise.
    pub ingress_port: u16,
    /// Every HTTP backend by its host name.
    pub egress_port: u16,
    /// Where the application listens; default 127.0.0.1.
    pub app_host: IpAddr,
    /// The application's own port for a declared listener port, where they differ.
    pub app_ports: BTreeMap<u16, u16>,
    /// The address that callers are given; default: `bind` if it is one address, else the address that the proxy
    /// connects from.
    pub advertise: Option<IpAddr>,
}

/// Node metadata or a resource that makes no proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyInvalid {
    #[error("{0} has no proxy: it is neither a virtual node nor a virtual gateway")]
    Kind(Key),
    #[error("the interception {0:?} is neither \"redirect\" nor \"none\"")]
    Interception(String),
    #[error("ingress_port and egress_port are both {0}")]
    SamePort(u16),
    #[error("{member} is missing or not {expected}")]
    Member { member: String, expected: &'static str },
}

/// Where interception leads incoming connections.
pub const INGRESS_PORT: u16 = 15000;
/// Where interception leads outgoing connections.
pub const EGRESS_PORT: u16 = 15001;
/// Entries of `app_port`; more than any node has listeners.
pub const APP_PORTS_MAX: usize = 256;

impl Proxy {
    /// An intercepting sidecar of a node.
    pub fn node(name: &str) -> Self {
        Self {
            kind: ProxyKind::VirtualNode,
            name: name.to_owned(),
            interception: Interception::Redirect,
            in_zone: false,
        }
    }

    /// A gateway.
    pub fn gateway(name: &str) -> Self {
        Self { kind: ProxyKind::VirtualGateway, ..Self::node(name) }
    }

    /// The proxy of a resource, with the node metadata that it sent (an object, or null).
    ///
    /// # Errors
    /// When the resource is of a kind without proxies, or the metadata's `selvedge` member is not as [`Direct`] shows.
    pub fn of(key: &Key, metadata: &Value) -> Result<Self, ProxyInvalid> {
        let kind = match key.kind {
            Kind::VirtualNode => ProxyKind::VirtualNode,
            Kind::VirtualGateway => ProxyKind::VirtualGateway,
            _ => return Err(ProxyInvalid::Kind(key.clone())),
        };
        let interception = match metadata.get("selvedge") {
            Some(Value::Object(own)) => Interception::parse(own)?,
            _ => Interception::Redirect,
        };
        Ok(Self { kind, name: key.name.clone(), interception, in_zone: false })
    }

    /// The resource that it stands for.
    pub fn key(&self, mesh: &str) -> Key {
        let kind = match self.kind {
            ProxyKind::VirtualNode => Kind::VirtualNode,
            ProxyKind::VirtualGateway => Kind::VirtualGateway,
        };
        Key::in_mesh(mesh, kind, &self.name)
    }

    pub(crate) fn direct(&self) -> Option<&Direct> {
        match &self.interception {
            Interception::Redirect => None,
            Interception::Direct(direct) => Some(direct),
        }
    }

    /// Where others reach this node's listener: what its sidecar registers as an endpoint. `peer` is the address that
    /// the sidecar connects from.
    pub fn endpoint(&self, peer: IpAddr, listener_port: u16) -> SocketAddr {
        match self.direct() {
            None => SocketAddr::new(peer, listener_port),
            Some(direct) => {
                let bound = (!direct.bind.is_unspecified()).then_some(direct.bind);
                SocketAddr::new(direct.advertise.or(bound).unwrap_or(peer), direct.ingress_port)
            }
        }
    }
}

impl Interception {
    fn parse(own: &Map<String, Value>) -> Result<Self, ProxyInvalid> {
        match own.get("interception").and_then(Value::as_str).unwrap_or("redirect") {
            "redirect" => Ok(Self::Redirect),
            "none" => Direct::parse(own).map(Self::Direct),
            other => Err(ProxyInvalid::Interception(other.chars().take(32).collect())),
        }
    }
}

impl Direct {
    fn parse(own: &Map<String, Value>) -> Result<Self, ProxyInvalid> {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let required = |member: &str| match own.get(member) {
            Some(value) => port(member, value),
            None => Err(ProxyInvalid::Member { member: member.to_owned(), expected: "a port" }),
        };
        let (ingress_port, egress_port) = (required("ingress_port")?, required("egress_port")?);
        if ingress_port == egress_port {
            return Err(ProxyInvalid::SamePort(ingress_port));
        }
        Ok(Self {
            bind: address(own, "bind")?.unwrap_or(localhost),
            ingress_port,
            egress_port,
            app_host: address(own, "app_host")?.unwrap_or(localhost),
            app_ports: app_ports(own.get("app_port"))?,
            advertise: address(own, "advertise")?,
        })
    }

    /// The application's port behind a declared listener port.
    pub fn app_port(&self, listener_port: u16) -> u16 {
        self.app_ports.get(&listener_port).copied().unwrap_or(listener_port)
    }
}

fn address(own: &Map<String, Value>, member: &str) -> Result<Option<IpAddr>, ProxyInvalid> {
    let invalid = || ProxyInvalid::Member { member: member.to_owned(), expected: "an IP address" };
    match own.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_str().and_then(|text| text.parse().ok()).map(Some).ok_or_else(invalid),
    }
}

/// Node metadata travels as a protobuf struct, whose numbers are floating: 8080.0 is a port too.
fn port(member: &str, value: &Value) -> Result<u16, ProxyInvalid> {
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && (1.0..=65535.0).contains(number));
    number
        .map(|number| number as u16)
        .ok_or_else(|| ProxyInvalid::Member { member: member.to_owned(), expected: "a port" })
}

fn app_ports(value: Option<&Value>) -> Result<BTreeMap<u16, u16>, ProxyInvalid> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(BTreeMap::new()) };
    let invalid = |member: &str| ProxyInvalid::Member {
        member: format!("app_port{member}"),
        expected: "a map from declared ports to the application's",
    };
    let ports = value.as_object().filter(|ports| ports.len() <= APP_PORTS_MAX).ok_or_else(|| invalid(""))?;
    let entry = |(declared, own): (&String, &Value)| {
        let declared_port = declared.parse().map_err(|_| invalid(&format!(".{declared}")))?;
        Ok((declared_port, port(&format!("app_port.{declared}"), own)?))
    };
    ports.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(kind: Kind) -> Key {
        Key::in_mesh("m", kind, "n")
    }

    #[test]
    fn metadata_makes_a_direct_proxy() {
        let metadata = json!({"selvedge": {
            "interception": "none", "ingress_port": 31000.0, "egress_port": 31001,
            "app_port": {"8080": 31234},
        }});
        let proxy = Proxy::of(&key(Kind::VirtualNode), &metadata).expect("valid metadata");
        let direct = proxy.direct().expect("no interception");
        assert_eq!((direct.app_port(8080), direct.app_port(9090)), (31234, 9090));
        let peer = IpAddr::from([10, 0, 0, 9]);
        assert_eq!(proxy.endpoint(peer, 8080).to_string(), "127.0.0.1:31000");
        assert_eq!(Proxy::node("n").endpoint(peer, 8080).to_string(), "10.0.0.9:8080");
    }

    #[test]
    fn without_metadata_connections_are_redirected() {
        for metadata in
            [json!(null), json!({}), json!({"selvedge": {}}), json!({"aws.appmesh.platformInfo": {}})]
        {
            assert_eq!(Proxy::of(&key(Kind::VirtualGateway), &metadata), Ok(Proxy::gateway("n")));
        }
    }

    #[test]
    fn what_makes_no_proxy_is_refused_by_member() {
        let direct = |change: &str, value: Value| {
            let mut own = json!({"interception": "none", "ingress_port": 1, "egress_port": 2});
            own[change] = value;
            Proxy::of(&key(Kind::VirtualNode), &json!({ "selvedge": own })).map_err(|error| error.to_string())
        };
        for (member, value) in [
            ("interception", json!("some")),
            ("bind", json!("localhost")),
            ("ingress_port", json!(0)),
            ("ingress_port", json!(80.5)),
            ("egress_port", json!(65536)),
            ("egress_port", json!("80")),
            ("egress_port", json!(1)),
            ("app_port", json!([8080])),
            ("app_port", json!({"x": 1})),
            ("app_port", json!({"80": -1})),
        ] {
            let error = direct(member, value).expect_err(member);
            assert!(error.contains(member), "{error}");
        }
        assert!(Proxy::of(&key(Kind::Route), &json!(null)).is_err());
    }
}

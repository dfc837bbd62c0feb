//! What to listen on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::condition::ConditionId;
use crate::directive::{Socket, Ssl};

/// A socket to listen on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where.
    pub address: ListenAddress,
    /// What conditions on `$SERVER["socket"]` see: `0.0.0.0:80`, `[::]:443`, `/path`.
    pub token: Arc<str>,
    /// How.
    pub socket: Socket,
    /// TLS on this socket, when its engine is on. What depends on the server name comes from resolving with it.
    pub ssl: Ssl,
    /// Whether connections of trusted peers begin with the PROXY protocol.
    pub proxy_protocol: bool,
    /// The block that opened it; `None` for the global port.
    pub condition: Option<ConditionId>,
    /// Whether HTTP/1 is spoken.
    pub http1: bool,
    /// Whether HTTP/2 is: where a client asks for it in its TLS handshake, or by prior knowledge in the clear.
    pub http2: bool,
    /// Whether HTTP/3 is, over UDP.
    pub http3: bool,
    /// Whether it is only there where systemd hands over no sockets: the global port, with nothing bound, of a configuration
    /// that takes sockets from systemd.
    pub spare: bool,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and a port.
    Inet(SocketAddr),
    /// A host name, whose first address counts.
    Name {
        /// The name.
        host: Arc<str>,
        /// The port.
        port: u16,
        /// Whether an IPv6 address is looked for.
        ipv6: bool,
    },
    /// A socket in the file system; one that begins with `\x00` is abstract.
    Unix(Arc<str>),
}

impl ListenAddress {
    /// `:80`, `host:80`, `[::]:80`, `*:80`, `/path`; without a port, `default_port` counts.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, default_port: u16, use_ipv6: bool) -> Result<Self, String> {
        if text.is_empty() {
            return Err("value of $SERVER[\"socket\"] must not be empty".into());
        }
        if text.starts_with('/') || text.starts_with('\\') {
            return Ok(Self::Unix(text.into()));
        }
        let (host, port, bracketed) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(|| format!("invalid IP addr: {text}"))?;
            (host, rest.strip_prefix(':'), true)
        } else {
            match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port), false),
                None => (text, None, false),
            }
        };
        let port = match port {
            None => default_port,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| format!("port not set or out of range: {port}"))?,
        };
        let ipv6 = bracketed || (use_ipv6 && host != "*");
        let any = if ipv6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        if host.is_empty() || host == "*" {
            return Ok(Self::Inet(SocketAddr::new(any, port)));
        }
        match host.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Inet(SocketAddr::new(address, port))),
            Err(_) if bracketed => Err(format!("invalid IP addr: {text}")),
            Err(_) => Ok(Self::Name { host: host.into(), port, ipv6 }),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(formatter, "{address}"),
            Self::Name { host, port, .. } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_lighttpd_reads_them() {
        let rows = [
            (":80", false, Some("0.0.0.0:80")),
            (":80", true, Some("[::]:80")),
            ("*:80", true, Some("0.0.0.0:80")),
            ("[::]:443", false, Some("[::]:443")),
            ("[::1]", false, Some("[::1]:8000")),
            ("[]:81", false, Some("[::]:81")),
            ("127.0.0.1", false, Some("127.0.0.1:8000")),
            ("localhost:81", false, Some("localhost:81")),
            ("/run/s", false, Some("/run/s")),
            (":0", false, None),
            (":70000", false, None),
            ("[::", false, None),
            ("", false, None),
        ];
        for (text, ipv6, expected) in rows {
            let address = ListenAddress::parse(text, 8000, ipv6).ok().map(|address| address.to_string());
            assert_eq!(address.as_deref(), expected, "{text}");
        }
    }
}

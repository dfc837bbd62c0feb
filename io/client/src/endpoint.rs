//! Where the front door is.

use std::fmt;
use std::str::FromStr;

/// An `http://host[:port][/path]` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    /// Empty, or a path without a final slash that stands before every operation's own.
    base: String,
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("'{0}' is not a URL: write http://HOST:PORT")]
    NotUrl(String),
    #[error("'{0}': only http:// can be called; put TLS in front of the server or call it over loopback")]
    Scheme(String),
}

impl Endpoint {
    /// Port of `http://` where none is given.
    pub const PORT_DEFAULT: u16 = 80;

    /// Name or address, without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a `Host` header says: brackets around IPv6 addresses, the port unless it is the default.
    pub fn authority(&self) -> String {
        match self.port {
            Self::PORT_DEFAULT => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }

    /// The path and query to send for an operation's own path and query.
    pub(crate) fn target(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.base)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let uri: http::Uri = text.trim().parse().map_err(|_| EndpointError::NotUrl(text.to_owned()))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(_) => return Err(EndpointError::Scheme(text.to_owned())),
            None => return Err(EndpointError::NotUrl(text.to_owned())),
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| EndpointError::NotUrl(text.to_owned()))?;
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(Self::PORT_DEFAULT),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_and_path_are_taken_apart() {
        for (text, host, port, authority, target) in [
            ("http://127.0.0.1:7070", "127.0.0.1", 7070, "127.0.0.1:7070", "/x"),
            ("http://mesh.example/", "mesh.example", 80, "mesh.example", "/x"),
            ("http://[::1]:7070/aws/", "::1", 7070, "[::1]:7070", "/aws/x"),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!((endpoint.host(), endpoint.port()), (host, port), "{text}");
            assert_eq!(endpoint.authority(), authority, "{text}");
            assert_eq!(endpoint.target("/x"), target, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_advice() {
        for text in ["", "127.0.0.1:7070", "https://x", "unix:/x", "http://"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}

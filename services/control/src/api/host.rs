//! Which names the front door answers to.
//!
//! Until requests are authenticated, a web page in somebody's browser must not reach it. A browser always names the host that the page
//! believes in; a page that has its own name resolve to this machine (DNS rebinding) names a public host. So: addresses, names without
//! a dot, `localhost` and AWS's own names – where clients are brought here by DNS – are answered, and others only when they were
//! allowed. A request that carries an `Origin` comes from a page and is refused.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{HOST, ORIGIN};
use http::{Request, Response, StatusCode};

use super::text;

/// The host names that are answered besides those that always are.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    allowed: Vec<String>,
}

/// Names under which AWS's clients look for its services.
const AWS_SUFFIXES: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];

impl Hosts {
    /// Answers to these names too.
    pub fn allowing(names: impl IntoIterator<Item = String>) -> Self {
        Self { allowed: names.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// The answer to a request that must not be served; `None` for one that may.
    pub(super) fn refusal(&self, request: &Request<Bytes>) -> Option<Response<Bytes>> {
        if request.headers().contains_key(ORIGIN) {
            return Some(text(StatusCode::FORBIDDEN, "requests from web pages are not answered\n"));
        }
        // HTTP/2 carries the host in the URI.
        let authority = request.uri().authority().map(|authority| authority.as_str());
        // A name that cannot be read is not among those that are answered.
        let unreadable = |_| "unreadable.invalid";
        let named =
            request.headers().get(HOST).map(|value| value.to_str().unwrap_or_else(unreadable)).or(authority);
        named.filter(|named| !self.is_answered(named)).map(|_| {
            text(
                StatusCode::MISDIRECTED_REQUEST,
                "this host name is not answered here; start the server with it as an allowed host\n",
            )
        })
    }

    fn is_answered(&self, named: &str) -> bool {
        let host = without_port(named).to_ascii_lowercase();
        // Clients of Cloud Map and of Step Functions put these before the name for some operations.
        let host = ["data-", "sync-"].iter().find_map(|prefix| host.strip_prefix(prefix)).unwrap_or(&host);
        let address = host.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || !host.contains('.')
            || host.ends_with(".localhost")
            || AWS_SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
            || self.allowed.iter().any(|allowed| allowed == host)
    }
}

fn without_port(named: &str) -> &str {
    match named.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() => host,
        _ => named,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_names_are_answered_only_when_allowed() {
        let hosts = Hosts::allowing(["Mesh.Example.com".into()]);
        for (named, is_answered) in [
            ("127.0.0.1:7070", true),
            ("[::1]:7070", true),
            ("localhost:7070", true),
            ("selvedge", true),
            ("selvedge.localhost", true),
            ("appmesh.eu-west-1.amazonaws.com", true),
            ("mesh.example.com:443", true),
            ("rebound.example.org:7070", false),
            ("amazonaws.com.example.org", false),
            ("127.0.0.1.example.org", false),
            ("data-127.0.0.1:7070", true),
            ("data-servicediscovery.eu-west-1.amazonaws.com", true),
            ("data-mesh.example.com", true),
            ("data-rebound.example.org", false),
            ("sync-127.0.0.1:7070", true),
            ("sync-states.eu-west-1.amazonaws.com", true),
            ("sync-rebound.example.org", false),
        ] {
            assert_eq!(hosts.is_answered(named), is_answered, "{named}");
        }
    }
}

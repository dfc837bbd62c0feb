//! A request's hash: what sends it to the same host again.
//!
//! Computed as Envoy 1.40 computes it, so that both proxies send the same request to the same host.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use xxhash_rust::xxh64::xxh64;

use crate::matching::{RequestView, Target};

/// Lines of one header that are hashed; more than any sensible request repeats one.
pub const HEADER_LINES_MAX: usize = 32;

/// One ingredient of the hash (Envoy's `RouteAction.HashPolicy`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HashPolicy {
    pub source: HashSource,
    /// Where there is a hash after this ingredient, the rest is not looked at.
    pub terminal: bool,
}

/// Where an ingredient comes from; what a request does not have adds nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HashSource {
    /// The values of a header, lower case; several in the order of their bytes.
    Header(String),
    Cookie(HashCookie),
    /// The client's address.
    SourceIp,
    /// The first value of a parameter of the query string, as it is written.
    QueryParameter(String),
}

/// A cookie that is hashed, and made where it is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HashCookie {
    pub name: String,
    /// `Some` makes a cookie for requests without one; zero makes one that lasts for the browser's session.
    pub ttl: Option<Duration>,
    pub path: String,
    /// Further attributes of a cookie that is made: name and value, which may be empty.
    pub attributes: Vec<(String, String)>,
}

/// What a hash came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hashed {
    pub hash: Option<u64>,
    /// `set-cookie` lines that the response carries.
    pub cookies: Vec<String>,
}

/// Both ends of the client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub remote: SocketAddr,
    pub local: SocketAddr,
}

/// Hashes a request. Allocates only where a cookie is made.
pub fn hash(policies: &[HashPolicy], request: &impl RequestView, ends: Ends) -> Hashed {
    let mut hashed = Hashed::default();
    for policy in policies {
        let ingredient = match &policy.source {
            HashSource::Header(name) => header(request, name),
            HashSource::Cookie(cookie) => match cookie_value(request, &cookie.name) {
                Some(hash) => Some(hash),
                None => cookie.ttl.map(|ttl| {
                    let value = cookie.value(ends);
                    hashed.cookies.push(cookie.line(&value, ttl));
                    xxh64(value.as_bytes(), 0)
                }),
            },
            HashSource::SourceIp => Some(source_ip(ends.remote.ip())),
            HashSource::QueryParameter(name) => {
                Target::parse(request.path()).parameter(name).map(|value| xxh64(value.as_bytes(), 0))
            }
        };
        if let Some(ingredient) = ingredient {
            // Turning the old value keeps equal ingredients from cancelling each other out.
            hashed.hash = Some(hashed.hash.unwrap_or_default().rotate_left(1) ^ ingredient);
        }
        if policy.terminal && hashed.hash.is_some() {
            break;
        }
    }
    hashed
}

/// The hash of an address as text; also what an opaque connection is hashed by.
pub fn source_ip(address: IpAddr) -> u64 {
    let mut text = String::with_capacity(45);
    // Writing to a string does not fail.
    let _ = write!(text, "{}", address.to_canonical());
    xxh64(text.as_bytes(), 0)
}

fn header(request: &impl RequestView, name: &str) -> Option<u64> {
    let pseudo = match name {
        ":authority" | "host" => Some(request.authority()),
        ":method" => Some(request.method()),
        ":path" => Some(request.path()),
        ":scheme" => Some(request.scheme()),
        _ => None,
    };
    if let Some(value) = pseudo {
        return (!value.is_empty()).then(|| xxh64(value.as_bytes(), 0));
    }
    let (mut lines, mut only) = (0_usize, 0);
    request.any_value(name, |value| {
        lines += 1;
        only = xxh64(value, 0);
        lines > 1
    });
    match lines {
        0 => None,
        1 => Some(only),
        _ => Some(sorted_lines(request, name)),
    }
}

/// Several lines are hashed in the order of their bytes, each with the hash so far as its seed.
fn sorted_lines(request: &impl RequestView, name: &str) -> u64 {
    let mut values: Vec<Vec<u8>> = Vec::new();
    request.any_value(name, |value| {
        values.push(value.to_vec());
        values.len() >= HEADER_LINES_MAX
    });
    values.sort_unstable();
    values.iter().fold(0, |seed, value| xxh64(value, seed))
}

/// The hash of the first cookie of that name with a value.
fn cookie_value(request: &impl RequestView, name: &str) -> Option<u64> {
    let mut found = None;
    request.any_value("cookie", |line| {
        let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        for pair in pairs {
            let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
            let (key, mut value) = (&pair[..equals], &pair[equals + 1..]);
            if key != name.as_bytes() {
                continue;
            }
            if let [b'"', inner @ .., b'"'] = value {
                value = inner;
            }
            if !value.is_empty() {
                found = Some(xxh64(value, 0));
            }
            return true;
        }
        false
    });
    found
}

impl HashCookie {
    /// The same for all streams of a connection, so that requests side by side get one cookie.
    fn value(&self, ends: Ends) -> String {
        let ends = format!("{}{}", canonical(ends.remote), canonical(ends.local));
        format!("{:016x}", xxh64(ends.as_bytes(), 0))
    }

    fn line(&self, value: &str, ttl: Duration) -> String {
        let mut line = format!("{}=\"{value}\"", self.name);
        // Writing to a string does not fail.
        if ttl.as_secs() > 0 {
            let _ = write!(line, "; Max-Age={}", ttl.as_secs());
        }
        if !self.path.is_empty() {
            let _ = write!(line, "; Path={}", self.path);
        }
        for (name, value) in &self.attributes {
            let _ =
                if value.is_empty() { write!(line, "; {name}") } else { write!(line, "; {name}={value}") };
        }
        line.push_str("; HttpOnly");
        line
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::PlainRequest;

    fn ends() -> Ends {
        Ends { remote: ([10, 0, 0, 9], 5000).into(), local: ([10, 0, 0, 1], 80).into() }
    }

    fn policy(source: HashSource) -> HashPolicy {
        HashPolicy { source, terminal: false }
    }

    fn of(policies: &[HashPolicy], request: &PlainRequest) -> Option<u64> {
        hash(policies, request, ends()).hash
    }

    #[test]
    fn each_source_is_hashed_as_its_text() {
        let text = |text: &str| Some(xxh64(text.as_bytes(), 0));
        let header = |name: &str| HashSource::Header(name.to_owned());
        let cookie =
            |name: &str| HashSource::Cookie(HashCookie { name: name.to_owned(), ..HashCookie::default() });
        let query = |name: &str| HashSource::QueryParameter(name.to_owned());
        let request = PlainRequest::new("GET", "h", "/p?a=1&b=&a=2")
            .with_header("x-user", "ann")
            .with_header("cookie", "one=1; two=\"2\"; empty=");
        for (source, expected) in [
            (header("x-user"), text("ann")),
            (header("x-none"), None),
            (header(":authority"), text("h")),
            (cookie("one"), text("1")),
            (cookie("two"), text("2")),
            (cookie("empty"), None),
            (cookie("three"), None),
            (HashSource::SourceIp, text("10.0.0.9")),
            (query("a"), text("1")),
            (query("b"), text("")),
            (query("c"), None),
        ] {
            assert_eq!(of(&[policy(source.clone())], &request), expected, "{source:?}");
        }
    }

    #[test]
    fn ingredients_are_combined_and_a_terminal_one_ends_it() {
        let request = PlainRequest::new("GET", "h", "/").with_header("a", "1").with_header("b", "2");
        let header = |name: &str| policy(HashSource::Header(name.to_owned()));
        let (a, b) = (xxh64(b"1", 0), xxh64(b"2", 0));
        assert_eq!(of(&[header("a"), header("b")], &request), Some(a.rotate_left(1) ^ b));
        let last = HashPolicy { terminal: true, ..header("a") };
        assert_eq!(of(&[last, header("b")], &request), Some(a));
        let absent = HashPolicy { terminal: true, ..header("c") };
        assert_eq!(of(&[absent, header("b")], &request), Some(b), "nothing was found yet");
        assert_eq!(of(&[], &request), None);
    }

    #[test]
    fn the_order_of_a_headers_lines_does_not_matter() {
        let one = PlainRequest::new("GET", "h", "/").with_header("a", "1").with_header("a", "2");
        let other = PlainRequest::new("GET", "h", "/").with_header("a", "2").with_header("a", "1");
        let policies = [policy(HashSource::Header("a".to_owned()))];
        assert_eq!(of(&policies, &one), of(&policies, &other));
        assert_ne!(
            of(&policies, &one),
            of(&policies, &PlainRequest::new("GET", "h", "/").with_header("a", "1"))
        );
    }

    #[test]
    fn a_missing_cookie_is_made_and_hashed() {
        let cookie = HashCookie {
            name: "sticky".to_owned(),
            ttl: Some(Duration::from_secs(60)),
            path: "/p".to_owned(),
            attributes: vec![("Secure".to_owned(), String::new()), ("SameSite".to_owned(), "Lax".to_owned())],
        };
        let request = PlainRequest::new("GET", "h", "/");
        let made = hash(&[policy(HashSource::Cookie(cookie.clone()))], &request, ends());
        let value = format!("{:016x}", xxh64(b"10.0.0.9:500010.0.0.1:80", 0));
        assert_eq!(
            made.cookies,
            [format!("sticky=\"{value}\"; Max-Age=60; Path=/p; Secure; SameSite=Lax; HttpOnly")]
        );
        let again = request.with_header("cookie", &format!("sticky=\"{value}\""));
        let kept = hash(&[policy(HashSource::Cookie(cookie.clone()))], &again, ends());
        assert_eq!(kept, Hashed { hash: made.hash, cookies: Vec::new() });
        let session =
            HashCookie { ttl: Some(Duration::ZERO), path: String::new(), attributes: Vec::new(), ..cookie };
        let made = hash(&[policy(HashSource::Cookie(session))], &PlainRequest::new("GET", "h", "/"), ends());
        assert_eq!(made.cookies, [format!("sticky=\"{value}\"; HttpOnly")]);
    }
}

//! What strangers' bytes reach, as functions of bytes that must return: no panic, no endless work, and what can be said
//! twice is said the same.
//!
//! `cargo xtask test --only fuzz` runs each under libFuzzer for a minute; the corpus of each is also an ordinary test.

mod asl;
mod chance;
mod frames;
mod http1;
mod http2;
mod jwt;
mod proxy_protocol;
mod query;
mod site;
mod tls;
mod xds;

/// A place where strangers' bytes arrive.
#[derive(Debug)]
pub struct Target {
    /// Names its folder under `corpus/` as well.
    pub name: &'static str,
    pub run: fn(&[u8]),
}

pub const TARGETS: &[Target] = &[
    Target { name: "asl-machine", run: asl::machine },
    Target { name: "http1-request", run: http1::request },
    Target { name: "http1-response", run: http1::response },
    Target { name: "http1-chunks", run: http1::chunks },
    Target { name: "http1-path", run: http1::path },
    Target { name: "http2-frames", run: frames::frames },
    Target { name: "http2-server", run: http2::server },
    Target { name: "jwt-token", run: jwt::token },
    Target { name: "proxy-protocol", run: proxy_protocol::word },
    Target { name: "query-expression", run: query::expression },
    Target { name: "query-path", run: query::path },
    Target { name: "query-template", run: query::template },
    Target { name: "tls-hello", run: tls::hello },
    Target { name: "site-lighttpd", run: site::lighttpd },
    Target { name: "site-toml", run: site::toml },
    Target { name: "xds-decode", run: xds::decode },
];

/// Cuts bytes by their first one, so that the fuzzer decides how they arrive.
fn cut(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes.split_first() {
        Some((first, rest)) => (usize::from(*first).max(1), rest),
        None => (1, bytes),
    }
}

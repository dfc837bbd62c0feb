//! The works: what a client asks, and what comes back.

use std::net::SocketAddr;

use anyhow::Result;

use crate::http2::ECHO_PATH;
use crate::mesh;

/// One sort of request, repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    method: &'static str,
    path: &'static str,
    /// Headers beside the four that every client sends.
    more_headers: usize,
    request_body_len: usize,
    pub(crate) answer_body_len: usize,
    pub(crate) speaks: Speaks,
    pub(crate) upstream: Upstream,
    /// Requests per second over all connections; `None` for as many as the proxy takes.
    pub(crate) rate: Option<u32>,
}

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    /// With prior knowledge, several streams a connection.
    Http2,
    /// The same over TLS 1.3.
    Http2Tls,
    Tcp,
    /// HTTP/1.1 over TLS 1.3.
    Tls,
    /// A connection by TLS 1.3 for each request, nothing taken up from one before.
    Handshakes,
}

/// What stands behind the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    Http1,
    Http2,
    Tcp,
    /// HTTP/1.1, behind a listener with TLS.
    BehindTls,
    /// The same, and a sidecar in front that speaks TLS to that listener, each of them knowing the other.
    BehindMutualTls,
}

/// What to ask, of whom, how many at a time.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) target: SocketAddr,
    pub(crate) connections: usize,
}

/// The path at which the upstream answers with [`LARGE_LEN`] bytes; [`SMALL_LEN`] everywhere else.
pub(crate) const LARGE_PATH: &str = "/api/large";
pub(crate) const SMALL_LEN: usize = 1024;
pub(crate) const LARGE_LEN: usize = 64 * 1024;
pub(crate) const MEGABYTE_LEN: usize = 1024 * 1024;
/// A gRPC message with its prefix.
const MESSAGE_LEN: usize = 133;

const GET: Work = Work {
    name: "get",
    about: "GET, an answer of 1 KiB",
    method: "GET",
    path: "/api/items?page=2",
    more_headers: 0,
    request_body_len: 0,
    answer_body_len: SMALL_LEN,
    speaks: Speaks::Http1,
    upstream: Upstream::Http1,
    rate: None,
};

const HTTP2: Work = Work { speaks: Speaks::Http2, upstream: Upstream::Http2, ..GET };

pub(crate) const WORKS: &[Work] = &[
    GET,
    Work { name: "headers", about: "GET with ten more headers, an answer of 1 KiB", more_headers: 10, ..GET },
    Work { name: "paced", about: "GET at 4,000 requests/s, an answer of 1 KiB", rate: Some(4000), ..GET },
    Work {
        name: "post",
        about: "POST of 16 KiB, an answer of 1 KiB",
        method: "POST",
        request_body_len: 16 * 1024,
        ..GET
    },
    Work {
        name: "large",
        about: "GET, an answer of 64 KiB",
        path: LARGE_PATH,
        answer_body_len: LARGE_LEN,
        ..GET
    },
    Work {
        name: "h2-h1",
        about: "HTTP/2 to HTTP/1.1, an answer of 1 KiB",
        upstream: Upstream::Http1,
        ..HTTP2
    },
    Work { name: "h2-h2", about: "HTTP/2 to HTTP/2, an answer of 1 KiB", ..HTTP2 },
    Work {
        name: "grpc",
        about: "gRPC, a message of 128 bytes and its echo",
        method: "POST",
        path: ECHO_PATH,
        request_body_len: MESSAGE_LEN,
        answer_body_len: MESSAGE_LEN,
        ..HTTP2
    },
    Work {
        name: "tcp",
        about: "TCP, a megabyte",
        answer_body_len: MEGABYTE_LEN,
        speaks: Speaks::Tcp,
        upstream: Upstream::Tcp,
        ..GET
    },
    Work {
        name: "tls-handshake",
        about: "a TLS 1.3 handshake and a GET, an answer of 1 KiB",
        speaks: Speaks::Handshakes,
        upstream: Upstream::BehindTls,
        ..GET
    },
    Work {
        name: "tls",
        about: "GET over TLS 1.3, kept alive, an answer of 1 KiB",
        speaks: Speaks::Tls,
        upstream: Upstream::BehindTls,
        ..GET
    },
    Work {
        name: "mtls",
        about: "GET through two sidecars by mutual TLS, an answer of 1 KiB, both sidecars together",
        upstream: Upstream::BehindMutualTls,
        ..GET
    },
];

// === impl Work ===

impl Work {
    /// A file that a server is asked for.
    pub(crate) const fn file(
        name: &'static str,
        about: &'static str,
        path: &'static str,
        answer_body_len: usize,
        speaks: Speaks,
    ) -> Self {
        Self { name, about, path, answer_body_len, speaks, ..GET }
    }

    pub(crate) fn is_grpc(&self) -> bool {
        self.path == ECHO_PATH
    }

    /// Heads its table.
    pub(crate) fn title(&self) -> String {
        let kind = if self.upstream == Upstream::Http1 { self.speaks } else { Speaks::Tcp };
        if kind == Speaks::Http1 { format!("HTTP/1.1: {}", self.about) } else { self.about.to_owned() }
    }

    /// The service that is asked.
    fn authority(&self) -> &'static str {
        match self.upstream {
            Upstream::Http2 => mesh::HTTP2_AUTHORITY,
            Upstream::BehindTls | Upstream::BehindMutualTls => mesh::TLS_AUTHORITY,
            Upstream::Http1 | Upstream::Tcp => mesh::authority(),
        }
    }

    /// The body of a request.
    pub(crate) fn request_body(&self) -> Vec<u8> {
        vec![b'x'; self.request_body_len]
    }

    /// One request by HTTP/2.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn message(&self) -> Result<http::Request<()>> {
        let scheme = if self.speaks == Speaks::Http2Tls { "https" } else { "http" };
        let uri = format!("{scheme}://{}{}", self.authority(), self.path);
        let request = http::Request::builder().method(self.method).uri(uri).header("user-agent", "bench");
        let request = match self.is_grpc() {
            true => request.header("content-type", "application/grpc").header("te", "trailers"),
            false => request.header("accept", "*/*"),
        };
        Ok(request.body(())?)
    }

    /// The bytes of one request.
    pub(crate) fn request(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\nuser-agent: bench\r\naccept: */*\r\n",
            self.method,
            self.path,
            self.authority()
        );
        for number in 0..self.more_headers {
            head.push_str(&format!("x-header-number-{number}: a value of usual length {number}\r\n"));
        }
        if self.request_body_len > 0 {
            head.push_str(&format!("content-length: {}\r\n", self.request_body_len));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.resize(bytes.len() + self.request_body_len, b'x');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_headers_and_its_body() {
        for work in WORKS {
            let request = work.request();
            let end = memchr::memmem::find(&request, b"\r\n\r\n").unwrap();
            assert_eq!(request.len() - end - 4, work.request_body_len, "{}", work.name);
        }
    }
}

//! Conditions on a request. Every condition of a [`RouteMatch`] must hold.

pub mod cidr;
pub mod header;
pub mod host;
pub mod path;
pub mod query;
pub mod re2;
pub mod request;
pub mod text;

use serde::Serialize;

pub use cidr::Cidr;
pub use header::{HeaderCondition, HeaderMatch};
pub use host::HostIndex;
pub use path::PathMatch;
pub use query::{QueryCondition, QueryMatch};
pub use request::{PlainRequest, RequestView, Target};
pub use text::{TextCondition, TextMatch};

/// Which requests a route takes. Method, scheme and host conditions are header conditions on `:method`, `:scheme` and
/// `:authority`, as in Envoy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteMatch {
    pub path: PathMatch,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
    /// Only gRPC requests (`content-type: application/grpc` or `application/grpc+…`).
    pub grpc: bool,
}

/// The first condition that a request fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mismatch<'a> {
    Path(&'a PathMatch),
    NotGrpc,
    Header(&'a HeaderMatch),
    Query(&'a QueryMatch),
}

impl RouteMatch {
    /// Every path, no other condition.
    pub fn any() -> Self {
        Self::prefix("/")
    }

    /// Paths that begin with `prefix`, no other condition.
    pub fn prefix(prefix: &str) -> Self {
        Self {
            path: PathMatch::Prefix(prefix.to_owned()),
            headers: Vec::new(),
            query: Vec::new(),
            grpc: false,
        }
    }

    /// Whether all conditions hold. `target` is `request.path()` taken apart, once for all routes.
    ///
    /// # Errors
    /// The first condition that does not hold; the cheapest are looked at first.
    pub fn check(&self, request: &impl RequestView, target: &Target<'_>) -> Result<(), Mismatch<'_>> {
        if !self.path.takes_request(request.method(), target.path) {
            return Err(Mismatch::Path(&self.path));
        }
        if self.grpc && !is_grpc(request) {
            return Err(Mismatch::NotGrpc);
        }
        if let Some(header) = self.headers.iter().find(|header| !header.takes(request)) {
            return Err(Mismatch::Header(header));
        }
        self.query
            .iter()
            .find(|query| !query.takes(target))
            .map_or(Ok(()), |query| Err(Mismatch::Query(query)))
    }
}

impl std::fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::NotGrpc => f.write_str("content-type application/grpc"),
            Self::Header(header) => header.fmt(f),
            Self::Query(query) => query.fmt(f),
        }
    }
}

/// Whether the content type is gRPC's, as Envoy judges it: `application/grpc` itself or with a `+suffix`;
/// `application/grpc-web` and parameters after a semicolon are not.
pub fn is_grpc(request: &impl RequestView) -> bool {
    let grpc = |value: &[u8]| {
        value.strip_prefix(b"application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
    };
    request.any_value("content-type", grpc) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_content_types_are_grpc() {
        for (content_type, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=x", false),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            let request = PlainRequest::new("POST", "a", "/s/m").with_header("content-type", content_type);
            assert_eq!(is_grpc(&request), grpc, "{content_type}");
        }
    }

    #[test]
    fn the_first_condition_that_fails_is_the_reason() {
        let header = HeaderMatch { name: "x-a".into(), condition: HeaderCondition::Present, invert: false };
        let query = QueryMatch { name: "k".into(), condition: QueryCondition::Present };
        let matches = RouteMatch {
            path: PathMatch::Prefix("/a".into()),
            headers: vec![header.clone()],
            query: vec![query.clone()],
            grpc: true,
        };
        let get = |path: &str| PlainRequest::new("GET", "h", path);
        let grpc = |path: &str| get(path).with_header("content-type", "application/grpc");
        let check = |request: PlainRequest, expected: Result<(), Mismatch<'_>>| {
            assert_eq!(matches.check(&request, &Target::parse(&request.path)), expected, "{request:?}");
        };
        check(get("/b"), Err(Mismatch::Path(&matches.path)));
        check(get("/a"), Err(Mismatch::NotGrpc));
        check(grpc("/a"), Err(Mismatch::Header(&header)));
        check(grpc("/a").with_header("x-a", "1"), Err(Mismatch::Query(&query)));
        check(grpc("/a?k").with_header("x-a", "1"), Ok(()));
    }
}

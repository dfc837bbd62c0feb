//! Conditions on a request. Every condition of a [`RouteMatch`] must hold.

pub mod header;
pub mod path;
pub mod query;

use serde::Serialize;

pub use header::{HeaderCondition, HeaderMatch};
pub use path::PathMatch;
pub use query::{QueryCondition, QueryMatch};

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

//! A request is held until it has arrived as a whole.

use serde::Serialize;

/// Envoy's `envoy.filters.http.buffer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Buffer {
    /// A longer body is answered with 413. At least 1.
    pub request_bytes_max: u32,
}

/// What a route says about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum BufferRoute {
    Disabled,
    Buffer(Buffer),
}

//! How requests are traced: who decides, how a trace is carried on, where its spans go.

pub mod context;
pub mod decision;
pub mod sampling;
pub mod span;

use serde::Serialize;

pub use context::{B3Form, Parent, Propagation, TraceContext};
pub use decision::{Reason, decide};
pub use sampling::{SamplingRules, SamplingRulesInvalid};
pub use span::{Span, SpanKind};

/// Custom tags of a connection manager, at most.
pub const TAGS_MAX: usize = 64;

/// Envoy's `HttpConnectionManager.Tracing`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tracing {
    /// Percent of the requests with `x-client-trace-id` that are traced.
    pub client_sampling: f64,
    /// Percent of all requests that are traced.
    pub random_sampling: f64,
    /// Percent of what would be traced that really is.
    pub overall_sampling: f64,
    /// A span for each try besides the one for the request.
    pub spawn_upstream_span: bool,
    /// Longest part of the path in a tag, in bytes; `None` is 256.
    pub path_length_max: Option<u32>,
    pub tags: Vec<CustomTag>,
    /// `None`: as the proxy was started.
    pub provider: Option<Provider>,
}

/// A tag besides those that every span has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct CustomTag {
    pub name: String,
    pub value: TagValue,
}

/// Where a tag's value comes from; an empty default is none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum TagValue {
    Literal(String),
    Environment {
        name: String,
        default: String,
    },
    RequestHeader {
        /// Lower case.
        name: String,
        default: String,
    },
}

/// Where spans go, and so how traces are carried on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Provider {
    /// OTLP with W3C headers.
    OpenTelemetry { collector: OtlpCollector, service_name: String },
    /// Zipkin's v2 JSON with B3 headers; Jaeger takes it too.
    Zipkin {
        cluster: String,
        path: String,
        /// The Host header; empty is the cluster's name.
        host: String,
        trace_id_128bit: bool,
        /// A server span takes its client's id.
        shared_span: bool,
        /// W3C headers besides B3.
        w3c: bool,
    },
    /// Segments by UDP with `x-amzn-trace-id`.
    XRay {
        /// `host:port` of the daemon.
        daemon: String,
        /// Empty is the node's cluster.
        segment_name: String,
        /// A manifest of sampling rules; empty is one request a second and five per cent of the others.
        rules: String,
        origin: String,
    },
    /// The Datadog agent's v0.4 interface.
    Datadog { cluster: String, service_name: String, host: String },
}

/// How OTLP is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum OtlpCollector {
    Grpc { cluster: String },
    Http { cluster: String, uri: String },
}

impl Default for Tracing {
    /// All requests, to wherever the proxy was started to send them.
    fn default() -> Self {
        Self {
            client_sampling: 100.0,
            random_sampling: 100.0,
            overall_sampling: 100.0,
            spawn_upstream_span: false,
            path_length_max: None,
            tags: Vec::new(),
            provider: None,
        }
    }
}

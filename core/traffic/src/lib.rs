//! What should happen to a connection or a request: the one representation between control plane and data plane.
//!
//! The control plane's translation produces these types, `selvedge-xds` carries them as Envoy's messages, and the
//! proxy executes them. Nothing here knows App Mesh, protobuf or sockets, and everything is deterministic: time and
//! randomness are arguments.

pub mod access;
pub mod access_log;
pub mod balance;
pub mod breaker;
pub mod chain;
pub mod circuit;
pub mod client;
pub mod cluster;
pub mod compiled;
pub mod endpoint;
pub mod explain;
pub mod filter;
pub mod fraction;
pub mod hash;
pub mod health;
pub mod http;
pub mod listener;
pub mod matching;
pub mod metadata;
pub mod network_filter;
pub mod outlier;
pub mod proxy_protocol;
pub mod rate_limit;
pub mod redirect;
pub mod resource;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod split;
pub mod tcp;
pub mod timeout;
pub mod tls;
pub mod tracing;
pub mod weights;

pub use access_log::{
    AccessLog, AccessLogFormat, FileLog, GrpcLog, GrpcRecords, JsonTemplate, LogFilter, LogSink,
};
pub use breaker::{BreakerConfig, BreakerPolicy};
pub use circuit::{Bounded, CircuitBreakers, Priority, RetryBudget, Thresholds};
pub use client::{ClientAddress, ClientDetection, DetectBy};
pub use cluster::{
    Cluster, Discovery, DnsLookupFamily, DnsRefresh, HttpProtocol, LoadBalancing, LocalityRouting, Placement,
    RingHashFunction, SlowStart, SubsetFallback, SubsetSelector, Subsets,
};
pub use compiled::{CompiledRoutes, Matched, NoRoute, TableInvalid};
pub use endpoint::{
    Address, Endpoint, EndpointHealth, Label, Labels, LoadAssignment, Locality, LocalityEndpoints,
};
pub use explain::{Decision, DecisionResult, ForwardDecision};
pub use filter::{FilterEntry, FilterOverride, FilterSetting, HttpFilter, RouteFilter};
pub use fraction::Fraction;
pub use hash::{HashPolicy, HashSource};
pub use health::{HealthCheck, HealthLog, HealthPace, HealthProbe};
pub use http::{
    CertificateForwarding, ClientCertificate, Codec, Http2Keepalive, Http2Settings, HttpConnection,
    RouteSource, ServerHeader,
};
pub use listener::{ChainMatch, Direction, FilterChain, Inspection, Listener, Network};
pub use metadata::{Metadata, MetadataMatch, ValueMatch};
pub use network_filter::{ConnectionLimit, ConnectionRateLimit, NetworkFilter, NetworkRbac};
pub use outlier::{FailurePercentage, OutlierDetection, SuccessRate};
pub use proxy_protocol::{ProxyProtocol, ProxyProtocolVersion};
pub use rate_limit::RateLimit;
pub use resource::{Resource, ResourceKind, ResourceRef};
pub use retry::{RateLimitedBackoff, ResetFormat, ResetHeader, Retrier, RetryBackoff, RetryOn, RetryPolicy};
pub use rewrite::{HostRewrite, PathRewrite};
pub use route::{
    Action, DirectResponse, Forward, HeaderEdit, HeaderEdits, Hedge, Mirror, Redirect, Route, RouteTable,
    RouteUpgrades, StreamDuration, VirtualHost, WeightedCluster,
};
pub use split::SplitBy;
pub use tcp::TcpProxy;
pub use timeout::Timeouts;
pub use tls::{Transport, UpstreamTransport};
pub use tracing::Tracing;

/// Writes what is shared as what it is.
fn shared<T: serde::Serialize, S: serde::Serializer>(
    value: &Option<std::sync::Arc<T>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&value.as_deref(), serializer)
}

/// Whether a field says nothing, so that what is printed of a configuration stays short.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

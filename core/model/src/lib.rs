//! App Mesh's nouns: the seven resources as types, and the shape of each as data.
//!
//! The wire shape of App Mesh *is* the domain type, because that API is frozen. A spec arrives as a [`Value`], is checked against
//! its [`Shape`] (every violation, each with its field path), becomes a typed spec, and stays beside it as it was sent: what a
//! describe answers is what was written, never what we made of it.
//!
//! Nothing here touches a socket, a disk or a clock.

mod arn;
mod client_policy;
mod duration;
mod gateway_route;
pub mod json;
mod kind;
mod listener;
mod logging;
mod matching;
mod mesh;
mod metadata;
mod name;
pub mod policy;
pub mod reference;
mod resource;
mod retry;
mod route;
mod service_discovery;
mod shape;
mod snapshot;
mod structure;
mod tag;
mod tls;
mod violation;
mod virtual_gateway;
mod virtual_node;
mod virtual_router;
mod virtual_service;

pub use arn::{Arn, ArnError};
pub use client_policy::{BackendDefaults, ClientPolicy, ClientPolicyTls};
pub use duration::{Duration, DurationUnit};
pub use gateway_route::{
    DefaultRewrite, GatewayRoute, GatewayRouteHostnameMatch, GatewayRouteHostnameRewrite, GatewayRouteSpec,
    GatewayRouteTarget, GatewayRouteVirtualService, GrpcGatewayRoute, GrpcGatewayRouteAction,
    GrpcGatewayRouteMatch, GrpcGatewayRouteRewrite, HttpGatewayRoute, HttpGatewayRouteAction,
    HttpGatewayRouteMatch, HttpGatewayRoutePathRewrite, HttpGatewayRoutePrefixRewrite,
    HttpGatewayRouteRewrite,
};
pub use kind::Kind;
pub use listener::{
    ConnectionPool, GrpcTimeout, HealthCheckPolicy, HttpConnectionPool, HttpTimeout, Listener,
    ListenerTimeout, OutlierDetection, PortMapping, PortProtocol, RequestConnectionPool, TcpConnectionPool,
    TcpTimeout,
};
pub use logging::{AccessLog, FileAccessLog, JsonFormatRef, Logging, LoggingFormat};
pub use matching::{
    GrpcMetadata, HeaderMatchMethod, HttpHeader, HttpMethod, HttpPathMatch, HttpQueryParameter, HttpScheme,
    MatchRange, QueryParameterMatch,
};
pub use mesh::{EgressFilter, EgressFilterType, Mesh, MeshServiceDiscovery, MeshSpec};
pub use metadata::{Metadata, Status, Timestamp};
pub use name::{ACCOUNT_ID, NameError, RESOURCE_NAME, SERVICE_NAME, SERVICE_NAME_BYTES_MAX, check_name};
pub use policy::{Policies, Policy};
pub use resource::{Key, Rejected, Resource, Spec, Strictness};
pub use retry::{
    GrpcRetryPolicy, GrpcRetryPolicyEvent, HttpRetryEvent, HttpRetryPolicy, TcpRetryPolicyEvent,
};
pub use route::{
    GrpcRoute, GrpcRouteMatch, HttpRoute, HttpRouteMatch, Route, RouteAction, RouteSpec, TcpRoute,
    TcpRouteMatch, WeightedTarget,
};
pub use service_discovery::{
    AwsCloudMapInstanceAttribute, AwsCloudMapServiceDiscovery, DnsResponseType, DnsServiceDiscovery,
    IpPreference, ServiceDiscovery,
};
pub use shape::{Bounds, Form, Member, Pattern, Presence, Shape};
pub use snapshot::Snapshot;
pub use structure::Shaped;
pub use tag::{TAGS_PER_RESOURCE_MAX, Tag};
pub use tls::{
    AcmCertificate, AcmTrust, ClientTlsCertificate, FileCertificate, FileTrust, ListenerTls,
    ListenerTlsCertificate, ListenerTlsMode, ListenerTlsValidation, ListenerTlsValidationTrust,
    SdsCertificate, SdsTrust, SubjectAlternativeNameMatchers, SubjectAlternativeNames, TlsValidation,
    TlsValidationTrust,
};
pub use violation::{Fault, Path, Violation, Violations};
pub use virtual_gateway::{VirtualGateway, VirtualGatewayListener, VirtualGatewaySpec};
pub use virtual_node::{Backend, VirtualNode, VirtualNodeSpec, VirtualServiceBackend};
pub use virtual_router::{VirtualRouter, VirtualRouterListener, VirtualRouterSpec};
pub use virtual_service::{
    VirtualNodeServiceProvider, VirtualRouterServiceProvider, VirtualService, VirtualServiceProvider,
    VirtualServiceSpec,
};

/// A JSON document that keeps the order of its members and its numbers as they were written.
pub use serde_json::Value;

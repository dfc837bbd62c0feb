//! A route: which requests of a router go to which nodes.

use crate::kind::Kind;
use crate::listener::{GrpcTimeout, HttpTimeout, PORT_NUMBER, PortProtocol, TcpTimeout};
use crate::matching::{
    GrpcMetadata, HEADERS, HttpHeader, HttpMethod, HttpPathMatch, HttpQueryParameter, HttpScheme,
    METADATA_LIST, QUERY_PARAMETERS, check_path,
};
use crate::name::{RESOURCE_NAME, SERVICE_NAME};
use crate::resource::{Resource, Spec, Strictness};
use crate::retry::{GrpcRetryPolicy, HttpRetryEvent, HttpRetryPolicy};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure};
use crate::violation::Violations;

/// A route, as stored.
pub type Route = Resource<RouteSpec>;

pub(crate) const PRIORITY: Shape = Shape::integer("RoutePriority", Bounds::between(0, 1000));
const METHOD_NAME: Shape = Shape::string_of("MethodName", 1, 50);
const PERCENT: Shape = Shape::integer("PercentInt", Bounds::between(0, 100));
const WEIGHTED_TARGETS: Shape = Shape::list("WeightedTargets", WeightedTarget::SHAPE, Bounds::between(1, 10));

structure! {
    /// What a route is made of: exactly one of the four protocols, and a priority.
    pub struct RouteSpec {
        /// A route of gRPC requests.
        optional grpc_route "grpcRoute": GrpcRoute,
        /// A route of HTTP/2 requests.
        optional http2_route "http2Route": HttpRoute,
        /// A route of HTTP requests.
        optional http_route "httpRoute": HttpRoute,
        /// 0 to 1000; the lowest is tried first, and a route without one after all others.
        optional priority "priority": u32 => &PRIORITY,
        /// A route of TCP connections.
        optional tcp_route "tcpRoute": TcpRoute,
    }
}

structure! {
    /// A route of HTTP or HTTP/2 requests.
    pub struct HttpRoute {
        /// Where matching requests go.
        required action "action": RouteAction,
        /// Which requests match.
        required matcher "match": HttpRouteMatch,
        /// When a failed request is tried again.
        optional retry_policy "retryPolicy": HttpRetryPolicy,
        /// How long requests may take.
        optional timeout "timeout": HttpTimeout,
    }
}

structure! {
    /// Which HTTP requests match: all that is given must hold.
    pub struct HttpRouteMatch {
        /// Conditions on headers, 1 to 10.
        many headers "headers": HttpHeader => &HEADERS,
        /// The method.
        optional method "method": HttpMethod,
        /// The path, exactly or by regular expression; not together with `prefix`.
        optional path "path": HttpPathMatch,
        /// The port on which the router was called.
        optional port "port": u16 => &PORT_NUMBER,
        /// How the path begins; starts with `/`.
        optional prefix "prefix": String,
        /// Conditions on query parameters, 1 to 10.
        many query_parameters "queryParameters": HttpQueryParameter => &QUERY_PARAMETERS,
        /// The scheme.
        optional scheme "scheme": HttpScheme,
    }
}

structure! {
    /// A route of gRPC requests.
    pub struct GrpcRoute {
        /// Where matching requests go.
        required action "action": RouteAction,
        /// Which requests match.
        required matcher "match": GrpcRouteMatch,
        /// When a failed request is tried again.
        optional retry_policy "retryPolicy": GrpcRetryPolicy,
        /// How long requests may take.
        optional timeout "timeout": GrpcTimeout,
    }
}

structure! {
    /// Which gRPC requests match: all that is given must hold.
    pub struct GrpcRouteMatch {
        /// Conditions on metadata, 1 to 10.
        many metadata "metadata": GrpcMetadata => &METADATA_LIST,
        /// The method's name; needs `serviceName`.
        optional method_name "methodName": String => &METHOD_NAME,
        /// The port on which the router was called.
        optional port "port": u16 => &PORT_NUMBER,
        /// The fully qualified name of the service.
        optional service_name "serviceName": String => &SERVICE_NAME,
    }
}

structure! {
    /// A route of TCP connections.
    pub struct TcpRoute {
        /// Where matching connections go.
        required action "action": RouteAction,
        /// Which connections match; all, when absent.
        optional matcher "match": TcpRouteMatch,
        /// How long connections may be idle.
        optional timeout "timeout": TcpTimeout,
    }
}

structure! {
    /// Which TCP connections match.
    pub struct TcpRouteMatch {
        /// The port on which the router was called.
        optional port "port": u16 => &PORT_NUMBER,
    }
}

structure! {
    /// Where matching traffic goes.
    pub struct RouteAction {
        /// One to ten nodes with their shares.
        required weighted_targets "weightedTargets": Vec<WeightedTarget> => &WEIGHTED_TARGETS,
    }
}

structure! {
    /// A node with its share. Shares are relative; they need not sum to 100.
    pub struct WeightedTarget {
        /// The listener's port; required when the node has several listeners.
        optional port "port": u16 => &PORT_NUMBER,
        /// The node's name.
        required virtual_node "virtualNode": String => &RESOURCE_NAME,
        /// The share, 0 to 100.
        required weight "weight": u32 => &PERCENT,
    }
}

impl RouteSpec {
    /// The protocol whose member is present; the first, should there be several.
    pub fn protocol(&self) -> Option<PortProtocol> {
        self.protocols().next()
    }

    /// The port that traffic must have come in on; `None` when any will do.
    pub fn match_port(&self) -> Option<u16> {
        match (&self.http_route, &self.http2_route, &self.grpc_route, &self.tcp_route) {
            (Some(route), ..) | (_, Some(route), ..) => route.matcher.port,
            (_, _, Some(route), _) => route.matcher.port,
            (_, _, _, Some(route)) => route.matcher.as_ref().and_then(|matcher| matcher.port),
            _ => None,
        }
    }

    /// The nodes to which traffic goes.
    pub fn targets(&self) -> &[WeightedTarget] {
        self.action().map_or(&[], |action| &action.weighted_targets)
    }

    fn action(&self) -> Option<&RouteAction> {
        match (&self.http_route, &self.http2_route, &self.grpc_route, &self.tcp_route) {
            (Some(route), ..) | (_, Some(route), ..) => Some(&route.action),
            (_, _, Some(route), _) => Some(&route.action),
            (_, _, _, Some(route)) => Some(&route.action),
            _ => None,
        }
    }

    fn protocols(&self) -> impl Iterator<Item = PortProtocol> {
        [
            self.http_route.as_ref().map(|_| PortProtocol::Http),
            self.http2_route.as_ref().map(|_| PortProtocol::Http2),
            self.grpc_route.as_ref().map(|_| PortProtocol::Grpc),
            self.tcp_route.as_ref().map(|_| PortProtocol::Tcp),
        ]
        .into_iter()
        .flatten()
    }

    /// The name of the present protocol's member, for field paths.
    pub fn protocol_member(&self) -> &'static str {
        match self.protocol() {
            Some(PortProtocol::Http2) => "http2Route",
            Some(PortProtocol::Grpc) => "grpcRoute",
            Some(PortProtocol::Tcp) => "tcpRoute",
            Some(PortProtocol::Http) | None => "httpRoute",
        }
    }
}

impl Spec for RouteSpec {
    const KIND: Kind = Kind::Route;

    fn check_rules(&self, _: Strictness, found: &mut Violations) {
        if self.protocols().count() != 1 {
            found.rule(
                "spec",
                "Route spec must have exactly one of: httpRoute, http2Route, grpcRoute, tcpRoute.",
            );
        }
        for (route, name) in [(&self.http_route, "httpRoute"), (&self.http2_route, "http2Route")] {
            if let Some(route) = route {
                route.check_rules(&format!("spec.{name}"), found);
            }
        }
        if let Some(route) = &self.grpc_route {
            if route.matcher.method_name.is_some() && route.matcher.service_name.is_none() {
                found.rule("spec.grpcRoute.match", "A method name can't be matched without a service name.");
            }
            if let Some(retry) = &route.retry_policy {
                check_retry_events("spec.grpcRoute", &retry.http_retry_events, found);
            }
        }
    }
}

impl HttpRoute {
    fn check_rules(&self, path: &str, found: &mut Violations) {
        let matcher = &self.matcher;
        check_path(&format!("{path}.match"), matcher.prefix.as_deref(), matcher.path.as_ref(), found);
        if let Some(prefix) = matcher.prefix.as_deref().filter(|prefix| !prefix.starts_with('/')) {
            found.rule(format!("{path}.match.prefix"), format!("Prefix '{prefix}' must start with '/'."));
        }
        if let Some(retry) = &self.retry_policy {
            check_retry_events(path, &retry.http_retry_events, found);
        }
    }
}

/// App Mesh's model takes any word as an HTTP retry event, but only the documented ones do anything.
fn check_retry_events(path: &str, events: &[String], found: &mut Violations) {
    for (index, event) in events.iter().enumerate() {
        if !HttpRetryEvent::ALL.iter().any(|known| known.as_str() == event) {
            let known: Vec<_> = HttpRetryEvent::ALL.iter().map(|event| event.as_str()).collect();
            found.rule(
                format!("{path}.retryPolicy.httpRetryEvents[{index}]"),
                format!("'{event}' is not an HTTP retry event, must be one of: {}", known.join(", ")),
            );
        }
    }
}

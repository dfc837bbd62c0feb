//! A gateway route: which requests from outside go to which virtual service.

use crate::kind::Kind;
use crate::listener::{PORT_NUMBER, PortProtocol};
use crate::matching::{
    GrpcMetadata, HEADERS, HttpHeader, HttpMethod, HttpPathMatch, HttpQueryParameter, METADATA_LIST,
    PATH_EXACT, QUERY_PARAMETERS, check_path,
};
use crate::name::{RESOURCE_NAME, SERVICE_NAME};
use crate::resource::{Resource, Spec, Strictness};
use crate::route::PRIORITY;
use crate::shape::Shape;
use crate::structure::{enumeration, structure};
use crate::violation::Violations;

/// A gateway route, as stored.
pub type GatewayRoute = Resource<GatewayRouteSpec>;

const HOSTNAME_EXACT: Shape = Shape::string_of("ExactHostName", 1, 253);
const HOSTNAME_SUFFIX: Shape = Shape::string_of("SuffixHostname", 1, 253);
const PREFIX_VALUE: Shape = Shape::string_of("HttpGatewayRoutePrefix", 1, 255);

structure! {
    /// What a gateway route is made of: exactly one of the three protocols, and a priority.
    pub struct GatewayRouteSpec {
        /// A route of gRPC requests.
        optional grpc_route "grpcRoute": GrpcGatewayRoute,
        /// A route of HTTP/2 requests.
        optional http2_route "http2Route": HttpGatewayRoute,
        /// A route of HTTP requests.
        optional http_route "httpRoute": HttpGatewayRoute,
        /// 0 to 1000; the lowest is tried first, and a route without one after all others.
        optional priority "priority": u32 => &PRIORITY,
    }
}

structure! {
    /// A gateway route of HTTP or HTTP/2 requests.
    pub struct HttpGatewayRoute {
        /// Where matching requests go.
        required action "action": HttpGatewayRouteAction,
        /// Which requests match.
        required matcher "match": HttpGatewayRouteMatch,
    }
}

structure! {
    /// Where matching HTTP requests go, and as what.
    pub struct HttpGatewayRouteAction {
        /// What becomes of path and host name.
        optional rewrite "rewrite": HttpGatewayRouteRewrite,
        /// The virtual service.
        required target "target": GatewayRouteTarget,
    }
}

structure! {
    /// Which HTTP requests match: all that is given must hold.
    pub struct HttpGatewayRouteMatch {
        /// Conditions on headers, 1 to 10.
        many headers "headers": HttpHeader => &HEADERS,
        /// The host name.
        optional hostname "hostname": GatewayRouteHostnameMatch,
        /// The method.
        optional method "method": HttpMethod,
        /// The path, exactly or by regular expression; not together with `prefix`.
        optional path "path": HttpPathMatch,
        /// The port on which the gateway was called.
        optional port "port": u16 => &PORT_NUMBER,
        /// How the path begins. App Mesh took one that does not start with `/`; it matches nothing.
        optional prefix "prefix": String,
        /// Conditions on query parameters, 1 to 10.
        many query_parameters "queryParameters": HttpQueryParameter => &QUERY_PARAMETERS,
    }
}

structure! {
    /// What becomes of path and host name.
    pub struct HttpGatewayRouteRewrite {
        /// The host name.
        optional hostname "hostname": GatewayRouteHostnameRewrite,
        /// The whole path.
        optional path "path": HttpGatewayRoutePathRewrite,
        /// The matched prefix.
        optional prefix "prefix": HttpGatewayRoutePrefixRewrite,
    }
}

structure! {
    /// What becomes of the whole path.
    pub struct HttpGatewayRoutePathRewrite {
        /// The path in its place.
        optional exact "exact": String => &PATH_EXACT,
    }
}

structure! {
    /// What becomes of the matched prefix.
    pub struct HttpGatewayRoutePrefixRewrite {
        /// Whether the prefix becomes `/`; it does, unless disabled.
        optional default_prefix "defaultPrefix": DefaultRewrite,
        /// The prefix in its place.
        optional value "value": String => &PREFIX_VALUE,
    }
}

structure! {
    /// A condition on the host name.
    pub struct GatewayRouteHostnameMatch {
        /// The whole name.
        optional exact "exact": String => &HOSTNAME_EXACT,
        /// How the name ends.
        optional suffix "suffix": String => &HOSTNAME_SUFFIX,
    }
}

structure! {
    /// What becomes of the host name.
    pub struct GatewayRouteHostnameRewrite {
        /// Whether it becomes the virtual service's name; it does, unless disabled.
        optional default_target_hostname "defaultTargetHostname": DefaultRewrite,
    }
}

enumeration! {
    /// Whether a rewrite that happens by itself does happen.
    pub enum DefaultRewrite {
        Enabled "ENABLED",
        Disabled "DISABLED",
    }
}

structure! {
    /// A gateway route of gRPC requests.
    pub struct GrpcGatewayRoute {
        /// Where matching requests go.
        required action "action": GrpcGatewayRouteAction,
        /// Which requests match.
        required matcher "match": GrpcGatewayRouteMatch,
    }
}

structure! {
    /// Where matching gRPC requests go, and as what.
    pub struct GrpcGatewayRouteAction {
        /// What becomes of the host name.
        optional rewrite "rewrite": GrpcGatewayRouteRewrite,
        /// The virtual service.
        required target "target": GatewayRouteTarget,
    }
}

structure! {
    /// Which gRPC requests match: all that is given must hold.
    pub struct GrpcGatewayRouteMatch {
        /// The host name.
        optional hostname "hostname": GatewayRouteHostnameMatch,
        /// Conditions on metadata, 1 to 10.
        many metadata "metadata": GrpcMetadata => &METADATA_LIST,
        /// The port on which the gateway was called.
        optional port "port": u16 => &PORT_NUMBER,
        /// The fully qualified name of the service.
        optional service_name "serviceName": String => &SERVICE_NAME,
    }
}

structure! {
    /// What becomes of the host name.
    pub struct GrpcGatewayRouteRewrite {
        /// The host name.
        optional hostname "hostname": GatewayRouteHostnameRewrite,
    }
}

structure! {
    /// The virtual service to which requests go.
    pub struct GatewayRouteTarget {
        /// The port; required when the provider has several listeners.
        optional port "port": u16 => &PORT_NUMBER,
        /// The virtual service.
        required virtual_service "virtualService": GatewayRouteVirtualService,
    }
}

structure! {
    /// A virtual service by name.
    pub struct GatewayRouteVirtualService {
        /// The name, 1 to 255 characters.
        required virtual_service_name "virtualServiceName": String => &RESOURCE_NAME,
    }
}

/// Path prefixes that App Mesh keeps for itself.
const RESERVED_PREFIXES: [&str; 2] = ["/aws-appmesh", "/aws-app-mesh"];
/// gRPC service names that App Mesh keeps for itself.
const RESERVED_SERVICES: [&str; 2] = ["aws.app-mesh", "aws.appmesh"];

impl GatewayRouteSpec {
    /// The protocol whose member is present; the first, should there be several.
    pub fn protocol(&self) -> Option<PortProtocol> {
        self.protocols().next()
    }

    /// The port that traffic must have come in on; `None` when any will do.
    pub fn match_port(&self) -> Option<u16> {
        match (&self.http_route, &self.http2_route, &self.grpc_route) {
            (Some(route), ..) | (_, Some(route), _) => route.matcher.port,
            (_, _, Some(route)) => route.matcher.port,
            _ => None,
        }
    }

    /// The virtual service to which requests go.
    pub fn target(&self) -> Option<&GatewayRouteTarget> {
        match (&self.http_route, &self.http2_route, &self.grpc_route) {
            (Some(route), ..) | (_, Some(route), _) => Some(&route.action.target),
            (_, _, Some(route)) => Some(&route.action.target),
            _ => None,
        }
    }

    /// The name of the present protocol's member, for field paths.
    pub fn protocol_member(&self) -> &'static str {
        match self.protocol() {
            Some(PortProtocol::Http2) => "http2Route",
            Some(PortProtocol::Grpc) => "grpcRoute",
            _ => "httpRoute",
        }
    }

    fn protocols(&self) -> impl Iterator<Item = PortProtocol> {
        [
            self.http_route.as_ref().map(|_| PortProtocol::Http),
            self.http2_route.as_ref().map(|_| PortProtocol::Http2),
            self.grpc_route.as_ref().map(|_| PortProtocol::Grpc),
        ]
        .into_iter()
        .flatten()
    }
}

impl Spec for GatewayRouteSpec {
    const KIND: Kind = Kind::GatewayRoute;

    fn check_rules(&self, _: Strictness, found: &mut Violations) {
        if self.protocols().count() != 1 {
            found.rule(
                "spec",
                "Gateway route spec must have exactly one of: httpRoute, http2Route, grpcRoute.",
            );
        }
        for (route, name) in [(&self.http_route, "httpRoute"), (&self.http2_route, "http2Route")] {
            if let Some(route) = route {
                route.check_rules(&format!("spec.{name}"), found);
            }
        }
        if let Some(route) = &self.grpc_route {
            route.check_rules(found);
        }
    }
}

impl HttpGatewayRoute {
    fn check_rules(&self, at: &str, found: &mut Violations) {
        let matcher = &self.matcher;
        check_path(&format!("{at}.match"), matcher.prefix.as_deref(), matcher.path.as_ref(), found);
        check_hostname(at, matcher.hostname.as_ref(), found);
        let exact = matcher.path.as_ref().and_then(|path| path.exact.as_deref());
        for (member, path) in [("prefix", matcher.prefix.as_deref()), ("path.exact", exact)] {
            if let Some(path) = path.filter(|path| is_reserved(path, &RESERVED_PREFIXES)) {
                found.rule(format!("{at}.match.{member}"), format!("Path '{path}' is reserved."));
            }
        }
        let Some(rewrite) = &self.action.rewrite else { return };
        let at = format!("{at}.action.rewrite");
        if rewrite.prefix.is_some() && rewrite.path.is_some() {
            found.rule(&at, "A rewrite can have either prefix or path, not both.");
        }
        if rewrite.prefix.is_some() && matcher.path.is_some() {
            found.rule(format!("{at}.prefix"), "A prefix can't be rewritten when the whole path is matched.");
        }
        if let Some(prefix) = &rewrite.prefix {
            if prefix.default_prefix.is_some() && prefix.value.is_some() {
                found.rule(
                    format!("{at}.prefix"),
                    "A prefix rewrite can have either defaultPrefix or value, not both.",
                );
            }
            if let Some(value) = prefix.value.as_deref().filter(|value| !value.starts_with('/')) {
                found.rule(format!("{at}.prefix.value"), format!("Prefix '{value}' must start with '/'."));
            }
        }
        if let Some(path) = &rewrite.path
            && let Some(exact) = path.exact.as_deref().filter(|exact| !exact.starts_with('/'))
        {
            found.rule(format!("{at}.path.exact"), format!("Path '{exact}' must start with '/'."));
        }
    }
}

impl GrpcGatewayRoute {
    fn check_rules(&self, found: &mut Violations) {
        check_hostname("spec.grpcRoute", self.matcher.hostname.as_ref(), found);
        if let Some(service) =
            self.matcher.service_name.as_deref().filter(|s| is_reserved(s, &RESERVED_SERVICES))
        {
            found.rule("spec.grpcRoute.match.serviceName", format!("Service '{service}' is reserved."));
        }
    }
}

fn check_hostname(at: &str, hostname: Option<&GatewayRouteHostnameMatch>, found: &mut Violations) {
    if hostname.is_some_and(|hostname| hostname.exact.is_some() && hostname.suffix.is_some()) {
        found.rule(format!("{at}.match.hostname"), "A host name can have either exact or suffix, not both.");
    }
}

fn is_reserved(text: &str, reserved: &[&str]) -> bool {
    reserved.iter().any(|word| text.starts_with(word))
}

//! What points to what: which resources must exist, which agree with each other, and which cannot be deleted yet.
//!
//! All of it is decided from typed specs; whoever calls looks them up, within one transaction.

use std::sync::Arc;

use crate::gateway_route::GatewayRouteSpec;
use crate::kind::Kind;
use crate::resource::{Resource, Strictness};
use crate::route::{Route, RouteSpec};
use crate::violation::Violations;
use crate::virtual_gateway::VirtualGatewaySpec;
use crate::virtual_node::VirtualNodeSpec;
use crate::virtual_router::VirtualRouterSpec;
use crate::virtual_service::{VirtualServiceProvider, VirtualServiceSpec};

/// A way to look at the other resources of the same mesh.
pub trait Lookup {
    /// Why looking failed, for backends that can fail.
    type Error;

    /// # Errors
    /// The backend's.
    fn virtual_node(&self, name: &str) -> Result<Option<Arc<VirtualNodeSpec>>, Self::Error>;
    /// # Errors
    /// The backend's.
    fn virtual_router(&self, name: &str) -> Result<Option<Arc<VirtualRouterSpec>>, Self::Error>;
    /// # Errors
    /// The backend's.
    fn virtual_service(&self, name: &str) -> Result<Option<Arc<VirtualServiceSpec>>, Self::Error>;
}

/// Why a write that is right by itself does not fit its mesh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A resource that it names does not exist.
    #[error("{kind} with name {name} is missing")]
    Missing { kind: Kind, name: String },
    /// It contradicts another resource.
    #[error("{0}")]
    Contradiction(Violations),
}

/// Why a resource cannot be deleted; the texts are App Mesh's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InUse {
    #[error("{kind} with name {name} cannot be deleted because it is the target of one or more routes.")]
    RouteTarget { kind: Kind, name: String },
    #[error("{kind} with name {name} cannot be deleted because it is a VirtualService provider")]
    Provider { kind: Kind, name: String },
    #[error("{kind} with name {name} cannot be deleted because it has active {children}")]
    HasChildren { kind: Kind, name: String, children: &'static str },
    #[error("VirtualService {name} is being referenced in the following: GATEWAY_ROUTE: [{}]", gateway_routes.join(", "))]
    GatewayRoutes { name: String, gateway_routes: Vec<String> },
    #[error(
        "Mesh {mesh} for account {account} has active {children}, please delete {children} before deleting the Mesh"
    )]
    MeshNotEmpty { mesh: String, account: String, children: &'static str },
}

/// Checks a route against its router and its targets.
///
/// # Errors
/// [`Misfit`] within `Ok(Err(…))`; the lookup's own failure as the outer error.
pub fn check_route<L: Lookup>(
    route: &RouteSpec,
    router: &VirtualRouterSpec,
    lookup: &L,
) -> Result<Result<(), Misfit>, L::Error> {
    let mut found = Violations::default();
    check_route_listener(route, router, &mut found);
    let member = route.protocol_member();
    for (index, target) in route.targets().iter().enumerate() {
        let Some(node) = lookup.virtual_node(&target.virtual_node)? else {
            let missing = Misfit::Missing { kind: Kind::VirtualNode, name: target.virtual_node.clone() };
            return Ok(Err(missing));
        };
        let path = format!("spec.{member}.action.weightedTargets[{index}].port");
        check_target_port(
            "VirtualNode",
            &target.virtual_node,
            &node_ports(&node),
            target.port,
            &path,
            &mut found,
        );
    }
    Ok(conclude(found))
}

/// Checks a router's new spec against the routes that it already has.
///
/// # Errors
/// A contradiction.
pub fn check_router(router: &VirtualRouterSpec, routes: &[Arc<Route>]) -> Result<(), Misfit> {
    /// Names that App Mesh's message lists.
    const LISTED_MAX: usize = 5;

    let mut found = Violations::default();
    if router.listeners.len() > 1 {
        let names: Vec<_> =
            routes.iter().filter(|r| r.spec.match_port().is_none()).map(|r| r.key.name.as_str()).collect();
        if !names.is_empty() {
            let listed = names[..names.len().min(LISTED_MAX)].join(", ");
            found.verbatim(
                "spec.listeners",
                format!(
                    "All Routes for this Virtual Router must define a port match before adding multiple listeners to this \
                     Virtual Router. {} Route(s) are missing port. Listing up to 5 route names: [{listed}]",
                    names.len()
                ),
            );
            return conclude(found);
        }
    }
    for route in routes {
        let mut of_route = Violations::default();
        check_route_listener(&route.spec, router, &mut of_route);
        if !of_route.is_empty() {
            found.rule("spec.listeners", format!("Route {} does not fit: {of_route}", route.key.name));
        }
    }
    conclude(found)
}

/// Checks that the provider of a virtual service exists. A lenient server lets it be absent: the service is inactive until then.
///
/// # Errors
/// As [`check_route`].
pub fn check_virtual_service<L: Lookup>(
    service: &VirtualServiceSpec,
    strictness: Strictness,
    lookup: &L,
) -> Result<Result<(), Misfit>, L::Error> {
    if strictness == Strictness::Lenient || is_provided(service, lookup)? {
        return Ok(Ok(()));
    }
    let Some((kind, name)) = service.provider.as_ref().map(VirtualServiceProvider::target) else {
        return Ok(Ok(()));
    };
    Ok(Err(Misfit::Missing { kind, name: name.to_owned() }))
}

/// Whether the resource that a virtual service names exists; a service that names none lacks nothing.
///
/// # Errors
/// The lookup's.
pub fn is_provided<L: Lookup>(service: &VirtualServiceSpec, lookup: &L) -> Result<bool, L::Error> {
    match &service.provider {
        None => Ok(true),
        Some(VirtualServiceProvider::VirtualNode(node)) => {
            Ok(lookup.virtual_node(&node.virtual_node_name)?.is_some())
        }
        Some(VirtualServiceProvider::VirtualRouter(router)) => {
            Ok(lookup.virtual_router(&router.virtual_router_name)?.is_some())
        }
    }
}

/// Checks a gateway route against its gateway and its target. Its protocol may differ from the listener's: App Mesh took that.
///
/// # Errors
/// As [`check_route`].
pub fn check_gateway_route<L: Lookup>(
    route: &GatewayRouteSpec,
    gateway: &VirtualGatewaySpec,
    lookup: &L,
) -> Result<Result<(), Misfit>, L::Error> {
    let mut found = Violations::default();
    let member = route.protocol_member();
    if route.match_port().is_none() && gateway.listeners.len() > 1 {
        found.rule(
            format!("spec.{member}.match.port"),
            "GatewayRoute must define a port match criteria if the Virtual Gateway has multiple listeners",
        );
    }
    if let Some(target) = route.target() {
        let name = &target.virtual_service.virtual_service_name;
        let Some(service) = lookup.virtual_service(name)? else {
            return Ok(Err(Misfit::Missing { kind: Kind::VirtualService, name: name.clone() }));
        };
        let ports = provider_ports(&service, lookup)?;
        let path = format!("spec.{member}.action.target.port");
        check_target_port("VirtualService", name, &ports, target.port, &path, &mut found);
    }
    Ok(conclude(found))
}

/// Checks a gateway's new spec against the gateway routes that it already has.
///
/// # Errors
/// A contradiction.
pub fn check_gateway(
    gateway: &VirtualGatewaySpec,
    routes: &[Arc<Resource<GatewayRouteSpec>>],
) -> Result<(), Misfit> {
    let mut found = Violations::default();
    let missing = routes.iter().filter(|route| route.spec.match_port().is_none());
    if gateway.listeners.len() > 1 && missing.clone().next().is_some() {
        let names: Vec<_> = missing.map(|route| route.key.name.as_str()).collect();
        found.rule(
            "spec.listeners",
            format!(
                "All GatewayRoutes for this Virtual Gateway must define a port match before adding multiple listeners to this \
                 Virtual Gateway. {} GatewayRoute(s) are missing port.",
                names.len()
            ),
        );
    }
    conclude(found)
}

/// A route's protocol and port against its router's listeners. A router without listeners takes any route, and a port that no
/// listener has is taken too: nothing reaches the route until one does, which the translation reports.
fn check_route_listener(route: &RouteSpec, router: &VirtualRouterSpec, found: &mut Violations) {
    if router.listeners.is_empty() {
        return;
    }
    let member = route.protocol_member();
    let port = route.match_port();
    if port.is_none() && router.listeners.len() > 1 {
        let text = "Route must define a port match criteria if the Virtual Router has multiple listeners";
        return found.verbatim(format!("spec.{member}.match.port"), text);
    }
    let mut mappings = router.listeners.iter().map(|listener| &listener.port_mapping);
    let Some(mapping) = mappings.find(|mapping| port.is_none_or(|port| mapping.port == port)) else { return };
    if let Some(protocol) = route.protocol().filter(|protocol| *protocol != mapping.protocol) {
        found.rule(
            format!("spec.{member}"),
            format!(
                "Route protocol {protocol} must match the protocol {} of the Virtual Router's listener on port {}",
                mapping.protocol, mapping.port
            ),
        );
    }
}

/// A target that listens on several ports has to be given with one of them.
fn check_target_port(
    kind: &str,
    name: &str,
    ports: &[u16],
    port: Option<u16>,
    path: &str,
    found: &mut Violations,
) {
    if port.is_none() && ports.len() > 1 {
        found.rule(path, format!("A target port is required because {kind} {name} has multiple listeners"));
    }
}

fn node_ports(node: &VirtualNodeSpec) -> Vec<u16> {
    node.listeners.iter().map(|listener| listener.port_mapping.port).collect()
}

/// The ports of a virtual service's provider; none when it has no provider, or one that does not exist or has no listeners.
fn provider_ports<L: Lookup>(service: &VirtualServiceSpec, lookup: &L) -> Result<Vec<u16>, L::Error> {
    Ok(match &service.provider {
        None => Vec::new(),
        Some(VirtualServiceProvider::VirtualNode(node)) => {
            lookup.virtual_node(&node.virtual_node_name)?.map_or_else(Vec::new, |node| node_ports(&node))
        }
        Some(VirtualServiceProvider::VirtualRouter(router)) => {
            let router = lookup.virtual_router(&router.virtual_router_name)?;
            let listeners = router.iter().flat_map(|router| &router.listeners);
            listeners.map(|listener| listener.port_mapping.port).collect()
        }
    })
}

fn conclude(found: Violations) -> Result<(), Misfit> {
    if found.is_empty() { Ok(()) } else { Err(Misfit::Contradiction(found)) }
}

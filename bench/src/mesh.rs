//! The mesh that our proxy and Envoy carry while they are measured: a full one, of which one service is asked.

use selvedge_differential::scenario::Mesh;
use serde_json::json;

/// Services, each a virtual node behind a router with two routes: so many clusters, twice as many routes.
pub(crate) const SERVICES: usize = 100;

/// The node whose sidecar is measured.
pub(crate) const CALLER: &str = "caller";

/// The node whose sidecar carries opaque bytes.
pub(crate) const TCP_CALLER: &str = "tcp-caller";
/// A service that speaks HTTP/2.
pub(crate) const HTTP2_AUTHORITY: &str = "http2.mesh.local";

/// Where the upstreams listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) http1: u16,
    pub(crate) http2: u16,
    pub(crate) tcp: u16,
}

/// The service that is asked: in the middle, so that no order favours it.
pub(crate) fn authority() -> &'static str {
    "service-050.mesh.local"
}

/// The mesh with `services` services that live at the upstreams' ports, and two more for what is no HTTP/1.1.
pub(crate) fn mesh(services: usize, ports: Ports) -> Mesh {
    let port = ports.http1;
    let mut mesh = Mesh {
        spec: None,
        virtual_nodes: Default::default(),
        virtual_routers: Default::default(),
        routes: Default::default(),
        virtual_services: Default::default(),
        virtual_gateways: Default::default(),
        gateway_routes: Default::default(),
        policies: Default::default(),
    };
    let mut backends = Vec::new();
    for number in 0..services {
        let name = format!("service-{number:03}");
        let service = format!("{name}.mesh.local");
        let node = json!({
            "listeners": [{"portMapping": {"port": port, "protocol": "http"}}],
            "serviceDiscovery": {"dns": {"hostname": "localhost", "ipPreference": "IPv4_ONLY"}},
        });
        let router = json!({"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]});
        let action = json!({"weightedTargets": [{"virtualNode": name, "weight": 100}]});
        let api = json!({"httpRoute": {"match": {"prefix": "/api"}, "action": action}});
        let rest = json!({"httpRoute": {"match": {"prefix": "/"}, "action": action}});
        backends.push(json!({"virtualService": {"virtualServiceName": service}}));
        mesh.virtual_nodes.insert(name.clone(), node);
        mesh.virtual_routers.insert(name.clone(), router);
        mesh.routes.insert(format!("{name}/api"), api);
        mesh.routes.insert(format!("{name}/rest"), rest);
        let provider = json!({"provider": {"virtualRouter": {"virtualRouterName": name}}});
        mesh.virtual_services.insert(service, provider);
    }
    for (name, protocol, port) in [("http2", "http2", ports.http2), ("tcp", "tcp", ports.tcp)] {
        let service = format!("{name}.mesh.local");
        let node = json!({
            "listeners": [{"portMapping": {"port": port, "protocol": protocol}}],
            "serviceDiscovery": {"dns": {"hostname": "localhost", "ipPreference": "IPv4_ONLY"}},
        });
        mesh.virtual_nodes.insert(name.to_owned(), node);
        mesh.virtual_services
            .insert(service.clone(), json!({"provider": {"virtualNode": {"virtualNodeName": name}}}));
        let backend = json!({"virtualService": {"virtualServiceName": service}});
        if protocol == "tcp" {
            mesh.virtual_nodes.insert(TCP_CALLER.to_owned(), json!({"backends": [backend]}));
        } else {
            backends.push(backend);
        }
    }
    mesh.virtual_nodes.insert(CALLER.to_owned(), json!({"backends": backends}));
    mesh
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_that_is_asked_is_in_the_mesh() {
        let mesh = mesh(SERVICES, Ports { http1: 1, http2: 2, tcp: 3 });
        assert!(mesh.virtual_services.contains_key(authority()));
        assert!(mesh.virtual_services.contains_key(HTTP2_AUTHORITY));
        assert_eq!((mesh.virtual_nodes.len(), mesh.routes.len()), (SERVICES + 4, 2 * SERVICES));
    }
}

//! The mesh that our proxy and Envoy carry while they are measured: a full one, of which one service is asked.

use selvedge_differential::scenario::Mesh;
use serde_json::json;

/// Services, each a virtual node behind a router with two routes: so many clusters, twice as many routes.
pub(crate) const SERVICES: usize = 100;

/// The node whose sidecar is measured.
pub(crate) const CALLER: &str = "caller";

/// The service that is asked: in the middle, so that no order favours it.
pub(crate) fn authority() -> &'static str {
    "service-050.mesh.local"
}

/// The mesh whose services all live at `port`.
pub(crate) fn mesh(port: u16) -> Mesh {
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
    for number in 0..SERVICES {
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
    mesh.virtual_nodes.insert(CALLER.to_owned(), json!({"backends": backends}));
    mesh
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_that_is_asked_is_in_the_mesh() {
        let mesh = mesh(8080);
        assert!(mesh.virtual_services.contains_key(authority()));
        assert_eq!((mesh.virtual_nodes.len(), mesh.routes.len()), (SERVICES + 1, 2 * SERVICES));
    }
}

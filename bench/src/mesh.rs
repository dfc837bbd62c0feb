//! The mesh that our proxy and Envoy carry while they are measured: a full one, of which one service is asked.

use selvedge_differential::certificates::{Authorities, Issued};
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

/// A service behind a listener with TLS, the node that has it, and one that calls it, each knowing the other.
pub(crate) const TLS_AUTHORITY: &str = "tls.mesh.local";
pub(crate) const TLS_SERVER: &str = "tls-server";
pub(crate) const TLS_CALLER: &str = "tls-caller";
/// The port of its listener; where that really is, its sidecar says.
pub(crate) const TLS_PORT: u16 = 8443;

/// What the mesh's TLS shows, and whom it believes.
pub(crate) fn authorities() -> Authorities {
    let issued = |name: &str| Issued {
        dns: vec![format!("{name}.mesh.local")],
        uri: vec![format!("spiffe://mesh.local/{name}")],
        expired: false,
    };
    let all = [("server".to_owned(), issued("server")), ("caller".to_owned(), issued("caller"))];
    Authorities::from([("mesh".to_owned(), all.into_iter().collect())])
}

/// Adds what speaks TLS; its listener asks callers who they are if `mutual`.
pub(crate) fn add_tls(mesh: &mut Mesh, mutual: bool) {
    let file = |name: &str| {
        json!({"file": {
            "certificateChain": format!("$certs/mesh.{name}.pem"),
            "privateKey": format!("$certs/mesh.{name}.key"),
        }})
    };
    let trust = json!({"file": {"certificateChain": "$certs/mesh.pem"}});
    let names = |name: &str| json!({"match": {"exact": [name]}});
    let mut tls = json!({"mode": "STRICT", "certificate": file("server")});
    if mutual {
        tls["validation"] =
            json!({"trust": trust, "subjectAlternativeNames": names("spiffe://mesh.local/caller")});
    }
    let listener = json!({"portMapping": {"port": TLS_PORT, "protocol": "http"}, "tls": tls});
    mesh.virtual_nodes.insert(TLS_SERVER.to_owned(), json!({"listeners": [listener]}));
    let provider = json!({"provider": {"virtualNode": {"virtualNodeName": TLS_SERVER}}});
    mesh.virtual_services.insert(TLS_AUTHORITY.to_owned(), provider);
    let policy = json!({"tls": {
        "certificate": file("caller"),
        "validation": {"trust": trust, "subjectAlternativeNames": names("server.mesh.local")},
    }});
    let backend = json!({"virtualService": {"virtualServiceName": TLS_AUTHORITY, "clientPolicy": policy}});
    mesh.virtual_nodes.insert(TLS_CALLER.to_owned(), json!({"backends": [backend]}));
}

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

//! The endpoints of a cluster, from the registry.

use selvedge_traffic::{Address, Endpoint, EndpointHealth, LoadAssignment, LocalityEndpoints, Resource};
use selvedge_translate::EndpointSource;

use super::registry::Registry;

/// What endpoint discovery answers under `name`. Nodes that are registered with Cloud Map are found by their sidecars too.
pub(super) fn assignment(mesh: &str, name: &str, source: &EndpointSource, registry: &Registry) -> Resource {
    let endpoints: Vec<Endpoint> = registry
        .places(mesh, &source.node)
        .map(|place| Endpoint {
            address: Address::Socket(place.address(source.port)),
            weight: 1,
            health: EndpointHealth::Healthy,
            hostname: String::new(),
        })
        .collect();
    let localities = if endpoints.is_empty() {
        Vec::new()
    } else {
        vec![LocalityEndpoints { endpoints, ..LocalityEndpoints::default() }]
    };
    Resource::Endpoints(LoadAssignment { cluster: name.to_owned(), localities })
}

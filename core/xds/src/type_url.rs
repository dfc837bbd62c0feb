//! The type URLs of the discovery services' resources.

use selvedge_traffic::ResourceKind;

/// The URL of secrets: they are no configuration, and are kept apart from it.
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// The URL under which a kind is asked for: `type.googleapis.com/envoy.config.cluster.v3.Cluster` and so on.
pub fn of(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        ResourceKind::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        ResourceKind::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
        ResourceKind::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    }
}

/// The kind behind a URL, if it is one that is served.
pub fn kind(url: &str) -> Option<ResourceKind> {
    ResourceKind::ALL.into_iter().find(|kind| of(*kind) == url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_again_by_its_url() {
        for of_kind in ResourceKind::ALL {
            assert_eq!(kind(of(of_kind)), Some(of_kind));
        }
        assert_eq!(kind("type.googleapis.com/envoy.config.core.v3.Node"), None);
        assert_eq!(kind("/envoy.config.cluster.v3.Cluster"), None, "a URL needs its domain");
    }
}

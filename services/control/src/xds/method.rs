//! The services and their methods.

use selvedge_traffic::ResourceKind;
use selvedge_xds::server::{Form, Scope};

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method {
    pub(super) form: Form,
    pub(super) scope: Scope,
}

/// A service's name.
pub(super) trait Named: 'static {
    const NAME: &'static str;
}

macro_rules! services {
    ($($service:ident = $name:literal),* $(,)?) => {
        $(
            pub(super) enum $service {}

            impl Named for $service {
                const NAME: &'static str = $name;
            }
        )*
    };
}

services! {
    Aggregated = "envoy.service.discovery.v3.AggregatedDiscoveryService",
    Clusters = "envoy.service.cluster.v3.ClusterDiscoveryService",
    Endpoints = "envoy.service.endpoint.v3.EndpointDiscoveryService",
    Listeners = "envoy.service.listener.v3.ListenerDiscoveryService",
    RouteTables = "envoy.service.route.v3.RouteDiscoveryService",
}

/// The method behind a path such as `/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources`.
pub(super) fn parse(path: &str) -> Option<Method> {
    let (_, method) = path.strip_prefix('/')?.split_once('/')?;
    let (form, rest) = match method.strip_prefix("Stream") {
        Some(rest) => (Form::StateOfTheWorld, rest),
        None => (Form::Delta, method.strip_prefix("Delta")?),
    };
    let scope = match rest {
        "AggregatedResources" => Scope::Aggregated,
        "Clusters" => Scope::Only(ResourceKind::Cluster),
        "Endpoints" => Scope::Only(ResourceKind::Endpoints),
        "Listeners" => Scope::Only(ResourceKind::Listener),
        "Routes" => Scope::Only(ResourceKind::Routes),
        _ => return None,
    };
    Some(Method { form, scope })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_form_and_scope() {
        let delta = |scope| Some(Method { form: Form::Delta, scope });
        let sotw = |scope| Some(Method { form: Form::StateOfTheWorld, scope });
        for (service, method, expected) in [
            (Aggregated::NAME, "StreamAggregatedResources", sotw(Scope::Aggregated)),
            (Aggregated::NAME, "DeltaAggregatedResources", delta(Scope::Aggregated)),
            (Clusters::NAME, "StreamClusters", sotw(Scope::Only(ResourceKind::Cluster))),
            (Endpoints::NAME, "DeltaEndpoints", delta(Scope::Only(ResourceKind::Endpoints))),
            (Listeners::NAME, "DeltaListeners", delta(Scope::Only(ResourceKind::Listener))),
            (RouteTables::NAME, "StreamRoutes", sotw(Scope::Only(ResourceKind::Routes))),
            (Clusters::NAME, "FetchClusters", None),
            (Clusters::NAME, "StreamSecrets", None),
        ] {
            assert_eq!(parse(&format!("/{service}/{method}")), expected, "{method}");
        }
    }
}

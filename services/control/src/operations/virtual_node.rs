//! Virtual nodes.

use selvedge_aws::operations::appmesh::LIMIT_EXCEEDED;
use selvedge_model::reference::InUse;
use selvedge_model::{Key, Kind, Resource, RouteSpec, Value, VirtualNodeSpec, VirtualServiceSpec};
use serde_json::Map;

use super::failure::Failure;
use super::noun::Noun;
use super::settings::Settings;
use super::view::View;

impl Noun for VirtualNodeSpec {
    fn normalise(sent: &mut Value) {
        fill_in_health_check_ports(sent);
    }

    /// Backends may name virtual services that do not exist yet; only their number is looked at.
    fn check_fit(&self, _: &Key, settings: &Settings, _: View<'_>) -> Result<(), Failure> {
        let most = settings.quotas.backends_per_virtual_node;
        if self.backends.len() > most {
            return Err(LIMIT_EXCEEDED
                .because(format!("a VirtualNode may have at most {most} backends"))
                .into());
        }
        Ok(())
    }

    fn check_unused(node: &Resource<Self>, _: &Settings, view: View<'_>) -> Result<(), Failure> {
        let name = node.key.name.as_str();
        let routes = view.mentioning::<RouteSpec>(name)?;
        if routes.iter().any(|route| route.spec.targets().iter().any(|target| target.virtual_node == name)) {
            return Err(InUse::RouteTarget { kind: Kind::VirtualNode, name: name.into() }.into());
        }
        check_no_provider(Kind::VirtualNode, name, view)
    }

    /// App Mesh shows an empty list of backends when none were sent, in describe and delete alone.
    fn present(wire: &mut Value) {
        if let Some(spec) = wire.get_mut("spec").and_then(Value::as_object_mut)
            && !spec.contains_key("backends")
        {
            let mut with_backends = Map::new();
            with_backends.insert("backends".into(), Value::Array(Vec::new()));
            with_backends.append(spec);
            *spec = with_backends;
        }
    }
}

/// Checks that no virtual service names the resource as its provider.
pub(super) fn check_no_provider(kind: Kind, name: &str, view: View<'_>) -> Result<(), Failure> {
    let services = view.mentioning::<VirtualServiceSpec>(name)?;
    let mut providers = services.iter().filter_map(|service| service.spec.provider.as_ref());
    match providers.any(|provider| provider.target() == (kind, name)) {
        true => Err(InUse::Provider { kind, name: name.into() }.into()),
        false => Ok(()),
    }
}

/// A health check without a port gets its listener's: the one default that App Mesh wrote into a spec.
pub(super) fn fill_in_health_check_ports(sent: &mut Value) {
    let listeners = sent.get_mut("listeners").and_then(Value::as_array_mut);
    for listener in listeners.into_iter().flatten() {
        let port = listener.get("portMapping").and_then(|mapping| mapping.get("port")).cloned();
        let check = listener.get_mut("healthCheck").and_then(Value::as_object_mut);
        if let (Some(port), Some(check)) = (port, check) {
            check.entry("port").or_insert(port);
        }
    }
}

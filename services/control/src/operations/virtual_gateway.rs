//! Virtual gateways.

use selvedge_model::reference::{InUse, check_gateway};
use selvedge_model::{Key, Kind, Resource, Value, VirtualGatewaySpec};

use super::failure::Failure;
use super::noun::Noun;
use super::settings::Settings;
use super::view::View;
use super::virtual_node::fill_in_health_check_ports;

impl Noun for VirtualGatewaySpec {
    fn normalise(sent: &mut Value) {
        fill_in_health_check_ports(sent);
    }

    /// The gateway routes that a gateway already has must go on fitting it.
    fn check_fit(&self, key: &Key, _: &Settings, view: View<'_>) -> Result<(), Failure> {
        Ok(check_gateway(self, &view.children(&key.name)?)?)
    }

    fn check_unused(gateway: &Resource<Self>, _: &Settings, view: View<'_>) -> Result<(), Failure> {
        let name = gateway.key.name.as_str();
        if view.has_any(Kind::GatewayRoute, Some(name))? {
            let (kind, children) = (Kind::VirtualGateway, Kind::GatewayRoute.plural());
            return Err(InUse::HasChildren { kind, name: name.into(), children }.into());
        }
        Ok(())
    }
}

//! Gateway routes.

use selvedge_model::reference::{Misfit, check_gateway_route};
use selvedge_model::{GatewayRouteSpec, Key, Kind, Value, VirtualGatewaySpec};

use super::failure::Failure;
use super::noun::Noun;
use super::route::lower_metadata_names;
use super::settings::Settings;
use super::view::View;

impl Noun for GatewayRouteSpec {
    fn normalise(sent: &mut Value) {
        lower_metadata_names(sent);
    }

    fn check_fit(&self, key: &Key, _: &Settings, view: View<'_>) -> Result<(), Failure> {
        let name = key.parent.as_deref().unwrap_or_default();
        let gateway = view.spec::<VirtualGatewaySpec>(name)?;
        let gateway =
            gateway.ok_or_else(|| Misfit::Missing { kind: Kind::VirtualGateway, name: name.into() })?;
        Ok(check_gateway_route(self, &gateway, &view)??)
    }
}

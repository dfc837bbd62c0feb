//! Virtual services.

use selvedge_model::reference::{InUse, check_virtual_service, is_provided};
use selvedge_model::{GatewayRouteSpec, Key, Resource, Status, VirtualServiceSpec};
use selvedge_store::Error as StoreError;

use super::failure::Failure;
use super::noun::Noun;
use super::settings::Settings;
use super::view::View;

impl Noun for VirtualServiceSpec {
    fn check_fit(&self, _: &Key, settings: &Settings, view: View<'_>) -> Result<(), Failure> {
        Ok(check_virtual_service(self, settings.strictness, &view)??)
    }

    /// Being somebody's backend does not keep a virtual service; being a gateway route's target does.
    fn check_unused(service: &Resource<Self>, _: &Settings, view: View<'_>) -> Result<(), Failure> {
        let name = service.key.name.as_str();
        let routes = view.mentioning::<GatewayRouteSpec>(name)?;
        let is_target = |route: &GatewayRouteSpec| {
            route.target().is_some_and(|target| target.virtual_service.virtual_service_name == name)
        };
        let ids: Vec<_> =
            routes.iter().filter(|r| is_target(&r.spec)).map(|r| r.metadata.uid.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        Err(InUse::GatewayRoutes { name: name.into(), gateway_routes: ids }.into())
    }

    /// A service whose provider does not exist yet answers nobody.
    fn status(&self, view: View<'_>) -> Result<Status, StoreError> {
        Ok(if is_provided(self, &view)? { Status::Active } else { Status::Inactive })
    }
}

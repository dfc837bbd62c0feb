//! Virtual routers.

use selvedge_model::reference::{InUse, check_router};
use selvedge_model::{Key, Kind, Resource, VirtualRouterSpec};

use super::failure::Failure;
use super::noun::Noun;
use super::settings::Settings;
use super::view::View;
use super::virtual_node::check_no_provider;

impl Noun for VirtualRouterSpec {
    /// The routes that a router already has must go on fitting it.
    fn check_fit(&self, key: &Key, _: &Settings, view: View<'_>) -> Result<(), Failure> {
        Ok(check_router(self, &view.children(&key.name)?)?)
    }

    fn check_unused(router: &Resource<Self>, _: &Settings, view: View<'_>) -> Result<(), Failure> {
        let name = router.key.name.as_str();
        if view.has_any(Kind::Route, Some(name))? {
            let (kind, children) = (Kind::VirtualRouter, Kind::Route.plural());
            return Err(InUse::HasChildren { kind, name: name.into(), children }.into());
        }
        check_no_provider(Kind::VirtualRouter, name, view)
    }
}

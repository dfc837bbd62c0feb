//! Meshes.

use selvedge_model::reference::InUse;
use selvedge_model::{Kind, MeshSpec, Resource};

use super::failure::Failure;
use super::noun::Noun;
use super::settings::Settings;
use super::view::View;

impl Noun for MeshSpec {
    /// Only an empty mesh can be deleted. What stands in the way is named in the order in which AWS's own scripts take a mesh down.
    fn check_unused(mesh: &Resource<Self>, settings: &Settings, view: View<'_>) -> Result<(), Failure> {
        for kind in [Kind::VirtualGateway, Kind::VirtualService, Kind::VirtualRouter, Kind::VirtualNode] {
            if view.has_any(kind, None)? {
                return Err(Failure::from(InUse::MeshNotEmpty {
                    mesh: mesh.key.name.clone(),
                    account: settings.account.clone(),
                    children: kind.plural(),
                }));
            }
        }
        Ok(())
    }
}

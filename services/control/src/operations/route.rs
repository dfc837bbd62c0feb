//! Routes.

use selvedge_model::reference::{Misfit, check_route};
use selvedge_model::{Key, Kind, RouteSpec, Value, VirtualRouterSpec};

use super::failure::Failure;
use super::noun::Noun;
use super::settings::Settings;
use super::view::View;

impl Noun for RouteSpec {
    fn normalise(sent: &mut Value) {
        lower_metadata_names(sent);
    }

    fn check_fit(&self, key: &Key, _: &Settings, view: View<'_>) -> Result<(), Failure> {
        let name = key.parent.as_deref().unwrap_or_default();
        let router = view.spec::<VirtualRouterSpec>(name)?;
        let router =
            router.ok_or_else(|| Misfit::Missing { kind: Kind::VirtualRouter, name: name.into() })?;
        Ok(check_route(self, &router, &view)??)
    }
}

/// gRPC metadata names come back in lower case; HTTP header names keep theirs.
pub(super) fn lower_metadata_names(sent: &mut Value) {
    let metadata = sent.pointer_mut("/grpcRoute/match/metadata").and_then(Value::as_array_mut);
    for name in metadata.into_iter().flatten().filter_map(|entry| entry.get_mut("name")) {
        if let Value::String(name) = name {
            name.make_ascii_lowercase();
        }
    }
}

//! What differs between the seven nouns; everything else about them is one piece of code.

use selvedge_model::{Key, Resource, Spec, Status, Value};
use selvedge_store::Error as StoreError;

use super::failure::Failure;
use super::settings::Settings;
use super::view::View;

/// A noun's own rules. Each noun's file says what it must fit, what holds it in place, and how it is shown.
pub(super) trait Noun: Spec {
    /// Changes the spec as sent, in the few places where App Mesh did.
    fn normalise(_sent: &mut Value) {}

    /// Checks the spec against the rest of its mesh.
    fn check_fit(&self, _key: &Key, _settings: &Settings, _view: View<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// Checks that nothing needs the resource any more.
    fn check_unused(
        _resource: &Resource<Self>,
        _settings: &Settings,
        _view: View<'_>,
    ) -> Result<(), Failure> {
        Ok(())
    }

    /// The condition of a resource that exists.
    fn status(&self, _view: View<'_>) -> Result<Status, StoreError> {
        Ok(Status::Active)
    }

    /// Changes how describe and delete show the spec.
    fn present(_wire: &mut Value) {}
}

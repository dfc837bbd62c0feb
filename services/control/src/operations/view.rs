//! The other resources of a mesh, as the rules look them up.

use std::sync::Arc;

use selvedge_model::reference::Lookup;
use selvedge_model::{Key, Kind, Resource, Spec, VirtualNodeSpec, VirtualRouterSpec, VirtualServiceSpec};
use selvedge_store::{Error as StoreError, Read};

use super::document;

/// One mesh within a transaction or snapshot.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub read: &'a dyn Read,
    pub mesh: &'a str,
}

impl View<'_> {
    pub(super) fn spec<S: Spec>(&self, name: &str) -> Result<Option<Arc<S>>, StoreError> {
        let found: Option<Resource<S>> = document::load(self.read, &Key::in_mesh(self.mesh, S::KIND, name))?;
        Ok(found.map(|resource| Arc::new(resource.spec)))
    }

    /// Resources of a kind in this mesh whose document mentions `name`.
    pub(super) fn mentioning<S: Spec>(&self, name: &str) -> Result<Vec<Arc<Resource<S>>>, StoreError> {
        document::mentioning(self.read, &document::prefix_in_mesh(S::KIND, self.mesh), name)
    }

    /// The resources below a router or gateway.
    pub(super) fn children<S: Spec>(&self, parent: &str) -> Result<Vec<Arc<Resource<S>>>, StoreError> {
        document::all(self.read, &format!("{}{parent}/", document::prefix_in_mesh(S::KIND, self.mesh)))
    }

    /// Whether this mesh has a resource of a kind, below that parent if one is given.
    pub(super) fn has_any(&self, kind: Kind, parent: Option<&str>) -> Result<bool, StoreError> {
        let mut prefix = document::prefix_in_mesh(kind, self.mesh);
        if let Some(parent) = parent {
            prefix.push_str(parent);
            prefix.push('/');
        }
        Ok(!self.read.scan(&prefix, None, 1)?.is_empty())
    }
}

impl Lookup for View<'_> {
    type Error = StoreError;

    fn virtual_node(&self, name: &str) -> Result<Option<Arc<VirtualNodeSpec>>, StoreError> {
        self.spec(name)
    }

    fn virtual_router(&self, name: &str) -> Result<Option<Arc<VirtualRouterSpec>>, StoreError> {
        self.spec(name)
    }

    fn virtual_service(&self, name: &str) -> Result<Option<Arc<VirtualServiceSpec>>, StoreError> {
        self.spec(name)
    }
}

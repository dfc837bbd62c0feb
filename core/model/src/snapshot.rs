//! A whole mesh at one revision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::gateway_route::GatewayRoute;
use crate::kind::Kind;
use crate::mesh::Mesh;
use crate::policy::Policies;
use crate::resource::{Key, Rejected, Resource, Spec};
use crate::route::Route;
use crate::virtual_gateway::VirtualGateway;
use crate::virtual_node::VirtualNode;
use crate::virtual_router::VirtualRouter;
use crate::virtual_service::VirtualService;

/// Every resource of one mesh, typed and as sent, as of one revision of the store. Cloning shares the resources.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The store's revision at which this was the truth.
    pub revision: u64,
    pub mesh: Arc<Mesh>,
    pub virtual_nodes: BTreeMap<String, Arc<VirtualNode>>,
    pub virtual_services: BTreeMap<String, Arc<VirtualService>>,
    pub virtual_routers: BTreeMap<String, Arc<VirtualRouter>>,
    /// By router, then by name.
    pub routes: BTreeMap<String, BTreeMap<String, Arc<Route>>>,
    pub virtual_gateways: BTreeMap<String, Arc<VirtualGateway>>,
    /// By gateway, then by name.
    pub gateway_routes: BTreeMap<String, BTreeMap<String, Arc<GatewayRoute>>>,
    /// The policies that are attached to any of these, or to what does not exist.
    pub policies: Policies,
    /// The ARNs of certificates and authorities that can be had: at least of those that a specification names.
    pub certificates: Arc<BTreeSet<String>>,
}

impl Snapshot {
    /// A mesh without resources.
    pub fn new(revision: u64, mesh: Mesh) -> Self {
        Self {
            revision,
            mesh: Arc::new(mesh),
            virtual_nodes: BTreeMap::new(),
            virtual_services: BTreeMap::new(),
            virtual_routers: BTreeMap::new(),
            routes: BTreeMap::new(),
            virtual_gateways: BTreeMap::new(),
            gateway_routes: BTreeMap::new(),
            policies: Policies::default(),
            certificates: Arc::default(),
        }
    }

    /// The mesh's name.
    pub fn name(&self) -> &str {
        &self.mesh.key.name
    }

    /// Adds or replaces a resource, given as [`Resource::to_wire`] wrote it.
    ///
    /// # Errors
    /// The document is not a resource of that kind; the snapshot is unchanged.
    pub fn put(&mut self, kind: Kind, document: &Value) -> Result<(), Rejected> {
        match kind {
            Kind::Mesh => self.mesh = Arc::new(Resource::from_wire(document)?),
            Kind::VirtualNode => put_flat(&mut self.virtual_nodes, document)?,
            Kind::VirtualService => put_flat(&mut self.virtual_services, document)?,
            Kind::VirtualRouter => put_flat(&mut self.virtual_routers, document)?,
            Kind::VirtualGateway => put_flat(&mut self.virtual_gateways, document)?,
            Kind::Route => put_nested(&mut self.routes, document)?,
            Kind::GatewayRoute => put_nested(&mut self.gateway_routes, document)?,
        }
        Ok(())
    }

    /// Takes a resource out. The mesh itself stays: a snapshot without one is dropped, not emptied.
    pub fn remove(&mut self, key: &Key) {
        let parent = key.parent.as_deref().unwrap_or_default();
        match key.kind {
            Kind::Mesh => {}
            Kind::VirtualNode => drop(self.virtual_nodes.remove(&key.name)),
            Kind::VirtualService => drop(self.virtual_services.remove(&key.name)),
            Kind::VirtualRouter => drop(self.virtual_routers.remove(&key.name)),
            Kind::VirtualGateway => drop(self.virtual_gateways.remove(&key.name)),
            Kind::Route => remove_nested(&mut self.routes, parent, &key.name),
            Kind::GatewayRoute => remove_nested(&mut self.gateway_routes, parent, &key.name),
        }
    }

    /// The ARN of a resource of the mesh; `None` if it does not exist.
    pub fn arn(&self, key: &Key) -> Option<&str> {
        let parent = key.parent.as_deref().unwrap_or_default();
        let metadata = match key.kind {
            Kind::Mesh => Some(&self.mesh.metadata).filter(|_| key.name == self.name()),
            Kind::VirtualNode => self.virtual_nodes.get(&key.name).map(|one| &one.metadata),
            Kind::VirtualService => self.virtual_services.get(&key.name).map(|one| &one.metadata),
            Kind::VirtualRouter => self.virtual_routers.get(&key.name).map(|one| &one.metadata),
            Kind::VirtualGateway => self.virtual_gateways.get(&key.name).map(|one| &one.metadata),
            Kind::Route => self.routes.get(parent)?.get(&key.name).map(|one| &one.metadata),
            Kind::GatewayRoute => self.gateway_routes.get(parent)?.get(&key.name).map(|one| &one.metadata),
        };
        metadata.map(|metadata| metadata.arn.as_str())
    }

    /// The routes of a router, by name.
    pub fn routes_of(&self, router: &str) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.get(router).into_iter().flat_map(BTreeMap::values)
    }

    /// The gateway routes of a gateway, by name.
    pub fn gateway_routes_of(&self, gateway: &str) -> impl Iterator<Item = &Arc<GatewayRoute>> {
        self.gateway_routes.get(gateway).into_iter().flat_map(BTreeMap::values)
    }
}

fn put_flat<S: Spec>(
    into: &mut BTreeMap<String, Arc<Resource<S>>>,
    document: &Value,
) -> Result<(), Rejected> {
    let resource = Resource::<S>::from_wire(document)?;
    into.insert(resource.key.name.clone(), Arc::new(resource));
    Ok(())
}

fn put_nested<S: Spec>(
    into: &mut BTreeMap<String, BTreeMap<String, Arc<Resource<S>>>>,
    document: &Value,
) -> Result<(), Rejected> {
    let resource = Resource::<S>::from_wire(document)?;
    let parent = resource.key.parent.clone().unwrap_or_default();
    into.entry(parent).or_default().insert(resource.key.name.clone(), Arc::new(resource));
    Ok(())
}

fn remove_nested<T>(from: &mut BTreeMap<String, BTreeMap<String, T>>, parent: &str, name: &str) {
    if let Some(children) = from.get_mut(parent) {
        children.remove(name);
        if children.is_empty() {
            from.remove(parent);
        }
    }
}

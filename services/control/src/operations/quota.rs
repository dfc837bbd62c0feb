//! How many resources there may be.
//!
//! App Mesh's own quotas were small (15 meshes, 200 nodes, 3 gateways) and raised on request; these are generous, and settings.
//! The number of resources in a collection is kept in a document of its own, changed in the same transaction as the collection.

use bytes::Bytes;
use selvedge_aws::operations::appmesh::{INTERNAL_SERVER_ERROR, LIMIT_EXCEEDED};
use selvedge_model::{Key, Kind};
use selvedge_store::Transaction;

use super::document;
use super::failure::Failure;

/// The largest number of resources of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    pub meshes: u64,
    pub virtual_nodes_per_mesh: u64,
    pub virtual_services_per_mesh: u64,
    pub virtual_routers_per_mesh: u64,
    pub routes_per_virtual_router: u64,
    pub virtual_gateways_per_mesh: u64,
    pub gateway_routes_per_virtual_gateway: u64,
    pub backends_per_virtual_node: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            meshes: 1_000,
            virtual_nodes_per_mesh: 10_000,
            virtual_services_per_mesh: 10_000,
            virtual_routers_per_mesh: 10_000,
            routes_per_virtual_router: 1_000,
            virtual_gateways_per_mesh: 1_000,
            gateway_routes_per_virtual_gateway: 1_000,
            backends_per_virtual_node: 1_000,
        }
    }
}

impl Quotas {
    /// The largest number of resources of that kind beside each other.
    pub const fn of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Mesh => self.meshes,
            Kind::VirtualNode => self.virtual_nodes_per_mesh,
            Kind::VirtualService => self.virtual_services_per_mesh,
            Kind::VirtualRouter => self.virtual_routers_per_mesh,
            Kind::Route => self.routes_per_virtual_router,
            Kind::VirtualGateway => self.virtual_gateways_per_mesh,
            Kind::GatewayRoute => self.gateway_routes_per_virtual_gateway,
        }
    }
}

/// Counts a resource that is about to be created.
pub(super) fn take(tx: &mut dyn Transaction, quotas: &Quotas, key: &Key) -> Result<(), Failure> {
    let count = read(tx, key)?;
    let most = quotas.of(key.kind);
    if count >= most {
        return Err(LIMIT_EXCEEDED
            .because(format!("there may be at most {most} {} here", key.kind.plural()))
            .into());
    }
    write(tx, key, count + 1)
}

/// Counts a resource that is about to be deleted.
pub(super) fn give_back(tx: &mut dyn Transaction, key: &Key) -> Result<(), Failure> {
    let count = read(tx, key)?;
    write(tx, key, count.saturating_sub(1))
}

fn read(tx: &mut dyn Transaction, key: &Key) -> Result<u64, Failure> {
    let Some(document) = tx.get(&document::count_key(key))? else { return Ok(0) };
    let count = std::str::from_utf8(&document.value).ok().and_then(|text| text.parse().ok());
    count.ok_or_else(|| INTERNAL_SERVER_ERROR.because("a stored count is not a number").into())
}

fn write(tx: &mut dyn Transaction, key: &Key, count: u64) -> Result<(), Failure> {
    let at = document::count_key(key);
    if count == 0 {
        tx.delete(&at)?;
    } else {
        tx.put(&at, Bytes::from(count.to_string()))?;
    }
    Ok(())
}

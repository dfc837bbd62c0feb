//! How many resources there may be.
//!
//! App Mesh's own quotas were small (15 meshes, 200 nodes, 3 gateways) and raised on request; these are generous, and settings.
//! The number of resources in a collection is kept in a document of its own, changed in the same transaction as the collection.

use std::str::FromStr;

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
    pub policies_per_mesh: u64,
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
            policies_per_mesh: 1_000,
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

/// One quota as a person sets it: `virtual-nodes-per-mesh=500`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    name: &'static str,
    number: u64,
}

/// Why a text sets no quota.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("a quota is written NAME=NUMBER, not '{0}'")]
    Form(String),
    #[error("there is no quota '{0}', only {known}", known = Setting::NAMES.join(", "))]
    Name(String),
}

impl Setting {
    /// The quotas that there are.
    pub const NAMES: [&'static str; 9] = [
        "meshes",
        "virtual-nodes-per-mesh",
        "virtual-services-per-mesh",
        "virtual-routers-per-mesh",
        "routes-per-virtual-router",
        "virtual-gateways-per-mesh",
        "gateway-routes-per-virtual-gateway",
        "backends-per-virtual-node",
        "policies-per-mesh",
    ];
}

impl FromStr for Setting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let form = || SettingError::Form(text.to_owned());
        let (name, number) = text.split_once('=').ok_or_else(form)?;
        let number = number.parse().map_err(|_| form())?;
        let known = Self::NAMES.into_iter().find(|known| *known == name);
        known.map(|name| Self { name, number }).ok_or_else(|| SettingError::Name(name.to_owned()))
    }
}

impl Quotas {
    /// These quotas with some of them set.
    #[must_use]
    pub fn with(mut self, settings: &[Setting]) -> Self {
        for Setting { name, number } in settings {
            match *name {
                "meshes" => self.meshes = *number,
                "virtual-nodes-per-mesh" => self.virtual_nodes_per_mesh = *number,
                "virtual-services-per-mesh" => self.virtual_services_per_mesh = *number,
                "virtual-routers-per-mesh" => self.virtual_routers_per_mesh = *number,
                "routes-per-virtual-router" => self.routes_per_virtual_router = *number,
                "virtual-gateways-per-mesh" => self.virtual_gateways_per_mesh = *number,
                "policies-per-mesh" => self.policies_per_mesh = *number,
                "gateway-routes-per-virtual-gateway" => self.gateway_routes_per_virtual_gateway = *number,
                _ => self.backends_per_virtual_node = usize::try_from(*number).unwrap_or(usize::MAX),
            }
        }
        self
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quota_can_be_set() {
        let settings: Vec<Setting> =
            Setting::NAMES.iter().map(|name| format!("{name}=7").parse().expect("a quota")).collect();
        let quotas = Quotas::default().with(&settings);
        assert!(Kind::ALL.into_iter().all(|kind| quotas.of(kind) == 7));
        assert_eq!((quotas.backends_per_virtual_node, quotas.policies_per_mesh), (7, 7));
        for text in ["", "meshes", "meshes=", "meshes=-1", "nodes=1"] {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
    }
}

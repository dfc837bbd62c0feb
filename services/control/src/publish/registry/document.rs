//! Endpoints in the store.

use std::net::{IpAddr, SocketAddr};

use selvedge_store::{Error, Store, Transaction};
use serde_json::json;

use super::place::{Place, Spot};

/// What the keys of endpoints begin with.
pub const ENDPOINTS_PREFIX: &str = "selvedge-endpoints/";

/// What the keys of replicas begin with.
pub const REPLICAS_PREFIX: &str = "selvedge-replica/";

/// A change that the registry wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Register {
        place: Place,
        replica: String,
    },
    /// Only if the document is still that owner's: somebody else may have taken the endpoint over.
    Remove {
        place: Place,
        owner: String,
    },
    Beat {
        replica: String,
        count: u64,
    },
    /// A replica is gone.
    Forget {
        replica: String,
    },
}

/// Carries out what [`super::super::Publisher::poll_write`] asked for, in one transaction.
///
/// # Errors
/// The store's; then nothing was written. What concerns endpoints is asked for again in a while, the next beat makes up for
/// one that was lost, and a replica that was not forgotten is given up again after the next start.
pub fn write(store: &dyn Store, writes: &[Write]) -> Result<(), Error> {
    if writes.is_empty() {
        return Ok(());
    }
    store.transact(&mut |transaction| {
        for change in writes {
            apply(transaction, change)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn apply(transaction: &mut dyn Transaction, change: &Write) -> Result<(), Error> {
    match change {
        Write::Register { place, replica } => {
            transaction.put(&key(place), super::json(&json!({ "replica": replica })))
        }
        Write::Beat { replica, count } => {
            transaction.put(&format!("{REPLICAS_PREFIX}{replica}"), super::json(&json!({ "beat": count })))
        }
        Write::Forget { replica } => {
            transaction.delete(&format!("{REPLICAS_PREFIX}{replica}"))?;
            Ok(())
        }
        Write::Remove { place, owner: expected } => {
            let key = key(place);
            let Some(document) = transaction.get(&key)? else { return Ok(()) };
            if owner(&document.value).as_ref() == Some(expected) {
                transaction.delete(&key)?;
            }
            Ok(())
        }
    }
}

fn key(place: &Place) -> String {
    format!("{ENDPOINTS_PREFIX}{}/{}/{}", place.mesh, place.node, place.spot)
}

/// The place that a document's key tells.
pub fn place_of(key: &str) -> Option<Place> {
    let mut parts = key.strip_prefix(ENDPOINTS_PREFIX)?.splitn(3, '/');
    let (mesh, node, spot) = (parts.next()?, parts.next()?, parts.next()?);
    let spot = match spot.parse::<SocketAddr>() {
        Ok(address) => Spot::Port(address),
        Err(_) => Spot::Host(spot.parse::<IpAddr>().ok()?),
    };
    Some(Place { mesh: mesh.to_owned(), node: node.to_owned(), spot })
}

/// Whose document it is.
pub fn owner(value: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(value).ok()?;
    document["replica"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_from_its_key() {
        for spot in ["10.0.0.1", "::1", "127.0.0.1:31000", "[fd00::1]:80"] {
            let place = place_of(&format!("{ENDPOINTS_PREFIX}m/n/{spot}")).expect("a place");
            assert_eq!(key(&place), format!("{ENDPOINTS_PREFIX}m/n/{spot}"));
        }
        for other in ["appmesh/mesh/m", "selvedge-endpoints/m/n", "selvedge-endpoints/m/n/host"] {
            assert_eq!(place_of(other), None);
        }
    }
}

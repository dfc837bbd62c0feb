//! Endpoints in the store.

use std::net::{IpAddr, SocketAddr};

use selvedge_store::{Error, Read, Store, Transaction};
use selvedge_traffic::Locality;
use serde_json::json;

use super::place::{Place, Spot};

/// What the keys of endpoints begin with.
pub const ENDPOINTS_PREFIX: &str = "selvedge-endpoints/";

/// The key of what was forgotten last.
const FORGOTTEN_KEY: &str = "selvedge-endpoints-forgotten";

/// What the keys of replicas begin with.
pub const REPLICAS_PREFIX: &str = "selvedge-replica/";

/// A change that the registry wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Only if nobody holds the place under that epoch or a higher one, nor can have done so unknown to whoever claims it.
    Register {
        place: Place,
        replica: String,
        epoch: u64,
        /// The store's revision that the replica had read when it made its claim.
        seen: u64,
        /// Where it stands, as its sidecar says.
        locality: Locality,
    },
    /// Only if the document is still that owner's, of that epoch: somebody else may have taken the endpoint over. The epoch
    /// is kept; it rises if the owner is given up by another, whose word it then no longer is.
    Remove {
        place: Place,
        owner: String,
        epoch: u64,
        given_up: bool,
    },
    /// The epoch of an endpoint that is gone need not be kept longer; up to which revision any were forgotten is.
    Sweep {
        place: Place,
        epoch: u64,
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

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who vouches for the endpoint; nobody for one that is gone.
    pub owner: Option<String>,
    /// Rises with every session that takes the place.
    pub epoch: u64,
    /// Where the instance stands, as its sidecar said; empty if it did not.
    pub locality: Locality,
}

impl Held {
    fn is(&self, owner: Option<&str>, epoch: u64) -> bool {
        self.owner.as_deref() == owner && self.epoch == epoch
    }
}

/// Carries out what [`super::super::Publisher::poll_write`] asked for, in one transaction.
///
/// # Errors
/// The store's; then nothing was written. What concerns endpoints is asked for again in a while, the next beat makes up for
/// one that was lost, and a replica that was not forgotten is given up again after the next start.
pub fn write(store: &dyn Store, writes: &[Write]) -> Result<Vec<Place>, Error> {
    let mut refused = Vec::new();
    if writes.is_empty() {
        return Ok(refused);
    }
    store.transact(&mut |transaction| {
        refused.clear();
        for change in writes {
            refused.extend(apply(transaction, change)?.cloned());
        }
        Ok(())
    })?;
    Ok(refused)
}

/// Gives the place if the write is refused.
fn apply<'a>(transaction: &mut dyn Transaction, change: &'a Write) -> Result<Option<&'a Place>, Error> {
    match change {
        Write::Register { place, replica, epoch, seen, locality } => {
            let key = key(place);
            let known = transaction.get(&key)?.and_then(|document| held(&document.value));
            let is_first = match &known {
                // What was held before and is forgotten was held long ago, and whoever knew of it claims more than the first
                // epoch. Who claims the first must have read on to where it was still to be known.
                None => *epoch == 1 && *seen >= forgotten(&*transaction)?,
                Some(held) => held.epoch < *epoch,
            };
            let is_own =
                known.is_some_and(|held| held.owner.as_ref() == Some(replica) && held.epoch == *epoch);
            if !is_first && !is_own {
                return Ok(Some(place));
            }
            let mut document = json!({ "replica": replica, "epoch": epoch });
            if *locality != Locality::default() {
                let Locality { region, zone, sub_zone } = locality;
                document["locality"] = json!([region, zone, sub_zone]);
            }
            transaction.put(&key, super::json(&document))?;
        }
        Write::Beat { replica, count } => {
            transaction
                .put(&format!("{REPLICAS_PREFIX}{replica}"), super::json(&json!({ "beat": count })))?;
        }
        Write::Forget { replica } => {
            transaction.delete(&format!("{REPLICAS_PREFIX}{replica}"))?;
        }
        Write::Remove { place, owner, epoch, given_up } => {
            let key = key(place);
            let known = transaction.get(&key)?.and_then(|document| held(&document.value));
            if known.is_some_and(|known| known.is(Some(owner), *epoch)) {
                let epoch = epoch + u64::from(*given_up);
                transaction.put(&key, super::json(&json!({ "epoch": epoch })))?;
            }
        }
        Write::Sweep { place, epoch } => {
            let key = key(place);
            let Some(document) = transaction.get(&key)? else { return Ok(None) };
            if held(&document.value).is_some_and(|known| known.is(None, *epoch)) {
                transaction.delete(&key)?;
                let revision = document.modified.number().max(forgotten(&*transaction)?);
                transaction.put(FORGOTTEN_KEY, super::json(&json!({ "revision": revision })))?;
            }
        }
    }
    Ok(None)
}

/// The highest revision of a document that was swept away: a replica that had read no further may not know that the place was
/// ever held.
fn forgotten(view: &dyn Read) -> Result<u64, Error> {
    let document = view.get(FORGOTTEN_KEY)?;
    let value =
        document.and_then(|document| serde_json::from_slice::<serde_json::Value>(&document.value).ok());
    Ok(value.and_then(|value| value["revision"].as_u64()).unwrap_or(0))
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

/// What a document says of its place; `None` for one that says nothing. Those of earlier versions have no epoch.
pub fn held(value: &[u8]) -> Option<Held> {
    let document: serde_json::Value = serde_json::from_slice(value).ok()?;
    let owner = document["replica"].as_str().map(str::to_owned);
    let epoch = document["epoch"].as_u64();
    let word = |index: usize| document["locality"][index].as_str().unwrap_or_default().to_owned();
    let locality = Locality { region: word(0), zone: word(1), sub_zone: word(2) };
    (owner.is_some() || epoch.is_some()).then(|| Held { owner, epoch: epoch.unwrap_or(0), locality })
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

    fn place(port: u16) -> Place {
        Place { mesh: "m".into(), node: "n".into(), spot: Spot::Port(([127, 0, 0, 1], port).into()) }
    }

    fn register(replica: &str, epoch: u64) -> Write {
        register_having_seen(replica, epoch, u64::MAX)
    }

    fn register_having_seen(replica: &str, epoch: u64, seen: u64) -> Write {
        Write::Register {
            place: place(1),
            replica: replica.into(),
            epoch,
            seen,
            locality: Locality::default(),
        }
    }

    fn stored(store: &dyn Store) -> Option<Held> {
        let view = store.snapshot().expect("a view");
        view.get(&key(&place(1))).expect("read").and_then(|document| held(&document.value))
    }

    #[test]
    fn a_late_writer_neither_keeps_takes_nor_revives_an_endpoint() {
        let store = selvedge_store::memory::Memory::new();
        let accepts = |change: Write| write(&store, &[change]).expect("written").is_empty();
        assert!(accepts(register("first", 1)));
        assert!(accepts(register("first", 1)), "its own word");
        assert!(!accepts(register("second", 1)), "of two who come at once, one");
        assert!(accepts(register("second", 2)), "the sidecar has moved");
        assert!(!accepts(register("first", 1)), "a replica that stood still");
        assert!(accepts(Write::Remove { place: place(1), owner: "first".into(), epoch: 1, given_up: false }));
        assert_eq!(
            stored(&store),
            Some(Held { owner: Some("second".into()), epoch: 2, locality: Locality::default() }),
            "nor takes it away"
        );
        let goodbye = Write::Remove { place: place(1), owner: "second".into(), epoch: 2, given_up: false };
        assert!(accepts(goodbye));
        assert_eq!(stored(&store), Some(Held { owner: None, epoch: 2, locality: Locality::default() }));
        for epoch in [1, 2] {
            assert!(!accepts(register("first", epoch)), "nor brings it back");
        }
        assert!(accepts(register("first", 3)), "a session that begins later");
        let given_up = Write::Remove { place: place(1), owner: "first".into(), epoch: 3, given_up: true };
        assert!(accepts(given_up));
        assert!(!accepts(register("first", 3)), "another gave it up");
        assert!(accepts(Write::Sweep { place: place(1), epoch: 3 }), "not what is known of it");
        assert_eq!(stored(&store), Some(Held { owner: None, epoch: 4, locality: Locality::default() }));
        assert!(accepts(Write::Sweep { place: place(1), epoch: 4 }));
        assert_eq!(stored(&store), None);
        assert!(!accepts(register("first", 3)), "what it knew is long ago");
        assert!(accepts(register("third", 1)));
    }

    #[test]
    fn a_first_claim_from_before_the_place_was_held_and_forgotten_is_refused() {
        let store = selvedge_store::memory::Memory::new();
        let accepts = |change: Write| write(&store, &[change]).expect("written").is_empty();
        let revision = || store.snapshot().expect("a view").revision().number();
        let before = revision();
        let late = |seen| register_having_seen("stood still", 1, seen);
        // The sidecar connects elsewhere, says goodbye, and its place is forgotten.
        assert!(accepts(register_having_seen("other", 1, before)));
        assert!(!accepts(late(before)), "while it is held");
        assert!(accepts(Write::Remove { place: place(1), owner: "other".into(), epoch: 1, given_up: false }));
        let gone = revision();
        assert!(!accepts(late(before)), "while it is known to be gone");
        assert!(accepts(Write::Sweep { place: place(1), epoch: 1 }));
        for seen in [before, gone - 1] {
            assert!(!accepts(late(seen)), "{seen}: when nothing is known of it any more");
        }
        assert!(accepts(late(gone)), "whoever has read that it was gone claims it anew");
    }

    #[test]
    fn forgetting_an_older_place_lowers_no_bar() {
        let store = selvedge_store::memory::Memory::new();
        let write = |change: Write| write(&store, &[change]).expect("written").is_empty();
        let claim = |port, seen| Write::Register {
            place: place(port),
            replica: "a".into(),
            epoch: 1,
            seen,
            locality: Locality::default(),
        };
        let goodbye =
            |port| Write::Remove { place: place(port), owner: "a".into(), epoch: 1, given_up: false };
        for port in [1, 2] {
            assert!(write(claim(port, 0)) && write(goodbye(port)));
        }
        let gone = store.snapshot().expect("a view").revision().number();
        for port in [2, 1] {
            assert!(write(Write::Sweep { place: place(port), epoch: 1 }));
        }
        assert!(!write(claim(3, gone - 1)) && write(claim(3, gone)));
    }
}

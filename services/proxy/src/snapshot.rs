//! The active configuration, as those who serve traffic see it: whole, immutable, replaced as one `Arc`.

use std::collections::BTreeMap;
use std::sync::Arc;

use selvedge_traffic::{Listener, RouteTable};

/// All warm listeners at one moment, sorted by name.
///
/// A listener that a new snapshot did not change keeps its `Arc`, so that `Arc::ptr_eq` tells what is new. Clusters
/// are not in here: their endpoints change on their own, in `selvedge_upstream::Clusters`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigSnapshot {
    /// Rises by one with each snapshot.
    pub generation: u64,
    pub listeners: Vec<Arc<ActiveListener>>,
}

/// A listener with all that it needs to serve.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveListener {
    /// The same `Arc` as before when only routes changed: its sockets and connections stay.
    pub config: Arc<Listener>,
    /// Every route table that its chains name, by that name; none is missing.
    pub routes: BTreeMap<String, Arc<RouteTable>>,
}

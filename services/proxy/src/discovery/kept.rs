//! What a proxy keeps for its next process.

use std::sync::Arc;

use selvedge_traffic::{Cluster, Listener, LoadAssignment, ResourceRef, RouteTable};

/// A resource in force, shared with whoever serves by it.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    Cluster(Arc<Cluster>),
    Endpoints(Arc<LoadAssignment>),
    Listener(Arc<Listener>),
    Routes(Arc<RouteTable>),
}

impl Kept {
    pub fn as_ref(&self) -> ResourceRef<'_> {
        match self {
            Self::Cluster(cluster) => ResourceRef::Cluster(cluster),
            Self::Endpoints(assignment) => ResourceRef::Endpoints(assignment),
            Self::Listener(listener) => ResourceRef::Listener(listener),
            Self::Routes(table) => ResourceRef::Routes(table),
        }
    }
}

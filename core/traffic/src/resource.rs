//! A named piece of configuration, as the discovery protocol delivers it.

use serde::Serialize;

use crate::{Cluster, Listener, LoadAssignment, RouteTable};

/// The kinds of resource, in the order in which additions must reach a proxy (make before break):
/// a cluster before its endpoints, both before the listeners and routes that use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum ResourceKind {
    Cluster,
    Endpoints,
    Listener,
    Routes,
}

impl ResourceKind {
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Endpoints, Self::Listener, Self::Routes];
}

/// One resource of a proxy's configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "made and taken apart at a change of configuration, never kept in number"
)]
pub enum Resource {
    Cluster(Cluster),
    Endpoints(LoadAssignment),
    Listener(Listener),
    Routes(RouteTable),
}

/// A resource that somebody else has.
#[derive(Clone, Copy, Debug)]
pub enum ResourceRef<'a> {
    Cluster(&'a Cluster),
    Endpoints(&'a LoadAssignment),
    Listener(&'a Listener),
    Routes(&'a RouteTable),
}

impl Resource {
    pub fn kind(&self) -> ResourceKind {
        self.as_ref().kind()
    }

    pub fn name(&self) -> &str {
        self.as_ref().name()
    }

    pub fn as_ref(&self) -> ResourceRef<'_> {
        match self {
            Self::Cluster(cluster) => ResourceRef::Cluster(cluster),
            Self::Endpoints(assignment) => ResourceRef::Endpoints(assignment),
            Self::Listener(listener) => ResourceRef::Listener(listener),
            Self::Routes(table) => ResourceRef::Routes(table),
        }
    }
}

impl<'a> ResourceRef<'a> {
    pub fn kind(self) -> ResourceKind {
        match self {
            Self::Cluster(_) => ResourceKind::Cluster,
            Self::Endpoints(_) => ResourceKind::Endpoints,
            Self::Listener(_) => ResourceKind::Listener,
            Self::Routes(_) => ResourceKind::Routes,
        }
    }

    pub fn name(self) -> &'a str {
        match self {
            Self::Cluster(cluster) => &cluster.name,
            Self::Endpoints(assignment) => &assignment.cluster,
            Self::Listener(listener) => &listener.name,
            Self::Routes(table) => &table.name,
        }
    }
}

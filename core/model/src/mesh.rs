//! A mesh: the boundary within which names mean something.

use crate::kind::Kind;
use crate::resource::{Resource, Spec, Strictness};
use crate::service_discovery::IpPreference;
use crate::structure::{enumeration, structure};
use crate::violation::Violations;

/// A mesh, as stored.
pub type Mesh = Resource<MeshSpec>;

structure! {
    /// What a mesh is made of; all of it may be absent.
    pub struct MeshSpec {
        /// What may leave the mesh.
        optional egress_filter "egressFilter": EgressFilter,
        /// How names are resolved, for every node that says nothing else.
        optional service_discovery "serviceDiscovery": MeshServiceDiscovery,
    }
}

structure! {
    /// What may leave the mesh.
    pub struct EgressFilter {
        /// `DROP_ALL`, App Mesh's default, or `ALLOW_ALL`.
        required kind "type": EgressFilterType,
    }
}

enumeration! {
    /// What may leave the mesh.
    pub enum EgressFilterType {
        /// Anything.
        AllowAll "ALLOW_ALL",
        /// Only calls to backends, and to `*.amazonaws.com`.
        DropAll "DROP_ALL",
    }
}

structure! {
    /// How names are resolved.
    pub struct MeshServiceDiscovery {
        /// Which address family is used.
        optional ip_preference "ipPreference": IpPreference,
    }
}

impl Spec for MeshSpec {
    const KIND: Kind = Kind::Mesh;

    fn check_rules(&self, _: Strictness, _: &mut Violations) {}
}

//! A virtual service: the name that callers use, and who answers for it.

use crate::kind::Kind;
use crate::name::RESOURCE_NAME;
use crate::resource::{Resource, Spec, Strictness};
use crate::structure::{structure, union};
use crate::violation::Violations;

/// A virtual service, as stored.
pub type VirtualService = Resource<VirtualServiceSpec>;

structure! {
    /// What a virtual service is made of.
    pub struct VirtualServiceSpec {
        /// Who answers; nobody, when absent.
        optional provider "provider": VirtualServiceProvider,
    }
}

union! {
    /// Who answers for a virtual service.
    pub enum VirtualServiceProvider {
        VirtualNode "virtualNode": VirtualNodeServiceProvider,
        VirtualRouter "virtualRouter": VirtualRouterServiceProvider,
    }
}

structure! {
    /// A node that answers for a virtual service.
    pub struct VirtualNodeServiceProvider {
        /// The node's name.
        required virtual_node_name "virtualNodeName": String => &RESOURCE_NAME,
    }
}

structure! {
    /// A router that answers for a virtual service.
    pub struct VirtualRouterServiceProvider {
        /// The router's name.
        required virtual_router_name "virtualRouterName": String => &RESOURCE_NAME,
    }
}

impl VirtualServiceProvider {
    /// The kind and name of the resource that answers.
    pub fn target(&self) -> (Kind, &str) {
        match self {
            Self::VirtualNode(node) => (Kind::VirtualNode, &node.virtual_node_name),
            Self::VirtualRouter(router) => (Kind::VirtualRouter, &router.virtual_router_name),
        }
    }
}

impl Spec for VirtualServiceSpec {
    const KIND: Kind = Kind::VirtualService;

    fn check_rules(&self, _: Strictness, _: &mut Violations) {}
}

//! A virtual router: the place where routes meet.

use std::collections::BTreeSet;

use crate::kind::Kind;
use crate::listener::PortMapping;
use crate::resource::{Resource, Spec, Strictness};
use crate::structure::structure;
use crate::violation::Violations;

/// A virtual router, as stored.
pub type VirtualRouter = Resource<VirtualRouterSpec>;

structure! {
    /// What a virtual router is made of. Without listeners it takes over those of its routes' targets.
    pub struct VirtualRouterSpec {
        /// The ports on which the router is called.
        many listeners "listeners": VirtualRouterListener,
    }
}

structure! {
    /// A port on which a router is called.
    pub struct VirtualRouterListener {
        /// The port mapping information for the listener.
        required port_mapping "portMapping": PortMapping,
    }
}

impl Spec for VirtualRouterSpec {
    const KIND: Kind = Kind::VirtualRouter;

    fn check_rules(&self, _: Strictness, found: &mut Violations) {
        let mut ports = BTreeSet::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            if !ports.insert(listener.port_mapping.port) {
                found.rule(
                    format!("spec.listeners[{index}].portMapping.port"),
                    format!("Port {} is used by more than one listener.", listener.port_mapping.port),
                );
            }
        }
    }
}

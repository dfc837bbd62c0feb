//! A virtual node: a workload, where it listens and whom it calls.

use std::collections::BTreeSet;

use crate::client_policy::{BackendDefaults, ClientPolicy};
use crate::kind::Kind;
use crate::listener::Listener;
use crate::logging::Logging;
use crate::resource::{Resource, Spec, Strictness};
use crate::service_discovery::ServiceDiscovery;
use crate::structure::{structure, union};
use crate::violation::Violations;

/// A virtual node, as stored.
pub type VirtualNode = Resource<VirtualNodeSpec>;

structure! {
    /// What a virtual node is made of; all of it may be absent.
    pub struct VirtualNodeSpec {
        /// What holds for every backend that says nothing else.
        optional backend_defaults "backendDefaults": BackendDefaults,
        /// Whom the node calls; a backend may name a virtual service that does not exist yet.
        many backends "backends": Backend,
        /// Where the node listens.
        many listeners "listeners": Listener,
        /// The access log.
        optional logging "logging": Logging,
        /// How callers find the node's instances.
        optional service_discovery "serviceDiscovery": ServiceDiscovery,
    }
}

union! {
    /// Whom a node calls.
    pub enum Backend {
        VirtualService "virtualService": VirtualServiceBackend,
    }
}

structure! {
    /// A virtual service that a node calls.
    pub struct VirtualServiceBackend {
        /// The policy for these calls.
        optional client_policy "clientPolicy": ClientPolicy,
        /// The virtual service's name.
        required virtual_service_name "virtualServiceName": String,
    }
}

impl Backend {
    /// The virtual service that is called.
    pub fn virtual_service(&self) -> &VirtualServiceBackend {
        let Self::VirtualService(backend) = self;
        backend
    }
}

impl Spec for VirtualNodeSpec {
    const KIND: Kind = Kind::VirtualNode;

    fn check_rules(&self, strictness: Strictness, found: &mut Violations) {
        if self.service_discovery.is_some() && self.listeners.is_empty() {
            found.verbatim("spec.serviceDiscovery", "Service Discovery can't be set without a listener.");
        }
        if strictness == Strictness::Strict && self.service_discovery.is_none() && !self.listeners.is_empty()
        {
            found
                .rule("spec.serviceDiscovery", "Service Discovery must be set when a listener is specified.");
        }
        let mut ports = BTreeSet::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            let path = format!("spec.listeners[{index}]");
            if !ports.insert(listener.port_mapping.port) {
                found.rule(
                    format!("{path}.portMapping.port"),
                    format!("Port {} is used by more than one listener.", listener.port_mapping.port),
                );
            }
            listener.check_rules(&path, found);
        }
        let mut names = BTreeSet::new();
        for (index, backend) in self.backends.iter().enumerate() {
            let name = backend.virtual_service().virtual_service_name.as_str();
            if !names.insert(name) {
                found.rule(
                    format!("spec.backends[{index}].virtualService.virtualServiceName"),
                    format!("VirtualService {name} is listed more than once in backends."),
                );
            }
        }
    }
}

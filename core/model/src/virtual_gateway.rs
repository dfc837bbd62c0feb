//! A virtual gateway: where traffic from outside enters the mesh.

use std::collections::BTreeSet;

use crate::client_policy::BackendDefaults;
use crate::kind::Kind;
use crate::listener::{
    ConnectionPool, HealthCheckPolicy, HttpConnectionPool, INTERVAL_MILLIS, PORT_NUMBER, PortMapping,
    RequestConnectionPool, THRESHOLD, TIMEOUT_MILLIS,
};
use crate::logging::Logging;
use crate::resource::{Resource, Spec, Strictness};
use crate::shape::{Form, Member, Presence, Shape};
use crate::structure::{Shaped, structure};
use crate::tls::ListenerTls;
use crate::violation::Violations;

/// A virtual gateway, as stored.
pub type VirtualGateway = Resource<VirtualGatewaySpec>;

structure! {
    /// What a virtual gateway is made of.
    pub struct VirtualGatewaySpec {
        /// What holds for every call into the mesh.
        optional backend_defaults "backendDefaults": BackendDefaults,
        /// Where the gateway listens.
        required listeners "listeners": Vec<VirtualGatewayListener>,
        /// The access log.
        optional logging "logging": Logging,
    }
}

structure! {
    /// A port on which a gateway listens; its protocol is never plain TCP.
    pub struct VirtualGatewayListener {
        /// Bounds on connections and requests, in the member of the listener's protocol.
        optional connection_pool "connectionPool": ConnectionPool => &CONNECTION_POOL,
        /// The health check of the listener. Nobody runs it: no member of a mesh calls a gateway.
        optional health_check "healthCheck": HealthCheckPolicy => &HEALTH_CHECK_POLICY,
        /// The port mapping information for the listener.
        required port_mapping "portMapping": PortMapping => &PORT_MAPPING,
        /// The Transport Layer Security settings of the listener.
        optional tls "tls": ListenerTls,
    }
}

impl Spec for VirtualGatewaySpec {
    const KIND: Kind = Kind::VirtualGateway;

    fn check_rules(&self, _: Strictness, found: &mut Violations) {
        let mut ports = BTreeSet::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            let path = format!("spec.listeners[{index}]");
            let mapping = &listener.port_mapping;
            if !ports.insert(mapping.port) {
                found.rule(
                    format!("{path}.portMapping.port"),
                    format!("Port {} is used by more than one listener.", mapping.port),
                );
            }
            if let Some(check) = &listener.health_check {
                check.check_rules(&path, mapping, found);
            }
            if let Some(pool) = &listener.connection_pool {
                pool.check_rules(&path, mapping.protocol, found);
            }
        }
    }
}

// The narrower shapes of a gateway's listener: the types are a node listener's, without plain TCP.

const PROTOCOL: Shape = Shape::enumeration("VirtualGatewayPortProtocol", &["http", "http2", "grpc"]);

const PORT_MAPPING: Shape = Shape {
    name: "VirtualGatewayPortMapping",
    form: Form::Structure {
        members: &[
            member("port", Presence::Required, &PORT_NUMBER),
            member("protocol", Presence::Required, &PROTOCOL),
        ],
    },
};

const HEALTH_CHECK_POLICY: Shape = Shape {
    name: "VirtualGatewayHealthCheckPolicy",
    form: Form::Structure {
        members: &[
            member("healthyThreshold", Presence::Required, &THRESHOLD),
            member("intervalMillis", Presence::RequiredWhenStrict, &INTERVAL_MILLIS),
            member("path", Presence::Optional, String::SHAPE),
            member("port", Presence::Optional, &PORT_NUMBER),
            member("protocol", Presence::Required, &PROTOCOL),
            member("timeoutMillis", Presence::RequiredWhenStrict, &TIMEOUT_MILLIS),
            member("unhealthyThreshold", Presence::Required, &THRESHOLD),
        ],
    },
};

const CONNECTION_POOL: Shape = Shape {
    name: "VirtualGatewayConnectionPool",
    form: Form::Union {
        members: &[
            member("grpc", Presence::Optional, RequestConnectionPool::SHAPE),
            member("http", Presence::Optional, HttpConnectionPool::SHAPE),
            member("http2", Presence::Optional, RequestConnectionPool::SHAPE),
        ],
    },
};

const fn member(name: &'static str, presence: Presence, shape: &'static Shape) -> Member {
    Member { name, presence, shape, doc: "" }
}

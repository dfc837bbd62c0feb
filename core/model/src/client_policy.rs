//! How a node or gateway calls its backends.

use crate::listener::PORT_NUMBER;
use crate::shape::{Bounds, Shape};
use crate::structure::structure;
use crate::tls::{ClientTlsCertificate, TlsValidation};

const PORT_SET: Shape = Shape::list("PortSet", &PORT_NUMBER, Bounds::OPEN);

structure! {
    /// What holds for every backend that says nothing else.
    pub struct BackendDefaults {
        /// The policy for calls.
        optional client_policy "clientPolicy": ClientPolicy,
    }
}

structure! {
    /// A policy for calls.
    pub struct ClientPolicy {
        /// The Transport Layer Security settings of calls.
        optional tls "tls": ClientPolicyTls,
    }
}

structure! {
    /// The Transport Layer Security settings of calls.
    pub struct ClientPolicyTls {
        /// The certificate that the caller shows.
        optional certificate "certificate": ClientTlsCertificate,
        /// Whether calls must be encrypted; yes, unless it says no.
        optional enforce "enforce": bool,
        /// The ports to which the policy applies; all, when empty.
        many ports "ports": u16 => &PORT_SET,
        /// What the caller demands of the server's certificate.
        required validation "validation": TlsValidation,
    }
}

impl ClientPolicyTls {
    /// Whether calls must be encrypted.
    pub fn is_enforced(&self) -> bool {
        self.enforce.unwrap_or(true)
    }
}

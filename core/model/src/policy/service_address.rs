//! A service that proxies ask something: a node of the mesh, or somebody outside it.

use crate::listener::PORT_NUMBER;
use crate::shape::Shape;
use crate::structure::{structure, union};

const NAME: Shape = Shape::string_of("ResourceName", 1, 255);
const HOST: Shape = Shape::string_of("Host", 1, 253);
const FILE: Shape = Shape::string_of("FilePath", 1, 255);

union! {
    /// A service that proxies ask something.
    pub enum ServiceAddress {
        /// A node of the mesh.
        VirtualNode "virtualNode": NodeService,
        /// Somebody by a host name or an address.
        Host "host": HostService,
    }
}

structure! {
    /// A node of the mesh.
    pub struct NodeService {
        /// Its name.
        required name "name": String => &NAME,
        /// Its listener's port; needed if it has several.
        optional port "port": u16 => &PORT_NUMBER,
    }
}

structure! {
    /// Somebody by a host name or an address.
    pub struct HostService {
        /// The name, or the address.
        required name "name": String => &HOST,
        /// The port.
        required port "port": u16 => &PORT_NUMBER,
        /// It is spoken to by TLS, and must prove its name.
        optional tls "tls": bool,
        /// Authorities that may vouch for it, a file in PEM where the proxy runs; `/etc/ssl/certs/ca-certificates.crt`
        /// unless told otherwise.
        optional ca_file "caFile": String => &FILE,
    }
}

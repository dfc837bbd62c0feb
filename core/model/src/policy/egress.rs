//! What a node may call beside its backends.

use super::Rules;
use crate::listener::PORT_NUMBER;
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure};
use crate::violation::Violations;

const HOST: Shape = Shape::string_of("Host", 1, 255);
const DESTINATIONS: Shape = Shape::list("Destinations", Destination::SHAPE, Bounds::between(1, 256));

structure! {
    /// What a node may call beside its backends, whatever the mesh's egress filter says.
    pub struct Egress {
        /// Who may be called.
        many allow "allow": Destination => &DESTINATIONS,
    }
}

structure! {
    /// Somebody outside the mesh. The name is read from TLS's server name, so the port must speak TLS.
    pub struct Destination {
        /// A name, or `*.example.com` for all names below one.
        required host "host": String => &HOST,
        /// The port; 443 unless told otherwise.
        optional port "port": u16 => &PORT_NUMBER,
    }
}

impl Rules for Egress {
    fn check(&self, found: &mut Violations) {
        let mut seen = std::collections::BTreeSet::new();
        for (index, destination) in self.allow.iter().enumerate() {
            let path = format!("spec.allow[{index}]");
            let host = destination.host.strip_prefix("*.").unwrap_or(&destination.host);
            let label = |label: &str| {
                !label.is_empty()
                    && label.len() <= 63
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            };
            if !host.split('.').all(label) {
                let text = format!("{:?} is neither a host's name nor *. and one", destination.host);
                found.rule(format!("{path}.host"), text);
            }
            let place = (destination.host.to_ascii_lowercase(), destination.port.unwrap_or(443));
            if !seen.insert(place) {
                found.rule(path, "it is given twice");
            }
        }
    }
}

//! Copies of requests for nodes whose answers nobody waits for.

use super::{Percentage, Rules};
use crate::listener::PORT_NUMBER;
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure};

const NAME: Shape = Shape::string_of("ResourceName", 1, 255);
const TARGETS: Shape = Shape::list("MirrorTargets", MirrorTarget::SHAPE, Bounds::between(1, 8));

structure! {
    /// Copies of requests for nodes whose answers nobody waits for.
    pub struct Mirror {
        /// Who gets a copy.
        many targets "targets": MirrorTarget => &TARGETS,
    }
}

structure! {
    /// A node that gets copies.
    pub struct MirrorTarget {
        /// The virtual node.
        required virtual_node "virtualNode": String => &NAME,
        /// Its listener's port; needed if it has several.
        optional port "port": u16 => &PORT_NUMBER,
        /// The share of requests; `"100%"` unless told otherwise.
        optional share "share": Percentage,
        /// The copy keeps the host's name; otherwise `-shadow` is added to it.
        optional keep_host "keepHost": bool,
    }
}

impl Rules for Mirror {}

//! The PROXY protocol: a word at the beginning of a connection on whose it is.

use super::Rules;
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, enumeration, structure};
use crate::violation::Violations;

const VERSIONS: Shape =
    Shape::list("ProxyProtocolVersions", ProxyProtocolVersion::SHAPE, Bounds::between(0, 2));

structure! {
    /// The PROXY protocol at a node's or gateway's listeners, and towards a node.
    pub struct ProxyProtocol {
        /// Connections that come in begin with it.
        optional accept "accept": ProxyProtocolAccept,
        /// Callers' proxies begin their connections to the node with it.
        optional send "send": ProxyProtocolVersion,
    }
}

structure! {
    /// How it is read where connections come in.
    pub struct ProxyProtocolAccept {
        /// Connections that begin otherwise are taken too; without it they are closed.
        optional optional "optional": bool,
        /// Only these versions; both unless told otherwise.
        many versions "versions": ProxyProtocolVersion => &VERSIONS,
    }
}

enumeration! {
    /// How the word is written.
    pub enum ProxyProtocolVersion {
        /// As a line of text.
        V1 "v1",
        /// In binary.
        V2 "v2",
    }
}

impl Rules for ProxyProtocol {
    fn check(&self, found: &mut Violations) {
        if self.accept.is_none() && self.send.is_none() {
            found.rule("spec", "it is neither accepted nor sent");
        }
    }
}

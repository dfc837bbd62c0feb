//! Who may ask for what.

use std::net::IpAddr;

use super::address_block::BLOCK;
use super::{HeaderCondition, Rules, TextMatch, address_block};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, enumeration, structure};
use crate::violation::Violations;

const NAME: Shape = Shape::string_of("RuleName", 1, 128);
const METHOD: Shape = Shape::string_of("Method", 1, 32);
const METHODS: Shape = Shape::list("Methods", &METHOD, Bounds::between(0, 16));
const PATHS: Shape = Shape::list("Paths", TextMatch::SHAPE, Bounds::between(0, 64));
const HEADERS: Shape = Shape::list("Headers", HeaderCondition::SHAPE, Bounds::between(0, 16));
const CALLERS: Shape = Shape::list("Callers", Caller::SHAPE, Bounds::between(0, 64));
const RULES: Shape = Shape::list("Rules", AccessRule::SHAPE, Bounds::between(1, 64));

structure! {
    /// Who may ask for what. What a request is refused for is answered with 403.
    pub struct Access {
        /// `allow`: only what a rule takes; `deny`: all but that.
        required action "action": AccessAction,
        /// The rules; one that takes a request is enough.
        many rules "rules": AccessRule => &RULES,
    }
}

enumeration! {
    /// What it means that a rule takes a request.
    pub enum AccessAction {
        Allow "allow",
        Deny "deny",
    }
}

structure! {
    /// Takes requests for which each of its members holds; what is absent holds of all.
    pub struct AccessRule {
        /// By which logs and answers' details call it; unique.
        required name "name": String => &NAME,
        /// Who asks; any of them.
        many from "from": Caller => &CALLERS,
        /// Any of these methods.
        many methods "methods": String => &METHODS,
        /// Any of these paths, without the query.
        many paths "paths": TextMatch => &PATHS,
        /// All of these headers.
        many headers "headers": HeaderCondition => &HEADERS,
    }
}

structure! {
    /// Somebody who asks; each member that is given must hold.
    pub struct Caller {
        /// The address that the connection comes from: `10.0.0.0/8`, or one address.
        optional address "address": String => &BLOCK,
        /// A name in the peer's verified certificate.
        optional peer "peer": TextMatch,
    }
}

impl Caller {
    /// The block of addresses; `None` if none is given or it is none.
    pub fn block(&self) -> Option<(IpAddr, u8)> {
        address_block(self.address.as_deref()?)
    }
}

impl Rules for Access {
    fn check(&self, found: &mut Violations) {
        let mut seen = std::collections::BTreeSet::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let path = format!("spec.rules[{index}]");
            if !seen.insert(&rule.name) {
                found.rule(format!("{path}.name"), format!("{:?} is given twice", rule.name));
            }
            for (index, caller) in rule.from.iter().enumerate() {
                let path = format!("{path}.from[{index}]");
                if caller.address.is_none() && caller.peer.is_none() {
                    found.rule(path, "it names nobody");
                } else if caller.address.is_some() && caller.block().is_none() {
                    found.rule(format!("{path}.address"), "it is neither an address nor a block of them");
                }
            }
            for (index, header) in rule.headers.iter().enumerate() {
                super::headers::check_name(&format!("{path}.headers[{index}].name"), &header.name, found);
            }
        }
    }
}

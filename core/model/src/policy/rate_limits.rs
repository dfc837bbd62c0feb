//! The limits that the control plane's own rate-limit service keeps.

use super::Rules;
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, enumeration, structure};
use crate::violation::Violations;

const DOMAIN: Shape = Shape::string_of("Domain", 1, 128);
const NAME: Shape = Shape::string_of("Name", 1, 128);
const VALUE: Shape = Shape::string_of("Value", 1, 256);
const COUNT: Shape = Shape::integer("Count", Bounds::between(0, u32::MAX as i64));
const DOMAINS: Shape = Shape::list("Domains", LimitDomain::SHAPE, Bounds::between(1, 16));
const NAMES: Shape = Shape::list("Names", &NAME, Bounds::between(0, 16));

structure! {
    /// The limits that the control plane's own rate-limit service keeps for a mesh. It counts in its memory.
    pub struct RateLimits {
        /// By the name that a `globalRateLimit` policy says.
        many domains "domains": LimitDomain => &DOMAINS,
    }
}

structure! {
    /// The limits of a domain.
    pub struct LimitDomain {
        /// Its name.
        required name "name": String => &DOMAIN,
        /// The limits, as a tree.
        many descriptors "descriptors": LimitDescriptor => &LEVEL_1,
    }
}

structure! {
    /// So many requests in a unit of time, which begins with the clock's.
    pub struct Limit {
        /// The unit; needed unless it is unlimited.
        optional unit "unit": LimitUnit,
        /// So many requests; needed unless it is unlimited.
        optional requests_per_unit "requestsPerUnit": u32 => &COUNT,
        /// They are not counted.
        optional unlimited "unlimited": bool,
        /// Its name, for `replaces`.
        optional name "name": String => &NAME,
        /// Limits of these names do not count where this one does.
        many replaces "replaces": String => &NAMES,
    }
}

enumeration! {
    /// A unit of time.
    pub enum LimitUnit {
        Second "second",
        Minute "minute",
        Hour "hour",
        Day "day",
        Week "week",
        Month "month",
        Year "year",
    }
}

/// A level of the tree, with those below it.
macro_rules! level {
    ($name:ident $(, $below:ident, $shape:expr)?) => {
        structure! {
            /// Requests whose next entry is this. A request is held to a limit if its entries lead to it, all of them.
            pub struct $name {
                /// The entry's key.
                required key "key": String => &NAME,
                /// The entry's value, or with `*` at its end how it begins; without it any value, each counted by itself.
                optional value "value": String => &VALUE,
                /// The limit of requests whose entries end here.
                optional limit "limit": Limit,
                /// It is only counted: requests pass.
                optional shadow "shadow": bool,
                $(
                    /// Limits of requests with further entries.
                    many descriptors "descriptors": $below => &$shape,
                )?
            }
        }
    };
}

level!(LimitDescriptor, LimitDescriptor2, LEVEL_2);
level!(LimitDescriptor2, LimitDescriptor3, LEVEL_3);
level!(LimitDescriptor3, LimitDescriptor4, LEVEL_4);
level!(LimitDescriptor4);

const LEVEL_1: Shape = Shape::list("LimitDescriptors", LimitDescriptor::SHAPE, Bounds::between(1, 256));
const LEVEL_2: Shape = Shape::list("LimitDescriptors", LimitDescriptor2::SHAPE, Bounds::between(0, 256));
const LEVEL_3: Shape = Shape::list("LimitDescriptors", LimitDescriptor3::SHAPE, Bounds::between(0, 256));
const LEVEL_4: Shape = Shape::list("LimitDescriptors", LimitDescriptor4::SHAPE, Bounds::between(0, 256));

/// A node of the tree, whatever its level.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitNode<'a> {
    pub key: &'a str,
    pub value: Option<&'a str>,
    pub limit: Option<&'a Limit>,
    pub shadow: bool,
    pub below: Vec<Self>,
}

macro_rules! node {
    ($one:expr $(, $below:ident => $deeper:expr)?) => {
        LimitNode {
            key: &$one.key,
            value: $one.value.as_deref(),
            limit: $one.limit.as_ref(),
            shadow: $one.shadow.unwrap_or(false),
below: std::iter::empty()$(.chain($one.descriptors.iter().map(|$below| $deeper)))?.collect(),
        }
    };
}

impl LimitDomain {
    /// The domain's limits as a tree.
    pub fn nodes(&self) -> Vec<LimitNode<'_>> {
        self.descriptors
            .iter()
            .map(|one| node!(one, two => node!(two, three => node!(three, four => node!(four)))))
            .collect()
    }
}

impl Rules for RateLimits {
    fn check(&self, found: &mut Violations) {
        for (index, domain) in self.domains.iter().enumerate() {
            let path = format!("spec.domains[{index}]");
            if self.domains[..index].iter().any(|other| other.name == domain.name) {
                found.rule(format!("{path}.name"), "another domain has that name");
            }
            check_nodes(&path, &domain.nodes(), found);
        }
    }
}

fn check_nodes(path: &str, nodes: &[LimitNode<'_>], found: &mut Violations) {
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("{path}.descriptors[{index}]");
        if nodes[..index].iter().any(|other| (other.key, other.value) == (node.key, node.value)) {
            found.rule(path.clone(), "another descriptor has that key and value");
        }
        match node.limit {
            None if node.below.is_empty() => {
                found.rule(path.clone(), "it has neither a limit nor descriptors")
            }
            None if node.shadow => found.rule(format!("{path}.shadow"), "it has no limit"),
            Some(limit) if limit.unlimited == Some(true) => {
                if limit.unit.is_some() || limit.requests_per_unit.is_some() {
                    found.rule(
                        format!("{path}.limit.unlimited"),
                        "it takes the place of unit and requestsPerUnit",
                    );
                }
            }
            Some(limit) if limit.unit.is_none() || limit.requests_per_unit.is_none() => {
                found.rule(format!("{path}.limit"), "it needs unit and requestsPerUnit, or unlimited");
            }
            None | Some(_) => {}
        }
        check_nodes(&path, &node.below, found);
    }
}

//! How callers choose one of a node's instances.

use super::Rules;
use crate::shape::{Bounds, Shape};
use crate::structure::{enumeration, structure};
use crate::violation::Violations;

const CHOICES: Shape = Shape::integer("ChoiceCount", Bounds::between(2, 100));

structure! {
    /// How callers choose one of a node's instances.
    pub struct LoadBalancing {
        /// The way of choosing.
        required algorithm "algorithm": Algorithm,
        /// How many instances are compared, 2 to 100; 2 unless told otherwise. For leastRequest only.
        optional choice_count "choiceCount": u32 => &CHOICES,
    }
}

enumeration! {
    /// A way of choosing.
    pub enum Algorithm {
        RoundRobin "roundRobin",
        LeastRequest "leastRequest",
        Random "random",
    }
}

impl Rules for LoadBalancing {
    fn check(&self, found: &mut Violations) {
        if self.choice_count.is_some() && self.algorithm != Algorithm::LeastRequest {
            found.rule("spec.choiceCount", "it is for leastRequest only");
        }
    }
}

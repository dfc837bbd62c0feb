//! What decides which of a route's nodes a request goes to.

use super::{HashKey, Rules};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure};
use crate::violation::Violations;

const NAME: Shape = Shape::string_of("Name", 1, 128);
const KEYS: Shape = Shape::list("HashKeys", HashKey::SHAPE, Bounds::between(0, 8));

structure! {
    /// What decides which of a route's weighted targets a request goes to, in the place of chance: who comes again stays
    /// where he was, as long as the weights stay.
    pub struct Split {
        /// Requests that are alike in these go to one target. They also choose its instance, where that is chosen by a hash.
        many by "by": HashKey => &KEYS,
        /// A header that holds the number which decides: the rest of its division by the sum of the weights says whose
        /// share it is.
        optional number_header "numberHeader": String => &NAME,
    }
}

impl Rules for Split {
    fn check(&self, found: &mut Violations) {
        match (&self.number_header, self.by.is_empty()) {
            (None, true) => found.rule("spec", "it says nothing by which requests are alike"),
            (Some(_), false) => found.rule("spec.numberHeader", "it takes the place of by: give one of them"),
            (Some(header), true) => super::headers::check_name("spec.numberHeader", header, found),
            (None, false) => super::load_balancing::check_keys("spec.by", &self.by, found),
        }
    }
}

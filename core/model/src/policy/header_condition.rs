//! Conditions on a request's headers.

use super::TextMatch;
use crate::shape::Shape;
use crate::structure::structure;

const NAME: Shape = Shape::string_of("HeaderName", 1, 128);

structure! {
    /// A header that a request must have.
    pub struct HeaderCondition {
        /// Its name.
        required name "name": String => &NAME,
        /// What it must be; any value will do unless told otherwise.
        optional matches "match": TextMatch,
    }
}

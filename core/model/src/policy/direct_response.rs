//! An answer at once.

use super::Rules;
use crate::shape::{Bounds, Shape};
use crate::structure::structure;

const STATUS: Shape = Shape::integer("Status", Bounds::between(200, 599));
/// Envoy's own bound of a direct response's body.
const BODY: Shape = Shape::string_of("Body", 0, 4096);

structure! {
    /// An answer at once, without asking anybody.
    pub struct DirectResponse {
        /// The status, 200 to 599.
        required status "status": u16 => &STATUS,
        /// The body; none unless told otherwise.
        optional body "body": String => &BODY,
    }
}

impl Rules for DirectResponse {}

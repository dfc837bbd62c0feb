//! How many requests a proxy takes in.

use std::time::Duration;

use super::{Rules, Span};
use crate::shape::{Bounds, Shape};
use crate::structure::structure;
use crate::violation::Violations;

const COUNT: Shape = Shape::integer("Count", Bounds::between(1, i32::MAX as i64));
const STATUS: Shape = Shape::integer("Status", Bounds::between(400, 599));

structure! {
    /// How many requests each proxy takes in; it counts by itself, in a bucket that starts full.
    pub struct RateLimit {
        /// So many requests …
        required requests "requests": u32 => &COUNT,
        /// … in this time, at least 50 ms.
        required per "per": Span,
        /// At once, after a pause; as many as `requests` unless told otherwise.
        optional burst "burst": u32 => &COUNT,
        /// The answer to a request too many; 429 unless told otherwise.
        optional status "status": u16 => &STATUS,
        /// Each connection has a bucket of its own.
        optional per_connection "perConnection": bool,
        /// Answers tell how much is left: `x-ratelimit-limit`, `-remaining` and `-reset`.
        optional tell "tell": bool,
    }
}

impl Rules for RateLimit {
    fn check(&self, found: &mut Violations) {
        if self.per.0 < Duration::from_millis(50) {
            found.rule("spec.per", "it must be 50ms at least");
        }
    }
}

//! How many requests a proxy takes in.

use std::time::Duration;

use super::{DescriptorEntry, Rules, Span};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure};
use crate::violation::Violations;

const COUNT: Shape = Shape::integer("Count", Bounds::between(1, i32::MAX as i64));
const ENTRIES: Shape = Shape::list("DescriptorEntries", DescriptorEntry::SHAPE, Bounds::between(1, 8));
const LIMITS: Shape = Shape::list("SeparateLimits", SeparateLimit::SHAPE, Bounds::between(0, 16));
const DISTINCT: Shape = Shape::integer("Count", Bounds::between(1, 100_000));
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
        /// Requests that are alike in something have a bucket besides: a user's, a path's.
        many limits "limits": SeparateLimit => &LIMITS,
        /// Of how many different values the buckets are kept; those longest without a request go. 20 unless told otherwise.
        optional distinct "distinct": u32 => &DISTINCT,
    }
}

structure! {
    /// Requests that are alike in `by` have a bucket of their own.
    pub struct SeparateLimit {
        /// In what they are alike; a request that has it not all is not counted here.
        many by "by": DescriptorEntry => &ENTRIES,
        /// So many requests …
        required requests "requests": u32 => &COUNT,
        /// … in this time, at least 50 ms.
        required per "per": Span,
        /// At once, after a pause; as many as `requests` unless told otherwise.
        optional burst "burst": u32 => &COUNT,
    }
}

impl Rules for RateLimit {
    fn check(&self, found: &mut Violations) {
        if self.per.0 < Duration::from_millis(50) {
            found.rule("spec.per", "it must be 50ms at least");
        }
        for (index, limit) in self.limits.iter().enumerate() {
            let path = format!("spec.limits[{index}]");
            if limit.per.0 < Duration::from_millis(50) {
                found.rule(format!("{path}.per"), "it must be 50ms at least");
            }
            if limit.by.is_empty() {
                found.rule(format!("{path}.by"), "it says nothing by which requests are alike");
            }
            for (place, entry) in limit.by.iter().enumerate() {
                entry.check(&format!("{path}.by[{place}]"), found);
            }
        }
    }
}

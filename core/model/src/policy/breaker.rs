//! Breakers with visible states.

use super::{Rules, Span};
use crate::shape::{Bounds, Shape};
use crate::structure::structure;
use crate::violation::Violations;

const COUNT: Shape = Shape::integer("Count", Bounds::between(0, i32::MAX as i64));
const PROBES: Shape = Shape::integer("Probes", Bounds::between(1, 1000));
const PERCENT: Shape = Shape::integer("Percent", Bounds::between(0, 100));

structure! {
    /// Breakers between a node and each of its callers: closed, open, half-open. Our proxies have them, a real Envoy does
    /// not: for it, `circuitBreaking` with `outlier` comes nearest.
    pub struct Breaker {
        /// One for each instance: an open one is passed over while others take its part.
        optional endpoint "endpoint": BreakerBounds,
        /// One for the whole node: while it is open, requests are answered with 503 at once.
        optional service "service": BreakerBounds,
    }
}

structure! {
    /// When a breaker opens, and how it closes again.
    pub struct BreakerBounds {
        /// So many failures in a row open it; 5 unless told otherwise, 0 is no bound.
        optional consecutive_failures "consecutiveFailures": u32 => &COUNT,
        /// From this share of failed requests on it opens, in percent; 50 unless told otherwise, 0 is no bound …
        optional failure_percent "failurePercent": u32 => &PERCENT,
        /// … if there were so many requests, 20 unless told otherwise …
        optional min_requests "minRequests": u32 => &COUNT,
        /// … in this time; 10 s unless told otherwise.
        optional window "window": Span,
        /// How long it stays open; 5 s unless told otherwise, and twice as long each time that a probe fails …
        optional open_time "openTime": Span,
        /// … up to this; 60 s unless told otherwise.
        optional max_open_time "maxOpenTime": Span,
        /// Requests let through at a time while half-open, and successes that close it; 1 unless told otherwise.
        optional probes "probes": u32 => &PROBES,
    }
}

impl Rules for Breaker {
    fn check(&self, found: &mut Violations) {
        if self.endpoint.is_none() && self.service.is_none() {
            found.rule("spec", "it sets no breaker");
        }
        for (at, bounds) in [("endpoint", &self.endpoint), ("service", &self.service)] {
            let Some(bounds) = bounds else { continue };
            if bounds.consecutive_failures == Some(0) && bounds.failure_percent == Some(0) {
                found.rule(format!("spec.{at}"), "nothing opens it");
            }
            for (member, span) in [
                ("window", bounds.window),
                ("openTime", bounds.open_time),
                ("maxOpenTime", bounds.max_open_time),
            ] {
                if span.is_some_and(|span| span.0.is_zero()) {
                    found.rule(format!("spec.{at}.{member}"), "it must be more than nothing");
                }
            }
        }
    }
}

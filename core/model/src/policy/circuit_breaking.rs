//! How much of a node its callers may use, and when an instance is left out.

use super::{Rules, Span};
use crate::shape::{Bounds, Shape};
use crate::structure::structure;
use crate::violation::Violations;

const COUNT: Shape = Shape::integer("Count", Bounds::between(0, i32::MAX as i64));
const FAILURES: Shape = Shape::integer("Failures", Bounds::between(1, i32::MAX as i64));
const PERCENT: Shape = Shape::integer("Percent", Bounds::between(0, 100));

structure! {
    /// Bounds of each caller's proxy towards a node; what is absent is unbounded.
    pub struct CircuitBreaking {
        /// Connections at once.
        optional max_connections "maxConnections": u32 => &COUNT,
        /// Requests that wait for a connection.
        optional max_pending_requests "maxPendingRequests": u32 => &COUNT,
        /// Requests at once.
        optional max_requests "maxRequests": u32 => &COUNT,
        /// Retries at once.
        optional max_retries "maxRetries": u32 => &COUNT,
        /// When an instance that fails is left out; replaces what the listener says.
        optional outlier "outlier": Outlier,
    }
}

structure! {
    /// When an instance that fails is left out for a while.
    pub struct Outlier {
        /// 5xx answers in a row; 5 unless told otherwise.
        optional consecutive_5xx "consecutive5xx": u32 => &FAILURES,
        /// 502, 503 or 504 in a row; without it they count as 5xx only.
        optional consecutive_gateway_failure "consecutiveGatewayFailure": u32 => &FAILURES,
        /// How often instances are looked at; 10 s unless told otherwise.
        optional interval "interval": Span,
        /// How long an instance is left out the first time; 30 s unless told otherwise.
        optional base_ejection_time "baseEjectionTime": Span,
        /// How long at most; 5 min unless told otherwise.
        optional max_ejection_time "maxEjectionTime": Span,
        /// The greatest share of instances that is left out, in percent; 10 unless told otherwise.
        optional max_ejection_percent "maxEjectionPercent": u32 => &PERCENT,
    }
}

impl Rules for CircuitBreaking {
    fn check(&self, found: &mut Violations) {
        let Some(outlier) = &self.outlier else { return };
        for (member, span) in [
            ("interval", outlier.interval),
            ("baseEjectionTime", outlier.base_ejection_time),
            ("maxEjectionTime", outlier.max_ejection_time),
        ] {
            if span.is_some_and(|span| span.0.is_zero()) {
                found.rule(format!("spec.outlier.{member}"), "it must be more than nothing");
            }
        }
    }
}

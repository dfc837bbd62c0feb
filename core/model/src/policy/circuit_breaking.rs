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
        /// Pools of connections at once: one for each instance, protocol and priority that is in use.
        optional max_connection_pools "maxConnectionPools": u32 => &COUNT,
        /// Retries at once.
        optional max_retries "maxRetries": u32 => &COUNT,
        /// Retries at once, measured by the requests under way, in the place of `maxRetries`.
        optional retry_budget "retryBudget": RetryBudget,
        /// When an instance that fails is left out; replaces what the listener says.
        optional outlier "outlier": Outlier,
    }
}

structure! {
    /// Retries at once, measured by the requests under way.
    pub struct RetryBudget {
        /// Their share of the requests that are under way or wait; 20 unless told otherwise.
        optional percent "percent": u32 => &PERCENT,
        /// So many are always allowed; 3 unless told otherwise.
        optional min_retries "minRetries": u32 => &COUNT,
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
        /// Instances that succeed much less often than the others.
        optional success_rate "successRate": SuccessRate,
        /// Instances that fail too large a share of their requests.
        optional failure_percentage "failurePercentage": FailurePercentage,
    }
}

structure! {
    /// Instances that succeed much less often than the others, of an interval's requests.
    pub struct SuccessRate {
        /// So many instances must have had enough requests; 5 unless told otherwise.
        optional min_hosts "minHosts": u32 => &COUNT,
        /// Enough requests; 100 unless told otherwise.
        optional min_requests "minRequests": u32 => &COUNT,
        /// Thousandths of the standard deviation that an instance may stay below the mean; 1,900 unless told otherwise.
        optional deviation_factor "deviationFactor": u32 => &COUNT,
    }
}

structure! {
    /// Instances that fail too large a share of an interval's requests.
    pub struct FailurePercentage {
        /// From this share on, in percent.
        required threshold "threshold": u32 => &PERCENT,
        /// So many instances must have had enough requests; 5 unless told otherwise.
        optional min_hosts "minHosts": u32 => &COUNT,
        /// Enough requests; 50 unless told otherwise.
        optional min_requests "minRequests": u32 => &COUNT,
    }
}

impl Rules for CircuitBreaking {
    fn check(&self, found: &mut Violations) {
        if self.retry_budget.is_some() && self.max_retries.is_some() {
            found.rule("spec.retryBudget", "it takes the place of maxRetries: give one of them");
        }
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

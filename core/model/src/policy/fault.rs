//! Faults on purpose.

use super::{HeaderCondition, Percentage, Rules, Span};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure};
use crate::violation::Violations;

const STATUS: Shape = Shape::integer("Status", Bounds::between(200, 599));
const GRPC_STATUS: Shape = Shape::integer("GrpcStatus", Bounds::between(1, 16));
const COUNT: Shape = Shape::integer("Count", Bounds::between(0, i32::MAX as i64));
const HEADERS: Shape = Shape::list("Headers", HeaderCondition::SHAPE, Bounds::between(0, 16));

structure! {
    /// Requests that wait, and requests that fail, on purpose.
    pub struct Fault {
        /// Requests that wait before they go on.
        optional delay "delay": FaultDelay,
        /// Requests that are answered in the application's place.
        optional abort "abort": FaultAbort,
        /// Only requests with all of these.
        many headers "headers": HeaderCondition => &HEADERS,
        /// Faults under way at once, at most.
        optional max_active "maxActive": u32 => &COUNT,
    }
}

structure! {
    /// Requests that wait.
    pub struct FaultDelay {
        /// How long.
        optional fixed "fixed": Span,
        /// As long as the request's `x-envoy-fault-delay-request` says, in milliseconds.
        optional by_header "byHeader": bool,
        /// The share of requests; `"100%"` unless told otherwise.
        optional share "share": Percentage,
    }
}

structure! {
    /// Requests that fail.
    pub struct FaultAbort {
        /// With this HTTP status.
        optional status "status": u16 => &STATUS,
        /// With this gRPC status.
        optional grpc_status "grpcStatus": u32 => &GRPC_STATUS,
        /// With what the request's `x-envoy-fault-abort-request` or `-abort-grpc-request` says.
        optional by_header "byHeader": bool,
        /// The share of requests; `"100%"` unless told otherwise.
        optional share "share": Percentage,
    }
}

impl Rules for Fault {
    fn check(&self, found: &mut Violations) {
        if self.delay.is_none() && self.abort.is_none() {
            found.rule("spec", "it does nothing");
        }
        if let Some(delay) = &self.delay {
            if delay.fixed.is_some() == (delay.by_header == Some(true)) {
                found.rule("spec.delay", "it is either fixed or byHeader");
            }
            if delay.fixed.is_some_and(|span| span.0.is_zero()) {
                found.rule("spec.delay.fixed", "it must be more than nothing");
            }
        }
        if let Some(abort) = &self.abort {
            let ways = [abort.status.is_some(), abort.grpc_status.is_some(), abort.by_header == Some(true)];
            if ways.into_iter().filter(|way| *way).count() != 1 {
                found.rule("spec.abort", "it is one of status, grpcStatus and byHeader");
            }
        }
        for (index, header) in self.headers.iter().enumerate() {
            super::headers::check_name(&format!("spec.headers[{index}].name"), &header.name, found);
        }
    }
}

//! When a request is tried again.

use super::{HeaderCondition, Rules, Span};
use crate::shape::{Bounds, Shape};
use crate::structure::{enumeration, structure};
use crate::violation::Violations;

const RETRIES: Shape = Shape::integer("MaxRetries", Bounds::between(0, 100));
const ATTEMPTS: Shape = Shape::integer("HostSelectionAttempts", Bounds::between(1, 100));
const CODE: Shape = Shape::integer("Status", Bounds::between(100, 599));
const CODES: Shape = Shape::list("StatusCodes", &CODE, Bounds::between(0, 100));
const HEADERS: Shape =
    Shape::list("ResetHeaders", <ResetHeader as crate::structure::Shaped>::SHAPE, Bounds::between(1, 8));
const ANSWERS: Shape = Shape::list(
    "HeaderConditions",
    <HeaderCondition as crate::structure::Shaped>::SHAPE,
    Bounds::between(0, 16),
);
const NAME: Shape = Shape::string_of("HeaderName", 1, 128);

structure! {
    /// When a request is tried again, how often and after which wait.
    pub struct Retry {
        /// The conditions; any of them is enough.
        many on "on": RetryCondition,
        /// Tries after the first, 0 to 100; 0 turns retries off.
        required max_retries "maxRetries": u32 => &RETRIES,
        /// Bound of each try.
        optional per_try_timeout "perTryTimeout": Span,
        /// Bound of the time in which nothing comes of a try, while it waits for its answer and while that comes.
        optional per_try_idle_timeout "perTryIdleTimeout": Span,
        /// A try beyond `perTryTimeout` is not given up: the next one runs beside it, and the first good answer wins.
        optional hedge "hedge": bool,
        /// Statuses to try again, for `retriable-status-codes`.
        many status_codes "statusCodes": u16 => &CODES,
        /// Headers of an answer that is tried again, any of them, for `retriable-headers`.
        many response_headers "responseHeaders": HeaderCondition => &ANSWERS,
        /// Only requests with one of these headers are tried again; every request unless told otherwise.
        many request_headers "requestHeaders": HeaderCondition => &ANSWERS,
        /// How long to wait before a retry.
        optional back_off "backOff": BackOff,
        /// Waiting as long as an answer asks for.
        optional rate_limited_back_off "rateLimitedBackOff": RateLimitedBackOff,
        /// A retry goes to an instance that has not been tried; true unless told otherwise.
        optional avoid_previous_hosts "avoidPreviousHosts": bool,
        /// How often to draw for such an instance, 1 to 100; 5 unless told otherwise.
        optional host_selection_attempts "hostSelectionAttempts": u32 => &ATTEMPTS,
    }
}

enumeration! {
    /// Why a request is tried again.
    pub enum RetryCondition {
        FiveXx "5xx",
        GatewayError "gateway-error",
        Reset "reset",
        ResetBeforeRequest "reset-before-request",
        ConnectFailure "connect-failure",
        EnvoyRatelimited "envoy-ratelimited",
        Retriable4xx "retriable-4xx",
        RefusedStream "refused-stream",
        RetriableStatusCodes "retriable-status-codes",
        RetriableHeaders "retriable-headers",
        GrpcCancelled "cancelled",
        GrpcDeadlineExceeded "deadline-exceeded",
        GrpcInternal "internal",
        GrpcResourceExhausted "resource-exhausted",
        GrpcUnavailable "unavailable",
    }
}

structure! {
    /// An exponential wait: the n-th is drawn from zero to `base` times 2 to the power of n−1, at most `max`.
    pub struct BackOff {
        /// The first wait's bound.
        required base "base": Span,
        /// Every wait's bound; ten times `base` unless told otherwise.
        optional max "max": Span,
    }
}

structure! {
    /// Waiting as long as an answer asks for, instead of the exponential wait.
    pub struct RateLimitedBackOff {
        /// Headers to look at, in order.
        many reset_headers "resetHeaders": ResetHeader => &HEADERS,
        /// A longer wait is ignored; 5 minutes unless told otherwise.
        optional max "max": Span,
    }
}

structure! {
    /// A header that says when to come back.
    pub struct ResetHeader {
        /// Its name.
        required name "name": String => &NAME,
        /// What its number means.
        required format "format": ResetFormat,
    }
}

enumeration! {
    /// What a reset header's number means.
    pub enum ResetFormat {
        Seconds "seconds",
        UnixTimestamp "unix-timestamp",
    }
}

impl Rules for Retry {
    fn check(&self, found: &mut Violations) {
        let codes = self.on.contains(&RetryCondition::RetriableStatusCodes);
        if codes == self.status_codes.is_empty() {
            found.rule(
                "spec.statusCodes",
                "statusCodes and the condition retriable-status-codes need each other",
            );
        }
        let headers = self.on.contains(&RetryCondition::RetriableHeaders);
        if headers == self.response_headers.is_empty() {
            found.rule(
                "spec.responseHeaders",
                "responseHeaders and the condition retriable-headers need each other",
            );
        }
        if self.hedge == Some(true) && self.per_try_timeout.is_none_or(|bound| bound.0.is_zero()) {
            found.rule("spec.hedge", "it needs perTryTimeout");
        }
        if self.on.is_empty() && self.max_retries > 0 {
            found.rule("spec.on", "it names no condition");
        }
        if let Some(back_off) = &self.back_off {
            if back_off.base.0.is_zero() {
                found.rule("spec.backOff.base", "it must be more than nothing");
            }
            if back_off.max.is_some_and(|max| max < back_off.base) {
                found.rule("spec.backOff.max", "it must not be less than base");
            }
        }
        if self.rate_limited_back_off.as_ref().and_then(|one| one.max).is_some_and(|max| max.0.is_zero()) {
            found.rule("spec.rateLimitedBackOff.max", "it must be more than nothing");
        }
    }
}

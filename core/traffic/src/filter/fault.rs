//! Faults on purpose: requests that wait, and requests that fail.

use std::time::Duration;

use serde::Serialize;

use crate::Fraction;
use crate::matching::HeaderMatch;

/// Envoy's `envoy.filters.http.fault`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Fault {
    pub delay: Option<FaultDelay>,
    pub abort: Option<FaultAbort>,
    /// Only requests to this cluster.
    pub cluster: Option<String>,
    /// Only requests with all of these.
    pub headers: Vec<HeaderMatch>,
    /// How many faults are under way at most; `None` is without bound.
    pub active_max: Option<u32>,
}

/// A wait before the request goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultDelay {
    pub by: DelayBy,
    pub share: Fraction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DelayBy {
    /// More than nothing.
    Fixed(Duration),
    /// What the request's own headers ask for.
    Header,
}

/// An answer in place of the upstream's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultAbort {
    pub by: AbortBy,
    pub share: Fraction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum AbortBy {
    /// 200..=599.
    Http(u16),
    Grpc(u32),
    /// What the request's own headers ask for.
    Header,
}

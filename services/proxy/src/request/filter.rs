//! The filters between a request's route and its cluster: each may answer, change the head, or wait for the body; responses
//! pass them backwards.
//!
//! A filter is a file here with what it keeps and what it does, and a line in each of the three matches below. A request
//! without filters meets an empty slice, and nothing else.

mod buffer;
pub(crate) mod chain;
mod gather;

use std::sync::Arc;

use selvedge_traffic::{HttpFilter, RouteFilter};

use super::body::RequestBody;
use super::exchange::{Ended, Exchange};
use crate::serve::compile::{CompileError, Telemetry};

pub(crate) use chain::{Chains, Filters};

/// A filter ready to act: its configuration, what it counts, and what it keeps from request to request. All workers share
/// it.
#[derive(Debug)]
pub(crate) enum Filter {
    Buffer(buffer::Buffer),
}

/// What a filter is made with.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "filters that count come")]
pub(crate) struct Scope<'a> {
    /// The filter's name.
    pub(crate) name: &'a str,
    /// Its connection manager's.
    pub(crate) stat_prefix: &'a str,
    pub(crate) telemetry: &'a Telemetry,
}

impl Filter {
    pub(crate) fn new(filter: &HttpFilter, _scope: Scope<'_>) -> Result<Self, CompileError> {
        Ok(match filter {
            HttpFilter::Buffer(config) => Self::Buffer(buffer::Buffer::new(config)),
        })
    }

    /// The filter as a route wants it. `configs` are its own configurations, the most specific first; one of another
    /// filter's type says nothing.
    fn for_route(&self, configs: &[&RouteFilter], _scope: Scope<'_>) -> Result<Self, CompileError> {
        Ok(match self {
            Self::Buffer(buffer) => Self::Buffer(buffer.for_route(configs)),
        })
    }

    async fn request(&self, x: &mut Exchange<'_>, body: &mut RequestBody) -> Result<(), Ended> {
        match self {
            Self::Buffer(buffer) => buffer.request(x, body).await,
        }
    }

    fn response(&self, _x: &mut Exchange<'_>) {
        match self {
            Self::Buffer(_) => {}
        }
    }
}

/// Takes the request through its filters, in order.
pub(super) async fn request(x: &mut Exchange<'_>, body: &mut RequestBody) -> Result<(), Ended> {
    let chain: &[Arc<Filter>] = x.chain;
    for filter in chain {
        filter.request(x, body).await?;
    }
    Ok(())
}

/// Takes the response's head through the filters of its request, backwards. It may be the upstream's or our own; a filter
/// that the request did not reach sees it too, as in Envoy.
pub(super) fn response(x: &mut Exchange<'_>) {
    let chain: &[Arc<Filter>] = x.chain;
    for filter in chain.iter().rev() {
        filter.response(x);
    }
}

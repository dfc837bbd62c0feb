//! The filters between a request's route and its cluster: each may answer, change the head, or wait for the body; responses
//! pass them backwards.
//!
//! A filter is a file here with what it keeps and what it does, and a line in each of the three matches below. A request
//! without filters meets an empty slice, and nothing else.

mod buffer;
mod call;
pub(crate) mod chain;
mod compressor;
mod cors;
mod counted;
mod decompressor;
mod descriptors;
mod ext_authz;
mod fault;
mod gather;
mod grpc_web;
pub(crate) mod jwt;
mod local_rate_limit;
mod rate_limit;
mod rbac;
mod subject;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use selvedge_traffic::rate_limit::Bucket;
use selvedge_traffic::{HeaderEdit, HttpFilter, RouteFilter};

use super::body::RequestBody;
use super::exchange::{Ended, Exchange};
use crate::serve::compile::{CompileError, Telemetry};

pub(crate) use chain::{Chains, Filters};
pub(crate) use subject::identity;

/// A filter ready to act: its configuration, what it counts, and what it keeps from request to request. All workers share
/// it.
#[derive(Debug)]
pub(crate) enum Filter {
    Buffer(buffer::Buffer),
    Rbac(rbac::Rbac),
    LocalRateLimit(local_rate_limit::LocalRateLimit),
    Cors(cors::Cors),
    Fault(fault::Fault),
    Compressor(compressor::Compressor),
    Decompressor(decompressor::Decompressor),
    GrpcWeb(grpc_web::GrpcWeb),
    RateLimit(rate_limit::RateLimit),
    Jwt(jwt::Jwt),
    ExtAuthz(ext_authz::ExtAuthz),
}

/// What a filter is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// The connection manager's.
    pub(crate) stat_prefix: &'a str,
    pub(crate) telemetry: &'a Telemetry,
}

impl Filter {
    pub(crate) fn new(filter: &HttpFilter, scope: Scope<'_>) -> Result<Self, CompileError> {
        Ok(match filter {
            HttpFilter::Buffer(config) => Self::Buffer(buffer::Buffer::new(config)),
            HttpFilter::Rbac(config) => Self::Rbac(rbac::Rbac::new(config, scope)),
            HttpFilter::Cors => Self::Cors(cors::Cors::new(scope)),
            HttpFilter::Fault(config) => Self::Fault(fault::Fault::new(config, scope)),
            HttpFilter::Compressor(config) => Self::Compressor(compressor::Compressor::new(config, scope)),
            HttpFilter::Decompressor(config) => {
                Self::Decompressor(decompressor::Decompressor::new(config, scope))
            }
            HttpFilter::GrpcWeb => Self::GrpcWeb(grpc_web::GrpcWeb::new()),
            HttpFilter::GlobalRateLimit(config) => {
                Self::RateLimit(rate_limit::RateLimit::new(config, scope)?)
            }
            HttpFilter::Jwt(config) => Self::Jwt(jwt::Jwt::new(config, scope)?),
            HttpFilter::ExtAuthz(config) => Self::ExtAuthz(ext_authz::ExtAuthz::new(config, scope)),
            HttpFilter::LocalRateLimit(config) => {
                Self::LocalRateLimit(local_rate_limit::LocalRateLimit::new(config, scope)?)
            }
        })
    }

    /// The filter as a route wants it. `configs` are its own configurations, the most specific first; one of another
    /// filter's type says nothing.
    fn for_route(&self, configs: &[&RouteFilter], scope: Scope<'_>) -> Result<Self, CompileError> {
        Ok(match self {
            Self::Buffer(buffer) => Self::Buffer(buffer.for_route(configs)),
            Self::Rbac(rbac) => Self::Rbac(rbac.for_route(configs, scope)),
            Self::RateLimit(limit) => Self::RateLimit(limit.for_route(configs)),
            Self::Jwt(jwt) => Self::Jwt(jwt.for_route(configs)),
            Self::ExtAuthz(authz) => Self::ExtAuthz(authz.for_route(configs)),
            Self::LocalRateLimit(limit) => Self::LocalRateLimit(limit.for_route(configs, scope)?),
            Self::Cors(cors) => Self::Cors(cors.for_route(configs)),
            Self::Fault(fault) => Self::Fault(fault.for_route(configs)),
            Self::Compressor(compressor) => Self::Compressor(compressor.for_route(configs)),
            Self::Decompressor(decompressor) => Self::Decompressor(decompressor.shared()),
            Self::GrpcWeb(web) => Self::GrpcWeb(web.shared()),
        })
    }

    async fn request(&self, x: &mut Exchange<'_>, body: &mut RequestBody) -> Result<(), Ended> {
        match self {
            Self::Buffer(buffer) => buffer.request(x, body).await,
            Self::Rbac(rbac) => rbac.request(x),
            Self::RateLimit(limit) => limit.request(x).await,
            Self::Jwt(jwt) => jwt.request(x).await,
            Self::ExtAuthz(authz) => authz.request(x, body).await,
            Self::LocalRateLimit(limit) => limit.request(x),
            Self::Cors(cors) => cors.request(x),
            Self::Fault(fault) => fault.request(x).await,
            Self::Compressor(compressor) => {
                compressor.request(x);
                Ok(())
            }
            Self::Decompressor(decompressor) => decompressor.request(x, body),
            Self::GrpcWeb(web) => web.request(x, body),
        }
    }

    fn response(&self, x: &mut Exchange<'_>) {
        match self {
            Self::Buffer(_) | Self::Rbac(_) | Self::Jwt(_) | Self::Fault(_) => {}
            Self::Cors(cors) => cors.response(x),
            Self::Compressor(compressor) => compressor.response(x),
            Self::Decompressor(decompressor) => decompressor.response(x),
            Self::GrpcWeb(web) => web.response(x),
            Self::RateLimit(limit) => limit.response(x),
            Self::ExtAuthz(authz) => authz.response(x),
            Self::LocalRateLimit(limit) => limit.response(x),
        }
    }
}

/// Tells filters apart that keep something with a request or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilterId(u64);

impl FilterId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a filter keeps from the request for its response.
#[derive(Debug)]
pub(crate) enum Kept {
    /// The bucket that the request was counted by, if it is to be shown; whether the request was refused.
    Limit { bucket: Option<Arc<Bucket>>, refused: bool },
    /// The page's origin, which may read the answer.
    Origin(Vec<u8>),
    /// Which codings the client accepts.
    Accepts(Vec<u8>),
    /// The client is a browser; whether it wants its answer as text.
    Web { text: bool },
    /// A rate limit service refused the request.
    Refused,
    /// Headers for the response.
    Headers(Vec<(Cow<'static, str>, Vec<u8>)>),
    /// Edits of the response's head.
    Edits(Vec<HeaderEdit>),
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

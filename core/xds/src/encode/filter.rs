//! HTTP filters.

mod buffer;
mod compressor;
mod cors;
mod decompressor;
mod ext_authz;
mod fault;
mod jwt;
mod local_rate_limit;
mod rate_limit;
mod rbac;

use std::collections::BTreeMap;
use std::time::Duration;

use prost_types::Any;
use selvedge_traffic::{FilterOverride, FilterSetting, HttpFilter, RouteFilter};
use selvedge_xds_proto::envoy::config::core::v3::GrpcService;
use selvedge_xds_proto::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use selvedge_xds_proto::envoy::config::route::v3::FilterConfig;
use selvedge_xds_proto::envoy::extensions::filters::http;
use selvedge_xds_proto::envoy::r#type::v3::HttpStatus;

use super::duration;
use crate::any::pack;

pub(super) fn encode(filter: &HttpFilter) -> Any {
    match filter {
        HttpFilter::Buffer(buffer) => pack(&buffer::filter(buffer)),
        HttpFilter::Rbac(rbac) => pack(&rbac::filter(rbac)),
        HttpFilter::LocalRateLimit(limit) => pack(&local_rate_limit::filter(limit)),
        HttpFilter::GlobalRateLimit(limit) => pack(&rate_limit::filter(limit)),
        HttpFilter::Jwt(jwt) => pack(&jwt::filter(jwt)),
        HttpFilter::ExtAuthz(authz) => pack(&ext_authz::filter(authz)),
        HttpFilter::Cors => pack(&http::cors::v3::Cors {}),
        HttpFilter::Fault(fault) => pack(&fault::filter(fault)),
        HttpFilter::Compressor(compressor) => pack(&compressor::filter(compressor)),
        HttpFilter::Decompressor(decompressor) => pack(&decompressor::filter(decompressor)),
        HttpFilter::GrpcWeb => pack(&http::grpc_web::v3::GrpcWeb {}),
    }
}

fn encode_route(filter: &RouteFilter) -> Any {
    match filter {
        RouteFilter::Buffer(buffer) => pack(&buffer::route(buffer)),
        RouteFilter::Rbac(rbac) => pack(&rbac::route(rbac.as_ref())),
        RouteFilter::LocalRateLimit(limit) => pack(&local_rate_limit::filter(limit)),
        RouteFilter::GlobalRateLimit(limit) => pack(&rate_limit::route(limit)),
        RouteFilter::Jwt(jwt) => pack(&jwt::route(jwt)),
        RouteFilter::ExtAuthz(authz) => pack(&ext_authz::route(authz)),
        RouteFilter::Cors(policy) => pack(&cors::route(policy)),
        RouteFilter::Fault(fault) => pack(&fault::filter(fault)),
        RouteFilter::Compressor(route) => pack(&compressor::route(*route)),
    }
}

pub(super) fn overrides(overrides: &[FilterOverride]) -> BTreeMap<String, Any> {
    overrides.iter().map(|one| (one.filter.clone(), setting(&one.setting))).collect()
}

fn setting(setting: &FilterSetting) -> Any {
    match setting {
        FilterSetting::Disabled => pack(&FilterConfig { disabled: true, ..FilterConfig::default() }),
        // A configuration that is there and empty enables.
        FilterSetting::Enabled => {
            pack(&FilterConfig { config: Some(Any::default()), ..FilterConfig::default() })
        }
        FilterSetting::Config(filter) => encode_route(filter),
    }
}

fn http_status(status: u16) -> HttpStatus {
    HttpStatus { code: status.into() }
}

pub(super) fn grpc_service(cluster: &str, authority: &str, timeout: Option<Duration>) -> GrpcService {
    GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: cluster.to_owned(),
            authority: authority.to_owned(),
        })),
        timeout: timeout.map(duration::encode),
        initial_metadata: Vec::new(),
    }
}

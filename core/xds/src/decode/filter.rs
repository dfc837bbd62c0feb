//! HTTP filters, told apart by the type URL of their configuration.

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
use selvedge_xds_proto::envoy::config::core::v3::grpc_service::TargetSpecifier;
use selvedge_xds_proto::envoy::config::core::v3::{ApiVersion, GrpcService, HeaderValue};
use selvedge_xds_proto::envoy::config::route::v3::FilterConfig;
use selvedge_xds_proto::envoy::extensions::filters::http;
use selvedge_xds_proto::envoy::r#type::v3::HttpStatus;

use super::bounds::{self, unknown, unpack};
use super::{Reason, duration};
use crate::any::holds;

/// The filter, or `None` if nobody here knows the type.
pub(super) fn decode(any: &Any) -> Result<Option<HttpFilter>, Reason> {
    if holds::<http::buffer::v3::Buffer>(any) {
        return Ok(Some(HttpFilter::Buffer(buffer::filter(&unpack(any)?)?)));
    }
    if holds::<http::rbac::v3::Rbac>(any) {
        return Ok(Some(HttpFilter::Rbac(rbac::filter(unpack(any)?)?)));
    }
    if holds::<http::local_ratelimit::v3::LocalRateLimit>(any) {
        return Ok(Some(HttpFilter::LocalRateLimit(Box::new(local_rate_limit::filter(unpack(any)?)?))));
    }
    if holds::<http::ratelimit::v3::RateLimit>(any) {
        return Ok(Some(HttpFilter::GlobalRateLimit(Box::new(rate_limit::filter(unpack(any)?)?))));
    }
    if holds::<http::jwt_authn::v3::JwtAuthentication>(any) {
        return Ok(Some(HttpFilter::Jwt(Box::new(jwt::filter(unpack(any)?)?))));
    }
    if holds::<http::ext_authz::v3::ExtAuthz>(any) {
        return Ok(Some(HttpFilter::ExtAuthz(Box::new(ext_authz::filter(unpack(any)?)?))));
    }
    if holds::<http::cors::v3::Cors>(any) {
        return Ok(Some(HttpFilter::Cors));
    }
    if holds::<http::fault::v3::HttpFault>(any) {
        return Ok(Some(HttpFilter::Fault(Box::new(fault::filter(unpack(any)?)?))));
    }
    if holds::<http::compressor::v3::Compressor>(any) {
        return Ok(Some(HttpFilter::Compressor(Box::new(compressor::filter(unpack(any)?)?))));
    }
    if holds::<http::decompressor::v3::Decompressor>(any) {
        return Ok(Some(HttpFilter::Decompressor(decompressor::filter(unpack(any)?)?)));
    }
    if holds::<http::grpc_web::v3::GrpcWeb>(any) {
        return Ok(Some(HttpFilter::GrpcWeb));
    }
    Ok(None)
}

/// A filter's configuration for a route, or `None` if nobody here knows the type.
fn decode_route(any: &Any) -> Result<Option<RouteFilter>, Reason> {
    if holds::<http::buffer::v3::BufferPerRoute>(any) {
        return Ok(Some(RouteFilter::Buffer(buffer::route(unpack(any)?)?)));
    }
    if holds::<http::rbac::v3::RbacPerRoute>(any) {
        return Ok(Some(RouteFilter::Rbac(rbac::route(unpack(any)?)?)));
    }
    if holds::<http::local_ratelimit::v3::LocalRateLimit>(any) {
        return Ok(Some(RouteFilter::LocalRateLimit(Box::new(local_rate_limit::filter(unpack(any)?)?))));
    }
    if holds::<http::ratelimit::v3::RateLimitPerRoute>(any) {
        return Ok(Some(RouteFilter::GlobalRateLimit(Box::new(rate_limit::route(unpack(any)?)?))));
    }
    if holds::<http::jwt_authn::v3::PerRouteConfig>(any) {
        return Ok(Some(RouteFilter::Jwt(jwt::route(unpack(any)?)?)));
    }
    if holds::<http::ext_authz::v3::ExtAuthzPerRoute>(any) {
        return Ok(Some(RouteFilter::ExtAuthz(ext_authz::route(unpack(any)?)?)));
    }
    if holds::<http::cors::v3::CorsPolicy>(any) {
        return Ok(Some(RouteFilter::Cors(Box::new(cors::route(unpack(any)?)?))));
    }
    if holds::<http::fault::v3::HttpFault>(any) {
        return Ok(Some(RouteFilter::Fault(Box::new(fault::filter(unpack(any)?)?))));
    }
    if holds::<http::compressor::v3::CompressorPerRoute>(any) {
        return Ok(Some(RouteFilter::Compressor(compressor::route(&unpack(any)?)?)));
    }
    Ok(None)
}

/// `typed_per_filter_config`: bare, or inside a `FilterConfig`. One that is marked optional may be unknown; the filter is
/// then enabled as it is, as Envoy has it.
pub(super) fn overrides(messages: BTreeMap<String, Any>) -> Result<Vec<FilterOverride>, Reason> {
    let mut overrides = Vec::with_capacity(messages.len());
    for (filter, any) in messages {
        let setting = if holds::<FilterConfig>(&any) {
            wrapped(&filter, unpack(&any)?)?
        } else {
            bare(&filter, &any, false)?
        };
        overrides.push(FilterOverride { filter, setting });
    }
    Ok(overrides)
}

fn wrapped(filter: &str, message: FilterConfig) -> Result<FilterSetting, Reason> {
    if message.disabled {
        return Ok(FilterSetting::Disabled);
    }
    let any = message.config.ok_or(Reason::Missing("typed_per_filter_config.config"))?;
    if any.type_url.is_empty() {
        return Ok(FilterSetting::Enabled);
    }
    bare(filter, &any, message.is_optional)
}

fn bare(filter: &str, any: &Any, is_optional: bool) -> Result<FilterSetting, Reason> {
    match decode_route(any)? {
        Some(config) => Ok(FilterSetting::Config(config)),
        None if is_optional => Ok(FilterSetting::Enabled),
        None => Err(unknown(filter, Some(any))),
    }
}

/// A status with which a filter refuses; Envoy takes one below 400 for none.
fn refusal_status(field: &'static str, message: Option<&HttpStatus>, default: u16) -> Result<u16, Reason> {
    match message.map(|message| message.code) {
        None | Some(..400) => Ok(default),
        Some(code) => bounds::status(field, code.unsigned_abs()),
    }
}

/// The cluster and the authority of a gRPC service, and its time-out.
pub(super) fn grpc_service(
    field: &'static str,
    message: Option<GrpcService>,
) -> Result<(String, String, Option<Duration>), Reason> {
    let message = message.ok_or(Reason::Missing(field))?;
    if !message.initial_metadata.is_empty() {
        return Err(Reason::Unsupported { field, value: "initial_metadata".to_owned() });
    }
    called(field, message)
}

/// Headers of a call: name, value.
pub(super) type Metadata = Vec<(String, String)>;

/// As [`grpc_service`], with headers of the call besides.
pub(super) fn grpc_service_with_metadata(
    field: &'static str,
    message: Option<GrpcService>,
) -> Result<(String, String, Metadata), Reason> {
    let mut message = message.ok_or(Reason::Missing(field))?;
    let metadata = std::mem::take(&mut message.initial_metadata);
    if metadata.len() > METADATA_MAX {
        return Err(Reason::Unsupported { field, value: "so much initial_metadata".to_owned() });
    }
    let one = |header: HeaderValue| {
        if header.value.contains('%') {
            return Err(Reason::Unsupported { field, value: "operators in initial_metadata".to_owned() });
        }
        let key = bounds::not_empty("initial_metadata.key", header.key)?;
        if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(Reason::Invalid { field, value: key, expected: "is no name of a header" });
        }
        Ok((key.to_ascii_lowercase(), header.value))
    };
    let metadata = metadata.into_iter().map(one).collect::<Result<_, _>>()?;
    let (cluster, authority, _) = called(field, message)?;
    Ok((cluster, authority, metadata))
}

/// Headers of a call to a service, at most.
const METADATA_MAX: usize = 64;

fn called(field: &'static str, message: GrpcService) -> Result<(String, String, Option<Duration>), Reason> {
    let timeout = duration::optional(field, message.timeout)?;
    match message.target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(envoy)) => {
            Ok((bounds::not_empty(field, envoy.cluster_name)?, envoy.authority, timeout))
        }
        Some(TargetSpecifier::GoogleGrpc(_)) => {
            Err(Reason::Unsupported { field, value: "google_grpc".to_owned() })
        }
        None => Err(Reason::Missing(field)),
    }
}

/// The protocol's only version.
pub(super) fn transport_version(field: &'static str, version: i32) -> Result<(), Reason> {
    match bounds::known(field, version)? {
        // Envoy refuses v2, and takes what is not said for v3.
        ApiVersion::V3 | ApiVersion::Auto => Ok(()),
        ApiVersion::V2 => Err(Reason::Unsupported { field, value: "V2".to_owned() }),
    }
}

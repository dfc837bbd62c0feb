//! HTTP filters, told apart by the type URL of their configuration.

mod buffer;

use std::collections::BTreeMap;

use prost_types::Any;
use selvedge_traffic::{FilterOverride, FilterSetting, HttpFilter, RouteFilter};
use selvedge_xds_proto::envoy::config::route::v3::FilterConfig;
use selvedge_xds_proto::envoy::extensions::filters::http;

use super::Reason;
use super::bounds::{unknown, unpack};
use crate::any::holds;

/// The filter, or `None` if nobody here knows the type.
pub(super) fn decode(any: &Any) -> Result<Option<HttpFilter>, Reason> {
    if holds::<http::buffer::v3::Buffer>(any) {
        return Ok(Some(HttpFilter::Buffer(buffer::filter(&unpack(any)?)?)));
    }
    Ok(None)
}

/// A filter's configuration for a route, or `None` if nobody here knows the type.
fn decode_route(any: &Any) -> Result<Option<RouteFilter>, Reason> {
    if holds::<http::buffer::v3::BufferPerRoute>(any) {
        return Ok(Some(RouteFilter::Buffer(buffer::route(unpack(any)?)?)));
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

//! HTTP filters.

mod buffer;

use std::collections::BTreeMap;

use prost_types::Any;
use selvedge_traffic::{FilterOverride, FilterSetting, HttpFilter, RouteFilter};
use selvedge_xds_proto::envoy::config::route::v3::FilterConfig;

use crate::any::pack;

pub(super) fn encode(filter: &HttpFilter) -> Any {
    match filter {
        HttpFilter::Buffer(buffer) => pack(&buffer::filter(buffer)),
    }
}

fn encode_route(filter: &RouteFilter) -> Any {
    match filter {
        RouteFilter::Buffer(buffer) => pack(&buffer::route(buffer)),
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

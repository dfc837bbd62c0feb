//! Generated HTTP filters.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use selvedge_traffic::filter::{Buffer, BufferRoute};
use selvedge_traffic::{FilterEntry, FilterOverride, FilterSetting, HttpFilter, RouteFilter};

use super::leaves::word;

fn buffer() -> BoxedStrategy<Buffer> {
    (1u32..).prop_map(|request_bytes_max| Buffer { request_bytes_max }).boxed()
}

fn filter() -> BoxedStrategy<HttpFilter> {
    prop_oneof![buffer().prop_map(HttpFilter::Buffer)].boxed()
}

fn route_filter() -> BoxedStrategy<RouteFilter> {
    let buffer = option::of(buffer())
        .prop_map(|buffer| RouteFilter::Buffer(buffer.map_or(BufferRoute::Disabled, BufferRoute::Buffer)));
    prop_oneof![buffer].boxed()
}

/// A connection manager's, under names that differ.
pub(crate) fn filters() -> BoxedStrategy<Vec<FilterEntry>> {
    let entries = vec((word(), any::<bool>(), filter()), 0..3);
    entries
        .prop_map(|entries| {
            let named = entries.into_iter().enumerate();
            named
                .map(|(at, (name, disabled, filter))| FilterEntry {
                    name: format!("{name}-{at}"),
                    disabled,
                    filter,
                })
                .collect()
        })
        .boxed()
}

pub(crate) fn overrides() -> BoxedStrategy<Vec<FilterOverride>> {
    let setting = prop_oneof![
        Just(FilterSetting::Disabled),
        Just(FilterSetting::Enabled),
        route_filter().prop_map(FilterSetting::Config),
    ];
    btree_map(word(), setting, 0..2)
        .prop_map(|map| map.into_iter().map(|(filter, setting)| FilterOverride { filter, setting }).collect())
        .boxed()
}

//! Generated route tables.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use selvedge_traffic::hash::HashCookie;
use selvedge_traffic::matching::{
    HeaderCondition, HeaderMatch, PathMatch, QueryCondition, QueryMatch, RouteMatch,
};
use selvedge_traffic::retry::{RateLimitedBackoff, ResetFormat, ResetHeader};
use selvedge_traffic::{
    Action, DirectResponse, Forward, HashPolicy, HashSource, HeaderEdit, HeaderEdits, Hedge, HostRewrite,
    Mirror, PathRewrite, Priority, Redirect, Resource, RetryBackoff, RetryOn, RetryPolicy, Route, RouteTable,
    RouteUpgrades, SplitBy, StreamDuration, VirtualHost, WeightedCluster,
};

use super::filters::{fraction, overrides, rate_limits};
use super::leaves::{duration, labels, pattern, positive, some_text, text, weighted, word};

pub(crate) fn header() -> BoxedStrategy<HeaderMatch> {
    let condition = prop_oneof![
        Just(HeaderCondition::Present),
        text().prop_map(HeaderCondition::Exact),
        some_text().prop_map(HeaderCondition::Prefix),
        some_text().prop_map(HeaderCondition::Suffix),
        some_text().prop_map(HeaderCondition::Contains),
        pattern().prop_map(HeaderCondition::Regex),
        any::<(i64, i64)>().prop_map(|(start, end)| HeaderCondition::Range { start, end }),
    ];
    (word(), condition, any::<bool>())
        .prop_map(|(name, condition, invert)| HeaderMatch { name, condition, invert })
        .boxed()
}

pub(crate) fn query() -> BoxedStrategy<QueryMatch> {
    let condition = prop_oneof![
        Just(QueryCondition::Present),
        text().prop_map(QueryCondition::Exact),
        some_text().prop_map(QueryCondition::Prefix),
        some_text().prop_map(QueryCondition::Suffix),
        some_text().prop_map(QueryCondition::Contains),
        pattern().prop_map(QueryCondition::Regex),
    ];
    (word(), condition).prop_map(|(name, condition)| QueryMatch { name, condition }).boxed()
}

pub(crate) fn matches() -> BoxedStrategy<RouteMatch> {
    let path = prop_oneof![
        text().prop_map(PathMatch::Prefix),
        text().prop_map(PathMatch::Exact),
        pattern().prop_map(PathMatch::Regex),
        Just(PathMatch::Connect),
    ];
    (path, vec(header(), 0..3), vec(query(), 0..2), any::<bool>())
        .prop_map(|(path, headers, query, grpc)| RouteMatch { path, headers, query, grpc })
        .boxed()
}

fn rate_limited() -> BoxedStrategy<RateLimitedBackoff> {
    let format = prop::sample::select(vec![ResetFormat::Seconds, ResetFormat::UnixTimestamp]);
    let header = (word(), format).prop_map(|(name, format)| ResetHeader { name, format });
    (vec(header, 1..3), duration())
        .prop_map(|(reset_headers, interval_max)| RateLimitedBackoff { reset_headers, interval_max })
        .boxed()
}

fn retry() -> BoxedStrategy<RetryPolicy> {
    let on = (0u32..1 << RetryOn::NAMES.len()).prop_map(RetryOn);
    let backoff = (positive(), duration()).prop_map(|(base, more)| RetryBackoff { base, max: base + more });
    let times = (option::of(duration()), option::of(duration()));
    let headers = (vec(header(), 0..2), vec(header(), 0..2));
    let avoid = (any::<[bool; 2]>(), labels(), option::of(1u32..100));
    let codes = vec![100u16..600; 2];
    (on, any::<u32>(), times, codes, headers, backoff, option::of(rate_limited()), avoid, any::<u32>())
        .prop_map(|(on, retries_max, times, codes, headers, backoff, rate_limited, avoid, attempts)| {
            RetryPolicy {
                on,
                retries_max,
                per_try_timeout: times.0,
                per_try_idle_timeout: times.1,
                retriable_status_codes: codes,
                retriable_headers: headers.0,
                retriable_request_headers: headers.1,
                backoff,
                rate_limited_backoff: rate_limited,
                avoid_previous_hosts: avoid.0[0],
                host_selection_attempts_max: attempts,
                avoid_canaries: avoid.0[1],
                avoid_labels: avoid.1,
                avoid_priorities_every: avoid.2,
            }
        })
        .boxed()
}

fn shares() -> BoxedStrategy<Vec<WeightedCluster>> {
    (weighted(0), overrides(), header_edits())
        .prop_map(|(mut clusters, filters, headers)| {
            clusters[0].filters = filters;
            clusters[0].headers = headers;
            clusters
        })
        .boxed()
}

fn hedge() -> BoxedStrategy<Hedge> {
    any::<bool>().prop_map(|on_per_try_timeout| Hedge { on_per_try_timeout }).boxed()
}

fn stream_duration() -> BoxedStrategy<StreamDuration> {
    [option::of(duration()), option::of(duration()), option::of(duration())]
        .prop_map(|[max, grpc_timeout_max, grpc_timeout_offset]| StreamDuration {
            max,
            grpc_timeout_max,
            grpc_timeout_offset,
        })
        .boxed()
}

fn hash_policy() -> BoxedStrategy<HashPolicy> {
    let cookie = (word(), option::of(duration()), text(), vec((word(), text()), 0..3)).prop_map(
        |(name, ttl, path, attributes)| HashSource::Cookie(HashCookie { name, ttl, path, attributes }),
    );
    let source = prop_oneof![
        word().prop_map(HashSource::Header),
        cookie,
        Just(HashSource::SourceIp),
        some_text().prop_map(HashSource::QueryParameter),
    ];
    (source, any::<bool>()).prop_map(|(source, terminal)| HashPolicy { source, terminal }).boxed()
}

fn path_rewrite() -> BoxedStrategy<PathRewrite> {
    prop_oneof![
        some_text().prop_map(PathRewrite::Prefix),
        text().prop_map(PathRewrite::Full),
        text().prop_map(|substitution| PathRewrite::Regex { pattern: "/a/(.*)".to_owned(), substitution }),
    ]
    .boxed()
}

fn mirror() -> BoxedStrategy<Mirror> {
    (word(), fraction(), any::<bool>())
        .prop_map(|(cluster, share, keeps_host)| Mirror { cluster, share, keeps_host })
        .boxed()
}

fn forward() -> BoxedStrategy<Forward> {
    let host = prop_oneof![
        text().prop_map(HostRewrite::Literal),
        Just(HostRewrite::Auto),
        word().prop_map(HostRewrite::Header),
        text()
            .prop_map(|substitution| HostRewrite::PathRegex { pattern: "^/(.*)$".to_owned(), substitution }),
    ];
    let status = prop::sample::select(vec![503u16, 404, 500]);
    let times = (option::of(duration()), option::of(duration()), stream_duration());
    let steer =
        (prop::sample::select(vec![Priority::Default, Priority::High]), vec(hash_policy(), 0..3), labels());
    let split = prop_oneof![Just(SplitBy::Chance), word().prop_map(SplitBy::Header), Just(SplitBy::Hash),];
    let upgrades =
        (any::<[Option<bool>; 2]>(), any::<bool>()).prop_map(|([websocket, connect], terminates)| {
            let connect_terminates = terminates && connect.is_some();
            RouteUpgrades { websocket, connect, connect_terminates }
        });
    (
        (shares(), split, upgrades),
        times,
        option::of(retry().prop_map(Arc::new)),
        option::of(hedge()),
        steer,
        option::of(path_rewrite()),
        (option::of(host), any::<bool>(), vec(mirror(), 0..2)),
        status,
        (rate_limits(), any::<bool>()),
    )
        .prop_map(|(clusters, times, retry, hedge, steer, path_rewrite, host, status, limits)| Forward {
            rate_limits: limits.0,
            include_host_rate_limits: limits.1,
            clusters: clusters.0,
            split_by: clusters.1,
            upgrades: clusters.2,
            timeout: times.0,
            idle_timeout: times.1,
            stream_duration: times.2,
            retry,
            hedge,
            priority: steer.0,
            hash: steer.1,
            labels: steer.2,
            path_rewrite,
            host_rewrite: host.0,
            append_forwarded_host: host.1,
            mirrors: host.2,
            cluster_not_found_status: status,
        })
        .boxed()
}

fn redirect() -> BoxedStrategy<Redirect> {
    let status = prop::sample::select(vec![301u16, 302, 303, 307, 308]);
    (
        option::of(word()),
        option::of(word()),
        option::of(1u16..),
        option::of(prop_oneof![some_text().prop_map(Ok), path_rewrite().prop_map(Err)]),
        status,
        any::<bool>(),
    )
        .prop_map(|(scheme, host, port, path, status, strip_query)| Redirect {
            scheme,
            host,
            port,
            path_rewrite: path.clone().and_then(Result::err),
            path: path.and_then(Result::ok),
            status,
            strip_query,
        })
        .boxed()
}

/// Additions alone.
pub(crate) fn added() -> BoxedStrategy<Vec<HeaderEdit>> {
    let added = prop_oneof![
        (word(), text()).prop_map(|(name, value)| HeaderEdit::Append { name, value }),
        (word(), text()).prop_map(|(name, value)| HeaderEdit::Overwrite { name, value }),
        (word(), text()).prop_map(|(name, value)| HeaderEdit::AddIfAbsent { name, value }),
        (word(), text()).prop_map(|(name, value)| HeaderEdit::OverwriteIfExists { name, value }),
    ];
    vec(added, 0..2).boxed()
}

/// Removals first: an order that Envoy keeps.
fn edits() -> BoxedStrategy<Vec<HeaderEdit>> {
    (vec(word().prop_map(|name| HeaderEdit::Remove { name }), 0..2), added())
        .prop_map(|(removed, added)| removed.into_iter().chain(added).collect())
        .boxed()
}

fn header_edits() -> BoxedStrategy<HeaderEdits> {
    (edits(), edits()).prop_map(|(request, response)| HeaderEdits { request, response }).boxed()
}

fn route() -> BoxedStrategy<Route> {
    let action = prop_oneof![
        4 => forward().prop_map(Action::Forward),
        1 => redirect().prop_map(Action::Redirect),
        1 => (200u16..600, text()).prop_map(|(status, body)| Action::Respond(DirectResponse { status, body })),
    ];
    (text(), matches(), action, edits(), edits(), overrides())
        .prop_map(|(name, matches, action, request_headers, response_headers, filters)| Route {
            name,
            matches,
            action,
            request_headers,
            response_headers,
            filters,
        })
        .boxed()
}

pub(crate) fn table() -> BoxedStrategy<RouteTable> {
    let host = (
        word(),
        vec(route(), 0..3),
        option::of(retry().prop_map(Arc::new)),
        any::<(bool, bool)>(),
        header_edits(),
        overrides(),
        rate_limits(),
    );
    (word(), vec(host, 0..3), any::<bool>(), header_edits(), any::<bool>(), overrides())
        .prop_map(
            |(name, hosts, ignore_port_in_host_matching, headers, most_specific_headers_win, filters)| {
                RouteTable {
                    name,
                    headers,
                    most_specific_headers_win,
                    filters,
                    virtual_hosts: hosts
                        .into_iter()
                        .enumerate()
                        .map(|(at, (name, routes, retry, attempt_counts, headers, filters, rate_limits))| {
                            VirtualHost {
                                rate_limits,
                                // A domain stands once in a table.
                                domains: vec![format!("{name}-{at}.local"), format!("{name}-{at}.local:80")],
                                name,
                                routes,
                                hedge: retry
                                    .is_some()
                                    .then_some(Hedge { on_per_try_timeout: attempt_counts.0 }),
                                retry,
                                include_attempt_count: attempt_counts.0,
                                include_attempt_count_in_response: attempt_counts.1,
                                headers,
                                filters,
                            }
                        })
                        .collect(),
                    ignore_port_in_host_matching,
                }
            },
        )
        .boxed()
}

#[test]
fn equal_retry_policies_of_a_table_are_one_in_memory() {
    let retrying = |cluster: &str, retries_max| {
        let retry = RetryPolicy { retries_max, ..RetryPolicy::default() };
        let clusters = vec![WeightedCluster::new(cluster, 1)];
        let forward = Forward { retry: Some(retry.into()), ..Forward::to(clusters) };
        Route::new(cluster, RouteMatch::any(), Action::Forward(forward))
    };
    let host = |name: &str, routes| VirtualHost {
        name: name.to_owned(),
        domains: vec![name.to_owned()],
        routes,
        ..VirtualHost::default()
    };
    let virtual_hosts =
        vec![host("v", vec![retrying("a", 2), retrying("b", 5)]), host("w", vec![retrying("c", 2)])];
    let table = RouteTable { name: "t".to_owned(), virtual_hosts, ..RouteTable::default() };
    let encoded = selvedge_xds::encode(&Resource::Routes(table));
    let Ok(Resource::Routes(table)) = selvedge_xds::decode(encoded.kind, &encoded.value) else {
        panic!("a table")
    };
    let policies: Vec<_> = table
        .virtual_hosts
        .iter()
        .flat_map(|host| &host.routes)
        .filter_map(|route| match &route.action {
            Action::Forward(forward) => forward.retry.as_ref(),
            _ => None,
        })
        .collect();
    assert!(Arc::ptr_eq(policies[0], policies[2]));
    assert_eq!((policies[0].retries_max, policies[1].retries_max), (2, 5));
}

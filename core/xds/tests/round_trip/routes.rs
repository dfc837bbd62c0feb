//! Generated route tables.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use selvedge_traffic::matching::{
    HeaderCondition, HeaderMatch, PathMatch, QueryCondition, QueryMatch, RouteMatch,
};
use selvedge_traffic::retry::{RateLimitedBackoff, ResetFormat, ResetHeader};
use selvedge_traffic::{
    Action, DirectResponse, Forward, HeaderEdit, HeaderEdits, HostRewrite, PathRewrite, Redirect,
    RetryBackoff, RetryOn, RetryPolicy, Route, RouteTable, VirtualHost, WeightedCluster,
};

use super::filters::{overrides, rate_limits};
use super::leaves::{duration, pattern, some_text, text, weighted, word};

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
    let backoff = (duration(), duration()).prop_map(|(base, max)| RetryBackoff { base, max });
    (
        on,
        any::<u32>(),
        option::of(duration()),
        vec(100u16..600, 0..3),
        backoff,
        option::of(rate_limited()),
        any::<bool>(),
        any::<u32>(),
    )
        .prop_map(|(on, retries_max, per_try_timeout, codes, backoff, rate_limited, avoid, attempts)| {
            RetryPolicy {
                on,
                retries_max,
                per_try_timeout,
                retriable_status_codes: codes,
                backoff,
                rate_limited_backoff: rate_limited,
                avoid_previous_hosts: avoid,
                host_selection_attempts_max: attempts,
            }
        })
        .boxed()
}

fn shares() -> BoxedStrategy<Vec<WeightedCluster>> {
    (weighted(0), overrides())
        .prop_map(|(mut clusters, filters)| {
            clusters[0].filters = filters;
            clusters
        })
        .boxed()
}

fn path_rewrite() -> BoxedStrategy<PathRewrite> {
    prop_oneof![
        some_text().prop_map(PathRewrite::Prefix),
        text().prop_map(PathRewrite::Full),
        text().prop_map(|substitution| PathRewrite::Regex { pattern: "/a/(.*)".to_owned(), substitution }),
    ]
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
    (
        shares(),
        option::of(duration()),
        option::of(duration()),
        option::of(retry()),
        option::of(path_rewrite()),
        (option::of(host), any::<bool>()),
        status,
        (rate_limits(), any::<bool>()),
    )
        .prop_map(
            |(
                clusters,
                timeout,
                idle_timeout,
                retry,
                path_rewrite,
                (host_rewrite, append_forwarded_host),
                cluster_not_found_status,
                (rate_limits, include_host_rate_limits),
            )| Forward {
                rate_limits,
                include_host_rate_limits,
                clusters,
                timeout,
                idle_timeout,
                retry,
                path_rewrite,
                host_rewrite,
                append_forwarded_host,
                cluster_not_found_status,
            },
        )
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
        option::of(retry()),
        any::<bool>(),
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
                        .map(
                            |(
                                at,
                                (name, routes, retry, include_attempt_count, headers, filters, rate_limits),
                            )| {
                                VirtualHost {
                                    rate_limits,
                                    // A domain stands once in a table.
                                    domains: vec![
                                        format!("{name}-{at}.local"),
                                        format!("{name}-{at}.local:80"),
                                    ],
                                    name,
                                    routes,
                                    retry,
                                    include_attempt_count,
                                    headers,
                                    filters,
                                }
                            },
                        )
                        .collect(),
                    ignore_port_in_host_matching,
                }
            },
        )
        .boxed()
}

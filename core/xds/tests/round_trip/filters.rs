//! Generated HTTP filters.

use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use selvedge_traffic::access::{Permission, Policy, Principal, Rules, RulesAction};
use selvedge_traffic::filter::{
    AbortBy, AuthzBody, AuthzHttp, AuthzService, Buffer, BufferRoute, Coding, Compressor, CompressorRoute,
    CorsPolicy, DelayBy, ExtAuthz, ExtAuthzRoute, Fault, FaultAbort, FaultDelay, GlobalRateLimit,
    GlobalRateLimitRoute, Jwt, JwtHeader, JwtKeys, JwtProvider, JwtRoute, JwtRule, LocalDescriptor,
    LocalRateLimit, Rbac, RequestType, Requirement, RuleRequirement,
};
use selvedge_traffic::filter::{Decompressor, PackedBy, Unpack};
use selvedge_traffic::fraction::Denominator;
use selvedge_traffic::matching::{Cidr, TextCondition, TextMatch};
use selvedge_traffic::rate_limit::{HostRateLimits, RateLimit, RateLimitAction, TokenBucket};
use selvedge_traffic::{
    FilterEntry, FilterOverride, FilterSetting, Fraction, HttpFilter, MetadataMatch, RouteFilter, ValueMatch,
};

use super::leaves::{duration, pattern, positive, some_text, text, word};
use super::routes;

fn text_match() -> BoxedStrategy<TextMatch> {
    let condition = prop_oneof![
        text().prop_map(TextCondition::Exact),
        some_text().prop_map(TextCondition::Prefix),
        some_text().prop_map(TextCondition::Suffix),
        some_text().prop_map(TextCondition::Contains),
        pattern().prop_map(TextCondition::Regex),
    ];
    (condition, any::<bool>())
        .prop_map(|(condition, ignore_case)| TextMatch { condition, ignore_case })
        .boxed()
}

pub(crate) fn fraction() -> BoxedStrategy<Fraction> {
    let denominator =
        prop::sample::select(vec![Denominator::Hundred, Denominator::TenThousand, Denominator::Million]);
    (any::<u32>(), denominator)
        .prop_map(|(numerator, denominator)| Fraction { numerator, denominator })
        .boxed()
}

fn metadata() -> BoxedStrategy<MetadataMatch> {
    let leaf = prop_oneof![
        Just(ValueMatch::Null),
        (-9.0..9.0, -9.0..9.0).prop_map(|(start, end)| ValueMatch::Range { start, end }),
        (-9.0..9.0).prop_map(ValueMatch::Number),
        text_match().prop_map(ValueMatch::Text),
        any::<bool>().prop_map(ValueMatch::Bool),
        any::<bool>().prop_map(ValueMatch::Present),
    ];
    let value = leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| ValueMatch::OneOf(Box::new(one))),
            vec(inner, 0..3).prop_map(ValueMatch::Any),
        ]
    });
    (word(), vec(word(), 1..3), value, any::<bool>())
        .prop_map(|(namespace, path, value, invert)| MetadataMatch { namespace, path, value, invert })
        .boxed()
}

pub(crate) fn cidr() -> BoxedStrategy<Cidr> {
    (any::<std::net::IpAddr>(), 0u8..=32)
        .prop_map(|(address, len)| Cidr::new(address, len).expect("short enough for either"))
        .boxed()
}

fn permission() -> BoxedStrategy<Permission> {
    let leaf = prop_oneof![
        Just(Permission::Any),
        routes::header().prop_map(Permission::Header),
        text_match().prop_map(Permission::UrlPath),
        cidr().prop_map(Permission::DestinationIp),
        any::<u16>().prop_map(Permission::DestinationPort),
        any::<(i32, i32)>().prop_map(|(start, end)| Permission::DestinationPortRange { start, end }),
        metadata().prop_map(Permission::Metadata),
        text_match().prop_map(Permission::ServerName),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..3).prop_map(Permission::All),
            vec(inner.clone(), 1..3).prop_map(Permission::OneOf),
            inner.prop_map(|one| Permission::Not(Box::new(one))),
        ]
    })
    .boxed()
}

fn principal() -> BoxedStrategy<Principal> {
    let leaf = prop_oneof![
        Just(Principal::Any),
        option::of(text_match()).prop_map(Principal::Authenticated),
        cidr().prop_map(Principal::SourceIp),
        cidr().prop_map(Principal::DirectRemoteIp),
        cidr().prop_map(Principal::RemoteIp),
        routes::header().prop_map(Principal::Header),
        text_match().prop_map(Principal::UrlPath),
        metadata().prop_map(Principal::Metadata),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..3).prop_map(Principal::All),
            vec(inner.clone(), 1..3).prop_map(Principal::OneOf),
            inner.prop_map(|one| Principal::Not(Box::new(one))),
        ]
    })
    .boxed()
}

pub(crate) fn rules() -> BoxedStrategy<Rules> {
    let action = prop::sample::select(vec![RulesAction::Allow, RulesAction::Deny, RulesAction::Log]);
    let policy = (vec(permission(), 1..3), vec(principal(), 1..3));
    (action, btree_map(word(), policy, 0..3))
        .prop_map(|(action, policies)| Rules {
            action,
            policies: policies
                .into_iter()
                .map(|(name, (permissions, principals))| Policy { name, permissions, principals })
                .collect(),
        })
        .boxed()
}

fn rbac() -> BoxedStrategy<Rbac> {
    (option::of(rules()), text(), option::of(rules()), text())
        .prop_map(|(rules, rules_stat_prefix, shadow_rules, shadow_rules_stat_prefix)| Rbac {
            rules,
            rules_stat_prefix,
            shadow_rules,
            shadow_rules_stat_prefix,
        })
        .boxed()
}

fn action() -> BoxedStrategy<RateLimitAction> {
    prop_oneof![
        Just(RateLimitAction::SourceCluster),
        Just(RateLimitAction::DestinationCluster),
        Just(RateLimitAction::RemoteAddress),
        (word(), word(), any::<bool>()).prop_map(|(header, key, skip_if_absent)| {
            RateLimitAction::RequestHeader { header, key, skip_if_absent }
        }),
        (word(), word(), any::<bool>()).prop_map(|(parameter, key, skip_if_absent)| {
            RateLimitAction::QueryParameter { parameter, key, skip_if_absent }
        }),
        (0u8..=32, 0u8..=128).prop_map(|(v4_prefix_len, v6_prefix_len)| {
            RateLimitAction::MaskedRemoteAddress { v4_prefix_len, v6_prefix_len }
        }),
        (word(), word()).prop_map(|(key, value)| RateLimitAction::GenericKey { key, value }),
        (word(), word(), any::<bool>(), vec(routes::header(), 0..2)).prop_map(
            |(key, value, expect, headers)| RateLimitAction::HeaderValueMatch { key, value, expect, headers }
        ),
        (word(), word(), any::<bool>(), vec(routes::query(), 0..2)).prop_map(
            |(key, value, expect, parameters)| RateLimitAction::QueryParameterValueMatch {
                key,
                value,
                expect,
                parameters
            }
        ),
        (word(), word(), vec(word(), 0..2), text(), any::<bool>()).prop_map(
            |(key, namespace, path, default, skip_if_absent)| RateLimitAction::Metadata {
                key,
                namespace,
                path,
                default,
                skip_if_absent
            }
        ),
    ]
    .boxed()
}

pub(crate) fn rate_limits() -> BoxedStrategy<Vec<RateLimit>> {
    vec((0u32..=10, vec(action(), 1..3)).prop_map(|(stage, actions)| RateLimit { stage, actions }), 0..2)
        .boxed()
}

pub(crate) fn bucket() -> BoxedStrategy<TokenBucket> {
    (1u32.., 1u32.., duration())
        .prop_map(|(tokens_max, tokens_per_fill, fill_interval)| TokenBucket {
            tokens_max,
            tokens_per_fill,
            fill_interval: fill_interval + Duration::from_millis(50),
        })
        .boxed()
}

fn host_rate_limits() -> BoxedStrategy<HostRateLimits> {
    prop::sample::select(vec![HostRateLimits::Override, HostRateLimits::Include, HostRateLimits::Ignore])
        .boxed()
}

fn local() -> BoxedStrategy<LocalRateLimit> {
    let descriptor = (vec((word(), text()), 1..3), bucket())
        .prop_map(|(entries, bucket)| LocalDescriptor { entries, bucket });
    let shares = (fraction(), fraction());
    let edits = (routes::added(), routes::added());
    let rest = (rate_limits(), 1u32..=100_000, host_rate_limits());
    (
        word(),
        400u16..600,
        option::of(bucket()),
        vec(descriptor, 0..3),
        shares,
        edits,
        0u32..=10,
        any::<[bool; 4]>(),
        rest,
    )
        .prop_map(|(stat_prefix, status, bucket, descriptors, shares, edits, stage, flags, rest)| {
            LocalRateLimit {
                stat_prefix,
                status,
                bucket,
                descriptors,
                enabled: shares.0,
                enforced: shares.1,
                request_headers_when_not_enforced: edits.0,
                response_headers: edits.1,
                stage,
                per_connection: flags[0],
                ratelimit_headers: flags[1],
                host_rate_limits: rest.2,
                always_consume_default: flags[2],
                resource_exhausted: flags[3],
                rate_limits: rest.0,
                dynamic_descriptors_max: rest.1,
            }
        })
        .boxed()
}

fn global() -> BoxedStrategy<GlobalRateLimit> {
    let request_type =
        prop::sample::select(vec![RequestType::Both, RequestType::Internal, RequestType::External]);
    let names = (word(), word(), text(), text());
    let shares = (option::of(fraction()), option::of(fraction()));
    (
        names,
        0u32..=10,
        request_type,
        duration(),
        any::<[bool; 4]>(),
        (400u16..600, 400u16..600),
        routes::added(),
        shares,
    )
        .prop_map(|(names, stage, request_type, timeout, flags, statuses, response_headers, shares)| {
            GlobalRateLimit {
                domain: names.0,
                stage,
                request_type,
                timeout,
                failure_mode_deny: flags[0],
                resource_exhausted: flags[1],
                cluster: names.1,
                authority: names.2,
                ratelimit_headers: flags[2],
                ratelimited_header: flags[3],
                status: statuses.0,
                status_on_error: statuses.1,
                response_headers,
                stat_prefix: names.3,
                enabled: shares.0,
                enforced: shares.1,
            }
        })
        .boxed()
}

fn global_route() -> BoxedStrategy<GlobalRateLimitRoute> {
    (host_rate_limits(), rate_limits(), text())
        .prop_map(|(host_rate_limits, rate_limits, domain)| GlobalRateLimitRoute {
            host_rate_limits,
            rate_limits,
            domain,
        })
        .boxed()
}

fn provider() -> BoxedStrategy<JwtProvider> {
    let keys = prop_oneof![
        text().prop_map(JwtKeys::Inline),
        (some_text(), word(), [duration(), duration(), duration()], any::<bool>()).prop_map(
            |(uri, cluster, times, ahead)| JwtKeys::Remote {
                uri,
                cluster,
                timeout: times[0],
                cache: times[1],
                // Only those that fetch ahead say it.
                refetch: if ahead { times[2] } else { Duration::from_secs(1) },
                ahead,
            }
        ),
    ];
    let header = (word(), text()).prop_map(|(name, prefix)| JwtHeader { name, prefix });
    let texts = [text(), text(), text(), text()];
    let lists = (vec(text(), 0..2), vec(header, 0..2), vec(text(), 0..2), vec(text(), 0..2));
    let times = (option::of(duration()), 1u64..1000);
    (
        word(),
        texts,
        lists,
        option::of(text_match()),
        keys,
        any::<[bool; 4]>(),
        vec((word(), word()), 0..2),
        times,
        prop_oneof![Just(String::new()), word()],
    )
        .prop_map(|(name, texts, lists, subjects, keys, flags, claim_to_headers, times, header)| {
            let [issuer, payload_in_metadata, header_in_metadata, failed_status_in_metadata] = texts;
            JwtProvider {
                name,
                issuer,
                audiences: lists.0,
                subjects,
                require_expiration: flags[0],
                lifetime_max: times.0,
                keys,
                forward: flags[1],
                from_headers: lists.1,
                from_params: lists.2,
                from_cookies: lists.3,
                forward_payload_header: header,
                pad_forward_payload_header: flags[2],
                claim_to_headers,
                payload_in_metadata,
                header_in_metadata,
                failed_status_in_metadata,
                clear_route_cache: flags[3],
                clock_skew: Duration::from_secs(times.1),
            }
        })
        .boxed()
}

fn requirement(provider: String) -> BoxedStrategy<Requirement> {
    let leaf = prop_oneof![
        Just(Requirement::Provider(provider.clone())),
        vec(text(), 0..2)
            .prop_map(move |audiences| Requirement::ProviderWithAudiences(provider.clone(), audiences)),
        Just(Requirement::AllowMissing),
        Just(Requirement::AllowMissingOrFailed),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Requirement::Any),
            vec(inner, 2..4).prop_map(Requirement::All),
        ]
    })
    .boxed()
}

fn jwt() -> BoxedStrategy<Jwt> {
    provider()
        .prop_flat_map(|provider| {
            let requires = requirement(provider.name.clone());
            let rule = (routes::matches(), option::of(requires.clone())).prop_map(|(matches, requires)| {
                let requires = requires.map_or(RuleRequirement::Nothing, RuleRequirement::Is);
                JwtRule { matches, requires }
            });
            (Just(provider), vec(rule, 0..2), option::of((word(), requires)), any::<[bool; 2]>(), text())
        })
        .prop_map(|(provider, mut rules, named, flags, stat_prefix)| {
            if let (Some((name, _)), Some(rule)) = (&named, rules.first_mut()) {
                rule.requires = RuleRequirement::Named(name.clone());
            }
            Jwt {
                providers: vec![provider],
                rules,
                requirements: named.into_iter().collect(),
                bypass_cors_preflight: flags[0],
                strip_failure_response: flags[1],
                stat_prefix,
            }
        })
        .boxed()
}

fn body() -> BoxedStrategy<AuthzBody> {
    (1u32.., any::<[bool; 2]>())
        .prop_map(|(bytes_max, flags)| AuthzBody { bytes_max, allow_partial: flags[0], as_bytes: flags[1] })
        .boxed()
}

fn texts() -> BoxedStrategy<Vec<TextMatch>> {
    vec(text_match(), 0..2).boxed()
}

fn ext_authz() -> BoxedStrategy<ExtAuthz> {
    let grpc = (word(), text(), positive()).prop_map(|(cluster, authority, timeout)| AuthzService::Grpc {
        cluster,
        authority,
        timeout,
    });
    let matches = [texts(), texts(), texts(), texts(), texts()];
    let http = (some_text(), word(), positive(), text(), matches, vec((word(), text()), 0..2)).prop_map(
        |(uri, cluster, timeout, path_prefix, matches, headers_to_add)| {
            let [allowed, upstream, append, client, on_success] = matches;
            AuthzService::Http(Box::new(AuthzHttp {
                uri,
                cluster,
                timeout,
                path_prefix,
                allowed_headers: allowed,
                headers_to_add,
                upstream_headers: upstream,
                upstream_headers_to_append: append,
                client_headers: client,
                client_headers_on_success: on_success,
            }))
        },
    );
    (
        prop_oneof![grpc, http],
        any::<[bool; 4]>(),
        option::of(body()),
        100u16..600,
        vec(word(), 0..2),
        option::of(fraction()),
        text(),
        (texts(), texts()),
    )
        .prop_map(|(service, flags, body, status_on_error, namespaces, enabled, stat_prefix, headers)| {
            ExtAuthz {
                service,
                failure_mode_allow: flags[0],
                failure_mode_allow_header: flags[1],
                body,
                clear_route_cache: flags[2],
                status_on_error,
                metadata_namespaces: namespaces,
                enabled,
                deny_at_disable: flags[3],
                stat_prefix,
                allowed_headers: headers.0,
                disallowed_headers: headers.1,
            }
        })
        .boxed()
}

fn ext_authz_route() -> BoxedStrategy<ExtAuthzRoute> {
    let settings = (btree_map(word(), text(), 0..2), any::<bool>(), option::of(body())).prop_map(
        |(context, without_body, body)| ExtAuthzRoute::Settings {
            context: context.into_iter().collect(),
            without_body,
            body,
        },
    );
    prop_oneof![Just(ExtAuthzRoute::Disabled), settings].boxed()
}

fn buffer() -> BoxedStrategy<Buffer> {
    (1u32..).prop_map(|request_bytes_max| Buffer { request_bytes_max }).boxed()
}

fn cors() -> BoxedStrategy<CorsPolicy> {
    let texts = (text(), text(), text(), text());
    let shares = (fraction(), fraction());
    (vec(text_match(), 0..3), texts, any::<[bool; 3]>(), shares)
        .prop_map(|(origins, (methods, headers, expose_headers, max_age), flags, (enabled, shadow))| {
            let [credentials, private_network, forward_unmatched_preflights] = flags;
            CorsPolicy {
                origins,
                methods,
                headers,
                expose_headers,
                max_age,
                credentials,
                private_network,
                forward_unmatched_preflights,
                enabled,
                shadow,
            }
        })
        .boxed()
}

fn fault() -> BoxedStrategy<Fault> {
    let delay = prop_oneof![positive().prop_map(DelayBy::Fixed), Just(DelayBy::Header)];
    let delay = (delay, fraction()).prop_map(|(by, share)| FaultDelay { by, share });
    let abort = prop_oneof![
        (200u16..600).prop_map(AbortBy::Http),
        any::<u32>().prop_map(AbortBy::Grpc),
        Just(AbortBy::Header),
    ];
    let abort = (abort, fraction()).prop_map(|(by, share)| FaultAbort { by, share });
    let headers = vec(routes::header(), 0..2);
    (option::of(delay), option::of(abort), option::of(word()), headers, any::<Option<u32>>())
        .prop_map(|(delay, abort, cluster, headers, active_max)| Fault {
            delay,
            abort,
            cluster,
            headers,
            active_max,
        })
        .boxed()
}

fn compressor() -> BoxedStrategy<Compressor> {
    let coding = prop_oneof![
        (0u8..=9).prop_map(|level| Coding::Gzip { level }),
        (0u8..=11).prop_map(|quality| Coding::Brotli { quality }),
        (1u8..=22).prop_map(|level| Coding::Zstd { level }),
    ];
    (coding, any::<u32>(), vec(some_text(), 0..2), any::<[bool; 3]>(), vec(200u16..600, 0..2))
        .prop_map(|(coding, length_min, content_types, flags, not_for_statuses)| {
            let [not_with_etag, remove_accept_encoding, choose_first] = flags;
            Compressor {
                coding,
                length_min,
                content_types,
                not_with_etag,
                remove_accept_encoding,
                not_for_statuses,
                choose_first,
            }
        })
        .boxed()
}

fn decompressor() -> BoxedStrategy<Decompressor> {
    let coding = prop_oneof![
        option::of(1u32..=1032).prop_map(|ratio_max| PackedBy::Gzip { ratio_max }),
        Just(PackedBy::Brotli),
        Just(PackedBy::Zstd),
    ];
    let unpack = || option::of(any::<bool>().prop_map(|ignore_no_transform| Unpack { ignore_no_transform }));
    (coding, unpack(), unpack(), any::<bool>())
        .prop_map(|(coding, requests, responses, advertise)| Decompressor {
            coding,
            requests,
            responses,
            advertise,
        })
        .boxed()
}

fn filter() -> BoxedStrategy<HttpFilter> {
    prop_oneof![
        buffer().prop_map(HttpFilter::Buffer),
        rbac().prop_map(HttpFilter::Rbac),
        local().prop_map(|limit| HttpFilter::LocalRateLimit(Box::new(limit))),
        global().prop_map(|limit| HttpFilter::GlobalRateLimit(Box::new(limit))),
        jwt().prop_map(|jwt| HttpFilter::Jwt(Box::new(jwt))),
        ext_authz().prop_map(|authz| HttpFilter::ExtAuthz(Box::new(authz))),
        Just(HttpFilter::Cors),
        fault().prop_map(|fault| HttpFilter::Fault(Box::new(fault))),
        compressor().prop_map(|compressor| HttpFilter::Compressor(Box::new(compressor))),
        decompressor().prop_map(HttpFilter::Decompressor),
        Just(HttpFilter::GrpcWeb),
    ]
    .boxed()
}

fn route_filter() -> BoxedStrategy<RouteFilter> {
    let buffer = option::of(buffer())
        .prop_map(|buffer| RouteFilter::Buffer(buffer.map_or(BufferRoute::Disabled, BufferRoute::Buffer)));
    let jwt = prop_oneof![Just(JwtRoute::Nothing), word().prop_map(JwtRoute::Named)];
    prop_oneof![
        buffer,
        option::of(rbac()).prop_map(RouteFilter::Rbac),
        local().prop_map(|limit| RouteFilter::LocalRateLimit(Box::new(limit))),
        global_route().prop_map(|limit| RouteFilter::GlobalRateLimit(Box::new(limit))),
        jwt.prop_map(RouteFilter::Jwt),
        ext_authz_route().prop_map(RouteFilter::ExtAuthz),
        cors().prop_map(|policy| RouteFilter::Cors(Box::new(policy))),
        fault().prop_map(|fault| RouteFilter::Fault(Box::new(fault))),
        Just(RouteFilter::Compressor(CompressorRoute::Disabled)),
    ]
    .boxed()
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

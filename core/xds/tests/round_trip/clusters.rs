//! Generated clusters and endpoints.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use selvedge_traffic::{
    Address, BreakerConfig, BreakerPolicy, CircuitBreakers, Cluster, Discovery, DnsLookupFamily, DnsRefresh,
    Endpoint, EndpointHealth, FailurePercentage, HealthCheck, HealthLog, HealthPace, HealthProbe,
    Http2Settings, HttpProtocol, LoadAssignment, LoadBalancing, Locality, LocalityEndpoints, LocalityRouting,
    OutlierDetection, Placement, ProxyProtocolVersion, RetryBudget, RingHashFunction, SlowStart,
    SubsetFallback, SubsetSelector, Subsets, SuccessRate, Thresholds,
};

use super::leaves::{duration, http2, labels, positive, some_text, text, upstream_transport, word};

fn address() -> BoxedStrategy<Address> {
    prop_oneof![
        (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| Address::Socket(SocketAddr::new(ip, port))),
        (word(), any::<u16>()).prop_map(|(name, port)| Address::Name(format!("{name}.svc.local."), port)),
        some_text().prop_map(Address::Pipe),
    ]
    .boxed()
}

fn endpoint() -> BoxedStrategy<Endpoint> {
    let health = prop::sample::select(vec![
        EndpointHealth::Healthy,
        EndpointHealth::Unhealthy,
        EndpointHealth::Draining,
        EndpointHealth::TimedOut,
        EndpointHealth::Degraded,
    ]);
    (address(), 1u32..1000, health, text(), labels())
        .prop_map(|(address, weight, health, hostname, labels)| Endpoint {
            address,
            weight,
            health,
            hostname,
            labels,
        })
        .boxed()
}

pub(crate) fn assignment() -> BoxedStrategy<LoadAssignment> {
    let locality =
        (text(), text(), text()).prop_map(|(region, zone, sub_zone)| Locality { region, zone, sub_zone });
    let group = (locality, 0u32..4, 0u32..100, vec(endpoint(), 0..4)).prop_map(
        |(locality, priority, weight, endpoints)| LocalityEndpoints { locality, priority, weight, endpoints },
    );
    (word(), vec(group, 0..3), option::of(1u32..400))
        .prop_map(|(cluster, localities, overprovisioning_percent)| LoadAssignment {
            cluster,
            localities,
            overprovisioning_percent,
        })
        .boxed()
}

fn discovery() -> BoxedStrategy<Discovery> {
    let family = || {
        prop::sample::select(vec![
            DnsLookupFamily::Auto,
            DnsLookupFamily::V4Only,
            DnsLookupFamily::V6Only,
            DnsLookupFamily::V4Preferred,
            DnsLookupFamily::All,
        ])
    };
    prop_oneof![
        assignment().prop_map(Discovery::Static),
        (assignment(), family(), refresh()).prop_map(|(assignment, family, refresh)| Discovery::StrictDns {
            assignment,
            family,
            refresh
        }),
        (assignment(), family(), refresh()).prop_map(|(assignment, family, refresh)| Discovery::LogicalDns {
            assignment,
            family,
            refresh
        }),
        text().prop_map(|service_name| Discovery::Eds { service_name }),
        Just(Discovery::OriginalDst),
    ]
    .boxed()
}

fn balancing() -> BoxedStrategy<LoadBalancing> {
    prop_oneof![
        Just(LoadBalancing::RoundRobin),
        (2u32..10, 0.0..4.0, any::<bool>()).prop_map(|(choice_count, active_request_bias, full_scan)| {
            LoadBalancing::LeastRequest { choice_count, active_request_bias, full_scan }
        }),
        Just(LoadBalancing::Random),
        (1u64..1024, 1024u64..1 << 20, any::<bool>()).prop_map(|(min, max, murmur)| {
            LoadBalancing::RingHash {
                ring_size_min: min,
                ring_size_max: max,
                hash: if murmur { RingHashFunction::Murmur2 } else { RingHashFunction::XxHash },
            }
        }),
        prop::sample::select(vec![2u64, 251, 65_537, 5_000_011])
            .prop_map(|table_size| LoadBalancing::Maglev { table_size }),
        Just(LoadBalancing::ClusterProvided),
    ]
    .boxed()
}

/// Slow start is said only by the policies that have it.
fn placement(balancing: LoadBalancing) -> BoxedStrategy<Placement> {
    let percent = || prop_oneof![Just(0.0), Just(50.0), 0.0..100.0];
    let locality = prop_oneof![
        Just(LocalityRouting::None),
        Just(LocalityRouting::Weighted),
        (percent(), any::<u64>(), any::<bool>()).prop_map(|(enabled_percent, hosts_min, fail_on_panic)| {
            LocalityRouting::ZoneAware { enabled_percent, hosts_min, fail_on_panic }
        }),
    ];
    let growth = (duration(), 0.1..9.0, percent()).prop_map(|(window, aggression, weight_percent_min)| {
        SlowStart { window, aggression, weight_percent_min }
    });
    let grows = matches!(balancing, LoadBalancing::RoundRobin | LoadBalancing::LeastRequest { .. });
    let growth = if grows { option::of(growth).boxed() } else { Just(None).boxed() };
    (percent(), locality, any::<[bool; 2]>(), option::of(100u32..1000), growth)
        .prop_map(|(panic_threshold_percent, locality, flags, hash_balance_percent, slow_start)| Placement {
            panic_threshold_percent,
            locality,
            ignore_new_hosts_until_first_check: flags[0],
            hash_by_hostname: flags[1],
            hash_balance_percent,
            slow_start,
        })
        .boxed()
}

fn subsets() -> BoxedStrategy<Subsets> {
    let fallback =
        || prop::sample::select(vec![SubsetFallback::None, SubsetFallback::Any, SubsetFallback::Default]);
    let keys = proptest::collection::btree_set(word(), 0..3).prop_map(|keys| keys.into_iter().collect());
    let selector =
        (keys, option::of(fallback())).prop_map(|(keys, fallback)| SubsetSelector { keys, fallback });
    (vec(selector, 0..3), fallback(), labels(), any::<bool>())
        .prop_map(|(selectors, fallback, default, panic_mode_any)| Subsets {
            selectors,
            fallback,
            default,
            panic_mode_any,
        })
        .boxed()
}

fn breaker() -> BoxedStrategy<BreakerPolicy> {
    let config =
        (any::<[u32; 4]>(), [duration(), duration(), duration()]).prop_map(|(counts, times)| BreakerConfig {
            failures_in_a_row: counts[0],
            failure_percent: counts[1],
            requests_min: counts[2],
            probes: counts[3],
            window: times[0],
            open_time: times[1],
            open_time_max: times[2],
        });
    let config = option::of(config).boxed();
    (config.clone(), config).prop_map(|(endpoint, cluster)| BreakerPolicy { endpoint, cluster }).boxed()
}

fn thresholds() -> BoxedStrategy<Thresholds> {
    let budget =
        (0.0..100.0, any::<u32>()).prop_map(|(percent, retries_min)| RetryBudget { percent, retries_min });
    let any_of_all = (any::<[u32; 4]>(), option::of(any::<u32>()), option::of(budget), any::<bool>())
        .prop_map(|(bounds, pools_max, retry_budget, track_remaining)| {
            let [connections_max, pending_requests_max, requests_max, retries_max] = bounds;
            Thresholds {
                connections_max,
                pending_requests_max,
                requests_max,
                retries_max,
                pools_max,
                retry_budget,
                track_remaining,
            }
        });
    prop_oneof![Just(Thresholds::default()), Just(Thresholds::UNLIMITED), any_of_all].boxed()
}

fn outlier() -> BoxedStrategy<OutlierDetection> {
    let percent = || 0u32..=100;
    let success_rate = (percent(), percent(), any::<[u32; 3]>()).prop_map(
        |(enforcing, enforcing_local_origin, [hosts_min, requests_min, deviation_factor])| SuccessRate {
            enforcing,
            enforcing_local_origin,
            hosts_min,
            requests_min,
            deviation_factor,
        },
    );
    let failure_percentage = ([percent(), percent(), percent()], any::<[u32; 2]>()).prop_map(
        |([enforcing, enforcing_local_origin, threshold], [hosts_min, requests_min])| FailurePercentage {
            enforcing,
            enforcing_local_origin,
            threshold,
            hosts_min,
            requests_min,
        },
    );
    let times = [positive(), positive(), duration(), duration()];
    let enforcing = [percent(), percent(), percent()];
    (any::<[u32; 4]>(), times, enforcing, any::<[bool; 3]>(), success_rate, failure_percentage)
        .prop_map(|(counts, times, enforcing, flags, success_rate, failure_percentage)| OutlierDetection {
            consecutive_5xx: counts[0],
            consecutive_gateway_failure: counts[1],
            consecutive_local_origin_failure: counts[2],
            max_ejection_percent: counts[3] % 101,
            interval: times[0],
            base_ejection_time: times[1],
            // Not below the one before: that is refused.
            max_ejection_time: times[1] + times[2],
            ejection_time_jitter: times[3],
            enforcing_consecutive_5xx: enforcing[0],
            enforcing_consecutive_gateway_failure: enforcing[1],
            enforcing_consecutive_local_origin_failure: enforcing[2],
            always_eject_one_host: flags[0],
            unejected_by_health_check: flags[1],
            split_local_origin: flags[2],
            success_rate,
            failure_percentage,
        })
        .boxed()
}

fn pace() -> BoxedStrategy<HealthPace> {
    let jitters = (duration(), duration(), any::<u32>());
    let other = || option::of(positive());
    (jitters, other(), other(), other(), other(), other())
        .prop_map(|(jitters, no_traffic, no_traffic_healthy, unhealthy, unhealthy_edge, healthy_edge)| {
            let (initial_jitter, jitter, jitter_percent) = jitters;
            HealthPace {
                initial_jitter,
                jitter,
                jitter_percent,
                no_traffic,
                no_traffic_healthy,
                unhealthy,
                unhealthy_edge,
                healthy_edge,
            }
        })
        .boxed()
}

fn statuses() -> BoxedStrategy<Range<u16>> {
    (100u16..500, 1u16..=100).prop_map(|(start, length)| start..start + length).boxed()
}

fn refresh() -> BoxedStrategy<DnsRefresh> {
    (2u64..100_000, any::<bool>())
        .prop_map(|(ms, respects_ttl)| DnsRefresh { interval: Duration::from_millis(ms), respects_ttl })
        .boxed()
}

fn health_check() -> BoxedStrategy<HealthCheck> {
    let probe = prop_oneof![
        (some_text(), text(), any::<bool>(), vec(statuses(), 0..2))
            .prop_map(|(path, host, http2, statuses)| HealthProbe::Http { path, host, http2, statuses }),
        (text(), text()).prop_map(|(service, authority)| HealthProbe::Grpc { service, authority }),
        Just(HealthProbe::Tcp),
    ];
    let log = (vec(some_text(), 0..2), any::<bool>(), any::<bool>())
        .prop_map(|(paths, failures, successes)| HealthLog { paths, failures, successes });
    let thresholds = (1u32..10, 1u32..10);
    (positive(), pace(), positive(), thresholds, option::of(1u16..), probe, log)
        .prop_map(|(interval, pace, timeout, thresholds, port, probe, log)| {
            let (healthy_threshold, unhealthy_threshold) = thresholds;
            HealthCheck { interval, pace, timeout, healthy_threshold, unhealthy_threshold, port, probe, log }
        })
        .boxed()
}

pub(crate) fn cluster() -> BoxedStrategy<Cluster> {
    let protocol =
        prop::sample::select(vec![HttpProtocol::Http1, HttpProtocol::Http2, HttpProtocol::Downstream]);
    let balancing = balancing().prop_flat_map(|balancing| (Just(balancing), placement(balancing)));
    let choice = (balancing, option::of(subsets()));
    let shape = (word(), discovery(), positive(), choice, protocol, upstream_transport());
    let care = (thresholds(), thresholds(), option::of(outlier()), vec(health_check(), 0..2));
    let connections =
        ([option::of(duration()), option::of(duration()), option::of(duration())], option::of(any::<u32>()));
    let version = prop::sample::select(vec![ProxyProtocolVersion::V1, ProxyProtocolVersion::V2]);
    let proxy_protocol = option::of(version);
    let spoken = (proxy_protocol, http2());
    (shape, care, option::of(breaker()), connections, any::<(bool, bool, bool)>(), spoken)
        .prop_map(|(shape, care, breaker, connections, flags, (proxy_protocol, http2))| {
            let (name, discovery, connect_timeout, choice, protocol, transport) = shape;
            let ((balancing, placement), subsets) = choice;
            let (default, high, outlier_detection, health_checks) = care;
            let ([idle_timeout, connection_duration_max, stream_duration_max], requests_max) = connections;
            Cluster {
                name,
                discovery,
                connect_timeout,
                balancing,
                placement,
                subsets,
                protocol,
                transport,
                proxy_protocol,
                // Of HTTP/2 alone there is something to say.
                extended_connect: flags.2 && protocol != HttpProtocol::Http1,
                http2: if protocol == HttpProtocol::Http1 { Http2Settings::default() } else { http2 },
                circuit_breakers: CircuitBreakers { default, high },
                outlier_detection,
                breaker,
                health_checks,
                idle_timeout,
                connection_duration_max,
                requests_per_connection_max: requests_max,
                stream_duration_max,
                ignore_health_on_host_removal: flags.0,
                close_connections_on_host_removal: flags.1,
            }
        })
        .boxed()
}

//! Generated clusters and endpoints.

use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use selvedge_traffic::{
    Address, CircuitBreakers, Cluster, Discovery, DnsLookupFamily, Endpoint, EndpointHealth, HealthCheck,
    HealthProbe, HttpProtocol, LoadAssignment, LoadBalancing, Locality, LocalityEndpoints, OutlierDetection,
    Thresholds,
};

use super::leaves::{duration, positive, some_text, text, upstream_transport, word};

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
    (address(), 1u32..1000, health, text())
        .prop_map(|(address, weight, health, hostname)| Endpoint { address, weight, health, hostname })
        .boxed()
}

pub(crate) fn assignment() -> BoxedStrategy<LoadAssignment> {
    let locality =
        (text(), text(), text()).prop_map(|(region, zone, sub_zone)| Locality { region, zone, sub_zone });
    let group = (locality, 0u32..4, 0u32..100, vec(endpoint(), 0..4)).prop_map(
        |(locality, priority, weight, endpoints)| LocalityEndpoints { locality, priority, weight, endpoints },
    );
    (word(), vec(group, 0..3))
        .prop_map(|(cluster, localities)| LoadAssignment { cluster, localities })
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
        (assignment(), family()).prop_map(|(assignment, family)| Discovery::StrictDns { assignment, family }),
        (assignment(), family())
            .prop_map(|(assignment, family)| Discovery::LogicalDns { assignment, family }),
        text().prop_map(|service_name| Discovery::Eds { service_name }),
        Just(Discovery::OriginalDst),
    ]
    .boxed()
}

fn balancing() -> BoxedStrategy<LoadBalancing> {
    prop_oneof![
        Just(LoadBalancing::RoundRobin),
        (2u32..10).prop_map(|choice_count| LoadBalancing::LeastRequest { choice_count }),
        Just(LoadBalancing::Random),
        (1u64..1024, 1024u64..1 << 20)
            .prop_map(|(min, max)| LoadBalancing::RingHash { ring_size_min: min, ring_size_max: max }),
        (1u64..5_000_011).prop_map(|table_size| LoadBalancing::Maglev { table_size }),
        Just(LoadBalancing::ClusterProvided),
    ]
    .boxed()
}

fn thresholds() -> BoxedStrategy<Thresholds> {
    let any_four =
        any::<[u32; 4]>().prop_map(|[connections_max, pending_requests_max, requests_max, retries_max]| {
            Thresholds { connections_max, pending_requests_max, requests_max, retries_max }
        });
    prop_oneof![Just(Thresholds::default()), Just(Thresholds::UNLIMITED), any_four].boxed()
}

fn outlier() -> BoxedStrategy<OutlierDetection> {
    (any::<[u32; 3]>(), duration(), duration(), duration(), [0u32..=100, 0..=100, 0..=100])
        .prop_map(|([five, gateway, percent], interval, base_ejection_time, max_ejection_time, enforcing)| {
            OutlierDetection {
                consecutive_5xx: five,
                consecutive_gateway_failure: gateway,
                interval,
                base_ejection_time,
                max_ejection_time,
                max_ejection_percent: percent,
                enforcing_consecutive_5xx: enforcing[0],
                enforcing_consecutive_gateway_failure: enforcing[1],
                enforcing_success_rate: enforcing[2],
            }
        })
        .boxed()
}

fn health_check() -> BoxedStrategy<HealthCheck> {
    let probe = prop_oneof![
        (some_text(), text(), any::<bool>()).prop_map(|(path, host, http2)| HealthProbe::Http {
            path,
            host,
            http2
        }),
        (text(), text()).prop_map(|(service, authority)| HealthProbe::Grpc { service, authority }),
        Just(HealthProbe::Tcp),
    ];
    (positive(), positive(), 1u32..10, 1u32..10, option::of(1u16..), probe)
        .prop_map(|(interval, timeout, healthy_threshold, unhealthy_threshold, port, probe)| HealthCheck {
            interval,
            timeout,
            healthy_threshold,
            unhealthy_threshold,
            port,
            probe,
        })
        .boxed()
}

pub(crate) fn cluster() -> BoxedStrategy<Cluster> {
    let protocol =
        prop::sample::select(vec![HttpProtocol::Http1, HttpProtocol::Http2, HttpProtocol::Downstream]);
    let shape = (word(), discovery(), duration(), balancing(), protocol, upstream_transport());
    let care = (thresholds(), thresholds(), option::of(outlier()), vec(health_check(), 0..2));
    (shape, care, option::of(duration()), any::<(bool, bool)>())
        .prop_map(|(shape, care, idle_timeout, flags)| {
            let (name, discovery, connect_timeout, balancing, protocol, transport) = shape;
            let (default, high, outlier_detection, health_checks) = care;
            Cluster {
                name,
                discovery,
                connect_timeout,
                balancing,
                protocol,
                transport,
                circuit_breakers: CircuitBreakers { default, high },
                outlier_detection,
                health_checks,
                idle_timeout,
                ignore_health_on_host_removal: flags.0,
                close_connections_on_host_removal: flags.1,
            }
        })
        .boxed()
}

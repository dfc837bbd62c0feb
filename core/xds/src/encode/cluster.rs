//! Clusters.

use std::collections::BTreeMap;

use prost_types::{Any, Struct, Value, value};
use selvedge_traffic::{
    CircuitBreakers, Cluster, Discovery, DnsLookupFamily, HttpProtocol, LoadBalancing, Thresholds,
};
use selvedge_xds_proto::envoy::config::cluster::v3 as proto;
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbConfig, LbPolicy, LeastRequestLbConfig,
    MaglevLbConfig, RingHashLbConfig,
};
use selvedge_xds_proto::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as CommonOptions, Metadata,
    RoutingPriority,
};
use selvedge_xds_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use selvedge_xds_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig, explicit_http_config,
};

use super::{duration, endpoint, health, source, tls};
use crate::any::pack;

/// Under this key stand the HTTP options of a cluster.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The metadata of what has no field of its own in Envoy.
pub(crate) const METADATA: &str = "selvedge";

/// Envoy closes the connections of a removed host without being told.
pub(crate) const CLOSE_ON_REMOVAL: &str = "close_connections_on_host_removal";

pub(super) fn encode(cluster: &Cluster) -> proto::Cluster {
    let (lb_policy, lb_config) = balancing(cluster.balancing);
    let mut message = proto::Cluster {
        name: cluster.name.clone(),
        connect_timeout: Some(duration::encode(cluster.connect_timeout)),
        lb_policy: lb_policy.into(),
        lb_config,
        health_checks: cluster.health_checks.iter().map(health::check).collect(),
        circuit_breakers: Some(circuit_breakers(&cluster.circuit_breakers)),
        typed_extension_protocol_options: http_options(cluster),
        outlier_detection: cluster.outlier_detection.as_ref().map(health::outlier),
        transport_socket: tls::upstream(&cluster.transport),
        ignore_health_on_host_removal: cluster.ignore_health_on_host_removal,
        metadata: cluster.close_connections_on_host_removal.then(close_on_removal),
        ..proto::Cluster::default()
    };
    discovery(&cluster.discovery, &mut message);
    message
}

fn discovery(discovery: &Discovery, message: &mut proto::Cluster) {
    let kind = match discovery {
        Discovery::Static(assignment) => {
            message.load_assignment = Some(endpoint::assignment(assignment));
            DiscoveryType::Static
        }
        Discovery::StrictDns { assignment, family } => {
            message.load_assignment = Some(endpoint::assignment(assignment));
            message.dns_lookup_family = lookup_family(*family).into();
            DiscoveryType::StrictDns
        }
        Discovery::LogicalDns { assignment, family } => {
            message.load_assignment = Some(endpoint::assignment(assignment));
            message.dns_lookup_family = lookup_family(*family).into();
            DiscoveryType::LogicalDns
        }
        Discovery::Eds { service_name } => {
            message.eds_cluster_config = Some(EdsClusterConfig {
                eds_config: Some(source::ads()),
                service_name: service_name.clone(),
            });
            DiscoveryType::Eds
        }
        Discovery::OriginalDst => DiscoveryType::OriginalDst,
    };
    message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind.into()));
}

fn lookup_family(family: DnsLookupFamily) -> proto::cluster::DnsLookupFamily {
    match family {
        DnsLookupFamily::Auto => proto::cluster::DnsLookupFamily::Auto,
        DnsLookupFamily::V4Only => proto::cluster::DnsLookupFamily::V4Only,
        DnsLookupFamily::V6Only => proto::cluster::DnsLookupFamily::V6Only,
        DnsLookupFamily::V4Preferred => proto::cluster::DnsLookupFamily::V4Preferred,
        DnsLookupFamily::All => proto::cluster::DnsLookupFamily::All,
    }
}

fn balancing(balancing: LoadBalancing) -> (LbPolicy, Option<LbConfig>) {
    match balancing {
        LoadBalancing::RoundRobin => (LbPolicy::RoundRobin, None),
        LoadBalancing::LeastRequest { choice_count } => (
            LbPolicy::LeastRequest,
            Some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig { choice_count: Some(choice_count) })),
        ),
        LoadBalancing::Random => (LbPolicy::Random, None),
        LoadBalancing::RingHash { ring_size_min, ring_size_max } => (
            LbPolicy::RingHash,
            Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
                minimum_ring_size: Some(ring_size_min),
                maximum_ring_size: Some(ring_size_max),
            })),
        ),
        LoadBalancing::Maglev { table_size } => (
            LbPolicy::Maglev,
            Some(LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: Some(table_size) })),
        ),
        LoadBalancing::ClusterProvided => (LbPolicy::ClusterProvided, None),
    }
}

/// The high priority is only mentioned where it differs from Envoy's defaults.
fn circuit_breakers(breakers: &CircuitBreakers) -> proto::CircuitBreakers {
    let mut all = vec![thresholds(RoutingPriority::Default, &breakers.default)];
    if breakers.high != Thresholds::default() {
        all.push(thresholds(RoutingPriority::High, &breakers.high));
    }
    proto::CircuitBreakers { thresholds: all }
}

fn thresholds(priority: RoutingPriority, thresholds: &Thresholds) -> proto::circuit_breakers::Thresholds {
    proto::circuit_breakers::Thresholds {
        priority: priority.into(),
        max_connections: Some(thresholds.connections_max),
        max_pending_requests: Some(thresholds.pending_requests_max),
        max_requests: Some(thresholds.requests_max),
        max_retries: Some(thresholds.retries_max),
    }
}

fn http_options(cluster: &Cluster) -> BTreeMap<String, Any> {
    if cluster.protocol == HttpProtocol::Http1 && cluster.idle_timeout.is_none() {
        return BTreeMap::new();
    }
    let explicit = |protocol| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(protocol) })
    };
    let protocol = match cluster.protocol {
        HttpProtocol::Http1 => {
            explicit(explicit_http_config::ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions {}))
        }
        HttpProtocol::Http2 => {
            explicit(explicit_http_config::ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions {}))
        }
        HttpProtocol::Downstream => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(Http1ProtocolOptions {}),
                http2_protocol_options: Some(Http2ProtocolOptions {}),
            })
        }
    };
    let options = HttpProtocolOptions {
        common_http_protocol_options: cluster
            .idle_timeout
            .map(|idle| CommonOptions { idle_timeout: Some(duration::encode(idle)) }),
        upstream_protocol_options: Some(protocol),
    };
    BTreeMap::from([(HTTP_OPTIONS.to_owned(), pack(&options))])
}

fn close_on_removal() -> Metadata {
    let flag = Value { kind: Some(value::Kind::BoolValue(true)) };
    let fields = BTreeMap::from([(CLOSE_ON_REMOVAL.to_owned(), flag)]);
    Metadata { filter_metadata: BTreeMap::from([(METADATA.to_owned(), Struct { fields })]) }
}

//! Clusters.

use std::collections::BTreeMap;

use prost_types::Any;
use selvedge_traffic::{
    CircuitBreakers, Cluster, Discovery, DnsLookupFamily, DnsRefresh, HttpProtocol, Thresholds,
};
use selvedge_xds_proto::envoy::config::cluster::v3 as proto;
use selvedge_xds_proto::envoy::config::cluster::v3::circuit_breakers::thresholds::RetryBudget;
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use selvedge_xds_proto::envoy::config::core::v3::{
    Http1ProtocolOptions, HttpProtocolOptions as CommonOptions, RoutingPriority,
};
use selvedge_xds_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use selvedge_xds_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig, explicit_http_config,
};

use selvedge_xds_proto::envoy::r#type::v3::Percent;

use super::{balancing, duration, endpoint, health, http2, metadata, proxy_protocol, source, tls};
use crate::any::pack;

/// Under this key stand the HTTP options of a cluster.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

pub(super) fn encode(cluster: &Cluster) -> proto::Cluster {
    let mut message = proto::Cluster {
        name: cluster.name.clone(),
        connect_timeout: Some(duration::encode(cluster.connect_timeout)),
        health_checks: cluster.health_checks.iter().map(health::check).collect(),
        circuit_breakers: Some(circuit_breakers(&cluster.circuit_breakers)),
        typed_extension_protocol_options: http_options(cluster),
        outlier_detection: cluster.outlier_detection.as_ref().map(health::outlier),
        transport_socket: proxy_protocol::upstream(cluster.proxy_protocol, tls::upstream(&cluster.transport)),
        ignore_health_on_host_removal: cluster.ignore_health_on_host_removal,
        metadata: metadata::cluster(cluster),
        ..proto::Cluster::default()
    };
    balancing::encode(cluster, &mut message);
    discovery(&cluster.discovery, &mut message);
    message
}

fn discovery(discovery: &Discovery, message: &mut proto::Cluster) {
    let kind = match discovery {
        Discovery::Static(assignment) => {
            message.load_assignment = Some(endpoint::assignment(assignment));
            DiscoveryType::Static
        }
        Discovery::StrictDns { assignment, family, refresh } => {
            dns_refresh(*refresh, message);
            message.load_assignment = Some(endpoint::assignment(assignment));
            message.dns_lookup_family = lookup_family(*family).into();
            DiscoveryType::StrictDns
        }
        Discovery::LogicalDns { assignment, family, refresh } => {
            dns_refresh(*refresh, message);
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

/// Mentioned where it differs from Envoy's default.
fn dns_refresh(refresh: DnsRefresh, message: &mut proto::Cluster) {
    let is_default = refresh.interval == DnsRefresh::default().interval;
    message.dns_refresh_rate = (!is_default).then(|| duration::encode(refresh.interval));
    message.respect_dns_ttl = refresh.respects_ttl;
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
        retry_budget: thresholds.retry_budget.map(|budget| RetryBudget {
            budget_percent: Some(Percent { value: budget.percent }),
            min_retry_concurrency: Some(budget.retries_min),
        }),
        track_remaining: thresholds.track_remaining,
        max_connection_pools: thresholds.pools_max,
    }
}

fn http_options(cluster: &Cluster) -> BTreeMap<String, Any> {
    let common = CommonOptions {
        idle_timeout: cluster.idle_timeout.map(duration::encode),
        max_connection_duration: cluster.connection_duration_max.map(duration::encode),
        max_stream_duration: cluster.stream_duration_max.map(duration::encode),
        max_requests_per_connection: cluster.requests_per_connection_max,
    };
    let is_common = common != CommonOptions::default();
    if cluster.protocol == HttpProtocol::Http1 && !is_common {
        return BTreeMap::new();
    }
    let explicit = |protocol| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(protocol) })
    };
    let protocol = match cluster.protocol {
        HttpProtocol::Http1 => {
            explicit(explicit_http_config::ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions {}))
        }
        HttpProtocol::Http2 => explicit(explicit_http_config::ProtocolConfig::Http2ProtocolOptions(
            http2::options(cluster.http2, cluster.extended_connect),
        )),
        HttpProtocol::Downstream => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(Http1ProtocolOptions {}),
                http2_protocol_options: Some(http2::options(cluster.http2, cluster.extended_connect)),
            })
        }
    };
    let options = HttpProtocolOptions {
        common_http_protocol_options: is_common.then_some(common),
        upstream_protocol_options: Some(protocol),
    };
    BTreeMap::from([(HTTP_OPTIONS.to_owned(), pack(&options))])
}

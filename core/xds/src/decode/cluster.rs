//! Clusters.

use std::collections::BTreeMap;
use std::time::Duration;

use prost_types::Any;
use prost_types::value::Kind;
use selvedge_traffic::{
    CircuitBreakers, Cluster, Discovery, DnsLookupFamily, HttpProtocol, LoadBalancing, Thresholds,
};
use selvedge_xds_proto::envoy::config::cluster::v3 as proto;
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy,
};
use selvedge_xds_proto::envoy::config::core::v3::{Metadata, RoutingPriority};
use selvedge_xds_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use selvedge_xds_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    UpstreamProtocolOptions, explicit_http_config,
};

use super::bounds::{expect, known, not_empty};
use super::{Reason, duration, endpoint, health, tls};
use crate::encode::cluster::{CLOSE_ON_REMOVAL, METADATA};

/// Envoy's `Cluster.connect_timeout` when none is set.
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

pub(super) fn decode(message: proto::Cluster) -> Result<Cluster, Reason> {
    let discovery = discovery(&message)?;
    let balancing = balancing(&message)?;
    let (protocol, idle_timeout) = http_options(&message.typed_extension_protocol_options)?;
    Ok(Cluster {
        name: not_empty("name", message.name)?,
        discovery,
        connect_timeout: duration::or("connect_timeout", message.connect_timeout, CONNECT_TIMEOUT_DEFAULT)?,
        balancing,
        protocol,
        transport: tls::upstream(message.transport_socket)?,
        circuit_breakers: circuit_breakers(message.circuit_breakers)?,
        outlier_detection: message.outlier_detection.as_ref().map(health::outlier).transpose()?,
        health_checks: message.health_checks.into_iter().map(health::check).collect::<Result<_, _>>()?,
        idle_timeout,
        ignore_health_on_host_removal: message.ignore_health_on_host_removal,
        close_connections_on_host_removal: closes_on_removal(message.metadata.as_ref()),
    })
}

fn discovery(message: &proto::Cluster) -> Result<Discovery, Reason> {
    let kind = match message.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => known("type", kind)?,
    };
    let assignment = || {
        let assignment = message.load_assignment.clone().ok_or(Reason::Missing("load_assignment"))?;
        endpoint::assignment(assignment)
    };
    let family = || known("dns_lookup_family", message.dns_lookup_family).map(lookup_family);
    Ok(match kind {
        DiscoveryType::Static => Discovery::Static(assignment()?),
        DiscoveryType::StrictDns => Discovery::StrictDns { assignment: assignment()?, family: family()? },
        DiscoveryType::LogicalDns => Discovery::LogicalDns { assignment: assignment()?, family: family()? },
        DiscoveryType::Eds => {
            let config = message.eds_cluster_config.as_ref().ok_or(Reason::Missing("eds_cluster_config"))?;
            Discovery::Eds { service_name: config.service_name.clone() }
        }
        DiscoveryType::OriginalDst => Discovery::OriginalDst,
    })
}

fn lookup_family(family: proto::cluster::DnsLookupFamily) -> DnsLookupFamily {
    match family {
        proto::cluster::DnsLookupFamily::Auto => DnsLookupFamily::Auto,
        proto::cluster::DnsLookupFamily::V4Only => DnsLookupFamily::V4Only,
        proto::cluster::DnsLookupFamily::V6Only => DnsLookupFamily::V6Only,
        proto::cluster::DnsLookupFamily::V4Preferred => DnsLookupFamily::V4Preferred,
        proto::cluster::DnsLookupFamily::All => DnsLookupFamily::All,
    }
}

/// Sizes that are not said are Envoy's defaults.
fn balancing(message: &proto::Cluster) -> Result<LoadBalancing, Reason> {
    Ok(match known("lb_policy", message.lb_policy)? {
        LbPolicy::RoundRobin => LoadBalancing::RoundRobin,
        LbPolicy::Random => LoadBalancing::Random,
        LbPolicy::ClusterProvided => LoadBalancing::ClusterProvided,
        LbPolicy::LeastRequest => LoadBalancing::LeastRequest {
            choice_count: match message.lb_config {
                Some(LbConfig::LeastRequestLbConfig(config)) => config.choice_count.unwrap_or(2),
                _ => 2,
            },
        },
        LbPolicy::RingHash => {
            let config = match message.lb_config {
                Some(LbConfig::RingHashLbConfig(config)) => config,
                _ => proto::cluster::RingHashLbConfig::default(),
            };
            LoadBalancing::RingHash {
                ring_size_min: config.minimum_ring_size.unwrap_or(1 << 10),
                ring_size_max: config.maximum_ring_size.unwrap_or(1 << 23),
            }
        }
        LbPolicy::Maglev => LoadBalancing::Maglev {
            table_size: match message.lb_config {
                Some(LbConfig::MaglevLbConfig(config)) => config.table_size.unwrap_or(65_537),
                _ => 65_537,
            },
        },
        LbPolicy::LoadBalancingPolicyConfig => {
            return Err(Reason::Unsupported {
                field: "lb_policy",
                value: "LOAD_BALANCING_POLICY_CONFIG".to_owned(),
            });
        }
    })
}

fn circuit_breakers(message: Option<proto::CircuitBreakers>) -> Result<CircuitBreakers, Reason> {
    let mut breakers = CircuitBreakers::default();
    for thresholds in message.unwrap_or_default().thresholds {
        let side = match known("circuit_breakers.thresholds.priority", thresholds.priority)? {
            RoutingPriority::Default => &mut breakers.default,
            RoutingPriority::High => &mut breakers.high,
        };
        let default = Thresholds::default();
        *side = Thresholds {
            connections_max: thresholds.max_connections.unwrap_or(default.connections_max),
            pending_requests_max: thresholds.max_pending_requests.unwrap_or(default.pending_requests_max),
            requests_max: thresholds.max_requests.unwrap_or(default.requests_max),
            retries_max: thresholds.max_retries.unwrap_or(default.retries_max),
        };
    }
    Ok(breakers)
}

fn http_options(options: &BTreeMap<String, Any>) -> Result<(HttpProtocol, Option<Duration>), Reason> {
    let Some((name, any)) = options.first_key_value() else { return Ok((HttpProtocol::Http1, None)) };
    if let Some((name, any)) = options.iter().nth(1) {
        return Err(super::bounds::unknown(name, Some(any)));
    }
    let options: HttpProtocolOptions = expect(name, Some(any))?;
    let idle = options.common_http_protocol_options.and_then(|common| common.idle_timeout);
    let idle = duration::optional("common_http_protocol_options.idle_timeout", idle)?;
    let protocol = match options.upstream_protocol_options {
        None => return Err(Reason::Missing("upstream_protocol_options")),
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => HttpProtocol::Downstream,
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match explicit.protocol_config {
            None => return Err(Reason::Missing("explicit_http_config.protocol_config")),
            Some(explicit_http_config::ProtocolConfig::HttpProtocolOptions(_)) => HttpProtocol::Http1,
            Some(explicit_http_config::ProtocolConfig::Http2ProtocolOptions(_)) => HttpProtocol::Http2,
        },
    };
    Ok((protocol, idle))
}

fn closes_on_removal(metadata: Option<&Metadata>) -> bool {
    metadata
        .and_then(|metadata| metadata.filter_metadata.get(METADATA))
        .and_then(|ours| ours.fields.get(CLOSE_ON_REMOVAL))
        .is_some_and(|value| value.kind == Some(Kind::BoolValue(true)))
}

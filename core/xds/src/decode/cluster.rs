//! Clusters.

use std::collections::BTreeMap;
use std::time::Duration;

use prost_types::Any;
use selvedge_traffic::cluster::CONNECT_TIMEOUT_DEFAULT;
use selvedge_traffic::{
    CircuitBreakers, Cluster, Discovery, DnsLookupFamily, DnsRefresh, Http2Settings, HttpProtocol,
    RetryBudget, Thresholds,
};
use selvedge_xds_proto::envoy::config::cluster::v3 as proto;
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use selvedge_xds_proto::envoy::config::core::v3::{HttpProtocolOptions as CommonOptions, RoutingPriority};
use selvedge_xds_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use selvedge_xds_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    UpstreamProtocolOptions, explicit_http_config,
};

use super::bounds::{expect, known, not_empty};
use super::{Reason, all, balancing, duration, endpoint, health, http2, metadata, source, tls};

pub(super) fn decode(message: proto::Cluster) -> Result<Cluster, Reason> {
    let discovery = discovery(&message)?;
    let (balancing, placement) = balancing::decode(&message)?;
    if message.common_lb_config.as_ref().is_some_and(|common| common.close_connections_on_host_set_change) {
        let field = "common_lb_config.close_connections_on_host_set_change";
        return Err(Reason::Unsupported { field, value: "true".to_owned() });
    }
    let (transport, proxy_protocol) = tls::cluster(message.transport_socket)?;
    let HttpOptions { protocol, extended_connect, http2, common } =
        http_options(&message.typed_extension_protocol_options)?;
    Ok(Cluster {
        name: not_empty("name", message.name)?,
        discovery,
        connect_timeout: match message.connect_timeout {
            None => CONNECT_TIMEOUT_DEFAULT,
            time => health::positive("connect_timeout", time)?,
        },
        balancing,
        placement,
        subsets: message.lb_subset_config.as_ref().map(balancing::subsets).transpose()?,
        protocol,
        extended_connect,
        http2,
        transport,
        proxy_protocol,
        circuit_breakers: circuit_breakers(message.circuit_breakers)?,
        outlier_detection: message.outlier_detection.as_ref().map(health::outlier).transpose()?,
        health_checks: all(message.health_checks, health::check)?,
        idle_timeout: duration::optional("common_http_protocol_options.idle_timeout", common.idle_timeout)?,
        connection_duration_max: duration::optional(
            "common_http_protocol_options.max_connection_duration",
            common.max_connection_duration,
        )?,
        requests_per_connection_max: common
            .max_requests_per_connection
            .or(message.max_requests_per_connection),
        stream_duration_max: duration::optional(
            "common_http_protocol_options.max_stream_duration",
            common.max_stream_duration,
        )?,
        breaker: metadata::breaker(message.metadata.as_ref())?,
        ignore_health_on_host_removal: message.ignore_health_on_host_removal,
        close_connections_on_host_removal: metadata::closes_on_removal(message.metadata.as_ref()),
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
        DiscoveryType::StrictDns => {
            Discovery::StrictDns { assignment: assignment()?, family: family()?, refresh: refresh(message)? }
        }
        DiscoveryType::LogicalDns => {
            Discovery::LogicalDns { assignment: assignment()?, family: family()?, refresh: refresh(message)? }
        }
        DiscoveryType::Eds => {
            let config = message.eds_cluster_config.as_ref().ok_or(Reason::Missing("eds_cluster_config"))?;
            source::aggregated("eds_cluster_config.eds_config", config.eds_config.as_ref())?;
            Discovery::Eds { service_name: config.service_name.clone() }
        }
        DiscoveryType::OriginalDst => Discovery::OriginalDst,
    })
}

fn refresh(message: &proto::Cluster) -> Result<DnsRefresh, Reason> {
    const FIELD: &str = "dns_refresh_rate";
    let interval = duration::or(FIELD, message.dns_refresh_rate, DnsRefresh::default().interval)?;
    if interval <= Duration::from_millis(1) {
        let value = format!("{interval:?}");
        return Err(Reason::Invalid { field: FIELD, value, expected: "is not above 1 ms" });
    }
    Ok(DnsRefresh { interval, respects_ttl: message.respect_dns_ttl })
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
            pools_max: thresholds.max_connection_pools,
            retry_budget: thresholds.retry_budget.map(retry_budget).transpose()?,
            track_remaining: thresholds.track_remaining,
        };
    }
    Ok(breakers)
}

fn retry_budget(message: proto::circuit_breakers::thresholds::RetryBudget) -> Result<RetryBudget, Reason> {
    let default = RetryBudget::default();
    Ok(RetryBudget {
        percent: balancing::percent("retry_budget.budget_percent", message.budget_percent, default.percent)?,
        retries_min: message.min_retry_concurrency.unwrap_or(default.retries_min),
    })
}

#[derive(Default)]
struct HttpOptions {
    protocol: HttpProtocol,
    extended_connect: bool,
    http2: Http2Settings,
    common: CommonOptions,
}

fn http_options(options: &BTreeMap<String, Any>) -> Result<HttpOptions, Reason> {
    let Some((name, any)) = options.first_key_value() else { return Ok(HttpOptions::default()) };
    if let Some((name, any)) = options.iter().nth(1) {
        return Err(super::bounds::unknown(name, Some(any)));
    }
    let options: HttpProtocolOptions = expect(name, Some(any))?;
    let (protocol, http2) = match options.upstream_protocol_options {
        None => return Err(Reason::Missing("upstream_protocol_options")),
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(config)) => {
            (HttpProtocol::Downstream, config.http2_protocol_options)
        }
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match explicit.protocol_config {
            None => return Err(Reason::Missing("explicit_http_config.protocol_config")),
            Some(explicit_http_config::ProtocolConfig::HttpProtocolOptions(_)) => (HttpProtocol::Http1, None),
            Some(explicit_http_config::ProtocolConfig::Http2ProtocolOptions(http2)) => {
                (HttpProtocol::Http2, Some(http2))
            }
        },
    };
    let common = options.common_http_protocol_options.unwrap_or_default();
    Ok(HttpOptions {
        protocol,
        extended_connect: http2.is_some_and(|options| options.allow_connect),
        http2: http2.map(http2::settings).transpose()?.unwrap_or_default(),
        common,
    })
}

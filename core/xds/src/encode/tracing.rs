//! Tracing of connection managers.

use prost::{Message, Name};
use selvedge_traffic::Tracing;
use selvedge_traffic::tracing::{CustomTag, OtlpCollector, Provider, TagValue};
use selvedge_xds_proto::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use selvedge_xds_proto::envoy::config::core::v3::http_uri::HttpUpstreamType;
use selvedge_xds_proto::envoy::config::core::v3::socket_address::{PortSpecifier, Protocol};
use selvedge_xds_proto::envoy::config::core::v3::{
    DataSource, GrpcService, HttpService, HttpUri, SocketAddress, data_source,
};
use selvedge_xds_proto::envoy::config::trace::v3 as proto;
use selvedge_xds_proto::envoy::config::trace::v3::x_ray_config::SegmentFields;
use selvedge_xds_proto::envoy::config::trace::v3::zipkin_config::{
    CollectorEndpointVersion, TraceContextOption,
};
use selvedge_xds_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager;
use selvedge_xds_proto::envoy::r#type::tracing::v3::CustomTag as CustomTagMessage;
use selvedge_xds_proto::envoy::r#type::tracing::v3::custom_tag::{Environment, Header, Literal, Type};
use selvedge_xds_proto::envoy::r#type::v3::Percent;

use crate::any::pack;

/// Envoy requires a time here; our exporters have their own.
const TIMEOUT: prost_types::Duration = prost_types::Duration { seconds: 5, nanos: 0 };

pub(super) fn encode(tracing: &Tracing) -> http_connection_manager::Tracing {
    http_connection_manager::Tracing {
        client_sampling: percent(tracing.client_sampling),
        random_sampling: percent(tracing.random_sampling),
        overall_sampling: percent(tracing.overall_sampling),
        max_path_tag_length: tracing.path_length_max,
        custom_tags: tracing.tags.iter().map(tag).collect(),
        provider: tracing.provider.as_ref().map(provider),
        spawn_upstream_span: tracing.spawn_upstream_span.then_some(true),
    }
}

/// All of them is the default.
fn percent(value: f64) -> Option<Percent> {
    (value < 100.0).then_some(Percent { value })
}

pub(super) fn tag(tag: &CustomTag) -> CustomTagMessage {
    let value = match &tag.value {
        TagValue::Literal(value) => Type::Literal(Literal { value: value.clone() }),
        TagValue::Environment { name, default } => {
            Type::Environment(Environment { name: name.clone(), default_value: default.clone() })
        }
        TagValue::RequestHeader { name, default } => {
            Type::RequestHeader(Header { name: name.clone(), default_value: default.clone() })
        }
    };
    CustomTagMessage { tag: tag.name.clone(), r#type: Some(value) }
}

fn provider(provider: &Provider) -> proto::tracing::Http {
    match provider {
        Provider::OpenTelemetry { collector, service_name } => {
            let (grpc_service, http_service) = match collector {
                OtlpCollector::Grpc { cluster } => (Some(grpc(cluster)), None),
                OtlpCollector::Http { cluster, uri } => (None, Some(http(cluster, uri))),
            };
            let config =
                proto::OpenTelemetryConfig { grpc_service, http_service, service_name: service_name.clone() };
            extension("envoy.tracers.opentelemetry", &config)
        }
        Provider::Zipkin { cluster, path, host, trace_id_128bit, shared_span, w3c } => {
            let option =
                if *w3c { TraceContextOption::UseB3WithW3cPropagation } else { TraceContextOption::UseB3 };
            let config = proto::ZipkinConfig {
                collector_cluster: cluster.clone(),
                collector_endpoint: path.clone(),
                trace_id_128bit: *trace_id_128bit,
                shared_span_context: Some(*shared_span),
                collector_endpoint_version: CollectorEndpointVersion::HttpJson.into(),
                collector_hostname: host.clone(),
                trace_context_option: option.into(),
            };
            extension("envoy.tracers.zipkin", &config)
        }
        Provider::XRay { daemon, segment_name, rules, origin } => {
            let manifest =
                || DataSource { specifier: Some(data_source::Specifier::InlineString(rules.clone())) };
            let config = proto::XRayConfig {
                daemon_endpoint: Some(udp(daemon)),
                segment_name: segment_name.clone(),
                sampling_rule_manifest: (!rules.is_empty()).then(manifest),
                segment_fields: (!origin.is_empty()).then(|| SegmentFields { origin: origin.clone() }),
            };
            extension("envoy.tracers.xray", &config)
        }
        Provider::Datadog { cluster, service_name, host } => {
            let config = proto::DatadogConfig {
                collector_cluster: cluster.clone(),
                service_name: service_name.clone(),
                collector_hostname: host.clone(),
            };
            extension("envoy.tracers.datadog", &config)
        }
    }
}

fn extension<M: Message + Name>(name: &str, config: &M) -> proto::tracing::Http {
    let config = proto::tracing::http::ConfigType::TypedConfig(pack(config));
    proto::tracing::Http { name: name.to_owned(), config_type: Some(config) }
}

fn grpc(cluster: &str) -> GrpcService {
    let target = EnvoyGrpc { cluster_name: cluster.to_owned(), ..EnvoyGrpc::default() };
    GrpcService { target_specifier: Some(TargetSpecifier::EnvoyGrpc(target)), ..GrpcService::default() }
}

fn http(cluster: &str, uri: &str) -> HttpService {
    HttpService {
        http_uri: Some(HttpUri {
            uri: uri.to_owned(),
            http_upstream_type: Some(HttpUpstreamType::Cluster(cluster.to_owned())),
            timeout: Some(TIMEOUT),
        }),
    }
}

/// `host:port`; a port that is none is left out, and the receiver says so.
fn udp(daemon: &str) -> SocketAddress {
    let (host, port) = daemon.rsplit_once(':').unwrap_or((daemon, ""));
    SocketAddress {
        protocol: Protocol::Udp.into(),
        address: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port_specifier: port.parse().ok().map(PortSpecifier::PortValue),
        ..SocketAddress::default()
    }
}

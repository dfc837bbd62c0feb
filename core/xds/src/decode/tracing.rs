//! Tracing of connection managers.

use selvedge_traffic::Tracing;
use selvedge_traffic::tracing::{CustomTag, OtlpCollector, Provider, SamplingRules, TAGS_MAX, TagValue};
use selvedge_xds_proto::envoy::config::core::v3::grpc_service::TargetSpecifier;
use selvedge_xds_proto::envoy::config::core::v3::http_uri::HttpUpstreamType;
use selvedge_xds_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use selvedge_xds_proto::envoy::config::trace::v3 as proto;
use selvedge_xds_proto::envoy::config::trace::v3::zipkin_config::{
    CollectorEndpointVersion, TraceContextOption,
};
use selvedge_xds_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager;
use selvedge_xds_proto::envoy::r#type::tracing::v3::CustomTag as CustomTagMessage;
use selvedge_xds_proto::envoy::r#type::tracing::v3::custom_tag::Type;
use selvedge_xds_proto::envoy::r#type::v3::Percent;

use super::Reason;
use super::bounds::{known, not_empty, port, unknown, unpack};
use super::route::inline_text;
use crate::any::holds;

pub(super) fn decode(message: http_connection_manager::Tracing) -> Result<Tracing, Reason> {
    if message.custom_tags.len() > TAGS_MAX {
        return Err(Reason::Unsupported { field: "tracing.custom_tags", value: "so many".to_owned() });
    }
    Ok(Tracing {
        client_sampling: percent("tracing.client_sampling", message.client_sampling)?,
        random_sampling: percent("tracing.random_sampling", message.random_sampling)?,
        overall_sampling: percent("tracing.overall_sampling", message.overall_sampling)?,
        spawn_upstream_span: message.spawn_upstream_span.unwrap_or_default(),
        path_length_max: message.max_path_tag_length,
        tags: message.custom_tags.into_iter().map(tag).collect::<Result<_, _>>()?,
        provider: message.provider.map(provider).transpose()?,
    })
}

fn percent(field: &'static str, percent: Option<Percent>) -> Result<f64, Reason> {
    match percent.map_or(100.0, |percent| percent.value) {
        value if (0.0..=100.0).contains(&value) => Ok(value),
        value => Err(Reason::Invalid { field, value: value.to_string(), expected: "is no percentage" }),
    }
}

pub(super) fn tag(message: CustomTagMessage) -> Result<CustomTag, Reason> {
    let value = match message.r#type {
        None => return Err(Reason::Missing("tracing.custom_tags.type")),
        Some(Type::Literal(literal)) => TagValue::Literal(literal.value),
        Some(Type::Environment(environment)) => TagValue::Environment {
            name: not_empty("tracing.custom_tags.environment.name", environment.name)?,
            default: environment.default_value,
        },
        Some(Type::RequestHeader(header)) => TagValue::RequestHeader {
            name: not_empty("tracing.custom_tags.request_header.name", header.name)?.to_ascii_lowercase(),
            default: header.default_value,
        },
    };
    Ok(CustomTag { name: not_empty("tracing.custom_tags.tag", message.tag)?, value })
}

fn provider(message: proto::tracing::Http) -> Result<Provider, Reason> {
    let any = message.config_type.map(|proto::tracing::http::ConfigType::TypedConfig(any)| any);
    let Some(any) = any else { return Err(unknown(&message.name, None)) };
    if holds::<proto::OpenTelemetryConfig>(&any) {
        open_telemetry(unpack(&any)?)
    } else if holds::<proto::ZipkinConfig>(&any) {
        zipkin(unpack(&any)?)
    } else if holds::<proto::XRayConfig>(&any) {
        x_ray(unpack(&any)?)
    } else if holds::<proto::DatadogConfig>(&any) {
        let datadog: proto::DatadogConfig = unpack(&any)?;
        Ok(Provider::Datadog {
            cluster: not_empty("collector_cluster", datadog.collector_cluster)?,
            service_name: not_empty("service_name", datadog.service_name)?,
            host: datadog.collector_hostname,
        })
    } else {
        Err(unknown(&message.name, Some(&any)))
    }
}

fn open_telemetry(message: proto::OpenTelemetryConfig) -> Result<Provider, Reason> {
    let collector = match (message.grpc_service, message.http_service) {
        (Some(grpc), _) => match grpc.target_specifier {
            Some(TargetSpecifier::EnvoyGrpc(grpc)) => {
                OtlpCollector::Grpc { cluster: not_empty("grpc_service.cluster_name", grpc.cluster_name)? }
            }
            Some(TargetSpecifier::GoogleGrpc(_)) => {
                return Err(Reason::Unsupported { field: "grpc_service", value: "google_grpc".to_owned() });
            }
            None => return Err(Reason::Missing("grpc_service.envoy_grpc")),
        },
        (None, Some(http)) => {
            let uri = http.http_uri.ok_or(Reason::Missing("http_service.http_uri"))?;
            let Some(HttpUpstreamType::Cluster(cluster)) = uri.http_upstream_type else {
                return Err(Reason::Missing("http_service.http_uri.cluster"));
            };
            OtlpCollector::Http {
                cluster: not_empty("http_service.http_uri.cluster", cluster)?,
                uri: not_empty("http_service.http_uri.uri", uri.uri)?,
            }
        }
        (None, None) => return Err(Reason::Missing("grpc_service or http_service")),
    };
    Ok(Provider::OpenTelemetry { collector, service_name: message.service_name })
}

fn zipkin(message: proto::ZipkinConfig) -> Result<Provider, Reason> {
    match known("collector_endpoint_version", message.collector_endpoint_version)? {
        CollectorEndpointVersion::HttpJson => {}
        other => {
            return Err(Reason::Unsupported {
                field: "collector_endpoint_version",
                value: other.as_str_name().to_owned(),
            });
        }
    }
    let w3c = match known("trace_context_option", message.trace_context_option)? {
        TraceContextOption::UseB3 => false,
        TraceContextOption::UseB3WithW3cPropagation => true,
    };
    Ok(Provider::Zipkin {
        cluster: not_empty("collector_cluster", message.collector_cluster)?,
        path: not_empty("collector_endpoint", message.collector_endpoint)?,
        host: message.collector_hostname,
        trace_id_128bit: message.trace_id_128bit,
        shared_span: message.shared_span_context.unwrap_or(true),
        w3c,
    })
}

fn x_ray(message: proto::XRayConfig) -> Result<Provider, Reason> {
    let daemon = match message.daemon_endpoint {
        None => "127.0.0.1:2000".to_owned(),
        Some(address) => {
            let Some(PortSpecifier::PortValue(number)) = address.port_specifier else {
                return Err(Reason::Missing("daemon_endpoint.port_value"));
            };
            let host = not_empty("daemon_endpoint.address", address.address)?;
            let number = port("daemon_endpoint.port_value", number)?;
            if host.contains(':') { format!("[{host}]:{number}") } else { format!("{host}:{number}") }
        }
    };
    let rules = match message.sampling_rule_manifest {
        None => String::new(),
        Some(source) => inline_text("sampling_rule_manifest", source)?,
    };
    if !rules.is_empty() {
        SamplingRules::parse(&rules).map_err(|error| Reason::Invalid {
            field: "sampling_rule_manifest",
            value: error.to_string(),
            expected: "cannot be used",
        })?;
    }
    Ok(Provider::XRay {
        daemon,
        segment_name: message.segment_name,
        rules,
        origin: message.segment_fields.unwrap_or_default().origin,
    })
}

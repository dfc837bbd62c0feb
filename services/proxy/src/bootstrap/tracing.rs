//! Tracing as the variables of App Mesh's image, and of OpenTelemetry's SDKs, ask for it.

use selvedge_traffic::tracing::sampling::{MANIFEST_BYTES_MAX, RATE_DEFAULT};
use selvedge_traffic::tracing::{OtlpCollector, Propagation, Provider, SamplingRules};
use serde_json::{Map, json};

use super::ResourceName;
use super::variables::{BootstrapError, Env};
use crate::tracing::{Collector, TracingDefault};

/// Where the standard OTLP ports are.
const OTLP_GRPC: &str = "http://localhost:4317";
const OTLP_HTTP: &str = "http://localhost:4318";
/// What App Mesh's segments said of their origin.
const ORIGIN: &str = "AWS::AppMesh::Proxy";

/// What the environment asks for; at most one tracer.
pub(super) fn tracing(
    env: Env<'_>,
    resource: &ResourceName,
) -> Result<Option<TracingDefault>, BootstrapError> {
    let mut found = None;
    let otlp = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let wanted = [
        ("ENABLE_ENVOY_XRAY_TRACING", env.flag("ENABLE_ENVOY_XRAY_TRACING")?),
        ("ENABLE_ENVOY_JAEGER_TRACING", env.flag("ENABLE_ENVOY_JAEGER_TRACING")?),
        ("ENABLE_ENVOY_DATADOG_TRACING", env.flag("ENABLE_ENVOY_DATADOG_TRACING")?),
        (
            otlp[0],
            otlp.iter().any(|name| env.get(name).is_some())
                && env.get("OTEL_TRACES_EXPORTER") != Some("none"),
        ),
    ];
    for (name, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
        if found.replace(name).is_some() {
            return Err(env.invalid(name, "the only tracer that is asked for"));
        }
    }
    match found {
        None => Ok(None),
        Some("ENABLE_ENVOY_XRAY_TRACING") => x_ray(env, resource).map(Some),
        Some("ENABLE_ENVOY_JAEGER_TRACING") => jaeger(env).map(Some),
        Some("ENABLE_ENVOY_DATADOG_TRACING") => datadog(env, resource).map(Some),
        Some(_) => open_telemetry(env).map(Some),
    }
}

fn x_ray(env: Env<'_>, resource: &ResourceName) -> Result<TracingDefault, BootstrapError> {
    let port: u16 = env.parsed("XRAY_DAEMON_PORT", "a port")?.unwrap_or(2000);
    // `host:port`, `host`, or `tcp:host:port udp:host:port` as the X-Ray SDKs read it.
    let address = env.get("AWS_XRAY_DAEMON_ADDRESS").unwrap_or("127.0.0.1");
    let address = address.split(' ').find_map(|part| part.strip_prefix("udp:")).unwrap_or(address);
    let daemon = if address.contains(':') { address.to_owned() } else { format!("{address}:{port}") };
    let rules = match env.get("XRAY_SAMPLING_RULE_MANIFEST") {
        Some(path) => manifest(env, path)?,
        None => {
            let rate: f64 = env.parsed("XRAY_SAMPLING_RATE", "a number from 0 to 1")?.unwrap_or(RATE_DEFAULT);
            if !(0.0..=1.0).contains(&rate) {
                return Err(env.invalid("XRAY_SAMPLING_RATE", "a number from 0 to 1"));
            }
            json!({ "version": 2, "default": { "fixed_target": 1, "rate": rate } }).to_string()
        }
    };
    let segment_name = env.get("XRAY_SEGMENT_NAME").map_or_else(|| resource.short(), str::to_owned);
    let collector = Collector::of_authority(&daemon);
    let provider = Provider::XRay { daemon, segment_name, rules, origin: ORIGIN.to_owned() };
    let aws = Map::from_iter([("app_mesh".to_owned(), resource.in_segments())]);
    Ok(TracingDefault { provider, collector, random_sampling: None, propagation: Vec::new(), aws })
}

fn manifest(env: Env<'_>, path: &str) -> Result<String, BootstrapError> {
    const NAME: &str = "XRAY_SAMPLING_RULE_MANIFEST";
    let long = |path: &str| std::fs::metadata(path).is_ok_and(|file| file.len() > MANIFEST_BYTES_MAX as u64);
    let text = if long(path) { None } else { std::fs::read_to_string(path).ok() };
    text.filter(|text| SamplingRules::parse(text).is_ok())
        .ok_or_else(|| env.invalid(NAME, "a readable file with X-Ray sampling rules"))
}

fn jaeger(env: Env<'_>) -> Result<TracingDefault, BootstrapError> {
    if let Some(version) = env.get("JAEGER_TRACER_VERSION")
        && !["PROTO", "JSON"].contains(&version)
    {
        return Err(env.invalid("JAEGER_TRACER_VERSION", "PROTO or JSON"));
    }
    let host = env.get("JAEGER_TRACER_ADDRESS").unwrap_or("127.0.0.1").to_owned();
    let port: u16 = env.parsed("JAEGER_TRACER_PORT", "a port")?.unwrap_or(9411);
    let provider = Provider::Zipkin {
        cluster: "jaeger".to_owned(),
        path: "/api/v2/spans".to_owned(),
        host: format!("{host}:{port}"),
        trace_id_128bit: true,
        shared_span: false,
        w3c: false,
    };
    Ok(plain(provider, Collector::Host { host, port }))
}

fn datadog(env: Env<'_>, resource: &ResourceName) -> Result<TracingDefault, BootstrapError> {
    let host = env.get("DATADOG_TRACER_ADDRESS").unwrap_or("127.0.0.1").to_owned();
    let port: u16 = env.parsed("DATADOG_TRACER_PORT", "a port")?.unwrap_or(8126);
    let provider = Provider::Datadog {
        cluster: "datadog_agent".to_owned(),
        service_name: env
            .get("DD_SERVICE")
            .map_or_else(|| format!("envoy-{}", resource.short()), str::to_owned),
        host: format!("{host}:{port}"),
    };
    Ok(plain(provider, Collector::Host { host, port }))
}

/// The variables of the OpenTelemetry specification that apply to a proxy.
fn open_telemetry(env: Env<'_>) -> Result<TracingDefault, BootstrapError> {
    let traces = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
    let protocol = env.get(traces).or_else(|| env.get("OTEL_EXPORTER_OTLP_PROTOCOL")).unwrap_or("grpc");
    let (grpc, standard) = match protocol {
        "grpc" => (true, OTLP_GRPC),
        "http/protobuf" => (false, OTLP_HTTP),
        _ => return Err(env.invalid("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc or http/protobuf")),
    };
    // The general endpoint is a base to which the signal's path is added; the signal's own stands as it is.
    let (name, endpoint) = match env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        Some(endpoint) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.to_owned()),
        None => {
            let base = env.get("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or(standard).trim_end_matches('/');
            let path = if grpc { "" } else { "/v1/traces" };
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{base}{path}"))
        }
    };
    let rest = endpoint.strip_prefix("http://").ok_or_else(|| env.invalid(name, "an http:// URL"))?;
    let authority = rest.split('/').next().unwrap_or_default();
    let authority = if authority.contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:{}", if grpc { 4317 } else { 4318 })
    };
    let collector = if grpc {
        OtlpCollector::Grpc { cluster: authority.clone() }
    } else {
        OtlpCollector::Http { cluster: authority.clone(), uri: endpoint.clone() }
    };
    let service_name = env.get("OTEL_SERVICE_NAME").unwrap_or_default().to_owned();
    let provider = Provider::OpenTelemetry { collector, service_name };
    let mut tracing = plain(provider, Collector::of_authority(&authority));
    tracing.random_sampling = sampler(env)?;
    tracing.propagation = propagators(env)?;
    Ok(tracing)
}

fn sampler(env: Env<'_>) -> Result<Option<f64>, BootstrapError> {
    const RATIO: &str = "a ratio from 0 to 1";
    Ok(match env.get("OTEL_TRACES_SAMPLER") {
        None => None,
        Some("always_on" | "parentbased_always_on") => Some(100.0),
        Some("always_off" | "parentbased_always_off") => Some(0.0),
        Some("traceidratio" | "parentbased_traceidratio") => {
            let ratio: f64 = env.parsed("OTEL_TRACES_SAMPLER_ARG", RATIO)?.unwrap_or(1.0);
            if !(0.0..=1.0).contains(&ratio) {
                return Err(env.invalid("OTEL_TRACES_SAMPLER_ARG", RATIO));
            }
            Some(ratio * 100.0)
        }
        Some(_) => return Err(env.invalid("OTEL_TRACES_SAMPLER", "one of the specification's samplers")),
    })
}

fn propagators(env: Env<'_>) -> Result<Vec<Propagation>, BootstrapError> {
    let mut known = Vec::new();
    for name in env.get("OTEL_PROPAGATORS").unwrap_or_default().split(',').map(str::trim) {
        let propagation = match name {
            "tracecontext" => Propagation::TraceContext,
            "b3" | "b3multi" => Propagation::B3,
            "xray" => Propagation::XRay,
            // Baggage passes as it is.
            "" | "baggage" | "none" => continue,
            _ => {
                return Err(
                    env.invalid("OTEL_PROPAGATORS", "a list of tracecontext, baggage, b3, b3multi, xray")
                );
            }
        };
        if !known.contains(&propagation) {
            known.push(propagation);
        }
    }
    Ok(known)
}

fn plain(provider: Provider, collector: Collector) -> TracingDefault {
    TracingDefault { provider, collector, random_sampling: None, propagation: Vec::new(), aws: Map::new() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<TracingDefault>, BootstrapError> {
        let env: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        tracing(Env(&env), &ResourceName::parse("mesh/m/virtualNode/n").expect("a name"))
    }

    #[test]
    fn x_ray_is_read_as_the_image_reads_it() {
        let tracing = read(&[
            ("ENABLE_ENVOY_XRAY_TRACING", "1"),
            ("AWS_XRAY_DAEMON_ADDRESS", "tcp:10.0.0.1:2001 udp:10.0.0.1:2002"),
            ("XRAY_SAMPLING_RATE", "0.5"),
        ])
        .expect("valid")
        .expect("asked for");
        assert_eq!(tracing.collector, Collector::Host { host: "10.0.0.1".to_owned(), port: 2002 });
        let Provider::XRay { segment_name, rules, .. } = &tracing.provider else { panic!("X-Ray") };
        assert_eq!((segment_name.as_str(), rules.contains("0.5")), ("m/n", true));
        assert_eq!(tracing.aws["app_mesh"]["virtual_node_name"], "n");
        assert!(read(&[("ENABLE_ENVOY_XRAY_TRACING", "1"), ("XRAY_SAMPLING_RATE", "2")]).is_err());
        let missing = [("ENABLE_ENVOY_XRAY_TRACING", "1"), ("XRAY_SAMPLING_RULE_MANIFEST", "/nowhere")];
        assert!(read(&missing).is_err());
    }

    #[test]
    fn jaeger_and_datadog_have_their_defaults() {
        let jaeger = read(&[("ENABLE_ENVOY_JAEGER_TRACING", "1")]).expect("valid").expect("asked for");
        assert_eq!(jaeger.collector, Collector::Host { host: "127.0.0.1".to_owned(), port: 9411 });
        let datadog = read(&[("ENABLE_ENVOY_DATADOG_TRACING", "1")]).expect("valid").expect("asked for");
        let Provider::Datadog { service_name, .. } = &datadog.provider else { panic!("Datadog") };
        assert_eq!(service_name, "envoy-m/n");
    }

    #[test]
    fn open_telemetrys_variables_say_protocol_sampler_and_propagators() {
        let tracing = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
            ("OTEL_PROPAGATORS", "tracecontext,baggage,b3multi"),
        ])
        .expect("valid")
        .expect("asked for");
        assert_eq!(tracing.collector, Collector::Host { host: "collector".to_owned(), port: 4318 });
        let Provider::OpenTelemetry { collector: OtlpCollector::Http { uri, .. }, .. } = &tracing.provider
        else {
            panic!("OTLP by HTTP")
        };
        assert_eq!(uri, "http://collector:4318/v1/traces");
        assert_eq!(tracing.random_sampling, Some(1.0));
        assert_eq!(tracing.propagation, [Propagation::TraceContext, Propagation::B3]);
        assert_eq!(read(&[("OTEL_SERVICE_NAME", "x")]), Ok(None), "no endpoint, no tracer");
        assert!(
            read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x")]).is_err(),
            "TLS is not spoken to collectors"
        );
    }

    #[test]
    fn two_tracers_are_one_too_many() {
        assert!(read(&[("ENABLE_ENVOY_XRAY_TRACING", "1"), ("ENABLE_ENVOY_JAEGER_TRACING", "1")]).is_err());
        assert_eq!(read(&[]), Ok(None));
    }
}

//! Which requests a proxy traces, and where the spans go.

use selvedge_model::Policy;
use selvedge_model::policy::{self, TracingProvider, TracingTag};
use selvedge_traffic::Tracing;
use selvedge_traffic::tracing::{CustomTag, OtlpCollector, Provider, TagValue};

use super::filters::percent;
use super::service::{self, Speaks};
use crate::context::Context;

/// Where Zipkin and Jaeger take spans.
const ZIPKIN_PATH: &str = "/api/v2/spans";
/// What AWS's own Envoy called itself.
const XRAY_ORIGIN: &str = "AWS::AppMesh::Proxy";

/// How connection managers trace; `None` does not.
pub(super) fn tracing(context: &mut Context<'_>, policy: &Policy, spec: &policy::Tracing) -> Option<Tracing> {
    if spec.off == Some(true) {
        return None;
    }
    Some(Tracing {
        client_sampling: percent(spec.client_sampling),
        random_sampling: percent(spec.sampling),
        overall_sampling: percent(spec.overall_sampling),
        spawn_upstream_span: spec.span_for_each_try.unwrap_or(false),
        path_length_max: spec.max_path_length,
        tags: spec.tags.iter().map(tag).collect(),
        provider: spec.provider.as_ref().map(|one| provider(context, policy, one)),
    })
}

fn tag(spec: &TracingTag) -> CustomTag {
    let default = spec.default.clone().unwrap_or_default();
    let value = match (&spec.header, &spec.environment) {
        (Some(name), _) => TagValue::RequestHeader { name: name.to_ascii_lowercase(), default },
        (None, Some(name)) => TagValue::Environment { name: name.clone(), default },
        (None, None) => TagValue::Literal(spec.value.clone().unwrap_or_default()),
    };
    CustomTag { name: spec.name.clone(), value }
}

fn provider(context: &mut Context<'_>, policy: &Policy, spec: &TracingProvider) -> Provider {
    let own = format!("{}/{}", context.mesh(), context.proxy.name);
    let mut asked = |member: &str, address, speaks| {
        service::cluster(context, policy, &format!("spec.provider.{member}.service"), address, speaks)
    };
    match spec {
        TracingProvider::OpenTelemetry(one) => {
            let collector = match &one.http_path {
                None => OtlpCollector::Grpc { cluster: asked("openTelemetry", &one.service, Speaks::Grpc) },
                Some(path) => {
                    let cluster = asked("openTelemetry", &one.service, Speaks::Http1);
                    let uri = format!("http://{cluster}{path}");
                    OtlpCollector::Http { cluster, uri }
                }
            };
            Provider::OpenTelemetry { collector, service_name: one.service_name.clone().unwrap_or(own) }
        }
        TracingProvider::Zipkin(one) => Provider::Zipkin {
            cluster: asked("zipkin", &one.service, Speaks::Http1),
            path: one.path.clone().unwrap_or_else(|| ZIPKIN_PATH.to_owned()),
            host: String::new(),
            trace_id_128bit: one.long_trace_ids.unwrap_or(true),
            shared_span: one.shared_span.unwrap_or(true),
            w3c: one.w3c.unwrap_or(false),
        },
        TracingProvider::XRay(one) => Provider::XRay {
            daemon: one.daemon.clone(),
            segment_name: one.segment_name.clone().unwrap_or(own),
            rules: one.sampling_rules.clone().unwrap_or_default(),
            origin: one.origin.clone().unwrap_or_else(|| XRAY_ORIGIN.to_owned()),
        },
        TracingProvider::Datadog(one) => Provider::Datadog {
            cluster: asked("datadog", &one.service, Speaks::Http1),
            service_name: one.service_name.clone(),
            host: String::new(),
        },
    }
}

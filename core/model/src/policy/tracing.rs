//! Which requests a proxy traces, and where the spans go.

use super::{Percentage, Rules, ServiceAddress};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure, union};
use crate::violation::Violations;

const NAME: Shape = Shape::string_of("Name", 1, 128);
const TEXT: Shape = Shape::string_of("Text", 0, 1024);
const PATH: Shape = Shape::string_of("Path", 1, 1024);
const RULES: Shape = Shape::string_of("SamplingRules", 2, 16 * 1024);
const LENGTH: Shape = Shape::integer("PathLength", Bounds::between(1, 65_535));
const TAGS: Shape = Shape::list("TracingTags", TracingTag::SHAPE, Bounds::between(0, 64));

structure! {
    /// Which requests a proxy traces, and where the spans go. With nothing said all of them are, to where the proxy was
    /// started to send them.
    pub struct Tracing {
        /// Nothing is traced.
        optional off "off": bool,
        /// The share of all requests.
        optional sampling "sampling": Percentage,
        /// The share of requests that ask for it by `x-client-trace-id`.
        optional client_sampling "clientSampling": Percentage,
        /// The share of what would be traced that really is.
        optional overall_sampling "overallSampling": Percentage,
        /// Each try has a span besides the request's.
        optional span_for_each_try "spanForEachTry": bool,
        /// Longest part of the path in a span, in bytes; 256 unless told otherwise.
        optional max_path_length "maxPathLength": u32 => &LENGTH,
        /// Tags besides those that every span has.
        many tags "tags": TracingTag => &TAGS,
        /// Where spans go; as the proxy was started unless told otherwise.
        optional provider "provider": TracingProvider,
    }
}

structure! {
    /// A tag: a text, a variable of the proxy's environment, or a header of the request.
    pub struct TracingTag {
        /// Its name.
        required name "name": String => &NAME,
        /// A text.
        optional value "value": String => &TEXT,
        /// The name of a variable of the proxy's environment.
        optional environment "environment": String => &NAME,
        /// The name of a header.
        optional header "header": String => &NAME,
        /// What it is where there is no such variable or header; no tag unless told otherwise.
        optional default "default": String => &TEXT,
    }
}

union! {
    /// Where spans go.
    pub enum TracingProvider {
        /// A collector by OTLP; traces are carried on by W3C headers.
        OpenTelemetry "openTelemetry": OpenTelemetryProvider,
        /// Zipkin, or Jaeger; B3 headers.
        Zipkin "zipkin": ZipkinProvider,
        /// The X-Ray daemon; `x-amzn-trace-id`.
        XRay "xray": XRayProvider,
        /// The Datadog agent.
        Datadog "datadog": DatadogProvider,
    }
}

structure! {
    /// A collector by OTLP.
    pub struct OpenTelemetryProvider {
        /// The collector.
        required service "service": ServiceAddress,
        /// It speaks HTTP, at this path; gRPC unless told otherwise.
        optional http_path "httpPath": String => &PATH,
        /// What spans call the service.
        optional service_name "serviceName": String => &NAME,
    }
}

structure! {
    /// Zipkin's interface.
    pub struct ZipkinProvider {
        /// The collector.
        required service "service": ServiceAddress,
        /// `/api/v2/spans` unless told otherwise.
        optional path "path": String => &PATH,
        /// Trace ids have 128 bits; they do unless told otherwise.
        optional long_trace_ids "longTraceIds": bool,
        /// A server's span has its client's id; it does unless told otherwise.
        optional shared_span "sharedSpan": bool,
        /// W3C headers are read and written besides.
        optional w3c "w3c": bool,
    }
}

structure! {
    /// The X-Ray daemon.
    pub struct XRayProvider {
        /// Where it listens, an address and a port.
        required daemon "daemon": String => &NAME,
        /// What segments are called; `mesh/node` unless told otherwise.
        optional segment_name "segmentName": String => &NAME,
        /// A manifest of sampling rules, JSON; one request a second and five of a hundred others unless told otherwise.
        optional sampling_rules "samplingRules": String => &RULES,
        /// `AWS::AppMesh::Proxy` unless told otherwise.
        optional origin "origin": String => &NAME,
    }
}

structure! {
    /// The Datadog agent.
    pub struct DatadogProvider {
        /// The agent.
        required service "service": ServiceAddress,
        /// What spans call the service.
        required service_name "serviceName": String => &NAME,
    }
}

impl Rules for Tracing {
    fn check(&self, found: &mut Violations) {
        if self.off == Some(true) && (Self { off: self.off, ..Self::nothing() }) != *self {
            found.rule("spec.off", "nothing else can be said of what is not traced");
        }
        for (index, tag) in self.tags.iter().enumerate() {
            let at = |member: &str| format!("spec.tags[{index}]{member}");
            let given = [tag.value.is_some(), tag.environment.is_some(), tag.header.is_some()];
            if given.into_iter().filter(|given| *given).count() != 1 {
                found.rule(at(""), "it is one of value, environment and header");
            }
            if tag.value.is_some() && tag.default.is_some() {
                found.rule(at(".default"), "a text is always there");
            }
            if let Some(header) = &tag.header {
                super::headers::check_name(&at(".header"), header, found);
            }
            if self.tags[..index].iter().any(|other| other.name == tag.name) {
                found.rule(at(".name"), "another tag has that name");
            }
        }
        let path = match &self.provider {
            Some(TracingProvider::OpenTelemetry(one)) => ("openTelemetry.httpPath", &one.http_path),
            Some(TracingProvider::Zipkin(one)) => ("zipkin.path", &one.path),
            Some(TracingProvider::XRay(one)) => {
                if one.daemon.parse::<std::net::SocketAddr>().is_err() {
                    found.rule("spec.provider.xray.daemon", "it is written ADDRESS:PORT");
                }
                return;
            }
            _ => return,
        };
        if path.1.as_ref().is_some_and(|path| !path.starts_with('/')) {
            found.rule(format!("spec.provider.{}", path.0), "it must begin with /");
        }
    }
}

impl Tracing {
    const fn nothing() -> Self {
        Self {
            off: None,
            sampling: None,
            client_sampling: None,
            overall_sampling: None,
            span_for_each_try: None,
            max_path_length: None,
            tags: Vec::new(),
            provider: None,
        }
    }
}

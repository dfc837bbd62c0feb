//! Spans as an OTLP export request (opentelemetry-proto 1.x).

use prost::Message;
use selvedge_traffic::tracing::{Span, SpanKind};
use selvedge_xds_proto::opentelemetry::proto as otlp;

/// The path of the gRPC method that takes the request.
pub const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Lowest byte: W3C trace flags; then whether, and that, the parent is another process's.
const FLAG_SAMPLED: u32 = 1;
const FLAG_HAS_IS_REMOTE: u32 = 0x100;
const FLAG_IS_REMOTE: u32 = 0x200;

/// Encodes an `ExportTraceServiceRequest` of one resource.
pub fn encode_spans(resource: &[(String, String)], version: &str, spans: &[Span]) -> Vec<u8> {
    let attributes = resource.iter().map(|(key, value)| attribute(key, value)).collect();
    let request = otlp::ExportTraceServiceRequest {
        resource_spans: vec![otlp::ResourceSpans {
            resource: Some(otlp::Resource { attributes }),
            scope_spans: vec![otlp::ScopeSpans {
                scope: Some(otlp::InstrumentationScope {
                    name: "selvedge".to_owned(),
                    version: version.to_owned(),
                }),
                spans: spans.iter().map(span).collect(),
            }],
        }],
    };
    request.encode_to_vec()
}

fn span(span: &Span) -> otlp::Span {
    let kind = match span.kind {
        SpanKind::Server => otlp::span::SpanKind::Server,
        SpanKind::Client => otlp::span::SpanKind::Client,
    };
    let error = || otlp::Status { message: String::new(), code: otlp::status::StatusCode::Error.into() };
    let remote = if span.remote_parent { FLAG_IS_REMOTE } else { 0 };
    let id = |id: u64| if id == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    otlp::Span {
        trace_id: span.trace_id.to_be_bytes().to_vec(),
        span_id: id(span.span_id),
        trace_state: span.trace_state.clone(),
        parent_span_id: id(span.parent_id),
        name: span.name.clone(),
        kind: kind.into(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: span.tags.iter().map(|(key, value)| attribute(key, value)).collect(),
        status: span.error.then(error),
        flags: FLAG_SAMPLED | FLAG_HAS_IS_REMOTE | remote,
    }
}

fn attribute(key: &str, value: &str) -> otlp::KeyValue {
    let value = otlp::any_value::Value::StringValue(value.to_owned());
    otlp::KeyValue { key: key.to_owned(), value: Some(otlp::AnyValue { value: Some(value) }) }
}

//! Spans as an OTLP export request (opentelemetry-proto 1.x), and the reading of one.

use std::collections::BTreeMap;

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
    let is_error = is_error(span);
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
        status: is_error.then(error),
        flags: FLAG_SAMPLED | FLAG_HAS_IS_REMOTE | remote,
    }
}

/// Whether the answer was an error, as OpenTelemetry's conventions have it: to a client, what it did wrong is one too.
/// That nothing came at all is told by a tag, as by Envoy.
fn is_error(span: &Span) -> bool {
    let number = |tag| span.tag(tag).and_then(|value| value.parse::<u32>().ok()).unwrap_or(0);
    let (http, grpc) = (number("http.status_code"), number("grpc.status_code"));
    match span.kind {
        SpanKind::Server => http >= 500 || matches!(grpc, 2 | 4 | 12..=15),
        SpanKind::Client => http >= 400 || grpc != 0,
    }
}

fn attribute(key: &str, value: &str) -> otlp::KeyValue {
    let value = otlp::any_value::Value::StringValue(value.to_owned());
    otlp::KeyValue { key: key.to_owned(), value: Some(otlp::AnyValue { value: Some(value) }) }
}

/// What an export request says of one span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Of the resource whose span it is.
    pub resource: BTreeMap<String, String>,
    pub trace_id: String,
    pub span_id: String,
    /// Empty if there is none.
    pub parent_span_id: String,
    /// The other members by their names in the protocol; what is empty or nothing is left out.
    pub members: BTreeMap<String, String>,
    pub attributes: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
}

/// Reads an `ExportTraceServiceRequest`: its spans in their order. `None` if the bytes are none.
pub fn decode_spans(bytes: &[u8]) -> Option<Vec<Told>> {
    let request = otlp::ExportTraceServiceRequest::decode(bytes).ok()?;
    let of_resource = |spans: &otlp::ResourceSpans| {
        let resource = spans.resource.clone().unwrap_or_default();
        let resource = read_attributes(&resource.attributes);
        let all = spans.scope_spans.iter().flat_map(|scope| &scope.spans);
        all.map(|span| told(&resource, span)).collect::<Vec<_>>()
    };
    Some(request.resource_spans.iter().flat_map(of_resource).collect())
}

fn told(resource: &BTreeMap<String, String>, span: &otlp::Span) -> Told {
    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut members = BTreeMap::from([
        ("name".to_owned(), span.name.clone()),
        ("kind".to_owned(), span.kind().as_str_name().to_owned()),
        ("trace_state".to_owned(), span.trace_state.clone()),
        ("flags".to_owned(), if span.flags == 0 { String::new() } else { format!("{:#x}", span.flags) }),
    ]);
    // None at all, and one that says nothing, are the same.
    if let Some(status) = span.status.as_ref().filter(|status| **status != otlp::Status::default()) {
        members.insert("status.code".to_owned(), status.code().as_str_name().to_owned());
        members.insert("status.message".to_owned(), status.message.clone());
    }
    members.retain(|_, value| !value.is_empty());
    Told {
        resource: resource.clone(),
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_span_id: hex(&span.parent_span_id),
        members,
        attributes: read_attributes(&span.attributes),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
    }
}

/// A value that is no text is told as such.
fn read_attributes(attributes: &[otlp::KeyValue]) -> BTreeMap<String, String> {
    let one = |attribute: &otlp::KeyValue| {
        let value = attribute.value.clone().unwrap_or_default().value;
        let text =
            value.map_or_else(|| "(no text)".to_owned(), |otlp::any_value::Value::StringValue(text)| text);
        (attribute.key.clone(), text)
    };
    attributes.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_again() {
        let span = Span {
            trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span_id: 0x20,
            parent_id: 0,
            remote_parent: false,
            shared: false,
            upstream: false,
            kind: SpanKind::Client,
            name: "egress a".to_owned(),
            host: "a".to_owned(),
            start: 5,
            end: 7,
            tags: vec![("http.status_code".into(), "404".to_owned())],
            error: false,
            trace_state: "a=b".to_owned(),
        };
        let resource = [("service.name".to_owned(), "svc".to_owned())];
        let bytes = encode_spans(&resource, "1", &[span]);
        let [told] = <[Told; 1]>::try_from(decode_spans(&bytes).expect("a request")).expect("one span");
        assert_eq!(told.resource, BTreeMap::from(resource));
        assert_eq!(told.trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((told.span_id.as_str(), told.parent_span_id.as_str()), ("0000000000000020", ""));
        assert_eq!((told.start, told.end), (5, 7));
        assert_eq!(told.attributes, BTreeMap::from([("http.status_code".to_owned(), "404".to_owned())]));
        let members = [
            ("flags", "0x101"),
            ("kind", "SPAN_KIND_CLIENT"),
            ("name", "egress a"),
            ("status.code", "STATUS_CODE_ERROR"),
            ("trace_state", "a=b"),
        ];
        let members = members.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(told.members, BTreeMap::from(members));
        assert_eq!(decode_spans(b"\xff"), None);
    }
}

//! The Datadog agent's `/v0.4/traces`: MessagePack, a list of traces, each a list of spans.

use selvedge_traffic::tracing::{Span, SpanKind};

/// What the agent is told of each span besides the span itself.
const NAME: &str = "envoy.proxy";

/// The body of a request with these spans; its header `x-datadog-trace-count` is their number.
pub fn report(service: &str, spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::new();
    array(spans.len(), &mut out);
    for span in spans {
        array(1, &mut out);
        one(service, span, &mut out);
    }
    out
}

fn one(service: &str, span: &Span, out: &mut Vec<u8>) {
    map(12, out);
    text_member("service", service, out);
    text_member("name", NAME, out);
    text_member("resource", &span.name, out);
    text_member("type", "web", out);
    number_member("trace_id", span.trace_id as u64, out);
    number_member("span_id", span.span_id, out);
    number_member("parent_id", span.parent_id, out);
    number_member("start", span.start, out);
    number_member("duration", span.end.saturating_sub(span.start), out);
    number_member("error", span.error.into(), out);
    text("meta", out);
    let high = (span.trace_id >> 64) as u64;
    map(span.tags.len() + 2, out);
    text_member("_dd.p.tid", &format!("{high:016x}"), out);
    text_member("span.kind", if span.kind == SpanKind::Server { "server" } else { "client" }, out);
    span.tags.iter().for_each(|(name, value)| text_member(name, value, out));
    text("metrics", out);
    map(1, out);
    // The agent keeps what the tracer sampled.
    number_member("_sampling_priority_v1", 1, out);
}

fn text_member(name: &str, value: &str, out: &mut Vec<u8>) {
    text(name, out);
    text(value, out);
}

fn number_member(name: &str, value: u64, out: &mut Vec<u8>) {
    text(name, out);
    out.push(0xcf);
    out.extend_from_slice(&value.to_be_bytes());
}

/// Lengths are below 2^32: spans and tags are bounded.
fn array(len: usize, out: &mut Vec<u8>) {
    out.push(0xdd);
    out.extend_from_slice(&(len as u32).to_be_bytes());
}

fn map(len: usize, out: &mut Vec<u8>) {
    out.push(0xdf);
    out.extend_from_slice(&(len as u32).to_be_bytes());
}

fn text(value: &str, out: &mut Vec<u8>) {
    out.push(0xdb);
    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
    out.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::zipkin::tests::span;
    use super::*;

    #[test]
    fn a_report_begins_as_envoys_does() {
        let report = report("svc", &[span()]);
        let expected = b"\xdd\0\0\0\x01\xdd\0\0\0\x01\xdf\0\0\0\x0c\xdb\0\0\0\x07service\xdb\0\0\0\x03svc\xdb\0\0\0\x04name\xdb\0\0\0\x0benvoy.proxy";
        assert_eq!(&report[..expected.len()], expected);
        let trace = b"trace_id\xcf\x46\x3a\xc3\x5c\x9f\x64\x13\xad";
        assert!(report.windows(trace.len()).any(|window| window == trace));
    }
}

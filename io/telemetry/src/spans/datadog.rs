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
    let mut own: Vec<(&str, String)> = Vec::new();
    let high = (span.trace_id >> 64) as u64;
    // Of the first span of a process, as Datadog's tracers have it.
    if high != 0 && !span.upstream {
        own.push(("_dd.p.tid", format!("{high:016x}")));
    }
    let decides = span.parent_id == 0 && !span.upstream;
    if decides {
        own.push(("_dd.p.dm", "-0".to_owned()));
    }
    own.push(("span.kind", if span.kind == SpanKind::Server { "server" } else { "client" }.to_owned()));
    if let Some(reason) = span.tag("error.reason") {
        own.push(("error.message", reason.to_owned()));
    }
    // An error is a member of its own.
    let said = || span.tags.iter().filter(|(name, _)| name != "error");
    map(said().count() + own.len(), out);
    own.iter().for_each(|(name, value)| text_member(name, value, out));
    said().for_each(|(name, value)| text_member(name, value, out));
    text("metrics", out);
    // The agent keeps what the tracer sampled.
    let metrics = [("_sampling_priority_v1", !span.upstream), ("_dd.agent_psr", decides)];
    let metrics = || metrics.iter().filter(|(_, is_said)| *is_said);
    map(metrics().count(), out);
    metrics().for_each(|(name, _)| fraction_member(name, 1.0, out));
}

fn fraction_member(name: &str, value: f64, out: &mut Vec<u8>) {
    text(name, out);
    out.push(0xcb);
    out.extend_from_slice(&value.to_be_bytes());
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

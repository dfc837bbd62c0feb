//! Zipkin's v2 JSON, which Jaeger's collector takes too.

use std::net::IpAddr;

use selvedge_traffic::tracing::{Span, SpanKind};
use serde_json::{Map, Value, json};

/// A list of spans as one report; `service` and `address` are this process's.
pub fn report(service: &str, address: Option<IpAddr>, spans: &[Span]) -> Vec<u8> {
    let spans: Vec<Value> = spans.iter().map(|span| one(service, address, span)).collect();
    Value::from(spans).to_string().into_bytes()
}

fn one(service: &str, address: Option<IpAddr>, span: &Span) -> Value {
    let mut endpoint = json!({ "serviceName": service, "port": 0 });
    match address {
        Some(IpAddr::V4(address)) => endpoint["ipv4"] = address.to_string().into(),
        Some(IpAddr::V6(address)) => endpoint["ipv6"] = address.to_string().into(),
        None => {}
    }
    // Server sent, client received: as Envoy marks a span's end.
    let (kind, end) = match span.kind {
        SpanKind::Server => ("SERVER", "ss"),
        SpanKind::Client => ("CLIENT", "cr"),
    };
    let said = span.tags.iter().filter(|(_, value)| !value.is_empty());
    let tags: Map<String, Value> =
        said.map(|(name, value)| (name.to_string(), value.as_str().into())).collect();
    let mut value = json!({
        "traceId": trace_id(span.trace_id),
        "id": format!("{:016x}", span.span_id),
        "name": if span.upstream { &span.name } else { &span.host },
        "kind": kind,
        "timestamp": span.start / 1000,
        "duration": (span.end.saturating_sub(span.start) / 1000).max(1),
        "localEndpoint": endpoint,
        "annotations": [{ "timestamp": span.end / 1000, "value": end }],
        "tags": tags,
    });
    if span.parent_id != 0 {
        value["parentId"] = format!("{:016x}", span.parent_id).into();
    }
    if span.shared {
        value["shared"] = true.into();
    }
    value
}

/// 16 digits where they suffice.
fn trace_id(id: u128) -> String {
    if id >> 64 == 0 { format!("{id:016x}") } else { format!("{id:032x}") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn span() -> Span {
        Span {
            trace_id: 0x463a_c35c_9f64_13ad,
            span_id: 0xa2fb,
            parent_id: 0x20,
            remote_parent: true,
            shared: true,
            upstream: false,
            kind: SpanKind::Server,
            name: "ingress".to_owned(),
            host: "colors.local".to_owned(),
            start: 1_700_000_000_000_000_000,
            end: 1_700_000_000_042_396_000,
            tags: vec![
                ("http.method".into(), "GET".to_owned()),
                ("http.url".into(), "http://colors.local/a".to_owned()),
                ("http.status_code".into(), "503".to_owned()),
                ("response_size".into(), "5".to_owned()),
                ("peer.address".into(), "10.0.0.1".to_owned()),
                ("component".into(), "proxy".to_owned()),
            ],
            error: true,
            trace_state: String::new(),
        }
    }

    #[test]
    fn a_report_has_the_members_that_envoys_has() {
        let address = Some(IpAddr::from([192, 0, 2, 2]));
        let report: Value = serde_json::from_slice(&report("m/n", address, &[span()])).expect("JSON");
        let expected = json!([{
            "traceId": "463ac35c9f6413ad",
            "id": "000000000000a2fb",
            "parentId": "0000000000000020",
            "name": "colors.local",
            "kind": "SERVER",
            "shared": true,
            "timestamp": 1_700_000_000_000_000_u64,
            "duration": 42396,
            "localEndpoint": { "serviceName": "m/n", "port": 0, "ipv4": "192.0.2.2" },
            "annotations": [{ "timestamp": 1_700_000_000_042_396_u64, "value": "ss" }],
            "tags": {
                "http.method": "GET", "http.url": "http://colors.local/a", "http.status_code": "503",
                "response_size": "5", "peer.address": "10.0.0.1", "component": "proxy",
            },
        }]);
        assert_eq!(report, expected);
    }
}

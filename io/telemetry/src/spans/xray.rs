//! Segments for the X-Ray daemon: a datagram a span.

use selvedge_traffic::tracing::Span;
use serde_json::{Map, Value, json};

/// What every datagram begins with.
const HEADER: &str = "{\"format\":\"json\",\"version\":1}\n";
/// The daemon reads no more of a datagram.
pub const DATAGRAM_BYTES_MAX: usize = 64 * 1024 - 512;

/// Tags that stand in a segment's own members in place of its annotations.
const ELSEWHERE: [&str; 9] = [
    "http.method",
    "http.url",
    "http.status_code",
    "user_agent",
    "peer.address",
    FORWARDED_FOR,
    "response_size",
    "error",
    "zone",
];

/// The tag with the address that a proxy before this one has told; it is the client's.
pub const FORWARDED_FOR: &str = "x-forwarded-for";

/// What a segment says besides its span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    pub name: String,
    /// Such as `AWS::AppMesh::Proxy`; empty is none.
    pub origin: String,
    pub aws: Map<String, Value>,
}

/// A span as a datagram; `None` if it is too large for one.
pub fn datagram(segment: &Segment, span: &Span) -> Option<Vec<u8>> {
    let text = format!("{HEADER}{}", one(segment, span));
    (text.len() <= DATAGRAM_BYTES_MAX).then(|| text.into_bytes())
}

fn one(segment: &Segment, span: &Span) -> Value {
    let seconds = |nanos: u64| (nanos / 1000) as f64 / 1e6;
    let status: Option<u64> = span.tag("http.status_code").and_then(|status| status.parse().ok());
    let forwarded = span.tag(FORWARDED_FOR);
    let mut request = json!({ "x_forwarded_for": forwarded.is_some() });
    for (member, tag) in [
        ("method", "http.method"),
        ("url", "http.url"),
        ("user_agent", "user_agent"),
        ("client_ip", "peer.address"),
    ] {
        if let Some(value) = span.tag(tag) {
            request[member] = value.into();
        }
    }
    if let Some(address) = forwarded {
        request["client_ip"] = address.into();
    }
    let mut response = Map::new();
    if let Some(status) = status {
        response.insert("status".to_owned(), status.into());
    }
    if let Some(length) = span.tag("response_size").and_then(|length| length.parse::<u64>().ok()) {
        response.insert("content_length".to_owned(), length.into());
    }
    let annotations = span.tags.iter().filter(|(name, _)| !ELSEWHERE.contains(&&**name));
    let mut annotations: Map<String, Value> =
        annotations.map(|(name, value)| (name.to_string(), value.as_str().into())).collect();
    let direction = if span.name == "ingress" { "ingress" } else { "egress" };
    annotations.insert("direction".to_owned(), direction.into());
    let mut value = json!({
        "name": if span.upstream { &span.name } else { &segment.name },
        "id": format!("{:016x}", span.span_id),
        "trace_id": trace_id(span.trace_id),
        "start_time": seconds(span.start),
        "end_time": seconds(span.end),
        "http": { "request": request, "response": response },
        "annotations": annotations,
        "aws": segment.aws,
    });
    if span.parent_id != 0 {
        value["parent_id"] = format!("{:016x}", span.parent_id).into();
    }
    if span.upstream {
        value["type"] = "subsegment".into();
    }
    if !segment.origin.is_empty() && !span.upstream {
        value["origin"] = segment.origin.clone().into();
    }
    match status {
        Some(429) => (value["throttle"], value["error"]) = (true.into(), true.into()),
        Some(400..=499) => value["error"] = true.into(),
        Some(500..) => value["fault"] = true.into(),
        _ if span.error => value["fault"] = true.into(),
        _ => {}
    }
    value
}

/// `1-<8 hex>-<24 hex>`
fn trace_id(id: u128) -> String {
    format!("1-{:08x}-{:024x}", (id >> 96) as u32, id & (u128::MAX >> 32))
}

#[cfg(test)]
mod tests {
    use super::super::zipkin::tests::span;
    use super::*;

    #[test]
    fn a_segment_has_the_members_that_envoys_has() {
        let segment = Segment {
            name: "m/n".to_owned(),
            origin: "AWS::AppMesh::Proxy".to_owned(),
            aws: Map::from_iter([("app_mesh".to_owned(), json!({ "mesh_name": "m" }))]),
        };
        let span = Span { trace_id: 0x5759_e988_bd86_2e3f_e1be_46a9_9427_2793, ..span() };
        let datagram = datagram(&segment, &span).expect("it fits");
        let text = String::from_utf8(datagram).expect("text");
        let (header, body) = text.split_once('\n').expect("two lines");
        assert_eq!(header, "{\"format\":\"json\",\"version\":1}");
        let expected = json!({
            "name": "m/n",
            "id": "000000000000a2fb",
            "trace_id": "1-5759e988-bd862e3fe1be46a994272793",
            "parent_id": "0000000000000020",
            "start_time": 1_700_000_000.0,
            "end_time": 1_700_000_000.042396,
            "http": {
                "request": {
                    "x_forwarded_for": false, "method": "GET", "url": "http://colors.local/a", "client_ip": "10.0.0.1",
                },
                "response": { "status": 503, "content_length": 5 },
            },
            "annotations": { "component": "proxy", "direction": "ingress" },
            "aws": { "app_mesh": { "mesh_name": "m" } },
            "origin": "AWS::AppMesh::Proxy",
            "fault": true,
        });
        assert_eq!(serde_json::from_str::<Value>(body).expect("JSON"), expected);
    }

    #[test]
    fn what_fits_no_datagram_is_not_sent() {
        let tags = vec![("x".into(), "y".repeat(DATAGRAM_BYTES_MAX))];
        assert_eq!(datagram(&Segment::default(), &Span { tags, ..span() }), None);
    }
}

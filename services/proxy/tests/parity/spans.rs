//! Spans as collectors get them: the same requests through a real Envoy and through our proxy, and every member of what
//! each exports by OTLP (gRPC and HTTP), Zipkin, to the X-Ray daemon and to Datadog's agent.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use selvedge_traffic::tracing::{CustomTag, OtlpCollector, Provider, TagValue};
use selvedge_traffic::*;
use selvedge_xds::otlp;
use serde_json::{Map, Value, json};

use crate::apps::App;
use crate::authority::Authority;
use crate::planes::{Plane, both_listening, listener};
use crate::{cluster, endpoint, endpoint_at, group, http, ms, to};

type Body = BoxBody<Bytes, Infallible>;

/// Both send what they have every five seconds, or sooner.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a collector was told, a span each, before anything is made alike.
type Heard = Arc<Mutex<Vec<Value>>>;

/// A collector that takes every form by HTTP, or by UDP.
struct Collector {
    address: SocketAddr,
    heard: Heard,
    /// Method, path and content type of what came.
    requests: Arc<Mutex<BTreeSet<String>>>,
    _runtime: Option<tokio::runtime::Runtime>,
}

impl Collector {
    fn by_http(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (heard, requests) = (Heard::default(), Arc::<Mutex<BTreeSet<String>>>::default());
        let (hearing, taking) = (Arc::clone(&heard), Arc::clone(&requests));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, requests) = (Arc::clone(&hearing), Arc::clone(&taking));
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(|request| {
                        take(request, Arc::clone(&heard), Arc::clone(&requests))
                    });
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = match acceptor {
                        None => server.serve_connection(TokioIo::new(stream), service).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            server.serve_connection(TokioIo::new(stream), service).await
                        }
                    };
                });
            }
        });
        Self { address, heard, requests, _runtime: Some(runtime) }
    }

    fn by_udp() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let (heard, requests) = (Heard::default(), Arc::<Mutex<BTreeSet<String>>>::default());
        let (hearing, taking) = (Arc::clone(&heard), Arc::clone(&requests));
        std::thread::spawn(move || {
            let mut datagram = [0; 65536];
            while let Ok(length) = socket.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]);
                let (header, segment) = text.split_once('\n').expect("two lines");
                taking.lock().expect("no panic").insert(header.replace(' ', ""));
                hearing.lock().expect("no panic").push(serde_json::from_str(segment).expect("JSON"));
            }
        });
        Self { address, heard, requests, _runtime: None }
    }

    fn take(&self) -> (Vec<Value>, BTreeSet<String>) {
        let mut heard = self.heard.lock().expect("no panic");
        let mut requests = self.requests.lock().expect("no panic");
        (std::mem::take(&mut heard), std::mem::take(&mut requests))
    }
}

async fn take(
    request: Request<Incoming>,
    heard: Heard,
    requests: Arc<Mutex<BTreeSet<String>>>,
) -> Result<Response<Body>, Infallible> {
    let content_type = request.headers().get("content-type").map(|it| it.to_str().expect("text").to_owned());
    let content_type = content_type.unwrap_or_default();
    let told = format!("{} {} {content_type}", request.method(), request.uri().path());
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    let grpc = content_type == "application/grpc";
    let spans = match content_type.as_str() {
        "application/grpc" => otlp_spans(&body[5..]),
        "application/x-protobuf" => otlp_spans(&body),
        "application/msgpack" => {
            let traces = msgpack(&mut &body[..]);
            traces
                .as_array()
                .expect("traces")
                .iter()
                .flat_map(|it| it.as_array().expect("spans").clone())
                .collect()
        }
        _ => serde_json::from_slice::<Value>(&body).expect("JSON").as_array().expect("spans").clone(),
    };
    requests.lock().expect("no panic").insert(told);
    heard.lock().expect("no panic").extend(spans);
    if !grpc {
        return Ok(Response::new(Full::new(Bytes::from_static(b"{}")).boxed()));
    }
    let trailers =
        HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let frames = vec![Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\0"))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(tokio_stream::iter(frames)).boxed();
    Ok(Response::builder().header("content-type", "application/grpc").body(body).expect("an answer"))
}

fn otlp_spans(message: &[u8]) -> Vec<Value> {
    let spans = otlp::decode_spans(message).expect("an export request");
    let spans = spans.into_iter().map(|span| {
        json!({
            "traceId": span.trace_id, "id": span.span_id, "parentId": span.parent_span_id,
            "start": span.start, "end": span.end,
            "members": span.members, "attributes": span.attributes, "resource": span.resource,
        })
    });
    spans.collect()
}

/// The part of MessagePack that traces are written in.
fn msgpack(bytes: &mut &[u8]) -> Value {
    fn number(bytes: &mut &[u8], length: usize) -> u64 {
        let (number, rest) = bytes.split_at(length);
        *bytes = rest;
        number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
    fn text(bytes: &mut &[u8], length: u64) -> Value {
        let (text, rest) = bytes.split_at(length as usize);
        *bytes = rest;
        String::from_utf8_lossy(text).into_owned().into()
    }
    fn list(bytes: &mut &[u8], length: u64) -> Value {
        (0..length).map(|_| msgpack(bytes)).collect::<Vec<_>>().into()
    }
    fn map(bytes: &mut &[u8], length: u64) -> Value {
        let mut members = Map::new();
        for _ in 0..length {
            let key = msgpack(bytes);
            members.insert(key.as_str().expect("a name").to_owned(), msgpack(bytes));
        }
        members.into()
    }
    match number(bytes, 1) {
        small @ 0..=0x7f => small.into(),
        short @ 0x80..=0x8f => map(bytes, short & 15),
        short @ 0x90..=0x9f => list(bytes, short & 15),
        short @ 0xa0..=0xbf => text(bytes, short & 31),
        0xc0 => Value::Null,
        0xcb => f64::from_bits(number(bytes, 8)).into(),
        0xcc => number(bytes, 1).into(),
        0xcd => number(bytes, 2).into(),
        0xce | 0xd2 => number(bytes, 4).into(),
        0xcf | 0xd3 => number(bytes, 8).into(),
        0xd9 => {
            let length = number(bytes, 1);
            text(bytes, length)
        }
        0xda => {
            let length = number(bytes, 2);
            text(bytes, length)
        }
        0xdb => {
            let length = number(bytes, 4);
            text(bytes, length)
        }
        0xdc => {
            let length = number(bytes, 2);
            list(bytes, length)
        }
        0xdd => {
            let length = number(bytes, 4);
            list(bytes, length)
        }
        0xde => {
            let length = number(bytes, 2);
            map(bytes, length)
        }
        0xdf => {
            let length = number(bytes, 4);
            map(bytes, length)
        }
        other => panic!("{other:#x} is not read here"),
    }
}

/// One listener: what it exports to, and how.
struct Case {
    name: &'static str,
    collector: Collector,
    provider: fn(&str, SocketAddr) -> Provider,
    direction: Direction,
    tries_have_spans: bool,
    /// Lines of the request that go on with another's trace.
    parent: &'static str,
    /// Members: a span's trace, itself, its parent, its start.
    members: [&'static str; 4],
}

const OTLP: [&str; 4] = ["traceId", "id", "parentId", "start"];
const ZIPKIN: [&str; 4] = ["traceId", "id", "parentId", "timestamp"];
const XRAY: [&str; 4] = ["trace_id", "id", "parent_id", "start_time"];
const DATADOG: [&str; 4] = ["trace_id", "span_id", "parent_id", "start"];

const W3C_PARENT: &str =
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b,c=d\r\n";
const B3_PARENT: &str =
    "x-b3-traceid: 463ac35c9f6413ad\r\nx-b3-spanid: a2fb4a1d1a96d312\r\nx-b3-sampled: 1\r\n";
const XRAY_PARENT: &str =
    "x-amzn-trace-id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1\r\n";
const DATADOG_PARENT: &str =
    "x-datadog-trace-id: 1234567\r\nx-datadog-parent-id: 7654321\r\nx-datadog-sampling-priority: 1\r\n";

fn otlp_grpc(cluster: &str, _: SocketAddr) -> Provider {
    let collector = OtlpCollector::Grpc { cluster: cluster.to_owned() };
    Provider::OpenTelemetry { collector, service_name: "svc".to_owned() }
}

fn otlp_http(cluster: &str, _: SocketAddr) -> Provider {
    let uri = "http://collector:4318/v1/traces".to_owned();
    let collector = OtlpCollector::Http { cluster: cluster.to_owned(), uri };
    Provider::OpenTelemetry { collector, service_name: "svc".to_owned() }
}

fn zipkin(cluster: &str, _: SocketAddr) -> Provider {
    Provider::Zipkin {
        cluster: cluster.to_owned(),
        path: "/api/v2/spans".to_owned(),
        host: String::new(),
        trace_id_128bit: false,
        shared_span: true,
        w3c: false,
    }
}

fn xray(_: &str, daemon: SocketAddr) -> Provider {
    Provider::XRay {
        daemon: daemon.to_string(),
        segment_name: "m/n".to_owned(),
        rules: r#"{"version": 2, "default": {"fixed_target": 1, "rate": 1}}"#.to_owned(),
        origin: "AWS::AppMesh::Proxy".to_owned(),
    }
}

fn datadog(cluster: &str, _: SocketAddr) -> Provider {
    Provider::Datadog { cluster: cluster.to_owned(), service_name: "svc".to_owned(), host: String::new() }
}

fn cases(authority: &Authority) -> Vec<Case> {
    let case = |name, provider, direction, tries_have_spans, parent, members: [&'static str; 4]| Case {
        name,
        collector: match name {
            "xray" | "xray-tries" => Collector::by_udp(),
            _ if is_encrypted(name) => {
                Collector::by_http(Some(crate::mutual::server(authority, "collector")))
            }
            _ => Collector::by_http(None),
        },
        provider,
        direction,
        tries_have_spans,
        parent,
        members,
    };
    use Direction::{Inbound, Outbound};
    vec![
        case("otlp-grpc", otlp_grpc, Inbound, false, W3C_PARENT, OTLP),
        case("otlp-grpc-tries", otlp_grpc, Outbound, true, W3C_PARENT, OTLP),
        case("otlp-grpc-tls", otlp_grpc, Inbound, false, W3C_PARENT, OTLP),
        case("otlp-http", otlp_http, Outbound, false, W3C_PARENT, OTLP),
        case("zipkin", zipkin, Inbound, false, B3_PARENT, ZIPKIN),
        case("zipkin-tls", zipkin, Inbound, false, B3_PARENT, ZIPKIN),
        case("zipkin-tries", zipkin, Outbound, true, B3_PARENT, ZIPKIN),
        case("xray", xray, Inbound, false, XRAY_PARENT, XRAY),
        case("xray-tries", xray, Outbound, true, XRAY_PARENT, XRAY),
        case("datadog", datadog, Inbound, false, DATADOG_PARENT, DATADOG),
        case("datadog-tries", datadog, Outbound, true, DATADOG_PARENT, DATADOG),
    ]
}

/// Whether a case's collector is called by TLS.
fn is_encrypted(case: &str) -> bool {
    case.ends_with("-tls")
}

/// What the client asks: a request line's path, and further lines.
fn requests(case: &Case) -> Vec<String> {
    let long = format!("/up/{}", "l".repeat(300));
    let get = |path: &str, lines: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: colors.local:8080\r\nconnection: close\r\n{lines}\r\n")
    };
    let grpc = "content-type: application/grpc\r\nte: trailers\r\n";
    let names = "user-agent: curl/8\r\nx-who: me\r\nx-envoy-downstream-service-cluster: front\r\n";
    let mut all = vec![
        get("/up/ok?a=b", names),
        get("/up/child", case.parent),
        get("/up/fail", "x-client-trace-id: c-1\r\n"),
        get("/again/again-fail", ""),
        get("/none", ""),
        get("/none", grpc),
        get("/absent", ""),
        get("/nowhere", ""),
        get(&long, "x-forwarded-for: 10.1.2.3, 10.9.9.9\r\n"),
        "POST /up/ok HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody".to_owned(),
        "HEAD /up/ok HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".to_owned(),
    ];
    all.extend((0..=GRPC_STATUS_MAX).map(|status| get(&format!("/up/grpc-{status}"), grpc)));
    all
}

/// The statuses that gRPC knows.
const GRPC_STATUS_MAX: usize = 16;

/// Spans that come of [`requests`] where tries have none, and those of tries.
const ROOTS: usize = 11 + GRPC_STATUS_MAX + 1;
const TRIES: usize = 9 + GRPC_STATUS_MAX + 1;

/// What is deliberately other than Envoy's: of which cases (by the beginning of their names), which member (by the end of
/// its path), and why.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("otlp", "/resource/telemetry.sdk.language", "it says who has made the span"),
    ("otlp", "/resource/telemetry.sdk.name", "it says who has made the span"),
    ("otlp", "/resource/telemetry.sdk.version", "it says who has made the span"),
    ("datadog", "/meta/language", "of Datadog's own library, which is not used"),
    ("datadog", "/meta/runtime-id", "of Datadog's own library, which is not used"),
    ("datadog", "/meta/version", "of Datadog's own library, which is not used"),
    ("datadog", "/metrics/process_id", "of Datadog's own library, which is not used"),
    ("datadog", "/meta/span.kind", "the agent counts by it, and Envoy leaves it out"),
];

/// Makes spans of two runs alike: in order of time; ids, moments and ports by what they are.
fn settled(case: &Case, plane: &Plane, port: usize, mut spans: Vec<Value>) -> Vec<Value> {
    let [trace, id, parent, start] = case.members;
    let own: BTreeSet<String> = spans.iter().map(|span| span[id].to_string()).collect();
    let begun = |span: &Value| (span[start].as_f64().expect("a moment") * 1e6) as u128;
    spans.sort_by_key(|span| (begun(span), own.contains(&span[parent].to_string())));
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for span in &spans {
        for member in [trace, id] {
            let next = format!("{member} {}", names.len());
            names.entry(span[member].to_string()).or_insert(next);
        }
    }
    let given =
        ["0af7651916cd43dd8448eb211c80319c", "463ac35c9f6413ad", "1-5759e988-bd862e3fe1be46a994272793"];
    let listen = format!(":{}", plane.ports[port].port());
    for span in &mut spans {
        for member in [trace, id, parent] {
            let text = span[member].to_string();
            if let Some(name) = names.get(&text)
                && !given.iter().any(|given| text.contains(given))
            {
                span[member] = name.clone().into();
            }
        }
        settle(span, &listen);
    }
    spans
}

fn settle(value: &mut Value, listen: &str) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match name.as_str() {
                    "start" | "end" | "timestamp" | "duration" | "start_time" | "end_time" => {
                        assert!(value.as_f64().is_some_and(|number| number > 0.0), "{name} is {value}");
                        *value = "some time".into();
                    }
                    "guid:x-request-id" => *value = value.as_str().map_or(0, str::len).into(),
                    "_dd.p.tid" => *value = "half an id".into(),
                    _ => settle(value, listen),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| settle(value, listen)),
        Value::String(text) if text.contains(listen) => *text = text.replace(listen, ":PORT"),
        _ => {}
    }
}

/// Asks, and reads the whole answer. Envoy leaves a connection open for a second after an answer of its own, for which
/// nobody here waits.
fn hear_out(address: SocketAddr, request: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(address)?);
    stream.get_ref().set_read_timeout(Some(PATIENCE))?;
    stream.get_mut().write_all(request.as_bytes())?;
    let (mut length, mut line) = (0, String::new());
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(text) = line.strip_prefix("content-length: ") {
            length = text.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    if request.starts_with("HEAD ") {
        length = 0;
    }
    stream.read_exact(&mut vec![0; length])
}

/// Where two values part: a path, and both sides.
fn part(path: &str, envoy: &Value, ours: &Value, found: &mut Vec<(String, String)>) {
    match (envoy, ours) {
        (Value::Object(of_envoy), Value::Object(of_ours)) => {
            let names: BTreeSet<&String> = of_envoy.keys().chain(of_ours.keys()).collect();
            for name in names {
                part(&format!("{path}/{name}"), &envoy[name.as_str()], &ours[name.as_str()], found);
            }
        }
        _ if envoy == ours => {}
        _ => found.push((path.to_owned(), format!("Envoy {envoy}, ours {ours}"))),
    }
}

#[test]
fn collectors_get_the_same_spans() {
    let (app, absent) = (App::start(), crate::ports::free());
    let authority = Authority::new();
    authority.issue("collector", |_| ());
    authority.issue("proxy", |_| ());
    let cases = cases(&authority);
    let mut clusters = vec![
        cluster("up", vec![group(vec![endpoint(&app)])]),
        cluster("absent", vec![group(vec![endpoint_at(absent)])]),
        cluster("none", vec![]),
    ];
    let retry = RetryPolicy {
        on: RetryOn::FIVE_XX,
        retries_max: 1,
        backoff: RetryBackoff { base: ms(1), max: ms(1) },
        ..RetryPolicy::default()
    };
    let mut listeners = Vec::new();
    for case in &cases {
        let name = format!("collector-{}", case.name);
        if case.members != XRAY {
            let (protocol, alpn) = match case.name.contains("grpc") {
                true => (HttpProtocol::Http2, "h2"),
                false => (HttpProtocol::default(), "http/1.1"),
            };
            let endpoints = vec![group(vec![endpoint_at(case.collector.address)])];
            let plain = cluster(&name, endpoints);
            let transport = match is_encrypted(case.name) {
                true => crate::by_tls(&authority, "collector", alpn),
                false => plain.transport.clone(),
            };
            clusters.push(Cluster { protocol, transport, ..plain });
        }
        let tag = |name: &str, value| CustomTag { name: name.to_owned(), value };
        let of_header =
            |default: &str| TagValue::RequestHeader { name: "x-who".to_owned(), default: default.to_owned() };
        let tags = vec![
            tag("literal", TagValue::Literal("l".to_owned())),
            tag("who", of_header("")),
            tag("who-or", of_header("nobody")),
        ];
        let tracing = Tracing {
            provider: Some((case.provider)(&name, case.collector.address)),
            spawn_upstream_span: case.tries_have_spans,
            tags,
            ..Tracing::default()
        };
        let again = Forward { retry: Some(retry.clone().into()), ..to("up") };
        let manager = HttpConnection {
            tracing: Some(tracing),
            ..http(vec![
                ("/up", to("up")),
                ("/again", again),
                ("/none", to("none")),
                ("/absent", to("absent")),
            ])
        };
        listeners.push(Listener { direction: case.direction, ..listener(Network::Http(Box::new(manager))) });
    }
    let Some(planes) = both_listening(&listeners, &clusters) else { return };
    let seen = planes.each_ref().map(|plane| {
        for (port, case) in cases.iter().enumerate() {
            for request in requests(case) {
                let answered = hear_out(plane.ports[port], &request);
                answered
                    .unwrap_or_else(|error| panic!("{} of {}: {error}: {request}", plane.name, case.name));
            }
        }
        let of_case = |(port, case): (usize, &Case)| {
            let all = ROOTS + if case.tries_have_spans { TRIES } else { 0 };
            let count = || case.collector.heard.lock().expect("no panic").len();
            let begun = std::time::Instant::now();
            while count() < all && begun.elapsed() < PATIENCE {
                std::thread::sleep(ms(20));
            }
            assert_eq!(count(), all, "{}: spans of {}: {:#?}", plane.name, case.name, case.collector.heard);
            let (spans, requests) = case.collector.take();
            (settled(case, plane, port, spans), requests)
        };
        cases.iter().enumerate().map(of_case).collect::<Vec<_>>()
    });
    let [envoy, ours] = seen;
    let (mut found, mut needed) = (Vec::new(), BTreeSet::new());
    for (case, (envoy, ours)) in cases.iter().zip(envoy.iter().zip(&ours)) {
        assert_eq!(envoy.1, ours.1, "{}: how spans are handed over", case.name);
        assert_eq!(envoy.0.len(), ours.0.len(), "{}: spans", case.name);
        for (at, (envoy, ours)) in envoy.0.iter().zip(&ours.0).enumerate() {
            part(&format!("{} span {at}", case.name), envoy, ours, &mut found);
        }
    }
    found.retain(|(path, _)| {
        let known =
            DIFFERENCES.iter().position(|(case, end, _)| path.starts_with(case) && path.ends_with(end));
        known.map(|known| needed.insert(known)).is_none()
    });
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        found.iter().map(|(path, what)| format!("{path}: {what}\n")).collect::<String>()
    );
    for (at, (case, end, why)) in DIFFERENCES.iter().enumerate() {
        assert!(needed.contains(&at), "{case} {end} is the same after all ({why})");
    }
}

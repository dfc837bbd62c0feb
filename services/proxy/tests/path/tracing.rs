//! Traces: what the next hop is told, and what collectors get.

use std::convert::Infallible;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use selvedge_traffic::Tracing;
use selvedge_traffic::tracing::{CustomTag, OtlpCollector, Provider, TagValue};
use serde_json::Value;

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::{Upstream, nobody};

/// Spans are sent once a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// One report that a collector got.
struct Report {
    path: String,
    content_type: String,
    body: Bytes,
}

/// A collector that takes anything by HTTP/1 or HTTP/2, and tells what it got.
fn collector() -> (SocketAddr, mpsc::Receiver<Report>) {
    let (sender, reports) = mpsc::channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| take(request, sender.clone()));
                    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
    });
    (address, reports)
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn take(
    request: Request<Incoming>,
    sender: mpsc::Sender<Report>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let header = request.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let content_type = header.unwrap_or_default();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let grpc = content_type == "application/grpc";
    let _ = sender.send(Report { path, content_type, body });
    if !grpc {
        return Ok(Response::builder().status(202).body(Full::new(Bytes::new()).boxed()).unwrap());
    }
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    let frames = vec![Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\0"))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(tokio_stream::iter(frames)).boxed();
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

fn traced(provider: Provider, upstream: &Upstream, collector: SocketAddr, random_sampling: f64) -> Mesh {
    let tag = CustomTag { name: "who".to_owned(), value: TagValue::Literal("me".to_owned()) };
    let tracing =
        Tracing { provider: Some(provider), random_sampling, tags: vec![tag], ..Tracing::default() };
    let http =
        selvedge_traffic::HttpConnection { tracing: Some(tracing), ..http(vec![route("/", forward("up"))]) };
    Mesh::http(http, vec![cluster("up", &[upstream.address]), cluster("collector", &[collector])])
}

fn zipkin() -> Provider {
    Provider::Zipkin {
        cluster: "collector".to_owned(),
        path: "/api/v2/spans".to_owned(),
        host: String::new(),
        trace_id_128bit: false,
        shared_span: true,
        w3c: false,
    }
}

fn otlp(collector: OtlpCollector) -> Provider {
    Provider::OpenTelemetry { collector, service_name: "svc".to_owned() }
}

/// The value of a header as the upstream saw it.
fn seen<'a>(body: &'a str, header: &str) -> Option<&'a str> {
    body.lines().find_map(|line| line.strip_prefix(header)?.strip_prefix(": ")).map(str::trim_end)
}

#[test]
fn zipkin_gets_the_span_and_the_upstream_the_context() {
    let upstream = Upstream::start();
    let (address, reports) = collector();
    let mesh = traced(zipkin(), &upstream, address, 100.0);
    let answer = mesh.ask(
        "GET /a?b HTTP/1.1\r\nhost: colors\r\nx-b3-traceid: 463ac35c9f6413ad\r\n\
         x-b3-spanid: a2fb4a1d1a96d312\r\nx-b3-sampled: 1\r\n\r\n",
    );
    assert_eq!(seen(&answer.body, "x-b3-traceid"), Some("463ac35c9f6413ad"));
    assert_eq!(seen(&answer.body, "x-b3-spanid"), Some("a2fb4a1d1a96d312"), "shared with the client");
    let id = seen(&answer.body, "x-request-id").expect("an id").to_owned();
    assert_eq!(&id[14..15], "9", "the id says that it is sampled: {id}");

    let report = reports.recv_timeout(PATIENCE).expect("a report");
    assert_eq!((report.path.as_str(), report.content_type.as_str()), ("/api/v2/spans", "application/json"));
    let spans: Value = serde_json::from_slice(&report.body).expect("JSON");
    let span = &spans[0];
    for (member, expected) in [
        ("/traceId", "463ac35c9f6413ad"),
        ("/id", "a2fb4a1d1a96d312"),
        ("/kind", "SERVER"),
        ("/name", "colors"),
        ("/localEndpoint/serviceName", "node-cluster"),
        ("/tags/http.url", "http://colors/a?b"),
        ("/tags/http.status_code", "200"),
        ("/tags/upstream_cluster", "up"),
        ("/tags/node_id", "node-id"),
        ("/tags/response_flags", "-"),
        ("/tags/who", "me"),
        ("/tags/guid:x-request-id", &id),
    ] {
        assert_eq!(span.pointer(member).and_then(Value::as_str), Some(expected), "{member} in {span:#}");
    }
    mesh.await_stat("tracing.zipkin.spans_sent", 1);
}

#[test]
fn otlp_goes_by_http_and_by_grpc() {
    for grpc in [false, true] {
        let upstream = Upstream::start();
        let (address, reports) = collector();
        let provider = otlp(if grpc {
            OtlpCollector::Grpc { cluster: "collector".to_owned() }
        } else {
            let uri = "http://collector:4318/v1/traces".to_owned();
            OtlpCollector::Http { cluster: "collector".to_owned(), uri }
        });
        let mesh = traced(provider, &upstream, address, 100.0);
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let request =
            format!("GET / HTTP/1.1\r\nhost: a\r\ntraceparent: 00-{trace}-b7ad6b7169203331-01\r\n\r\n");
        let answer = mesh.ask(&request);
        let parent = seen(&answer.body, "traceparent").expect("a context");
        assert!(parent.starts_with(&format!("00-{trace}-")) && parent.ends_with("-01"), "{parent}");
        assert!(!parent.contains("b7ad6b7169203331"), "the span is a new one");
        let report = reports.recv_timeout(PATIENCE).expect("a report");
        let expected =
            if grpc { "/opentelemetry.proto.collector.trace.v1.TraceService/Export" } else { "/v1/traces" };
        assert_eq!(report.path, expected);
        let holds = |needle: &[u8]| report.body.windows(needle.len()).any(|window| window == needle);
        for text in ["svc", "ingress", "http.url", "http://a/", "upstream_cluster"] {
            assert!(holds(text.as_bytes()), "{text}");
        }
        assert!(holds(&0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes()));
        assert!(holds(&0xb7ad_6b71_6920_3331_u64.to_be_bytes()));
        mesh.await_stat("tracing.opentelemetry.spans_sent", 1);
    }
}

#[test]
fn the_x_ray_daemon_gets_a_segment_a_request_that_the_rules_sample() {
    let upstream = Upstream::start();
    let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
    daemon.set_read_timeout(Some(PATIENCE)).unwrap();
    let provider = Provider::XRay {
        daemon: daemon.local_addr().unwrap().to_string(),
        segment_name: "m/n".to_owned(),
        rules: r#"{"version": 2, "default": {"fixed_target": 0, "rate": 0}}"#.to_owned(),
        origin: String::new(),
    };
    let mesh = traced(provider, &upstream, nobody(), 100.0);
    let answer = mesh.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let context = seen(&answer.body, "x-amzn-trace-id").expect("a context");
    assert!(context.ends_with(";Sampled=0"), "no rule samples it: {context}");
    let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let request = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-amzn-trace-id: {root};Parent=53995c3f42cd8ad8;Sampled=1\r\n\r\n"
    );
    let answer = mesh.ask(&request);
    let context = seen(&answer.body, "x-amzn-trace-id").expect("a context");
    assert!(context.starts_with(root) && context.ends_with(";Sampled=1"), "{context}");
    let mut datagram = [0; 65536];
    let len = daemon.recv(&mut datagram).expect("a segment");
    let text = std::str::from_utf8(&datagram[..len]).expect("text");
    let segment: Value = serde_json::from_str(text.split_once('\n').expect("two lines").1).expect("JSON");
    assert_eq!(segment["parent_id"], "53995c3f42cd8ad8");
    assert_eq!(segment["trace_id"], "1-5759e988-bd862e3fe1be46a994272793");
    assert_eq!(segment["http"]["response"]["status"], 200);
}

#[test]
fn what_is_not_sampled_is_passed_on_and_sent_nowhere() {
    let upstream = Upstream::start();
    let (address, reports) = collector();
    let collector = OtlpCollector::Grpc { cluster: "collector".to_owned() };
    let mesh = traced(otlp(collector), &upstream, address, 0.0);
    let answer = mesh.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(seen(&answer.body, "traceparent").is_some_and(|context| context.ends_with("-00")));
    assert_eq!(&seen(&answer.body, "x-request-id").expect("an id")[14..15], "4");
    mesh.await_stat("http.in.tracing.not_traceable", 1);
    assert!(reports.recv_timeout(Duration::from_millis(1500)).is_err());
}

#[test]
fn a_collector_that_is_not_there_costs_spans_and_nothing_else() {
    let upstream = Upstream::start();
    let mesh = traced(zipkin(), &upstream, nobody(), 100.0);
    assert_eq!(mesh.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
    mesh.await_stat("tracing.zipkin.spans_dropped", 1);
}

//! Access logs streamed to a service: what a real Envoy tells of a request, ours tells too.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes, BytesMut};
use selvedge_traffic::tracing::{CustomTag, TagValue};
use selvedge_traffic::*;
use selvedge_xds::rpc::access_log::{self, Told};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::apps::App;
use crate::authority::Authority;
use crate::planes::{Plane, both_listening, listener, until};
use crate::{cluster, endpoint, group, http, ms, to};

/// A collector: an access log service that keeps what it is told.
struct Collector {
    address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), None)
    }

    fn start_at(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, acceptor) = (Arc::clone(&heard), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => listen(stream, heard).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            listen(stream, heard).await;
                        }
                    }
                });
            }
        });
        Self { address, told, _runtime: runtime }
    }

    /// The entries of a log, once there are so many.
    fn told(&self, log: &str, entries: usize) -> Vec<BTreeMap<String, String>> {
        until(&format!("{log} has {entries} entries"), || {
            let told = self.told.lock().expect("no panic");
            let of_log =
                told.iter().filter(|told| told.identity.as_ref().is_some_and(|(_, name)| name == log));
            let found: Vec<_> = of_log.flat_map(|told| told.entries.clone()).collect();
            (found.len() >= entries).then_some(found)
        })
    }
}

async fn listen(io: impl AsyncRead + AsyncWrite + Unpin, heard: Arc<Mutex<Vec<Told>>>) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(hear(request, respond, Arc::clone(&heard)));
    }
}

async fn hear(
    request: ::http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    heard: Arc<Mutex<Vec<Told>>>,
) {
    assert_eq!(request.uri().path(), access_log::PATH);
    assert_eq!(request.headers()["x-token"], "secret");
    let head =
        ::http::Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
    let Ok(_stream) = respond.send_response(head, false) else { return };
    let mut body = request.into_body();
    let mut bytes = BytesMut::new();
    // Said once a stream, in its first message.
    let mut identity = None;
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
        while bytes.len() >= 5 {
            let len = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
            if bytes.len() < 5 + len {
                break;
            }
            bytes.advance(5);
            let message = bytes.split_to(len);
            let mut told = access_log::decode(&message).expect("a message");
            identity = told.identity.take().or(identity);
            let (node, _) = identity.as_ref().expect("the first message says whose they are");
            assert_eq!(node, "mesh/m/virtualNode/n");
            told.identity.clone_from(&identity);
            heard.lock().expect("no panic").push(told);
        }
    }
}

fn tags() -> Vec<CustomTag> {
    let tag = |name: &str, value| CustomTag { name: name.to_owned(), value };
    let header = |name: &str, default: &str| TagValue::RequestHeader {
        name: name.to_owned(),
        default: default.to_owned(),
    };
    let unset = TagValue::Environment { name: "NOBODY_SETS_THIS".to_owned(), default: "unset".to_owned() };
    vec![
        tag("literal", TagValue::Literal("l".to_owned())),
        tag("wanted", header("x-wanted", "")),
        tag("wanted-or", header("x-wanted", "nobody")),
        tag("environment", unset),
    ]
}

fn log(name: &str, records: GrpcRecords) -> AccessLog {
    let grpc = GrpcLog {
        name: name.to_owned(),
        cluster: "collector".to_owned(),
        authority: String::new(),
        metadata: vec![("x-token".to_owned(), "secret".to_owned())],
        tags: tags(),
        flush_interval: ms(50),
        buffer_bytes: GrpcLog::BUFFER_BYTES_DEFAULT,
        records,
    };
    AccessLog { sink: LogSink::Grpc(grpc), filter: None }
}

fn requests(name: &str) -> AccessLog {
    let headers = |name: &str| vec![name.to_owned()];
    log(
        name,
        GrpcRecords::Http {
            request_headers: headers("x-wanted"),
            response_headers: headers("x-again"),
            response_trailers: headers("x-none"),
        },
    )
}

fn collecting(address: SocketAddr) -> Cluster {
    Cluster {
        protocol: HttpProtocol::Http2,
        ..cluster("collector", vec![group(vec![Endpoint::new(Address::Socket(address))])])
    }
}

/// One member of one entry, the ports of a run replaced: what is a time or a port is compared by being there.
fn comparable(entry: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    // Bytes on the wire are counted elsewhere by each, as the file log's tests say; ids are random; TCP's attempts as well.
    let left_out = ["wire_bytes", "headers_bytes", "request_id", "stream_id"];
    let there = ["time_", "duration", "start_time", "address"];
    let kept = entry.iter().filter(|(name, _)| !left_out.iter().any(|part| name.contains(part)));
    kept.map(|(name, value)| {
        let is_there = there.iter().any(|part| name.contains(part));
        (name.clone(), if is_there { "…".to_owned() } else { value.clone() })
    })
    .collect()
}

#[test]
fn a_service_is_told_of_requests_and_connections() {
    let app = App::start();
    let absent = Endpoint::new(Address::Socket(crate::ports::free()));
    let collectors = [Collector::start(), Collector::start()];
    let planes: Vec<Plane> = {
        let mut planes = Vec::new();
        for (at, collector) in collectors.iter().enumerate() {
            let mut http = http(vec![("/up", to("up")), ("/absent", to("absent")), ("/none", to("none"))]);
            http.access_logs.push(requests("requests"));
            http.access_logs.push(AccessLog {
                filter: Some(LogFilter::Flags(vec!["UH".to_owned()])),
                ..requests("filtered")
            });
            let tcp = TcpProxy {
                access_logs: vec![log("connections", GrpcRecords::Tcp)],
                ..TcpProxy::to("in", vec![WeightedCluster::new("up", 1)])
            };
            let listeners = [listener(Network::Http(Box::new(http))), listener(Network::Tcp(tcp))];
            let clusters = [
                cluster("up", vec![group(vec![endpoint(&app)])]),
                cluster("absent", vec![group(vec![absent.clone()])]),
                cluster("none", vec![]),
                collecting(collector.address),
            ];
            let Some(pair) = both_listening(&listeners, &clusters) else { return };
            // Each collector hears one plane alone.
            planes.extend(pair.into_iter().skip(at).take(1));
        }
        planes
    };
    let mut seen = Vec::new();
    for (plane, collector) in planes.iter().zip(&collectors) {
        plane.get("/up/echo?a=b", &["x-wanted: yes", "user-agent: u", "referer: r"]);
        plane.get("/up/again-fail", &[]);
        plane.get("/absent", &[]);
        plane.get("/none", &[]);
        plane.get("/nowhere", &[]);
        let mut stream = TcpStream::connect(plane.ports[1]).expect("it listens");
        stream.write_all(b"GET /up/close HTTP/1.1\r\nhost: h\r\n\r\n").expect("open");
        let _ = stream.read_to_end(&mut Vec::new());
        drop(stream);
        let requests = collector.told("requests", 5);
        let filtered = collector.told("filtered", 1);
        // Some came to see whether anybody listens, and said nothing.
        let connections = until("the connection is told of", || {
            let mut told = collector.told("connections", 1);
            told.retain(|connection| connection.contains_key("received_bytes"));
            (!told.is_empty()).then_some(told)
        });
        assert_eq!((requests.len(), filtered.len(), connections.len()), (5, 1, 1), "{}", plane.name);
        let comparable =
            |entries: &[BTreeMap<String, String>]| entries.iter().map(comparable).collect::<Vec<_>>();
        seen.push((comparable(&requests), comparable(&filtered), comparable(&connections)));
        let written = plane.stat("access_logs.grpc_access_log.logs_written");
        assert!(written >= 6, "{}: {written}", plane.name);
    }
    let (ours, envoy) = (seen.pop().expect("two"), seen.pop().expect("two"));
    for (at, (ours, envoy)) in ours.0.iter().zip(&envoy.0).enumerate() {
        assert_eq!(ours, envoy, "request {at}");
    }
    assert_eq!(ours.1, envoy.1);
    assert_eq!(ours.2, envoy.2);
    assert_eq!(ours.0[0]["request_headers.x-wanted"], "yes");
    assert_eq!(ours.0[0]["response_code"], "200");
    assert_eq!(ours.0[0]["custom_tags.wanted"], "yes");
    assert_eq!(ours.0[1]["custom_tags.wanted-or"], "nobody");
    assert_eq!(ours.1[0]["response_flags"], "no_healthy_upstream");
}

#[test]
fn a_service_is_told_by_tls_and_sees_who_tells() {
    let (app, authority) = (App::start(), Authority::new());
    authority.issue("collector", |_| ());
    authority.issue("proxy", |_| ());
    let server = crate::mutual::server(&authority, "collector");
    let collector = Collector::start_at("127.0.0.1:0".parse().expect("an address"), Some(server));
    let mut http = http(vec![("/up", to("up"))]);
    http.access_logs.push(requests("requests"));
    let by_tls =
        Cluster { transport: crate::by_tls(&authority, "collector", "h2"), ..collecting(collector.address) };
    let clusters = [cluster("up", vec![group(vec![endpoint(&app)])]), by_tls];
    let Some(planes) = both_listening(&[listener(Network::Http(Box::new(http)))], &clusters) else { return };
    for (told, plane) in planes.iter().enumerate() {
        let path = format!("/up/{}", plane.name);
        assert_eq!(plane.get(&path, &[]).status, 200);
        assert_eq!(collector.told("requests", told + 1)[told]["path"], path);
    }
}

#[test]
fn a_service_that_is_away_costs_entries_and_nobody_waits() {
    let app = App::start();
    let place = crate::ports::free();
    let mut http = http(vec![("/", to("up"))]);
    http.access_logs.push(requests("requests"));
    let clusters = [cluster("up", vec![group(vec![endpoint(&app)])]), collecting(place)];
    let Some([_, ours]) = both_listening(&[listener(Network::Http(Box::new(http)))], &clusters) else {
        return;
    };
    for _ in 0..3 {
        assert_eq!(ours.get("/", &[]).status, 200);
    }
    until("what found no collector is counted", || {
        (ours.stat("access_logs.grpc_access_log.logs_dropped") == 3).then_some(())
    });
    let collector = Collector::start_at(place, None);
    assert_eq!(ours.get("/later", &[]).status, 200);
    assert_eq!(collector.told("requests", 1)[0]["path"], "/later");
    // A proxy that ends tells what it has.
    assert_eq!(ours.get("/last", &[]).status, 200);
    drop(ours);
    assert_eq!(collector.told("requests", 2)[1]["path"], "/last");
}

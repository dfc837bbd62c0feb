//! What control planes say about servers' names, HTTP/2 and health checks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use selvedge_traffic::*;

use crate::apps::Raw;
use crate::h2_app::H2App;
use crate::planes::{Plane, TCP_LOG, both, both_draining, both_listening, listener, parse, until};
use crate::{check_equal, cluster, endpoint_at, group, http, ms, to};

/// It names itself where it is asked to, and has nothing but a status that says so.
fn application(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = String::from_utf8_lossy(bytes);
    let server = if head.starts_with("GET /named") { "server: app\r\n" } else { "" };
    let status = if head.contains("Envoy/HC") { "204 No Content" } else { "200 OK" };
    head.ends_with("\r\n\r\n")
        .then(|| format!("HTTP/1.1 {status}\r\n{server}connection: close\r\n\r\n").into_bytes())
}

#[test]
fn a_server_is_named_as_the_configuration_says() {
    let app = Raw::start(application);
    let clusters = [cluster("up", vec![group(vec![endpoint_at(app.address)])])];
    let forms = [ServerHeader::Overwrite, ServerHeader::AppendIfAbsent, ServerHeader::PassThrough];
    let listeners = forms.map(|server_header| {
        let routes = vec![("/named", to("up")), ("/plain", to("up"))];
        let manager = HttpConnection { server_header, server_name: Some("mesh".into()), ..http(routes) };
        listener(Network::Http(Box::new(manager)))
    });
    let Some(planes) = both_listening(&listeners, &clusters) else { return };
    let mut named = Vec::new();
    for (port, form) in forms.iter().enumerate() {
        for path in ["/named", "/plain", "/nowhere"] {
            named.push(check_equal(&planes, &format!("{form:?} {path}"), |plane| {
                let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
                let said = plane.say(port, request.as_bytes());
                let answer = parse(&String::from_utf8_lossy(&said)).expect("an answer");
                answer.header("server").map(str::to_owned)
            }));
        }
    }
    let (mesh, app) = (Some("mesh"), Some("app"));
    let named: Vec<Option<&str>> = named.iter().map(Option::as_deref).collect();
    // An answer of the proxy's own is not passed through from anybody.
    assert_eq!(named, [mesh, mesh, mesh, app, mesh, mesh, app, None, named[8]]);
}

/// The settings that a server announces, and how far it opens the connection's window.
fn announced(address: SocketAddr) -> (Vec<(u16, u32)>, u32) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a bound");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("open");
    let (mut settings, mut window) = (None, None);
    while settings.is_none() || window.is_none() {
        let mut head = [0; 9];
        stream.read_exact(&mut head).expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut content = vec![0; length];
        stream.read_exact(&mut content).expect("the whole frame");
        let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        match (head[3], head[4]) {
            (4, 0) => {
                let one = |entry: &[u8]| (u16::from_be_bytes([entry[0], entry[1]]), word(&entry[2..]));
                settings = Some(content.chunks_exact(6).map(one).collect::<Vec<_>>());
            }
            (8, _) => window = Some(word(&content)),
            _ => {}
        }
    }
    // Streams at once, and a stream's window: what else is said, each says in its own way.
    let mut settings = settings.expect("came");
    settings.retain(|(id, _)| [3, 4].contains(id));
    settings.sort_unstable();
    (settings, window.expect("came"))
}

/// Streams that have begun and not ended, on one connection.
struct Streams {
    open: Vec<(h2::SendStream<bytes::Bytes>, h2::RecvStream)>,
    _runtime: tokio::runtime::Runtime,
}

impl Streams {
    fn open(address: SocketAddr, count: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let opening = async {
            let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
            let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            let mut open = Vec::new();
            for _ in 0..count {
                client = client.ready().await.expect("open");
                let request =
                    ::http::Request::post("http://h/s/Echo").header("content-type", "application/grpc");
                let request = request.body(()).expect("a request");
                let (response, sender) = client.send_request(request, false).expect("a stream");
                open.push((sender, response.await.expect("an answer").into_body()));
            }
            open
        };
        let bounded = async { tokio::time::timeout(Duration::from_secs(20), opening).await };
        let open = runtime.block_on(bounded).expect("answers in time");
        Self { open, _runtime: runtime }
    }
}

#[test]
fn http2_is_spoken_within_the_bounds_that_are_set() {
    let app = H2App::start(false);
    let to_app = || vec![group(vec![endpoint_at(app.address)])];
    let one = Http2Settings { streams_max: Some(1), ..Http2Settings::default() };
    let clusters = [
        Cluster { protocol: HttpProtocol::Http2, http2: one, ..cluster("one", to_app()) },
        Cluster { protocol: HttpProtocol::Http2, ..cluster("many", to_app()) },
    ];
    let small = Http2Settings {
        streams_max: Some(7),
        stream_window_bytes: Some(65_535),
        connection_window_bytes: Some(100_000),
        ..Http2Settings::default()
    };
    let managers =
        [HttpConnection { http2: small, ..http(vec![("/", to("one"))]) }, http(vec![("/", to("many"))])];
    let listeners = managers.map(|manager| listener(Network::Http(Box::new(manager))));
    let Some(planes) = both_listening(&listeners, &clusters) else { return };
    for port in [0, 1] {
        let told = check_equal(&planes, "settings", |plane| announced(plane.ports[port]));
        if port == 0 {
            assert_eq!(told, (vec![(3, 7), (4, 65_535)], 100_000 - 65_535));
        }
    }
    // A connection that carries all that it may leaves the next stream to another.
    for (port, name, connections) in [(0, "one", 3), (1, "many", 1)] {
        let streams = planes.each_ref().map(|plane| Streams::open(plane.ports[port], 3));
        let stat = format!("cluster.{name}.upstream_cx_http2_total");
        let opened = check_equal(&planes, &stat, |plane| plane.stat(&stat));
        assert_eq!(opened, connections, "{name}");
        assert!(streams.iter().all(|streams| streams.open.len() == 3));
    }
}

#[test]
fn health_checks_expect_what_they_are_told_to_and_pace_themselves() {
    let app = Raw::start(application);
    let refused = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let check = |statuses: Vec<std::ops::Range<u16>>, pace| HealthCheck {
        interval: ms(3_600_000),
        pace,
        timeout: ms(5_000),
        healthy_threshold: 1,
        unhealthy_threshold: 1,
        port: None,
        probe: HealthProbe::Http { path: "/".to_owned(), host: String::new(), http2: false, statuses },
        log: HealthLog::default(),
    };
    let jittered =
        HealthPace { initial_jitter: ms(10), jitter: ms(10), jitter_percent: 1, ..HealthPace::default() };
    let hasty = HealthPace { no_traffic: Some(ms(50)), ..jittered };
    let of = |name: &str, address, check| Cluster {
        health_checks: vec![check],
        ..cluster(name, vec![group(vec![endpoint_at(address)])])
    };
    let clusters = [
        of("expected", app.address, check(vec![200..201, 204..205], jittered)),
        of("other", app.address, check(vec![200..204, 404..405], jittered)),
        of("hasty", refused, check(Vec::new(), hasty)),
    ];
    let Some(planes) = both(&http(vec![("/", to("expected"))]), &clusters) else { return };
    let healthy = |plane: &Plane, name: &str| plane.stat(&format!("cluster.{name}.membership_healthy"));
    let found = check_equal(&planes, "healthy", |plane| {
        until("all are probed", || {
            let probed = |name| plane.stat(&format!("cluster.{name}.health_check.attempt")) > 0;
            (probed("expected") && probed("other") && healthy(plane, "expected") == 1).then_some(())
        });
        // Whoever has no traffic is probed again at the pace that is set for that.
        until("it is asked again and again", || {
            (plane.stat("cluster.hasty.health_check.attempt") > 3).then_some(())
        });
        ["expected", "other", "hasty"].map(|name| healthy(plane, name))
    });
    assert_eq!(found, [1, 0, 0]);
}

fn socket_from(source: std::net::IpAddr, target: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(source, 0).into()).expect("an address of this machine");
    socket.connect(&target.into()).expect("it listens");
    socket.into()
}

/// Speaks on a connection that stays; whether the proxy wants to close it, and who answered.
fn on(stream: &mut TcpStream, path: &str) -> (Option<String>, Option<String>) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes()).expect("open");
    let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).expect("an answer");
        assert!(read > 0, "{}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
    }
    let answer = parse(&String::from_utf8_lossy(&bytes)).expect("an answer");
    let header = |name| answer.header(name).map(str::to_owned);
    (header("connection"), header("server"))
}

#[test]
fn a_chain_that_has_not_changed_keeps_its_connections() {
    let named = |name: &str| {
        let answer = DirectResponse { status: 200, body: String::new() };
        let route = Route::new("/", matching::RouteMatch::prefix("/"), Action::Respond(answer));
        let host = VirtualHost {
            name: "v".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..VirtualHost::default()
        };
        let table = RouteTable { name: "r".to_owned(), virtual_hosts: vec![host], ..RouteTable::default() };
        let manager = HttpConnection::new("in", RouteSource::Inline(table));
        Network::Http(Box::new(HttpConnection { server_name: Some(name.to_owned()), ..manager }))
    };
    // Whoever comes from 127.0.0.2 has a chain of his own.
    let mut both_chains = listener(named("first"));
    let mut own = both_chains.default_chain.clone().expect("it has one");
    own.name = "own".to_owned();
    own.network = named("second");
    own.matches.sources = matching::Cidr::new([127, 0, 0, 2].into(), 32).into_iter().collect();
    both_chains.chains.push(own);
    let Some(mut planes) = both_listening(&[both_chains], &[cluster("up", Vec::new())]) else { return };
    let kept = planes.each_mut().map(|plane| {
        let listen = plane.listen;
        let from = |last| {
            let socket = socket_from([127, 0, 0, last].into(), listen);
            socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a bound");
            socket
        };
        let (mut first, mut second) = (from(1), from(2));
        assert_eq!(on(&mut first, "/").1.as_deref(), Some("first"), "{}", plane.name);
        assert_eq!(on(&mut second, "/").1.as_deref(), Some("second"), "{}", plane.name);
        plane.change_listener(0, |listener| {
            let Network::Http(manager) = &mut listener.chains[0].network else { unreachable!("it is HTTP") };
            manager.server_name = Some("third".to_owned());
        });
        let in_place = "listener_manager.listener_in_place_updated";
        until("it is updated in place", || (plane.stat(in_place) == 1).then_some(()));
        until("newcomers have the new one", || {
            (on(&mut from(2), "/").1.as_deref() == Some("third")).then_some(())
        });
        (on(&mut first, "/"), on(&mut second, "/"))
    });
    let unchanged = (None, Some("first".to_owned()));
    assert_eq!(kept.each_ref().map(|(first, _)| first.clone()), [unchanged.clone(), unchanged]);
    // A real Envoy takes its drain time to say so.
    assert_eq!(kept[1].1, (Some("close".to_owned()), Some("second".to_owned())));
}

#[test]
fn connections_that_cannot_be_told_are_cut_when_their_chain_has_gone() {
    let app = Raw::start(|_| None);
    let clusters = [cluster("up", vec![group(vec![endpoint_at(app.address)])])];
    let passed_on = |prefix: &str| {
        let tcp = TcpProxy::to(prefix, vec![WeightedCluster::new("up", 1)]);
        listener(Network::Tcp(tcp))
    };
    let drain_time = Duration::from_secs(1);
    let Some(mut planes) = both_draining(&[passed_on("changes"), passed_on("stays")], &clusters, drain_time)
    else {
        return;
    };
    let told = planes.each_mut().map(|plane| {
        let connect = |port: usize| {
            let stream = TcpStream::connect(plane.ports[port]).expect("it listens");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a bound");
            stream
        };
        let [mut changing, staying] = [0, 1].map(connect);
        let active = |plane: &Plane, name: &str| plane.stat(&format!("tcp.{name}.downstream_cx_total"));
        until("both are connected", || {
            (active(plane, "changes") >= 2 && active(plane, "stays") >= 2).then_some(())
        });
        let begun = std::time::Instant::now();
        plane.change_listener(0, |listener| {
            let chain = listener.default_chain.as_mut().expect("it has one");
            chain.network = passed_on("changed").default_chain.expect("it has one").network;
        });
        // What it reads is the end, in order or not.
        let ended =
            changing.read(&mut [0; 16]).map_or_else(|error| format!("{:?}", error.kind()), |n| n.to_string());
        let after = begun.elapsed();
        let early = drain_time - Duration::from_millis(100);
        assert!(after >= early && after < Duration::from_secs(10), "{}: {after:?}", plane.name);
        staying.set_nonblocking(true).expect("a socket");
        let still = (&staying).read(&mut [0; 16]).expect_err("nothing comes").kind();
        assert_eq!(still, std::io::ErrorKind::WouldBlock, "{}: whose chain stays keeps his", plane.name);
        // Whoever came to see whether it listens is in the log as well.
        let log = plane.lines(TCP_LOG, 2);
        (ended, log)
    });
    assert_eq!(told[0], told[1], "Envoy left, ours right");
}

//! Clusters with real sockets: endpoints, health checks, ejection, names.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use selvedge_telemetry::Registry;
use selvedge_traffic::{
    Address, Cluster as Config, Discovery, DnsLookupFamily, DnsRefresh, Endpoint, HealthCheck, HealthLog,
    HealthPace, HealthProbe, LoadAssignment, LocalityEndpoints, OutlierDetection,
};
use selvedge_upstream::dns::Resolver;
use selvedge_upstream::{Cluster, Clusters, Outcome, PickContext, PickFailure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;

/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

fn clusters(resolver: Resolver) -> Arc<Clusters> {
    Clusters::new(Registry::new(1), resolver, Handle::current())
}

fn config(discovery: Discovery) -> Config {
    Config {
        connect_timeout: Duration::from_secs(1),
        ignore_health_on_host_removal: true,
        ..Config::new("up", discovery)
    }
}

fn endpoint(address: Address) -> Endpoint {
    Endpoint::new(address)
}

fn assignment(addresses: impl IntoIterator<Item = Address>) -> LoadAssignment {
    let endpoints = addresses.into_iter().map(endpoint).collect();
    LoadAssignment {
        cluster: "up".to_owned(),
        localities: vec![LocalityEndpoints { endpoints, ..Default::default() }],
        ..LoadAssignment::default()
    }
}

fn sockets(addresses: &[SocketAddr]) -> LoadAssignment {
    assignment(addresses.iter().copied().map(Address::Socket))
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn picked(cluster: &Cluster) -> Option<SocketAddr> {
    cluster.pick(&PickContext::default()).ok().map(|picked| picked.host.address)
}

fn eds() -> Discovery {
    Discovery::Eds { service_name: String::new() }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

#[tokio::test]
async fn clusters_that_are_activated_together_begin_at_once() {
    let clusters = clusters(Resolver::from_system());
    let start = |name: &str| {
        let named = config(Discovery::Static(sockets(&[address(1)])));
        clusters.start(Arc::new(Config { name: name.to_owned(), ..named }))
    };
    let before = clusters.generation();
    clusters.activate([start("a"), start("b"), start("c")]);
    assert_eq!(clusters.generation(), before + 1, "the table was copied once");
    let names: Vec<_> = clusters.list().iter().map(|cluster| cluster.name.to_string()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn only_clusters_that_tell_what_their_breakers_have_left_are_asked_for_it() {
    let clusters = clusters(Resolver::from_system());
    let start = |name: &str, track_remaining: bool| {
        let mut config = config(Discovery::Static(sockets(&[address(1)])));
        config.circuit_breakers.default.track_remaining = track_remaining;
        clusters.start(Arc::new(Config { name: name.to_owned(), ..config }))
    };
    let telling = || {
        let mut names = Vec::new();
        clusters.each_telling(|cluster| names.push(cluster.name.to_string()));
        names
    };
    clusters.activate([start("silent", false), start("telling", true), start("changed", true)]);
    assert_eq!(telling(), ["telling", "changed"]);
    clusters.activate([start("changed", false)]);
    assert_eq!(telling(), ["telling"]);
    clusters.remove("telling");
    assert!(telling().is_empty());
}

#[tokio::test]
async fn a_cluster_serves_once_activated_and_is_gone_once_removed() {
    let clusters = clusters(Resolver::from_system());
    let cluster = clusters.start(Arc::new(config(Discovery::Static(sockets(&[address(1), address(2)])))));
    cluster.warmed().await;
    assert!(clusters.get("up").is_none(), "warm, but not active");
    let before = clusters.generation();
    clusters.activate([Arc::clone(&cluster)]);
    assert!(clusters.generation() > before);
    let mut hosts: Vec<_> = (0..4).filter_map(|_| picked(&cluster)).collect();
    hosts.sort();
    assert_eq!(hosts, [address(1), address(1), address(2), address(2)]);
    let held = cluster.pick(&PickContext::default()).expect("a host");
    clusters.remove("up");
    assert!(clusters.get("up").is_none());
    assert!(held.host.is_removed() && cluster.is_removed());
}

#[tokio::test]
async fn endpoints_come_and_go_while_the_others_stay_themselves() {
    let clusters = clusters(Resolver::from_system());
    let cluster = clusters.start(Arc::new(config(eds())));
    assert!(!cluster.is_warm());
    assert_eq!(cluster.pick(&PickContext::default()).expect_err("no endpoints"), PickFailure::NoHealthyHost);
    cluster.update_endpoints(&sockets(&[address(1), address(2)]));
    assert!(cluster.is_warm());
    let hosts = |cluster: &Cluster| {
        cluster.hosts().members.iter().map(|member| Arc::clone(&member.host)).collect::<Vec<_>>()
    };
    let before = hosts(&cluster);
    cluster.update_endpoints(&sockets(&[address(2), address(3)]));
    let after = hosts(&cluster);
    assert!(Arc::ptr_eq(&before[1], &after[0]), "10.0.0.2 is the same host");
    assert!(before[0].is_removed() && !after[0].is_removed());
    assert_eq!((cluster.upkeep.membership_total.value(), cluster.upkeep.membership_change.value()), (2, 2));
    let set = cluster.hosts();
    cluster.update_endpoints(&sockets(&[address(2), address(3)]));
    assert!(Arc::ptr_eq(&set, &cluster.hosts()), "nothing new, nothing rebuilt");
    assert_eq!(cluster.upkeep.update_no_rebuild.value(), 1);
    cluster.update_endpoints(&sockets(&[]));
    assert_eq!(picked(&cluster), None);
    assert_eq!(cluster.upkeep.update_empty.value(), 1);
}

#[tokio::test]
async fn a_retry_avoids_the_hosts_already_tried() {
    let clusters = clusters(Resolver::from_system());
    let cluster = clusters.start(Arc::new(config(Discovery::Static(sockets(&[address(1), address(2)])))));
    for _ in 0..20 {
        let first = cluster.pick(&PickContext::default()).expect("a host");
        let tried = [Arc::clone(&first.host)];
        let second = cluster.pick(&PickContext { tried: &tried, reselect_max: 5, ..Default::default() });
        assert_ne!(second.expect("a host").host.address, first.host.address);
    }
}

#[tokio::test]
async fn an_original_destination_is_its_own_host() {
    let clusters = clusters(Resolver::from_system());
    let cluster = clusters.start(Arc::new(config(Discovery::OriginalDst)));
    assert!(cluster.is_warm());
    let context = PickContext { original_dst: Some(address(9)), ..Default::default() };
    assert_eq!(cluster.pick(&context).expect("a host").host.address, address(9));
    assert_eq!(picked(&cluster), None, "not intercepted, no destination");
}

/// Answers every request with the status that is given; returns its address.
async fn server(status: tokio::sync::watch::Receiver<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let status = *status.borrow();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            let status = if text.starts_with("GET /ping HTTP/1.1\r\nhost: up\r\nuser-agent: Envoy/HC\r\n") {
                status
            } else {
                "400 Bad"
            };
            let _ =
                stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn a_cluster_is_warm_once_its_hosts_were_probed_and_follows_their_health() {
    let (status, watched) = tokio::sync::watch::channel("200 OK");
    let well = server(watched.clone()).await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    };
    let check = HealthCheck {
        interval: Duration::from_millis(20),
        pace: HealthPace::default(),
        timeout: Duration::from_secs(2),
        healthy_threshold: 1,
        unhealthy_threshold: 2,
        port: None,
        probe: HealthProbe::Http {
            path: "/ping".to_owned(),
            host: String::new(),
            http2: false,
            statuses: Vec::new(),
        },
        log: HealthLog::default(),
    };
    let mut config = config(Discovery::Static(sockets(&[well, closed])));
    config.health_checks.push(check);
    let clusters = clusters(Resolver::from_system());
    let cluster = clusters.start(Arc::new(config));
    // A cluster that nobody calls is probed once a minute; this one is called.
    cluster.stats.upstream_cx_total.inc();
    tokio::time::timeout(PATIENCE, cluster.warmed()).await.expect("both hosts are probed");
    assert_eq!(cluster.hosts().members[0].host.flags_text(), "healthy");
    assert_eq!(cluster.hosts().members[1].host.flags_text(), "/failed_active_hc");
    assert_eq!(cluster.upkeep.membership_healthy.value(), 1);
    status.send_replace("503 Busy");
    until("an unexpected status fails the host", || cluster.upkeep.membership_healthy.value() == 0).await;
    status.send_replace("200 OK");
    until("passes bring it back", || cluster.upkeep.membership_healthy.value() == 1).await;
    assert!(
        cluster.upkeep.health_check_failure.value() > 0
            && cluster.upkeep.health_check_network_failure.value() > 0
    );
}

#[tokio::test]
async fn a_host_that_goes_before_its_first_probe_ends_keeps_no_cluster_cold() {
    // It takes connections and never answers.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback");
    let silent = silent.local_addr().expect("bound");
    let check = HealthCheck {
        probe: HealthProbe::Http {
            path: "/".to_owned(),
            host: String::new(),
            http2: false,
            statuses: Vec::new(),
        },
        log: HealthLog::default(),
        timeout: Duration::from_secs(3600),
        interval: Duration::from_secs(3600),
        pace: HealthPace::default(),
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        port: None,
    };
    let clusters = clusters(Resolver::from_system());
    let cluster = clusters.start(Arc::new(Config { health_checks: vec![check], ..config(eds()) }));
    cluster.update_endpoints(&sockets(&[silent]));
    assert!(!cluster.is_warm());
    cluster.update_endpoints(&sockets(&[]));
    assert!(cluster.is_warm(), "nobody is left to be probed");
}

#[tokio::test]
async fn a_host_that_fails_in_a_row_is_ejected_and_comes_back() {
    let mut config = config(Discovery::Static(sockets(&[address(1), address(2)])));
    config.outlier_detection = Some(OutlierDetection {
        consecutive_5xx: 3,
        interval: Duration::from_millis(50),
        base_ejection_time: Duration::from_millis(100),
        max_ejection_percent: 50,
        ..OutlierDetection::default()
    });
    let clusters = clusters(Resolver::from_system());
    let cluster = clusters.start(Arc::new(config));
    let bad = Arc::clone(&cluster.hosts().members[0].host);
    (0..3).for_each(|_| bad.report(Outcome::Status(503)));
    until("three errors eject", || cluster.stats.ejections_active.value() == 1).await;
    let picks: Vec<_> = (0..6).filter_map(|_| picked(&cluster)).collect();
    assert!(picks.iter().all(|host| *host == address(2)), "{picks:?}");
    let worse = Arc::clone(&cluster.hosts().members[1].host);
    (0..3).for_each(|_| worse.report(Outcome::ConnectFailed));
    until("half may be out, not all", || cluster.stats.ejections_overflow.value() == 1).await;
    until("time served", || cluster.stats.ejections_active.value() == 0).await;
    until("back in the rotation", || picked(&cluster) == Some(address(1))).await;
}

/// A name server that answers A queries with `addresses` and says that there are no AAAA records.
async fn name_server(addresses: tokio::sync::watch::Receiver<Option<Vec<[u8; 4]>>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut query).await {
            let question = &query[12..length];
            // The question ends with the root's zero byte, type and class; additional records follow.
            let end = question.iter().position(|byte| *byte == 0).unwrap_or(0) + 5;
            let wants_v4 = question[end - 3] == 1;
            let addresses = addresses.borrow().clone();
            let code = if addresses.is_some() { 0 } else { 2 };
            let answers = if wants_v4 { addresses.unwrap_or_default() } else { Vec::new() };
            let mut reply =
                vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0];
            reply.extend_from_slice(&question[..end]);
            for answer in answers {
                reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                reply.extend_from_slice(&answer);
            }
            let _ = socket.send_to(&reply, peer).await;
        }
    });
    address
}

#[tokio::test]
async fn names_are_followed_and_a_broken_name_server_takes_no_host_away() {
    let (answer, watched) = tokio::sync::watch::channel(Some(vec![[10, 0, 0, 1], [10, 0, 0, 2]]));
    let server = name_server(watched).await;
    let resolver = Resolver::with_server(server.ip(), server.port()).expect("a resolver");
    let names = assignment([Address::Name("user.mesh.test.".to_owned(), 80)]);
    let discovery = Discovery::StrictDns {
        assignment: names,
        family: DnsLookupFamily::V4Preferred,
        refresh: DnsRefresh::default(),
    };
    let clusters = clusters(resolver);
    let cluster = clusters.start(Arc::new(config(discovery)));
    tokio::time::timeout(PATIENCE, cluster.warmed()).await.expect("the first answer warms");
    let hosts = || cluster.hosts().members.iter().map(|member| member.host.address).collect::<Vec<_>>();
    assert_eq!(hosts(), [address(1), address(2)]);
    assert_eq!(cluster.hosts().members[0].host.hostname.as_deref(), Some("user.mesh.test."));

    answer.send_replace(None);
    until("a failed lookup is counted", || cluster.upkeep.update_failure.value() > 0).await;
    assert_eq!(hosts(), [address(1), address(2)]);

    answer.send_replace(Some(vec![[10, 0, 0, 3]]));
    until("the next answer counts", || hosts() == [address(3)]).await;
}

/// An HTTP/2 server: 200 to GET, and to `grpc.health.v1.Health/Check` the one byte that is given as the status.
async fn http2_server(serving: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let head = http::Response::builder().body(()).expect("valid");
                    if request.method() == http::Method::GET {
                        let _ = respond.send_response(head, true);
                        continue;
                    }
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let Ok(mut body) = respond.send_response(head, false) else { continue };
                    let _ = body.send_data(bytes::Bytes::from(vec![0, 0, 0, 0, 2, 8, serving]), false);
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                    let _ = body.send_trailers(trailers);
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn probes_speak_http2_grpc_and_tcp() {
    let (well, ill) = (http2_server(1).await, http2_server(2).await);
    let http2 =
        HealthProbe::Http { path: "/".to_owned(), host: String::new(), http2: true, statuses: Vec::new() };
    let grpc = HealthProbe::Grpc { service: "s".to_owned(), authority: String::new() };
    let rows = [
        (http2, ["healthy", "healthy"]),
        (grpc, ["healthy", "/failed_active_hc"]),
        (HealthProbe::Tcp, ["healthy", "healthy"]),
    ];
    for (probe, expected) in rows {
        let mut config = config(Discovery::Static(sockets(&[well, ill])));
        config.health_checks.push(HealthCheck {
            interval: Duration::from_secs(5),
            pace: HealthPace::default(),
            timeout: Duration::from_secs(2),
            healthy_threshold: 1,
            unhealthy_threshold: 1,
            port: None,
            probe: probe.clone(),
            log: HealthLog::default(),
        });
        let clusters = clusters(Resolver::from_system());
        let cluster = clusters.start(Arc::new(config));
        tokio::time::timeout(PATIENCE, cluster.warmed()).await.expect("both hosts are probed");
        let flags = cluster.hosts().members.iter().map(|member| member.host.flags_text()).collect::<Vec<_>>();
        assert_eq!(flags, expected, "{probe:?}");
    }
}

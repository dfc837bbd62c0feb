//! A whole proxy in this process: configured from disk or by a control plane, asked by its admin endpoint, told to end.

#[allow(dead_code, reason = "shared with the tests of secrets")]
#[path = "run/control_plane.rs"]
mod control_plane;
#[path = "run/ports.rs"]
mod ports;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use control_plane::ControlPlane;
use ports::free;
use selvedge_proxy::Bootstrap;
use selvedge_proxy::persist::Store;
use selvedge_traffic::matching::{PathMatch, RouteMatch};
use selvedge_traffic::*;

/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);
const RESOURCE: &str = "mesh/m/virtualNode/n";

/// One request on a connection of its own; status and the whole answer.
fn ask(address: SocketAddr, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some((answer.get(9..12)?.parse().ok()?, answer))
}

fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
}

fn post(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    ask(
        address,
        &format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    )
}

fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An application that greets and closes.
fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 2048];
            let _ = stream.read(&mut request);
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
    address
}

/// One listener whose only route leads to the application.
fn configuration(listen: SocketAddr, app: SocketAddr, access_log: &Path) -> Vec<Resource> {
    let endpoint = Endpoint::new(Address::Socket(app));
    let group = LocalityEndpoints { endpoints: vec![endpoint], weight: 1, ..LocalityEndpoints::default() };
    let assignment =
        LoadAssignment { cluster: "app".to_owned(), localities: vec![group], ..LoadAssignment::default() };
    let cluster = Cluster::new("app", Discovery::Static(assignment));
    let forward = Forward::to(vec![WeightedCluster::new("app", 1)]);
    let matches = RouteMatch {
        path: PathMatch::Prefix("/".to_owned()),
        headers: Vec::new(),
        query: Vec::new(),
        grpc: false,
    };
    let route = Route {
        name: "all".to_owned(),
        matches,
        action: Action::Forward(forward),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        filters: Vec::new(),
    };
    let host = VirtualHost {
        name: "all".to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    let routes = RouteTable { name: "routes".to_owned(), virtual_hosts: vec![host], ..RouteTable::default() };
    let connection = HttpConnection {
        access_logs: vec![AccessLog::new(
            access_log.display().to_string(),
            AccessLogFormat::Text(
                "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %UPSTREAM_CLUSTER%\n".to_owned(),
            ),
        )],
        filters: Vec::new(),
        normalize_path: true,
        merge_slashes: true,
        websocket: true,
        ..HttpConnection::new("ingress", RouteSource::Rds("routes".to_owned()))
    };
    let chain = FilterChain {
        name: String::new(),
        matches: ChainMatch::default(),
        transport: Transport::Plain,
        filters: Vec::new(),
        network: Network::Http(Box::new(connection)),
    };
    let listener = Listener {
        name: "ingress".to_owned(),
        address: listen,
        ipv4_compat: false,
        direction: Direction::Inbound,
        original_dst: false,
        proxy_protocol: None,
        tls_inspector: false,
        inspection: Inspection::default(),
        chains: Vec::new(),
        default_chain: Some(chain),
        access_logs: Vec::new(),
    };
    vec![Resource::Cluster(cluster), Resource::Listener(listener), Resource::Routes(routes)]
}

struct Proxy {
    admin: SocketAddr,
    thread: JoinHandle<Result<(), selvedge_proxy::Error>>,
}

impl Proxy {
    /// With a control plane that cannot be reached.
    fn alone(folder: &Path) -> Self {
        Self::start(folder, free())
    }

    fn start(folder: &Path, control_plane: SocketAddr) -> Self {
        Self::start_with(folder, control_plane, free(), &[])
    }

    fn start_with(
        folder: &Path,
        control_plane: SocketAddr,
        admin: SocketAddr,
        more: &[(&'static str, String)],
    ) -> Self {
        let env = [
            ("APPMESH_RESOURCE_ARN", RESOURCE.to_owned()),
            ("APPMESH_XDS_ENDPOINT", control_plane.to_string()),
            ("ENVOY_ADMIN_ACCESS_PORT", admin.port().to_string()),
            ("SELVEDGE_STATE_DIR", folder.display().to_string()),
            ("SELVEDGE_DRAIN_ACCEPT_S", "0".to_owned()),
        ];
        let env: BTreeMap<String, String> = env
            .into_iter()
            .chain(more.iter().cloned())
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let bootstrap = Bootstrap::from_env(&env, 2).expect("a valid environment");
        Self { admin, thread: std::thread::spawn(|| selvedge_proxy::run(bootstrap, None)) }
    }

    fn end(self) {
        assert_eq!(post(self.admin, "/quitquitquit").expect("answered").0, 200);
        until("the proxy ends", || self.thread.is_finished().then_some(()));
        self.thread.join().expect("no panic").expect("a clean end");
    }
}

#[test]
fn a_proxy_starts_from_disk_without_a_control_plane_serves_and_ends_cleanly() {
    let folder = tempfile::tempdir().expect("a folder");
    let (listen, app, log) = (free(), application(), folder.path().join("access.log"));
    let store = Store::open(folder.path(), RESOURCE).expect("a folder");
    let encoded: Vec<_> = configuration(listen, app, &log).iter().map(selvedge_xds::encode).collect();
    store.save(encoded.iter().cloned()).expect("saved");

    let proxy = Proxy::alone(folder.path());
    until("ready", || get(proxy.admin, "/ready").filter(|(status, _)| *status == 200));
    let (status, answer) = get(listen, "/a?b=c").expect("answered");
    assert_eq!((status, answer.ends_with("hello")), (200, true), "{answer}");

    let page = |path: &str| get(proxy.admin, path).expect("answered").1;
    let info = page("/server_info");
    assert!(info.lines().any(|line| line.contains("state") && line.contains("LIVE")), "{info}");
    let stats = page("/stats?usedonly");
    for line in [
        "cluster.app.upstream_rq_200: 1",
        "cluster.app.upstream_rq_total: 1",
        "cluster.app.membership_healthy: 1",
        "http.ingress.downstream_rq_2xx: 1",
        "cluster_manager.active_clusters: 1",
        "listener_manager.total_listeners_active: 1",
        "server.live: 1",
    ] {
        assert!(stats.lines().any(|found| found == line), "{line}\nin\n{stats}");
    }
    assert!(
        page("/stats/prometheus")
            .contains("envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"app\"} 1")
    );
    assert!(page("/clusters").contains(&format!("app::{app}::rq_total::1")));
    assert!(page("/listeners").contains(&format!("ingress::{listen}")));
    let dump = page("/config_dump");
    for member in
        ["dynamic_active_clusters", "dynamic_listeners", "dynamic_route_configs", "\"active_state\""]
    {
        assert!(dump.contains(member), "{member}");
    }
    let explained = page(&format!("/explain?path=/a?b=c&host=any&port={}", listen.port()));
    for line in [
        "listener: ingress",
        "virtual_host: all",
        "result: forwarded",
        "cluster: app",
        &format!("address: {app}"),
    ] {
        assert!(
            explained.lines().any(|found| found.trim_start_matches([' ', '-']) == line),
            "{line}\nin\n{explained}"
        );
    }
    let (status, answer) = get(proxy.admin, "/explain?path=nowhere").expect("answered");
    assert!(status == 400 && answer.contains("usage: /explain"), "{answer}");
    assert_eq!(get(proxy.admin, "/explain?path=/&listener=none").expect("answered").0, 404);
    let explained = page("/explain?path=/&format=json");
    assert!(explained.contains("\"health\": \"healthy\""), "{explained}");

    assert!(page("/clusters?filter=^app$").contains("app::added_via_api"));
    assert!(!page("/clusters?filter=^other$").contains("app::"));
    assert_eq!(get(proxy.admin, "/stats?type=Bogus").expect("answered").0, 400);
    assert_eq!(get(proxy.admin, "/stats?histogram_buckets=bogus").expect("answered").0, 400);
    assert!(!page("/stats?type=Gauges").contains("upstream_rq_total"));
    let accept = "GET /stats/prometheus HTTP/1.1\r\nhost: localhost\r\naccept: application/openmetrics-text\r\nconnection: close\r\n\r\n";
    let openmetrics = ask(proxy.admin, accept).expect("answered").1;
    assert!(
        openmetrics.contains("content-type: application/openmetrics-text") && openmetrics.contains("# EOF")
    );
    assert_eq!(post(proxy.admin, "/runtime_modify?a=1").expect("answered").0, 200);
    assert!(page("/runtime").contains("\"final_value\": \"1\""));
    until("the log is written", || {
        std::fs::read_to_string(&log).ok().filter(|text| text == "GET /a?b=c 200 app\n")
    });

    proxy.end();
    assert!(TcpStream::connect(listen).is_err(), "nobody listens any more");
}

#[test]
fn the_admin_endpoint_refuses_strangers_names_and_changes_by_get() {
    let folder = tempfile::tempdir().expect("a folder");
    let proxy = Proxy::alone(folder.path());
    let (status, text) = until("an answer", || get(proxy.admin, "/ready"));
    assert_eq!(status, 503, "nothing is known yet");
    assert!(text.ends_with("PRE_INITIALIZING\n"), "{text}");
    assert!(text.contains("cache-control: no-cache, max-age=0\r\nx-content-type-options: nosniff"), "{text}");
    for path in ["/quitquitquit", "/drain_listeners", "/healthcheck/fail", "/logging", "/reset_counters"] {
        assert_eq!(get(proxy.admin, path).expect("answered").0, 405, "{path}");
    }
    let (status, text) = get(proxy.admin, "/nothing").expect("answered");
    assert!(status == 404 && text.contains("admin commands are:"), "{text}");
    let stranger = "GET /config_dump HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert_eq!(ask(proxy.admin, stranger).expect("answered").0, 403);
    assert_eq!(get(proxy.admin, "/stats?filter=(").expect("answered").0, 400);
    assert_eq!(post(proxy.admin, "/healthcheck/fail").expect("answered").0, 200);
    assert!(get(proxy.admin, "/ready").expect("answered").1.ends_with("DRAINING\n"));
    proxy.end();
}

#[test]
fn a_proxy_follows_its_control_plane_tells_what_it_rejects_and_takes_leave() {
    let folder = tempfile::tempdir().expect("a folder");
    let (listen, app, log) = (free(), application(), folder.path().join("access.log"));
    let mut control_plane = ControlPlane::start();
    let mut resources = configuration(listen, app, &log);
    control_plane.publish(&resources);
    let proxy = Proxy::start(folder.path(), control_plane.address);
    until("ready", || get(proxy.admin, "/ready").filter(|(status, _)| *status == 200));
    assert_eq!(get(listen, "/").expect("answered").0, 200);

    let Resource::Routes(table) = &mut resources[2] else { panic!("the third is the table") };
    let answer = DirectResponse { status: 204, body: String::new() };
    table.virtual_hosts[0].routes[0].action = Action::Respond(answer);
    control_plane.publish(&resources);
    until("the new routes are in force", || get(listen, "/").filter(|(status, _)| *status == 204));

    let good = resources[1].clone();
    let Resource::Listener(listener) = &mut resources[1] else { panic!("the second is the listener") };
    let chain = listener.default_chain.as_mut().expect("a chain");
    chain.transport = Transport::Tls(Box::new(tls::DownstreamTls::new(tls::Certificate::Files {
        chain: "/no/such/chain".to_owned(),
        key: "/no/such/key".to_owned(),
    })));
    control_plane.publish(&resources);
    let rejected = until("the rejection is told", || control_plane.seen().rejected.pop());
    assert!(
        rejected.0 == "ingress" && rejected.1.contains("failed to read \"/no/such/chain\""),
        "{rejected:?}"
    );
    assert_eq!(get(listen, "/").expect("answered").0, 204, "the last good one stays");
    let dump = get(proxy.admin, "/config_dump?resource=dynamic_listeners").expect("answered").1;
    assert!(dump.contains("error_state"), "{dump}");
    let stats = get(proxy.admin, "/stats?filter=lds.update_rejected|connected_state").expect("answered").1;
    assert!(stats.contains("lds.update_rejected: 1") && stats.contains("connected_state: 1"), "{stats}");

    resources[1] = good;
    control_plane.publish(&resources);
    until("nothing is rejected any more", || control_plane.seen().rejected.is_empty().then_some(()));

    let Resource::Cluster(cluster) = &resources[0] else { panic!("the first is the cluster") };
    let broken = Cluster {
        transport: UpstreamTransport::Tls(Box::new(tls::UpstreamTls {
            certificate: Some(tls::Certificate::Files {
                chain: "/no/such/chain".to_owned(),
                key: "/no/such/key".to_owned(),
            }),
            validation: None,
            sni: String::new(),
            alpn: Vec::new(),
            versions: tls::Versions::default(),
            suites: tls::Suites::default(),
        })),
        ..cluster.clone()
    };
    let of_name = |name: &str| Resource::Cluster(Cluster { name: name.to_owned(), ..broken.clone() });
    resources[0] = Resource::Cluster(broken.clone());
    resources.extend(["a-new-one", "z-new-one"].map(of_name));
    control_plane.publish(&resources);
    // By list: the names of those whose latest version was rejected.
    let rejected = |list: &str| {
        let dump = get(proxy.admin, &format!("/config_dump?resource={list}")).expect("answered").1;
        let (from, to) = (dump.find('{').unwrap_or(0), dump.rfind('}').map_or(0, |at| at + 1));
        let dump: serde_json::Value =
            serde_json::from_str(&dump[from..to]).unwrap_or_else(|error| panic!("{error}: {dump}"));
        let all = dump["configs"].as_array().cloned().unwrap_or_default();
        let failed = all.iter().filter(|one| one["error_state"]["details"].as_str().is_some());
        failed.map(|one| one["cluster"]["name"].to_string()).collect::<Vec<_>>()
    };
    until("all three are shown", || {
        let active = rejected("dynamic_active_clusters");
        // The last good one stays, with the reason beside it; the others are there once each.
        (active == ["\"app\""] && rejected("dynamic_warming_clusters") == ["\"a-new-one\"", "\"z-new-one\""])
            .then_some(())
    });
    proxy.end();
    assert_eq!(control_plane.seen().left, 1, "the stream ended in an orderly way");
}

/// Requests until it is told to stop; gives how many were answered, and what failed.
fn load(listen: SocketAddr, keep_alive: bool, stop: &std::sync::atomic::AtomicBool) -> (u64, Vec<String>) {
    use std::io::BufRead;
    let (mut answered, mut failures) = (0, Vec::new());
    let mut kept: Option<std::io::BufReader<TcpStream>> = None;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let mut one = || -> std::io::Result<bool> {
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => {
                    let stream = TcpStream::connect(listen)?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    std::io::BufReader::new(stream)
                }
            };
            let close = if keep_alive { "" } else { "connection: close\r\n" };
            stream.get_mut().write_all(format!("GET / HTTP/1.1\r\nhost: a\r\n{close}\r\n").as_bytes())?;
            let (mut line, mut closes, mut ok) = (String::new(), !keep_alive, false);
            loop {
                line.clear();
                if stream.read_line(&mut line)? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                ok |= line.starts_with("HTTP/1.1 200");
                closes |= line == "connection: close\r\n";
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = [0; 5];
            stream.read_exact(&mut body)?;
            if !closes {
                kept = Some(stream);
            }
            Ok(ok && &body == b"hello")
        };
        match one() {
            Ok(true) => answered += 1,
            Ok(false) => failures.push("another answer".to_owned()),
            Err(error) => failures.push(error.to_string()),
        }
    }
    (answered, failures)
}

#[test]
fn successors_take_over_under_load_and_no_connection_is_refused() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = tempfile::tempdir().expect("a folder");
    let (listen, app, log) = (free(), application(), folder.path().join("access.log"));
    let store = Store::open(folder.path(), RESOURCE).expect("a folder");
    let encoded: Vec<_> = configuration(listen, app, &log).iter().map(selvedge_xds::encode).collect();
    store.save(encoded.iter().cloned()).expect("saved");
    let (nowhere, admin) = (free(), free());
    let path = folder.path().join("hot-restart.sock");
    let more = [("SELVEDGE_HOT_RESTART", path.display().to_string())];
    let start = || Proxy::start_with(folder.path(), nowhere, admin, &more);
    let epoch = |proxy: &Proxy| {
        let stats = get(proxy.admin, "/stats?filter=hot_restart_epoch|server.live")?.1;
        stats.contains("server.live: 1").then_some(())?;
        stats.lines().find_map(|line| line.strip_prefix("server.hot_restart_epoch: ")?.parse::<u32>().ok())
    };

    let mut proxy = start();
    until("the first is live", || epoch(&proxy).filter(|epoch| *epoch == 0));
    until("the first can be succeeded", || path.exists().then_some(()));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = [true, true, false, false]
        .map(|keep_alive| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || load(listen, keep_alive, &stop))
        })
        .into();
    for successor in 1..=2 {
        let next = start();
        until("the successor is live", || epoch(&next).filter(|epoch| *epoch == successor));
        until("the predecessor ends", || proxy.thread.is_finished().then_some(()));
        proxy.thread.join().expect("no panic").expect("a clean end");
        proxy = next;
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for client in clients {
        let (count, failures) = client.join().expect("no panic");
        assert_eq!(failures, Vec::<String>::new(), "after {count} requests");
        answered += count;
    }
    assert!(answered > 20, "{answered} requests are no load");
    // What the first two counted is counted on by the third; only what they counted after the last time they were asked
    // is missing.
    let total = until("a count", || {
        let stats = get(proxy.admin, "/stats?filter=http.ingress.downstream_rq_total")?.1;
        stats
            .lines()
            .find_map(|line| line.strip_prefix("http.ingress.downstream_rq_total: ")?.parse::<u64>().ok())
    });
    assert!(total <= answered && total * 2 > answered, "{total} of {answered}");
    proxy.end();
}

#[test]
fn a_successor_that_dies_early_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (listen, app, log) = (free(), application(), folder.path().join("access.log"));
    let store = Store::open(folder.path(), RESOURCE).expect("a folder");
    let encoded: Vec<_> = configuration(listen, app, &log).iter().map(selvedge_xds::encode).collect();
    store.save(encoded.iter().cloned()).expect("saved");
    let path = folder.path().join("hot-restart.sock");
    let more = [("SELVEDGE_HOT_RESTART", path.display().to_string())];
    let proxy = Proxy::start_with(folder.path(), free(), free(), &more);
    until("ready", || get(proxy.admin, "/ready").filter(|(status, _)| *status == 200));
    until("it can be succeeded", || path.exists().then_some(()));
    let mut successor = std::os::unix::net::UnixStream::connect(&path).expect("somebody listens");
    let ask = br#"{"sockets":{"version":"selvedge.1"}}"#;
    successor.write_all(&(ask.len() as u32).to_be_bytes()).expect("sent");
    successor.write_all(ask).expect("sent");
    let mut answer = [0; 64];
    assert!(successor.read(&mut answer).expect("an answer") > 0);
    drop(successor);
    until("the admin endpoint answers again", || {
        get(proxy.admin, "/ready").filter(|(status, _)| *status == 200)
    });
    assert_eq!(get(listen, "/").expect("answered").0, 200);
    proxy.end();
}

//! The same resources in a real Envoy and in our proxy, and what each makes of a request.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use selvedge_proxy::Bootstrap;
use selvedge_traffic::*;

use crate::control_plane::ControlPlane;
use crate::ports::free;

/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);
const RESOURCE: &str = "mesh/m/virtualNode/n";
/// Where both write of ejections.
const EVENTS: &str = "outlier.log";
/// What both write of each request.
const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n";
/// Where both write of each connection that is passed on, and what.
pub(crate) const TCP_LOG: &str = "tcp.log";
const TCP_FORMAT: &str = "%RESPONSE_FLAGS% %DOWNSTREAM_LOCAL_CLOSE_REASON% %BYTES_SENT%\n";
/// Changed configurations give their connections so long to leave, where a test does not say.
const DRAIN_TIME: Duration = Duration::from_secs(600);

/// The binary, from `SELVEDGE_ENVOY` or where `cargo xtask test` puts it.
fn envoy() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("SELVEDGE_ENVOY").map(PathBuf::from) {
        return path.is_file().then_some(path);
    }
    let libraries = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/lib");
    let pythons = std::fs::read_dir(libraries).ok()?;
    let inside = |python: std::fs::DirEntry| python.path().join("site-packages/envoy/_bin/envoy");
    pythons.flatten().map(inside).find(|path| path.is_file())
}

pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An answer as the client saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// One proxy of either kind with its control plane.
pub(crate) struct Plane {
    pub(crate) name: &'static str,
    pub(crate) listen: SocketAddr,
    /// Of all listeners, in their order.
    pub(crate) ports: Vec<SocketAddr>,
    admin: SocketAddr,
    log: PathBuf,
    control: ControlPlane,
    /// What it was given.
    resources: Vec<Resource>,
    process: Process,
    folder: tempfile::TempDir,
}

enum Process {
    Envoy(Child),
    Ours(Option<JoinHandle<Result<(), selvedge_proxy::Error>>>),
}

/// Both planes with the same configuration; `None`, and a word about it, where no Envoy is installed.
pub(crate) fn both(http: &HttpConnection, clusters: &[Cluster]) -> Option<[Plane; 2]> {
    both_listening(&[listener(Network::Http(Box::new(http.clone())))], clusters)
}

/// As [`both`], with listeners as they are wanted, but for their names and addresses.
pub(crate) fn both_listening(listeners: &[Listener], clusters: &[Cluster]) -> Option<[Plane; 2]> {
    both_draining(listeners, clusters, DRAIN_TIME)
}

/// As [`both_listening`]; a changed configuration gives its connections so long to leave.
pub(crate) fn both_draining(
    listeners: &[Listener],
    clusters: &[Cluster],
    drain_time: Duration,
) -> Option<[Plane; 2]> {
    let Some(binary) = envoy() else {
        eprintln!("skipped: no Envoy here; cargo xtask test --only setup brings one");
        return None;
    };
    let planes = [
        Plane::start("envoy", Some(binary), listeners, clusters, drain_time),
        Plane::start("ours", None, listeners, clusters, drain_time),
    ];
    Some(planes)
}

/// A listener with one chain for everything.
pub(crate) fn listener(network: Network) -> Listener {
    let chain = FilterChain {
        name: String::new(),
        matches: ChainMatch::default(),
        transport: Transport::Plain,
        filters: Vec::new(),
        network,
    };
    Listener {
        name: String::new(),
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        ipv4_compat: false,
        direction: Direction::Inbound,
        original_dst: false,
        proxy_protocol: None,
        tls_inspector: false,
        inspection: Inspection::default(),
        chains: Vec::new(),
        default_chain: Some(chain),
        access_logs: Vec::new(),
    }
}

/// Gives a chain the log that tests read.
fn logged(chain: &mut FilterChain, folder: &std::path::Path) {
    let (logs, file, format) = match &mut chain.network {
        Network::Http(http) => (&mut http.access_logs, "access.log", LOG),
        Network::Tcp(tcp) => (&mut tcp.access_logs, TCP_LOG, TCP_FORMAT),
    };
    let path = folder.join(file).display().to_string();
    logs.push(AccessLog::new(path, AccessLogFormat::Text(format.to_owned())));
}

impl Plane {
    fn start(
        name: &'static str,
        binary: Option<PathBuf>,
        listeners: &[Listener],
        clusters: &[Cluster],
        drain_time: Duration,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (admin, log) = (free(), folder.path().join("access.log"));
        let mut control = ControlPlane::start();
        let mut listeners = listeners.to_vec();
        for (at, listener) in listeners.iter_mut().enumerate() {
            listener.name = format!("in{at}");
            listener.address = free();
            listener
                .chains
                .iter_mut()
                .chain(&mut listener.default_chain)
                .for_each(|chain| logged(chain, folder.path()));
        }
        let ports: Vec<SocketAddr> = listeners.iter().map(|listener| listener.address).collect();
        let clusters = clusters.iter().cloned().map(Resource::Cluster);
        let resources: Vec<Resource> =
            clusters.chain(listeners.into_iter().map(Resource::Listener)).collect();
        control.publish(&resources);
        let process = match binary {
            Some(binary) => Process::Envoy(start_envoy(&binary, &folder, admin, control.address, drain_time)),
            None => Process::Ours(Some(start_ours(&folder, admin, control.address, drain_time))),
        };
        let mut plane =
            Self { name, listen: ports[0], ports, admin, log, control, resources, process, folder };
        plane.await_ready();
        plane
    }

    fn await_ready(&mut self) {
        let admin = self.admin;
        until(&format!("{} is ready", self.name), || {
            ask(admin, "GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                .filter(|answer| answer.status == 200)
        });
        let rejected = self.control.seen().rejected;
        assert!(rejected.is_empty(), "{} rejects {rejected:?}", self.name);
        for port in &self.ports {
            until(&format!("{} listens", self.name), || TcpStream::connect(port).ok());
        }
    }

    /// Changes the listener at this place among all.
    pub(crate) fn change_listener(&mut self, at: usize, change: impl FnOnce(&mut Listener)) {
        let listeners = self.resources.iter_mut().filter_map(|resource| match resource {
            Resource::Listener(listener) => Some(listener),
            _ => None,
        });
        change(listeners.into_iter().nth(at).expect("it is there"));
        self.control.publish(&self.resources);
    }

    /// Publishes one more.
    pub(crate) fn publish_also(&mut self, resource: Resource) {
        self.resources.push(resource);
        self.control.publish(&self.resources);
    }

    /// Takes the last one back.
    pub(crate) fn withdraw_last(&mut self) {
        self.resources.pop();
        self.control.publish(&self.resources);
    }

    /// Names and reasons of what it has refused.
    pub(crate) fn rejected(&self) -> Vec<(String, String)> {
        self.control.seen().rejected
    }

    /// Whether it takes a listener that was published when it had refused what is in `before`; `None` while
    /// it has not judged it.
    pub(crate) fn verdict(&self, resource: &Resource, before: &[(String, String)]) -> Option<bool> {
        let name = resource.name();
        // A real Envoy does not always name what it refuses.
        if self.rejected().iter().any(|rejected| !before.contains(rejected)) {
            return Some(false);
        }
        let page = self.page("/config_dump?resource=dynamic_listeners");
        let page: serde_json::Value = serde_json::from_str(&page.body).unwrap_or_default();
        let is_taken = page["configs"].as_array()?.iter().any(|one| {
            let is_there = !one["active_state"].is_null() || !one["warming_state"].is_null();
            one["name"] == name && is_there && one["error_state"].is_null()
        });
        is_taken.then_some(true)
    }

    /// From here on a cluster that is told its endpoints has these.
    pub(crate) fn publish_endpoints(&mut self, assignment: LoadAssignment) {
        self.resources.retain(
            |resource| !matches!(resource, Resource::Endpoints(known) if known.cluster == assignment.cluster),
        );
        self.resources.push(Resource::Endpoints(assignment));
        self.control.publish(&self.resources);
    }

    /// A GET on a connection of its own, with further header lines.
    pub(crate) fn get(&self, path: &str, headers: &[&str]) -> Answer {
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{lines}\r\n");
        ask(self.listen, &request).unwrap_or_else(|| panic!("{} answers {path}", self.name))
    }

    /// Bytes on a connection of their own to one of the listeners; what comes back until the end.
    pub(crate) fn say(&self, port: usize, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.ports[port]).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a bound");
        // Whoever is refused may be cut off while it still speaks.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// The last line of the access log, once it has `lines`.
    pub(crate) fn log(&self, lines: usize) -> String {
        until(&format!("{} logs", self.name), || {
            let request = "POST /reopen_logs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            ask(self.admin, request)?;
            let text = std::fs::read_to_string(&self.log).ok()?;
            (text.lines().count() >= lines).then(|| text.lines().last().unwrap_or_default().to_owned())
        })
    }

    /// A page of the admin endpoint.
    pub(crate) fn page(&self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        ask(self.admin, &request).expect("the admin endpoint answers")
    }

    /// Has the admin endpoint do something: the status, and what it says.
    pub(crate) fn post(&self, path: &str) -> (u16, String) {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let answer = ask(self.admin, &request).expect("the admin endpoint answers");
        (answer.status, answer.body)
    }

    /// The lines of a file of its own, once there are so many.
    pub(crate) fn lines(&self, file: &str, lines: usize) -> Vec<String> {
        until(&format!("{} writes {file}", self.name), || {
            let text = std::fs::read_to_string(self.folder.path().join(file)).ok()?;
            (text.lines().count() >= lines).then(|| text.lines().map(str::to_owned).collect())
        })
    }

    /// What the admin endpoint says.
    pub(crate) fn admin(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        ask(self.admin, &request).expect("the admin endpoint answers").body
    }

    /// A statistic; 0 where there is none.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let text = self.admin(&format!("/stats?filter=^{}$", name.replace('.', "\\.")));
        text.lines().find_map(|line| line.rsplit_once(": ")?.1.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        match &mut self.process {
            Process::Envoy(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Process::Ours(thread) => {
                let request = "POST /quitquitquit HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = ask(self.admin, request);
                let _ = thread.take().map(JoinHandle::join);
            }
        }
    }
}

/// One request; the answer is what comes until the end.
fn ask(address: SocketAddr, request: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    parse(&String::from_utf8_lossy(&bytes))
}

pub(crate) fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.get(9..12)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(body) } else { body.to_owned() };
    Some(Answer { status, head: head.to_owned(), body })
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 || after.len() < length {
            break;
        }
        body.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
    }
    body
}

fn start_envoy(
    binary: &PathBuf,
    folder: &tempfile::TempDir,
    admin: SocketAddr,
    control: SocketAddr,
    drain_time: Duration,
) -> Child {
    let address = |at: SocketAddr| {
        format!(r#"{{"socket_address": {{"address": "127.0.0.1", "port_value": {}}}}}"#, at.port())
    };
    let ads = r#"{"resource_api_version": "V3", "ads": {}}"#;
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let bootstrap = format!(
        r#"{{"node": {{"id": "{RESOURCE}", "cluster": "n"}}, "admin": {{"address": {}}},
        "cluster_manager": {{"outlier_detection": {{"event_log_path": "{}"}}}},
        "dynamic_resources": {{"lds_config": {ads}, "cds_config": {ads}, "ads_config": {{"api_type": "DELTA_GRPC",
          "transport_api_version": "V3", "grpc_services": [{{"envoy_grpc": {{"cluster_name": "control"}}}}]}}}},
        "static_resources": {{"clusters": [{{"name": "control", "type": "STATIC", "connect_timeout": "1s",
          "typed_extension_protocol_options": {{"{options}": {{"@type": "type.googleapis.com/{options}",
            "explicit_http_config": {{"http2_protocol_options": {{}}}}}}}},
          "load_assignment": {{"cluster_name": "control",
            "endpoints": [{{"lb_endpoints": [{{"endpoint": {{"address": {}}}}}]}}]}}}}]}}}}"#,
        address(admin),
        folder.path().join(EVENTS).display(),
        address(control),
    );
    let path = folder.path().join("bootstrap.json");
    std::fs::write(&path, bootstrap).expect("writable");
    let log = std::fs::File::create(folder.path().join("envoy.log")).expect("writable");
    Command::new(binary)
        .arg("--config-path")
        .arg(&path)
        .args(["--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "20"])
        .args(["--drain-time-s", &drain_time.as_secs().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("Envoy starts")
}

fn start_ours(
    folder: &tempfile::TempDir,
    admin: SocketAddr,
    control: SocketAddr,
    drain_time: Duration,
) -> JoinHandle<Result<(), selvedge_proxy::Error>> {
    let env = [
        ("APPMESH_RESOURCE_ARN", RESOURCE.to_owned()),
        ("APPMESH_XDS_ENDPOINT", control.to_string()),
        ("ENVOY_ADMIN_ACCESS_PORT", admin.port().to_string()),
        ("ENVOY_CONCURRENCY", "1".to_owned()),
        ("SELVEDGE_STATE_DIR", folder.path().join("state").display().to_string()),
        ("APPMESH_RESOURCE_CLUSTER", "n".to_owned()),
        ("SELVEDGE_DRAIN_ACCEPT_S", "0".to_owned()),
        ("APPNET_LISTENER_DRAIN_WAIT_TIME_S", drain_time.as_secs().to_string()),
        ("SELVEDGE_OUTLIER_LOG", folder.path().join(EVENTS).display().to_string()),
    ];
    let env: BTreeMap<String, String> =
        env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let bootstrap = Bootstrap::from_env(&env, 1).expect("a valid environment");
    std::thread::spawn(|| selvedge_proxy::run(bootstrap, None))
}

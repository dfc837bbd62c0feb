//! A proxy with a configuration, and a client to it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_proxy::patience::Patience;
use selvedge_proxy::serve::{Serve, Serving};
use selvedge_proxy::{ActiveListener, ConfigSnapshot};
use selvedge_telemetry::{AccessLogs, Filter, Registry};
use selvedge_traffic as traffic;
use selvedge_upstream::Clusters;
use selvedge_upstream::dns::Resolver;
use selvedge_wire::drain::Drains;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use traffic::matching::RouteMatch;
use traffic::{Action, Forward, HttpConnection, Network, Route, RouteSource, RouteTable, VirtualHost};

/// A running proxy with one listener.
pub(crate) struct Mesh {
    pub(crate) address: SocketAddr,
    pub(crate) registry: Registry,
    pub(crate) drain: watch::Sender<Drains>,
    pub(crate) serving: Serving,
    pub(crate) runtime: Runtime,
    clusters: Arc<Clusters>,
    pub(crate) config: watch::Sender<Arc<ConfigSnapshot>>,
    log: PathBuf,
    logs: Arc<AccessLogs>,
    _folder: tempfile::TempDir,
}

/// The line that the tests read.
const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n";

pub(crate) fn http(routes: Vec<Route>) -> HttpConnection {
    let host = VirtualHost { name: "v".into(), domains: vec!["*".into()], routes, ..VirtualHost::default() };
    let table = RouteTable { name: "r".into(), virtual_hosts: vec![host], ..RouteTable::default() };
    HttpConnection {
        normalize_path: true,
        merge_slashes: true,
        websocket: true,
        ..HttpConnection::new("in", RouteSource::Inline(table))
    }
}

pub(crate) fn forward(cluster: &str) -> Forward {
    Forward::to(vec![traffic::WeightedCluster::new(cluster, 1)])
}

pub(crate) fn route(prefix: &str, forward: Forward) -> Route {
    Route::new(prefix, RouteMatch::prefix(prefix), Action::Forward(forward))
}

pub(crate) fn cluster(name: &str, hosts: &[SocketAddr]) -> traffic::Cluster {
    let endpoints =
        hosts.iter().map(|address| traffic::Endpoint::new(traffic::Address::Socket(*address))).collect();
    let locality =
        traffic::LocalityEndpoints { weight: 1, endpoints, ..traffic::LocalityEndpoints::default() };
    let assignment = traffic::LoadAssignment {
        cluster: name.into(),
        localities: vec![locality],
        ..traffic::LoadAssignment::default()
    };
    traffic::Cluster {
        connect_timeout: Duration::from_secs(2),
        ignore_health_on_host_removal: true,
        ..traffic::Cluster::new(name, traffic::Discovery::Static(assignment))
    }
}

pub(crate) fn listener(network: Network) -> traffic::Listener {
    traffic::Listener {
        name: "l".into(),
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        ipv4_compat: false,
        direction: traffic::Direction::Inbound,
        original_dst: false,
        proxy_protocol: None,
        tls_inspector: false,
        inspection: traffic::Inspection::default(),
        chains: vec![traffic::FilterChain {
            name: "c".into(),
            matches: traffic::ChainMatch::default(),
            transport: traffic::Transport::Plain,
            filters: Vec::new(),
            network,
        }],
        default_chain: None,
        access_logs: Vec::new(),
    }
}

pub(crate) fn snapshot(listener: traffic::Listener) -> Arc<ConfigSnapshot> {
    let active = ActiveListener { config: Arc::new(listener), routes: BTreeMap::new() };
    Arc::new(ConfigSnapshot { generation: 1, listeners: vec![Arc::new(active)] })
}

impl Mesh {
    /// One worker, so that the log's lines keep the order of the requests.
    pub(crate) fn http(http: HttpConnection, clusters: Vec<traffic::Cluster>) -> Self {
        Self::http_on(1, http, clusters)
    }

    /// With TLS on its listener.
    pub(crate) fn encrypted(
        tls: traffic::tls::DownstreamTls,
        http: HttpConnection,
        clusters: Vec<traffic::Cluster>,
    ) -> Self {
        let mut listener = listener(Network::Http(Box::new(http)));
        listener.chains[0].transport = traffic::Transport::Tls(Box::new(tls));
        Self::listening(listener, clusters)
    }

    pub(crate) fn http_on(workers: usize, mut http: HttpConnection, clusters: Vec<traffic::Cluster>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        http.access_logs
            .push(traffic::AccessLog::new(log.to_str().unwrap(), traffic::AccessLogFormat::Text(LOG.into())));
        let patience = Patience::with_neighbours();
        Self::start(workers, listener(Network::Http(Box::new(http))), clusters, folder, log, patience)
    }

    /// One that asks something of its clients, and keeps no log.
    pub(crate) fn bearing(patience: Patience, http: HttpConnection, clusters: Vec<traffic::Cluster>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        Self::start(1, listener(Network::Http(Box::new(http))), clusters, folder, log, patience)
    }

    pub(crate) fn tcp(mut tcp: traffic::TcpProxy, clusters: Vec<traffic::Cluster>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        tcp.access_logs.push(traffic::AccessLog::new(
            log.to_str().unwrap(),
            traffic::AccessLogFormat::Text(
                "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER%\n".into(),
            ),
        ));
        Self::start(1, listener(Network::Tcp(tcp)), clusters, folder, log, Patience::with_neighbours())
    }

    /// With a listener of its own making, and no log.
    pub(crate) fn listening(listener: traffic::Listener, clusters: Vec<traffic::Cluster>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        Self::start(1, listener, clusters, folder, log, Patience::with_neighbours())
    }

    fn start(
        workers: usize,
        listener: traffic::Listener,
        definitions: Vec<traffic::Cluster>,
        folder: tempfile::TempDir,
        log: PathBuf,
        patience: Patience,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let registry = Registry::new(2);
        let logs = AccessLogs::start(2, registry.clone(), Duration::from_millis(10)).unwrap();
        let clusters = Clusters::new(registry.clone(), Resolver::from_system(), runtime.handle().clone());
        for definition in definitions {
            let cluster = {
                let _runtime = runtime.enter();
                clusters.start(Arc::new(definition))
            };
            clusters.activate([cluster]);
        }
        let tracers = selvedge_proxy::tracing::Tracers::new(
            Arc::clone(&clusters),
            registry.clone(),
            runtime.handle().clone(),
            ("node-id".to_owned(), "node-cluster".to_owned()),
            None,
            None,
        );
        let (config, receiver) = watch::channel(snapshot(listener));
        let (drain, draining) = watch::channel(Drains::default());
        let serve = Serve {
            local: None,
            log_services: None,
            workers,
            clusters: Arc::clone(&clusters),
            registry: registry.clone(),
            access_logs: Arc::clone(&logs),
            tracers: Some(tracers),
            config: receiver,
            drain: draining,
            sockets: Arc::default(),
            node_address: None,
            patience,
            drain_time: Duration::from_secs(20),
            node_cluster: "here".into(),
            seats: None,
        };
        let mut serving = serve.start(runtime.handle()).unwrap();
        let address = runtime.block_on(async {
            let status = serving.listeners.wait_for(|listeners| !listeners.is_empty()).await.unwrap();
            assert_eq!(status[0].error, None);
            status[0].address
        });
        Self { address, registry, drain, serving, runtime, clusters, config, log, logs, _folder: folder }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::over(TcpStream::connect(self.address).unwrap())
    }

    /// Sends one request on a connection of its own.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        self.connect().ask(request)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n"))
    }

    /// The secrets of its listener and clusters.
    pub(crate) fn secrets(&self) -> &selvedge_wire::tls::Secrets {
        self.clusters.secrets()
    }

    /// The access log, once it has `lines` lines.
    pub(crate) fn log(&self, lines: usize) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            self.logs.flush();
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            if text.lines().count() >= lines {
                return text.lines().map(str::to_owned).collect();
            }
            assert!(Instant::now() < until, "only this was logged: {text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A statistic's value; 0 if it is not there.
    pub(crate) fn stat(&self, name: &str) -> i64 {
        let text = self.registry.text(&Filter::default(), selvedge_telemetry::Buckets::default());
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Waits for a statistic that moves a moment after the client has its answer.
    pub(crate) fn await_stat(&self, name: &str, value: i64) {
        let until = Instant::now() + Duration::from_secs(10);
        while self.stat(name) != value {
            assert!(Instant::now() < until, "{name} is {} and not {value}", self.stat(name));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A client's connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

/// A response.
#[derive(Debug)]
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

    /// The head without the values that change: dates, times and ids.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect()
    }
}

impl Client {
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn ask(&mut self, request: &str) -> Answer {
        self.send(request);
        self.answer(request.starts_with("HEAD"))
    }

    fn more(&mut self) -> bool {
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no answer: {error}; so far {:?}", String::from_utf8_lossy(&self.unread)),
        }
    }

    /// Whether the proxy has closed; panics if it says anything more.
    pub(crate) fn is_closed(&mut self) -> bool {
        assert!(self.unread.is_empty(), "{:?}", String::from_utf8_lossy(&self.unread));
        !self.more()
    }

    /// Reads exactly `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        while self.unread.len() < len {
            assert!(self.more(), "closed early: {:?}", String::from_utf8_lossy(&self.unread));
        }
        self.unread.drain(..len).collect()
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.bytes(end + 2);
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            assert!(self.more(), "closed early: {:?}", String::from_utf8_lossy(&self.unread));
        }
    }

    pub(crate) fn answer(&mut self, to_head: bool) -> Answer {
        let mut head = self.line();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            head.push('\n');
            head.push_str(&line);
        }
        let mut answer = Answer { status, head, body: String::new() };
        let mut body = Vec::new();
        if to_head || status < 200 || status == 204 || status == 304 {
        } else if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let len = usize::from_str_radix(&self.line(), 16).unwrap();
                body.extend(self.bytes(len));
                assert_eq!(self.line(), "");
                if len == 0 {
                    break;
                }
            }
        } else {
            let len = answer.header("content-length").expect("a length").parse().unwrap();
            body = self.bytes(len);
        }
        answer.body = String::from_utf8(body).unwrap();
        answer
    }
}

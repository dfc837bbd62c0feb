//! A real Envoy, fed by our own control plane's session.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use selvedge_traffic::{AccessLog, AccessLogFormat, Cluster, HttpConnection, Network, Resource};
use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::mesh::{Client, listener};
use crate::planes::LOG;
use crate::ports::free;

pub(crate) struct Envoy {
    address: SocketAddr,
    admin: SocketAddr,
    log: PathBuf,
    child: Child,
    _plane: ControlPlane,
    _folder: tempfile::TempDir,
}

pub(crate) fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("SELVEDGE_ENVOY") {
        return Some(path.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let library = std::fs::read_dir(root.join("target/venv/lib")).ok()?;
    let inside = |python: std::fs::DirEntry| python.path().join("site-packages/envoy/_bin/envoy");
    library.flatten().map(inside).find(|path| path.is_file())
}

impl Envoy {
    /// `None` if this machine has none.
    pub(crate) fn start(mut http: HttpConnection, clusters: Vec<Cluster>) -> Option<Self> {
        let binary = find()?;
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        let path = log.to_str().unwrap();
        http.access_logs.push(AccessLog::new(path, AccessLogFormat::Text(LOG.into())));
        let (address, admin) = (free(), free());
        let mut plane = ControlPlane::start();
        let mut resources: Vec<Resource> = clusters.into_iter().map(Resource::Cluster).collect();
        let mut listener = listener(Network::Http(Box::new(http)));
        listener.address = address;
        resources.push(Resource::Listener(listener));
        plane.publish(&resources);
        let socket = |address: SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let source = json!({"ads": {}, "resource_api_version": "V3"});
        let bootstrap = json!({
            "node": {"id": "n", "cluster": "here"},
            "admin": {"address": socket(admin)},
            "dynamic_resources": {
                "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}]},
                "cds_config": source, "lds_config": source,
            },
            "static_resources": {"clusters": [{
                "name": "ads", "type": "STATIC", "connect_timeout": "5s",
                "typed_extension_protocol_options": {options: {
                    "@type": format!("type.googleapis.com/{options}"),
                    "explicit_http_config": {"http2_protocol_options": {}},
                }},
                "load_assignment": {"cluster_name": "ads", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": socket(plane.address)}},
                ]}]},
            }]},
        });
        let config = folder.path().join("envoy.json");
        std::fs::write(&config, bootstrap.to_string()).unwrap();
        let output = std::fs::File::create(folder.path().join("envoy.log")).unwrap();
        let child = Command::new(binary)
            .arg("--config-path")
            .arg(&config)
            .args(["--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "20"])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let envoy = Self { address, admin, log, child, _plane: plane, _folder: folder };
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "Envoy does not listen: {:?}", envoy._plane.seen().rejected);
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(envoy)
    }

    pub(crate) fn connect(&self) -> Client {
        Client::over(TcpStream::connect(self.address).unwrap())
    }

    pub(crate) fn log(&self, lines: usize) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            if text.lines().count() >= lines {
                return text.lines().map(str::to_owned).collect();
            }
            assert!(Instant::now() < until, "only this was logged: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn stat(&self, name: &str) -> i64 {
        let request = "GET /stats HTTP/1.1\r\nhost: h\r\n\r\n";
        let answer = Client::over(TcpStream::connect(self.admin).unwrap()).ask(request);
        let value = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

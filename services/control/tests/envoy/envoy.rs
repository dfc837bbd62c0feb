//! A real Envoy, started by a test and ended with it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    StateOfTheWorld,
    Delta,
}

/// How many updates took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Updates {
    pub(crate) clusters: u64,
    pub(crate) listeners: u64,
    pub(crate) routes: u64,
}

pub(crate) struct Envoy {
    /// Where others reach its node.
    pub(crate) ingress_port: u64,
    child: Child,
    folder: tempfile::TempDir,
}

/// Base ids tell the shared memory of Envoys apart that run at once.
static BASE_ID: AtomicU32 = AtomicU32::new(0);

/// The Envoy of this machine, if it has one.
pub(crate) fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("SELVEDGE_ENVOY") {
        return Some(path.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let library = std::fs::read_dir(root.join("target/venv/lib")).ok()?;
    let candidates = library.flatten().map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
    candidates.into_iter().find(|path| path.is_file())
}

/// A port that nobody listens on, below those that the kernel gives to whoever connects somewhere: it is not taken between
/// here and the moment when somebody listens on it.
pub(crate) fn free_port() -> u16 {
    let began = std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos();
    let mut candidates =
        (0..).map(|turn: u32| 12_000 + (began.wrapping_add(turn.wrapping_mul(7919)) % 20_000) as u16);
    candidates.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a port")
}

/// How connections reach an Envoy.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// On ports of its own.
    Direct(Value),
    /// As under App Mesh, on ports 15000 and 15001 of a network of its own.
    Intercepted,
}

impl Shape {
    /// Ports of its own that were free a moment ago.
    pub(crate) fn direct() -> Self {
        let (ingress, egress) = (free_port(), free_port());
        Self::Direct(json!({
            "interception": "none", "bind": "127.0.0.1", "ingress_port": ingress, "egress_port": egress,
        }))
    }
}

/// Whether a process may have a network of its own here.
pub(crate) fn has_networks() -> bool {
    Command::new("unshare")
        .args(["-rn", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Envoy {
    /// Starts an Envoy as `resource`.
    pub(crate) fn start(path: &Path, form: Form, control: SocketAddr, resource: &str, shape: Shape) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("control.sock");
        let ingress_port = match &shape {
            Shape::Direct(direct) => direct["ingress_port"].as_u64().unwrap_or_default(),
            Shape::Intercepted => {
                let listener = UnixListener::bind(&socket).expect("a socket");
                tokio::spawn(bridge(listener, control));
                15000
            }
        };
        let bootstrap = bootstrap(form, control, resource, &shape, folder.path());
        let file = folder.path().join("bootstrap.json");
        std::fs::write(&file, bootstrap.to_string()).expect("a file");
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let base_id =
            std::process::id().wrapping_mul(16) % 1_000_000 + BASE_ID.fetch_add(1, Ordering::Relaxed);
        let mut command = match shape {
            Shape::Direct(_) => Command::new(path),
            Shape::Intercepted => {
                // It becomes Envoy, so that ending it ends Envoy.
                let mut command = Command::new("unshare");
                command.args(["-rn", "--"]).arg(path);
                command
            }
        };
        let child = command
            .args(["--config-path", &file.to_string_lossy(), "--concurrency", "1", "--log-level", "info"])
            .args(["--base-id", &base_id.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Envoy starts");
        Self { ingress_port, child, folder }
    }

    /// What it wrote, without the list of its extensions.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines()
            .filter(|line| !line.contains("server.cc:4") && !line.contains("header map"))
            .fold(String::new(), |text, line| text + line + "\n")
    }

    /// The lines that tell of a rejected configuration.
    pub(crate) fn log_of_rejections(&self) -> Vec<String> {
        self.log().lines().filter(|line| line.contains("rejected")).map(str::to_owned).collect()
    }

    pub(crate) async fn is_live(&self) -> bool {
        self.get("/ready").await.is_some_and(|body| body.contains("LIVE"))
    }

    /// The counters of rejected updates that are not 0.
    pub(crate) async fn rejected(&self) -> Vec<String> {
        let stats = self.get("/stats?filter=update_rejected").await.unwrap_or_default();
        stats.lines().filter(|line| !line.ends_with(": 0")).map(str::to_owned).collect()
    }

    pub(crate) async fn config_dump(&self) -> String {
        self.get("/config_dump?include_eds").await.unwrap_or_default()
    }

    pub(crate) async fn updates(&self) -> Updates {
        let stats = self.get("/stats").await.unwrap_or_default();
        let sum = |matches: &dyn Fn(&str) -> bool| {
            stats
                .lines()
                .filter_map(|line| line.split_once(": "))
                .filter(|(name, _)| matches(name))
                .filter_map(|(_, value)| value.parse::<u64>().ok())
                .sum()
        };
        Updates {
            clusters: sum(&|name| {
                matches!(name, "cluster_manager.cluster_added" | "cluster_manager.cluster_modified")
            }),
            listeners: sum(&|name| {
                matches!(name, "listener_manager.listener_added" | "listener_manager.listener_modified")
            }),
            routes: sum(&|name| name.contains(".rds.") && name.ends_with(".config_reload")),
        }
    }

    pub(crate) async fn wait_until(
        &self,
        patience: Duration,
        what: &str,
        holds: impl AsyncFn(&Self) -> bool,
    ) {
        let started = Instant::now();
        while !holds(self).await {
            assert!(started.elapsed() < patience, "not within {patience:?}: {what}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.folder.path().join("admin.sock")).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer);
        answer.split_once("\r\n\r\n").map(|(_, body)| unchunked(body))
    }
}

/// Carries connections from a network without a way out to the control plane.
async fn bridge(listener: UnixListener, control: SocketAddr) {
    while let Ok((mut near, _)) = listener.accept().await {
        let Ok(mut far) = TcpStream::connect(control).await else { return };
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The content of a chunked body.
fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap_or_default();
        let Some(chunk) = rest.get(..length).filter(|chunk| !chunk.is_empty()) else { break };
        text.push_str(chunk);
        body = rest[length..].trim_start_matches("\r\n");
    }
    text
}

/// The versions in a configuration dump, in order.
pub(crate) fn versions(dump: &str) -> Vec<String> {
    let mut versions: Vec<String> = dump
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("\"version_info\""))
        .map(str::to_owned)
        .collect();
    versions.sort();
    versions
}

fn bootstrap(form: Form, control: SocketAddr, resource: &str, shape: &Shape, folder: &Path) -> Value {
    let api_type = match form {
        Form::StateOfTheWorld => "GRPC",
        Form::Delta => "DELTA_GRPC",
    };
    let (metadata, address) = match shape {
        Shape::Direct(direct) => (
            json!({ "selvedge": direct }),
            json!({ "socket_address": { "address": control.ip().to_string(), "port_value": control.port() } }),
        ),
        Shape::Intercepted => (json!({}), json!({ "pipe": { "path": folder.join("control.sock") } })),
    };
    let http2 = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    json!({
        "node": { "id": resource, "cluster": resource, "metadata": metadata },
        "admin": { "address": { "pipe": { "path": folder.join("admin.sock") } } },
        "dynamic_resources": {
            "lds_config": { "ads": {}, "resource_api_version": "V3" },
            "cds_config": { "ads": {}, "resource_api_version": "V3" },
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "selvedge" } }],
            },
        },
        "static_resources": { "clusters": [{
            "name": "selvedge",
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": http2, "explicit_http_config": { "http2_protocol_options": {} },
                },
            },
            "load_assignment": { "cluster_name": "selvedge", "endpoints": [{
                "lb_endpoints": [{ "endpoint": { "address": address } }],
            }] },
        }] },
    })
}

//! What AWS's own Envoy image does to reach its control plane, done by the upstream Envoy: the same bootstrap – state of the
//! world over ADS, Google's gRPC library, node id, cluster and metadata – by a socket in the file system, and by TLS.

#![allow(dead_code, reason = "each test uses its part of the server module")]

mod server;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{PROGRAM, Server, repository};

const PATIENCE: Duration = Duration::from_secs(60);

fn envoy() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("SELVEDGE_ENVOY") {
        return Some(PathBuf::from(path));
    }
    let pythons = std::fs::read_dir(repository().join("target/venv/lib")).ok()?;
    let inside = |python: std::fs::DirEntry| python.path().join("site-packages/envoy/_bin/envoy");
    let found = pythons.flatten().map(inside).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: no Envoy in target/venv");
    }
    found
}

/// The bootstrap that the image's agent writes for `APPMESH_XDS_ENDPOINT=unix://…`, with `service` as its way of speaking.
fn bootstrap(service: &Value, clusters: &Value, admin: u16, ports: [u16; 2]) -> Value {
    let resource = "arn:aws:appmesh:us-east-1:123456789012:mesh/m/virtualNode/n";
    let source = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    json!({
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "node": {
            "id": resource,
            "cluster": resource,
            "metadata": {
                "aws.appmesh.platformInfo": {"AvailabilityZone": "us-east-1a", "ecsPlatformInfo": {"ecsLaunchType": "FARGATE"}},
                "aws.appmesh.task.interfaces": {"ipv4": {"lo": ["127.0.0.1/8"], "eth0": ["10.0.0.7/24"]}},
                // Nothing is redirected here: the sidecar's ports are its own.
                "selvedge": {"interception": "none", "ingress_port": ports[0], "egress_port": ports[1]},
            },
        },
        "layered_runtime": {"layers": [{"name": "static_layer_0", "static_layer": {
            // The image turns on runtime guards of its time here, which this version no longer knows.
            "re2.max_program_size.error_level": 1000,
        }}]},
        "dynamic_resources": {
            "ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]},
            "lds_config": source,
            "cds_config": source,
        },
        "static_resources": {"clusters": clusters},
    })
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ports that nobody listens on, below those that the kernel gives to whoever connects somewhere: none of them is taken
/// between here and the moment when somebody listens on it.
fn free_ports<const N: usize>() -> [u16; N] {
    let began = std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos();
    let mut candidates =
        (0..).map(|turn: u32| 12_000 + (began.wrapping_add(turn.wrapping_mul(7919)) % 20_000) as u16);
    let sockets: [TcpListener; N] = std::array::from_fn(|_| {
        candidates.find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).expect("a port")
    });
    sockets.each_ref().map(|socket| socket.local_addr().expect("an address").port())
}

fn curl(url: &str) -> String {
    let output = Command::new("curl").args(["-sS", "-m", "5", url]).output().expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Starts Envoy and waits until it has what the control plane gives it.
fn serves(folder: &Path, name: &str, bootstrap: &Value, admin: u16) {
    runs(folder, name, bootstrap.to_string().as_bytes(), "json", admin);
}

fn runs(folder: &Path, name: &str, bootstrap: &[u8], form: &str, admin: u16) {
    let Some(envoy) = envoy() else { return };
    let (config, log) = (folder.join(format!("{name}.{form}")), folder.join(format!("{name}.log")));
    std::fs::write(&config, bootstrap).expect("written");
    let mut command = Command::new(envoy);
    command.arg("-c").arg(&config).args([
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
    ]);
    let file = std::fs::File::create(&log).expect("a log");
    command.stdin(Stdio::null()).stdout(file.try_clone().expect("a log")).stderr(file);
    let mut running = Running(command.spawn().expect("it starts"));
    let begun = Instant::now();
    while !curl(&format!("http://127.0.0.1:{admin}/ready")).starts_with("LIVE") {
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(running.0.try_wait().is_ok_and(|ended| ended.is_none()), "{name}: {}", said());
        assert!(begun.elapsed() < PATIENCE, "{name}: {}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
    let clusters = curl(&format!("http://127.0.0.1:{admin}/clusters"));
    assert!(clusters.contains("cds_ingress_m_n_http_8080"), "{name}: {clusters}");
    // The image's own health check, to the letter.
    let check = format!("curl -s http://localhost:{admin}/server_info | grep state | grep -q LIVE");
    assert!(Command::new("sh").args(["-c", &check]).status().expect("sh runs").success(), "{name}");
}

fn mesh(server: &Server) {
    server.prints(&["appmesh", "create-mesh", "--mesh-name", "m"]);
    let spec = r#"{"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}"#;
    let node =
        ["appmesh", "create-virtual-node", "--mesh-name", "m", "--virtual-node-name", "n", "--spec", spec];
    server.prints(&node);
}

#[test]
fn the_images_bootstrap_reaches_the_control_plane_by_a_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("xds.sock");
    let server = Server::start(&["--xds-unix", socket.to_str().expect("text")]);
    mesh(&server);
    let [admin, ingress, egress, other] = free_ports();
    let google = json!({"google_grpc": {
        "target_uri": format!("unix://{}", socket.display()), "stat_prefix": "ads",
        "channel_args": {"args": {
            "grpc.http2.max_pings_without_data": {"int_value": 0},
            "grpc.keepalive_time_ms": {"int_value": 10000},
            "grpc.keepalive_timeout_ms": {"int_value": 20000},
        }},
    }});
    serves(folder.path(), "google", &bootstrap(&google, &json!([]), admin, [ingress, egress]), admin);
    // A build without Google's library says the same with Envoy's own.
    let own = json!({"envoy_grpc": {"cluster_name": "ads"}});
    let protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let cluster = json!([{
        "name": "ads", "type": "STATIC",
        "typed_extension_protocol_options": {protocol: {
            "@type": format!("type.googleapis.com/{protocol}"), "explicit_http_config": {"http2_protocol_options": {}},
        }},
        "load_assignment": {"cluster_name": "ads", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
            "pipe": {"path": socket},
        }}}]}]},
    }]);
    serves(folder.path(), "own", &bootstrap(&own, &cluster, other, [ingress, egress]), other);
}

/// Makes an authority and a certificate for 127.0.0.1 that it signed.
fn certificate(folder: &Path) -> Option<[PathBuf; 3]> {
    let [authority, authority_key, cert, key, request, extensions] =
        ["ca.pem", "ca.key", "cert.pem", "key.pem", "request.pem", "extensions"]
            .map(|name| folder.join(name));
    std::fs::write(&extensions, "subjectAltName=IP:127.0.0.1,DNS:localhost\n").expect("written");
    let openssl = |words: &[&std::ffi::OsStr]| {
        Command::new("openssl").args(words).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    let word = std::ffi::OsStr::new;
    let made = openssl(&[
        word("req"),
        word("-x509"),
        word("-newkey"),
        word("ec"),
        word("-pkeyopt"),
        word("ec_paramgen_curve:P-256"),
        word("-nodes"),
        word("-subj"),
        word("/CN=authority"),
        word("-days"),
        word("2"),
        word("-keyout"),
        authority_key.as_os_str(),
        word("-out"),
        authority.as_os_str(),
    ]);
    if made.is_err() {
        eprintln!("SKIPPED: no openssl");
        return None;
    }
    assert!(made.is_ok_and(|status| status.success()));
    let asked = openssl(&[
        word("req"),
        word("-newkey"),
        word("ec"),
        word("-pkeyopt"),
        word("ec_paramgen_curve:P-256"),
        word("-nodes"),
        word("-subj"),
        word("/CN=control"),
        word("-keyout"),
        key.as_os_str(),
        word("-out"),
        request.as_os_str(),
    ]);
    assert!(asked.is_ok_and(|status| status.success()));
    let signed = openssl(&[
        word("x509"),
        word("-req"),
        word("-in"),
        request.as_os_str(),
        word("-CA"),
        authority.as_os_str(),
        word("-CAkey"),
        authority_key.as_os_str(),
        word("-CAcreateserial"),
        word("-days"),
        word("2"),
        word("-extfile"),
        extensions.as_os_str(),
        word("-out"),
        cert.as_os_str(),
    ]);
    assert!(signed.is_ok_and(|status| status.success()));
    Some([authority, cert, key])
}

#[test]
fn the_images_bootstrap_reaches_the_control_plane_by_tls_with_a_trusted_authority() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some([authority, cert, key]) = certificate(folder.path()) else { return };
    let [port, admin, ingress, egress, other] = free_ports();
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let listen = format!("127.0.0.1:{port}");
    let server =
        Server::start(&["--tls-listen", &listen, "--tls-cert", &text(&cert), "--tls-key", &text(&key)]);
    mesh(&server);
    // Whoever trusts the authority is served, and nobody else is.
    let url = format!("https://127.0.0.1:{port}/readyz");
    let ask = |more: &[&str]| {
        Command::new("curl")
            .args(["-sS", "-m", "5", "-o", "/dev/null", &url])
            .args(more)
            .stderr(Stdio::null())
            .status()
    };
    assert!(ask(&["--cacert", &text(&authority)]).is_ok_and(|status| status.success()));
    assert!(ask(&[]).is_ok_and(|status| !status.success()));
    let google = json!({"google_grpc": {
        "target_uri": listen, "stat_prefix": "ads",
        "channel_credentials": {"ssl_credentials": {"root_certs": {"filename": authority}}},
    }});
    serves(folder.path(), "google", &bootstrap(&google, &json!([]), admin, [ingress, egress]), admin);
    let own = json!({"envoy_grpc": {"cluster_name": "ads"}});
    let protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let context = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    let cluster = json!([{
        "name": "ads", "type": "STATIC",
        "typed_extension_protocol_options": {protocol: {
            "@type": format!("type.googleapis.com/{protocol}"), "explicit_http_config": {"http2_protocol_options": {}},
        }},
        "transport_socket": {"name": "tls", "typed_config": {
            "@type": format!("type.googleapis.com/{context}"),
            "common_tls_context": {"validation_context": {"trusted_ca": {"filename": authority}}},
        }},
        "load_assignment": {"cluster_name": "ads", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
            "socket_address": {"address": "127.0.0.1", "port_value": port},
        }}}]}]},
    }]);
    serves(folder.path(), "own", &bootstrap(&own, &cluster, other, [ingress, egress]), other);
}

#[test]
fn our_sidecar_reaches_the_control_plane_by_a_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("xds.sock");
    let server = Server::start(&["--xds-unix", socket.to_str().expect("text")]);
    mesh(&server);
    let [admin, ingress, egress] = free_ports();
    let _sidecar = Running(
        Command::new(PROGRAM)
            .arg("proxy")
            .env("APPMESH_RESOURCE_ARN", "mesh/m/virtualNode/n")
            .env("APPMESH_XDS_ENDPOINT", format!("unix://{}", socket.display()))
            .env("ENVOY_ADMIN_ACCESS_PORT", admin.to_string())
            .env("SELVEDGE_INTERCEPTION", "none")
            .env("SELVEDGE_INGRESS_PORT", ingress.to_string())
            .env("SELVEDGE_EGRESS_PORT", egress.to_string())
            .env("SELVEDGE_STATE_DIR", "none")
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts"),
    );
    let url = format!("http://127.0.0.1:{admin}");
    let waited = Command::new(PROGRAM).args(["proxy", "wait", "--admin", &url]).status().expect("it runs");
    assert!(waited.success());
    // A server that ends takes its socket along, so that the next one finds the place free.
    let (status, ..) = server.terminate();
    assert!(status.success() && !socket.exists());
}

/// Our sidecar, with what it says.
struct Sidecar {
    _running: Running,
    admin: String,
    log: PathBuf,
}

impl Sidecar {
    fn start(folder: &Path, name: &str, environment: &[(&str, &str)]) -> Self {
        let [admin, ingress, egress] = free_ports();
        let log = folder.join(format!("{name}.log"));
        let running = Command::new(PROGRAM)
            .arg("proxy")
            .env("APPMESH_RESOURCE_ARN", "mesh/m/virtualNode/n")
            .env("ENVOY_ADMIN_ACCESS_PORT", admin.to_string())
            .env("SELVEDGE_INTERCEPTION", "none")
            .env("SELVEDGE_INGRESS_PORT", ingress.to_string())
            .env("SELVEDGE_EGRESS_PORT", egress.to_string())
            .env("SELVEDGE_STATE_DIR", "none")
            .envs(environment.iter().copied())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("it starts");
        Self { _running: Running(running), admin: format!("http://127.0.0.1:{admin}"), log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn serves(&self) {
        let waited = Command::new(PROGRAM).args(["proxy", "wait", "--admin", &self.admin]).status();
        assert!(waited.expect("it runs").success(), "{}", self.log());
        assert!(curl(&format!("{}/clusters", self.admin)).contains("cds_ingress_m_n_http_8080"));
    }

    /// It says so, and does not serve.
    fn is_refused(&self, said: &[&str]) {
        let begun = Instant::now();
        while !said.iter().any(|said| self.log().contains(said)) {
            assert!(begun.elapsed() < PATIENCE, "{said:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(!curl(&format!("{}/ready", self.admin)).starts_with("LIVE"));
    }
}

#[test]
fn our_sidecar_reaches_the_control_plane_by_tls_and_shows_a_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let Some([authority, cert, key]) = certificate(folder) else { return };
    let strangers = folder.join("strangers");
    std::fs::create_dir(&strangers).expect("a folder");
    let Some([stranger, ..]) = certificate(&strangers) else { return };
    let [port, admin] = free_ports();
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let (listen, certificate, private) = (format!("127.0.0.1:{port}"), text(&cert), text(&key));
    let authority = text(&authority);
    let server = Server::start(&[
        "--tls-listen",
        &listen,
        "--tls-cert",
        &certificate,
        "--tls-key",
        &private,
        "--tls-client-ca",
        &authority,
    ]);
    mesh(&server);
    let https = format!("https://{listen}");
    let believes = [("APPMESH_XDS_ENDPOINT", https.as_str()), ("SELVEDGE_XDS_CA", &authority)];
    let shows = [("SELVEDGE_XDS_CERT", certificate.as_str()), ("SELVEDGE_XDS_KEY", &private)];
    let good = [&believes[..], &shows].concat();
    Sidecar::start(folder, "good", &good).serves();
    // As AWS's image has it: no scheme, and a name that the certificate must have.
    let named = [("APPMESH_XDS_ENDPOINT", listen.as_str()), ("SELVEDGE_XDS_NAME", "localhost")];
    Sidecar::start(folder, "named", &[&good[..], &named].concat()).serves();
    Sidecar::start(folder, "shows-nothing", &believes)
        .is_refused(&["CertificateRequired", "certificate required"]);
    let other = [("SELVEDGE_XDS_NAME", "other.example.com")];
    Sidecar::start(folder, "other-name", &[&good[..], &other].concat()).is_refused(&["not valid for name"]);
    let strange = [("SELVEDGE_XDS_CA", stranger.to_str().expect("text"))];
    Sidecar::start(folder, "strange", &[&good[..], &strange].concat())
        .is_refused(&["UnknownIssuer", "BadSignature"]);
    let missing = [("SELVEDGE_XDS_CA", "/no/such/file.pem")];
    Sidecar::start(folder, "missing", &[&good[..], &missing].concat()).is_refused(&["/no/such/file.pem"]);
    // An Envoy that stands in its place speaks likewise.
    let printed = Command::new(PROGRAM)
        .args(["proxy", "--print-envoy-bootstrap"])
        .env("APPMESH_RESOURCE_ARN", "mesh/m/virtualNode/n")
        .env("ENVOY_ADMIN_ACCESS_PORT", admin.to_string())
        .env("SELVEDGE_INTERCEPTION", "none")
        .envs(
            free_ports::<2>()
                .into_iter()
                .zip(["SELVEDGE_INGRESS_PORT", "SELVEDGE_EGRESS_PORT"])
                .map(|(port, name)| (name, port.to_string())),
        )
        .envs(good)
        .output()
        .expect("it runs");
    assert!(printed.status.success());
    runs(folder, "envoy", &printed.stdout, "yaml", admin);
}

//! A control plane on the bridge, and sidecars on the hosts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::network::{Family, Host, Network, Process, wait_for};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_selvedge");
const PORT: u16 = 7070;

/// What stands beside an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plane {
    Own,
    Envoy,
}

/// A mesh on a network of its own.
pub(crate) struct Mesh {
    control: Process,
    /// The number of the host where it is; 1 is the bridge.
    control_at: u8,
    pub(crate) network: Network,
    pub(crate) family: Family,
    pub(crate) folder: TempDir,
}

impl Mesh {
    /// Starts a control plane and creates the mesh `m`. `None` where no network may be made.
    pub(crate) fn start(family: Family, spec: Value) -> Option<Self> {
        let network = Network::new()?;
        let folder = Self::folder();
        let mut command = Command::new(PROGRAM);
        command.args(Self::UP).arg(folder.path().join("data")).stdin(Stdio::null());
        let control = Process::start(command, &folder.path().join("control.log"));
        Some(Self { control, control_at: 1, network, family, folder }.begun(spec))
    }

    /// The same with the control plane on a host, as the sidecars' user and with more options.
    pub(crate) fn start_on_host(
        family: Family,
        spec: Value,
        number: u8,
        options: &[&str],
    ) -> Option<(Self, Host)> {
        let network = Network::new()?;
        let folder = Self::folder();
        let host = network.host(number, folder.path(), &[]);
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        crate::network::sh(&format!("chown 1337:1337 {}", data.display()));
        let sidecars_user = ["setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", PROGRAM];
        let words = [&sidecars_user[..], &Self::UP, &[data.to_str().expect("text")], options].concat();
        let control = host.start(&folder.path().join("control.log"), |_| {}, &words);
        Some((Self { control, control_at: number, network, family, folder }.begun(spec), host))
    }

    const UP: [&str; 5] = ["up", "--listen", "[::]:7070", "--allow-unauthenticated-remote", "--data-dir"];

    fn folder() -> TempDir {
        let folder = TempDir::new().expect("a folder");
        // Sidecars run as another user, and keep nothing here but are started here.
        sh_open(folder.path());
        folder
    }

    fn begun(self, spec: Value) -> Self {
        let mesh = self;
        wait_for("the control plane", || mesh.control.log().contains("ready on"));
        mesh.make("create-mesh", json!({"meshName": "m", "spec": spec}));
        mesh
    }

    fn url(&self) -> String {
        format!("http://{}:{PORT}", Family::V4.address(self.control_at))
    }

    /// Calls an operation, which has to succeed.
    pub(crate) fn make(&self, operation: &str, mut input: Value) {
        if operation != "create-mesh" {
            input["meshName"] = json!("m");
        }
        let output = Command::new(PROGRAM)
            .args(["appmesh", operation, "--cli-input-json", &input.to_string()])
            .env("AWS_ENDPOINT_URL", self.url())
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{operation} {input}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Attaches a policy to a resource.
    pub(crate) fn policy(&self, name: &str, target: &str, kind: &str, spec: &Value) {
        let output = Command::new(PROGRAM)
            .args(["policy", "put", name, "--target", target, "--kind", kind, "--spec", &spec.to_string()])
            .args(["--endpoint-url", &self.url()])
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A node without service discovery: its endpoints are the sidecars that connect as it.
    pub(crate) fn node(&self, name: &str, listeners: &[(u16, &str)], backends: &[&str]) {
        let listener =
            |(port, protocol): &(u16, &str)| json!({"portMapping": {"port": port, "protocol": protocol}});
        let backend = |name: &&str| json!({"virtualService": {"virtualServiceName": name}});
        let spec = json!({
            "listeners": listeners.iter().map(listener).collect::<Vec<_>>(),
            "backends": backends.iter().map(backend).collect::<Vec<_>>(),
        });
        self.make("create-virtual-node", json!({"virtualNodeName": name, "spec": spec}));
    }

    pub(crate) fn host(&self, number: u8, names: &[&str]) -> Host {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.network.host(number, self.folder.path(), &names)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the sidecar of a node on a host, as user 1337, and waits until it serves.
    pub(crate) fn sidecar(&self, plane: Plane, host: &Host, node: &str) -> Process {
        let log = self.file(&format!("{node}.log"));
        let control = self.family.with_port(&self.family.address(self.control_at), PORT);
        let resource = format!("mesh/m/virtualNode/{node}");
        let environment = |command: &mut Command| {
            command
                .env("APPMESH_RESOURCE_ARN", &resource)
                .env("APPMESH_XDS_ENDPOINT", &control)
                .env("SELVEDGE_STATE_DIR", "none")
                .env("SELVEDGE_DRAIN_ACCEPT_S", "0")
                .env("APPNET_LISTENER_DRAIN_WAIT_TIME_S", "1");
        };
        let process = match plane {
            Plane::Own => host.start(&log, environment, &[PROGRAM, "proxy", "--user", "1337"]),
            Plane::Envoy => {
                let mut command = Command::new(PROGRAM);
                environment(&mut command);
                let printed = command.args(["proxy", "--print-envoy-bootstrap"]).output().expect("it runs");
                let bootstrap = self.file(&format!("{node}.yaml"));
                std::fs::write(&bootstrap, printed.stdout).expect("written");
                let envoy = envoy().expect("checked by the caller");
                let words = ["setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups"];
                let envoy = [envoy.to_str().expect("text"), "-c", bootstrap.to_str().expect("text")];
                let more = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"];
                host.start(&log, |_| {}, &[&words[..], &envoy, &more].concat())
            }
        };
        wait_for(&format!("the sidecar of {node}"), || {
            let asked =
                ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:9901/ready"];
            host.output(&asked).stdout == b"200"
        });
        process
    }

    /// Has the kernel lead the host's connections to its sidecar.
    pub(crate) fn redirect(&self, host: &Host, backend: &str, ports: &str) {
        self.redirect_with(host, backend, ports, &[]);
    }

    /// The same with more options.
    pub(crate) fn redirect_with(&self, host: &Host, backend: &str, ports: &str, options: &[&str]) {
        let mut words = vec![PROGRAM, "redirect", "install", "--backend", backend, "--app-ports", ports];
        words.extend(options);
        if self.family == Family::V6 {
            words.push("--ipv6");
        }
        host.succeeds(&words);
    }
}

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// The real Envoy, where the test environment has installed it.
pub(crate) fn envoy() -> Option<PathBuf> {
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

/// The Python with what tests/requirements.txt pins.
pub(crate) fn python() -> Option<String> {
    let python = repository().join("target/venv/bin/python");
    if !python.is_file() {
        eprintln!("SKIPPED: no Python in target/venv");
        return None;
    }
    python.to_str().map(str::to_owned)
}

fn sh_open(folder: &Path) {
    crate::network::sh(&format!("chmod 755 {}", folder.display()));
}

//! A whole data plane – ours or a real Envoy – with a control plane of its own and, if asked for, an agent for secrets.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use selvedge_proxy::Bootstrap;
use selvedge_proxy::bootstrap::envoy_bootstrap;
use selvedge_traffic::Resource;

use crate::control_plane::ControlPlane;
use crate::envoy::find;
use crate::mesh::{Answer, Client};
use crate::ports::free;

/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) inbound: SocketAddr,
    pub(crate) outbound: SocketAddr,
    pub(crate) plane: ControlPlane,
    admin: SocketAddr,
    process: Process,
    folder: tempfile::TempDir,
}

enum Process {
    Ours(Option<JoinHandle<Result<(), selvedge_proxy::Error>>>),
    Envoy(Child),
}

/// Where a side listens.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) inbound: SocketAddr,
    pub(crate) outbound: SocketAddr,
}

/// Ours, and a real one if this machine has it.
pub(crate) fn planes() -> Vec<Option<PathBuf>> {
    let envoy = find();
    if envoy.is_none() {
        eprintln!("no Envoy here: our proxy is on its own");
    }
    std::iter::once(None).chain(envoy.map(Some)).collect()
}

impl Side {
    pub(crate) fn start(
        envoy: Option<&Path>,
        agent: Option<&Path>,
        resources: impl FnOnce(Addresses) -> Vec<Resource>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = if envoy.is_some() { "envoy" } else { "ours" };
        let addresses = Addresses { inbound: free(), outbound: free() };
        let (mut plane, admin) = (ControlPlane::start(), free());
        plane.publish(&resources(addresses));
        let mut env = BTreeMap::from(
            [
                ("APPMESH_RESOURCE_ARN", format!("mesh/m/virtualNode/{name}")),
                ("APPMESH_XDS_ENDPOINT", plane.address.to_string()),
                ("ENVOY_ADMIN_ACCESS_PORT", admin.port().to_string()),
                ("SELVEDGE_STATE_DIR", "none".to_owned()),
                ("SELVEDGE_DRAIN_ACCEPT_S", "0".to_owned()),
                ("ENVOY_CONCURRENCY", "1".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        if let Some(agent) = agent {
            env.insert("APPMESH_SDS_SOCKET_PATH".to_owned(), agent.display().to_string());
        }
        let bootstrap = Bootstrap::from_env(&env, 1).expect("a valid environment");
        let process = match envoy {
            None => Process::Ours(Some(std::thread::spawn(|| selvedge_proxy::run(bootstrap, None)))),
            Some(binary) => {
                let config = folder.path().join("envoy.json");
                std::fs::write(&config, envoy_bootstrap(&bootstrap).to_string()).unwrap();
                let output = std::fs::File::create(folder.path().join("envoy.log")).unwrap();
                let child = Command::new(binary)
                    .arg("--config-path")
                    .arg(&config)
                    .args(["--disable-hot-restart", "--concurrency", "1"])
                    .stdin(Stdio::null())
                    .stdout(output.try_clone().unwrap())
                    .stderr(output)
                    .spawn()
                    .unwrap();
                Process::Envoy(child)
            }
        };
        let Addresses { inbound, outbound } = addresses;
        let side = Self { name, inbound, outbound, plane, admin, process, folder };
        side.until("the admin endpoint answers", |side| TcpStream::connect(side.admin).ok());
        side
    }

    pub(crate) fn publish(&mut self, resources: &[Resource]) {
        self.plane.publish(resources);
    }

    /// Waits until something is so.
    pub(crate) fn until<T>(&self, what: &str, mut attempt: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(result) = attempt(self) {
                return result;
            }
            if start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.folder.path().join("envoy.log")).unwrap_or_default();
                let told = log.lines().filter(|line| line.contains("[warning]") || line.contains("[error]"));
                let told = told.collect::<Vec<_>>().join("\n");
                panic!("{}: {what}; rejected {:?}\n{told}", self.name, self.plane.seen().rejected);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn until_listening(&self, address: SocketAddr) {
        self.until(&format!("{address} is listened on"), |_| TcpStream::connect(address).ok());
    }

    /// A request to its outbound listener, on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n");
        Client::over(TcpStream::connect(self.outbound).unwrap()).ask(&request)
    }

    pub(crate) fn admin(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        Client::over(TcpStream::connect(self.admin).unwrap()).ask(&request).body
    }

    pub(crate) fn stat(&self, name: &str) -> i64 {
        let body = self.admin("/stats");
        let value = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn await_stat(&self, name: &str, value: i64) {
        self.until(&format!("{name} is {value} and not {}", self.stat(name)), |side| {
            (side.stat(name) == value).then_some(())
        });
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        match &mut self.process {
            Process::Envoy(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Process::Ours(thread) => {
                let request = "POST /quitquitquit HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                if let Ok(stream) = TcpStream::connect(self.admin) {
                    let mut client = Client::over(stream);
                    client.send(request);
                    let _ = client.stream.shutdown(std::net::Shutdown::Write);
                    if let Some(thread) = thread.take()
                        && !std::thread::panicking()
                    {
                        thread.join().expect("no panic").expect("a clean end");
                    }
                }
            }
        }
    }
}

//! A sidecar of the demo: our proxy or a real Envoy, as a child process on ports of its own.

use std::collections::VecDeque;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::mesh::{MESH, PORT};
use crate::command::proxy::END_WITH_PARENT;

/// The longest wait for a sidecar to serve.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// The longest wait for a sidecar to end by itself.
const STOP_PATIENCE: Duration = Duration::from_secs(8);
/// Where sidecars listen.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Lines of a sidecar's log that are shown when it fails.
const LOG_LINES_SHOWN: usize = 20;

/// Which program stands beside the applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// `selvedge proxy`
    Selvedge,
    /// An installed Envoy: SELVEDGE_ENVOY, PATH, or target/venv
    Envoy,
}

/// A program that serves as sidecar.
#[derive(Clone, Debug)]
pub(super) enum Program {
    Selvedge { executable: PathBuf },
    Envoy { executable: PathBuf, envoy: PathBuf },
}

/// Where one sidecar listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) ingress: u16,
    pub(super) egress: u16,
    pub(super) admin: u16,
}

/// A running sidecar. Dropped without [`stop`](Self::stop), it is killed.
#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) node: &'static str,
    pub(super) ports: Ports,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Finds what `kind` names.
    ///
    /// # Errors
    /// When no Envoy is installed.
    pub(super) fn find(kind: Kind) -> anyhow::Result<Self> {
        let executable = std::env::current_exe().context("the path of this program is unknown")?;
        Ok(match kind {
            Kind::Selvedge => Self::Selvedge { executable },
            Kind::Envoy => Self::Envoy { executable, envoy: find_envoy().context("no Envoy found: set SELVEDGE_ENVOY, put `envoy` on PATH, or run `cargo xtask test` once, which installs one under target/venv")? },
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Selvedge { .. } => "selvedge proxy",
            Self::Envoy { .. } => "Envoy",
        }
    }
}

impl Ports {
    /// As many sets as asked for, all different and all free a moment ago.
    ///
    /// They lie below the range from which the system picks ports for outgoing connections, so that none of those takes one
    /// before the sidecar does; where the search begins depends on the process, so that two demos do not race.
    ///
    /// # Errors
    /// When loopback has no ports left.
    pub(super) fn free(sets: usize) -> std::io::Result<Vec<Self>> {
        let span = PORTS.end - PORTS.start;
        let offset = u16::try_from(std::process::id().wrapping_mul(61) % u32::from(span)).unwrap_or(0);
        let candidates = (0..span).map(|index| PORTS.start + (offset + index) % span);
        // Held together until all are known, so that none is given out twice.
        let held: Vec<TcpListener> = candidates
            .filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
            .take(3 * sets)
            .collect();
        let ports = held.iter().map(|listener| Ok(listener.local_addr()?.port()));
        let ports = ports.collect::<std::io::Result<Vec<_>>>()?;
        if ports.len() < 3 * sets {
            return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "no free ports on loopback"));
        }
        Ok(ports.chunks_exact(3).map(|set| Self { ingress: set[0], egress: set[1], admin: set[2] }).collect())
    }
}

impl Sidecar {
    /// Starts the sidecar of `node`. `app` is where its application listens, if it has one.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(super) async fn start(
        program: &Program,
        node: &'static str,
        ports: Ports,
        app: Option<SocketAddr>,
        control: SocketAddr,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{node}.log"));
        let mut command = match program {
            Program::Selvedge { executable } => {
                let mut command = Command::new(executable);
                command.arg("proxy");
                command
            }
            Program::Envoy { executable, envoy } => {
                let bootstrap = folder.join(format!("{node}.envoy.yaml"));
                print_bootstrap(executable, &bootstrap, &environment(node, ports, app, control, folder))
                    .await?;
                let mut command = Command::new(envoy);
                command.arg("-c").arg(&bootstrap).args([
                    "--use-dynamic-base-id",
                    "--concurrency",
                    "1",
                    "--log-level",
                    "warning",
                ]);
                command
            }
        };
        let child = with_environment(&mut command, &environment(node, ports, app, control, folder))
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("the sidecar of {node} could not be started"))?;
        Ok(Self { node, ports, child, log })
    }

    /// Waits until the sidecar has its configuration and serves.
    ///
    /// # Errors
    /// When it ends, or does not get there in time; the text holds the end of its log.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        let admin = format!("http://127.0.0.1:{}", self.ports.admin).parse()?;
        let client =
            selvedge_client::Client::new(admin).with_timeouts(Duration::from_secs(1), Duration::from_secs(2));
        let waited = timeout(READY_PATIENCE, async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    anyhow::bail!("it ended with {status}");
                }
                // Envoy answers `LIVE` and we do: text, not JSON, so that only the status tells.
                if let Ok(_) | Err(selvedge_client::Error::NotJson { .. }) = client.get("/ready").await {
                    return Ok(());
                }
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        waited
            .unwrap_or_else(|_| {
                Err(anyhow::anyhow!("it was not ready within {} s", READY_PATIENCE.as_secs()))
            })
            .with_context(|| {
                format!(
                    "the sidecar of {} does not serve; its log ends with:\n{}",
                    self.node,
                    log_end(&self.log)
                )
            })
    }

    /// Ends the sidecar: asks first, insists later.
    pub(super) async fn stop(mut self) {
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // Fails only if it has ended already.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        if timeout(STOP_PATIENCE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// The environment that makes a sidecar of either kind stand beside its application without interception.
fn environment(
    node: &str,
    ports: Ports,
    app: Option<SocketAddr>,
    control: SocketAddr,
    folder: &Path,
) -> Vec<(String, String)> {
    let mut variables = vec![
        ("APPMESH_RESOURCE_ARN".to_owned(), format!("mesh/{MESH}/virtualNode/{node}")),
        ("APPMESH_XDS_ENDPOINT".to_owned(), control.to_string()),
        ("ENVOY_ADMIN_ACCESS_PORT".to_owned(), ports.admin.to_string()),
        ("SELVEDGE_INTERCEPTION".to_owned(), "none".to_owned()),
        (END_WITH_PARENT.to_owned(), "1".to_owned()),
        // The only caller is the demo itself, and it has stopped calling.
        ("SELVEDGE_DRAIN_ACCEPT_S".to_owned(), "0".to_owned()),
        ("SELVEDGE_BIND".to_owned(), "127.0.0.1".to_owned()),
        ("SELVEDGE_INGRESS_PORT".to_owned(), ports.ingress.to_string()),
        ("SELVEDGE_EGRESS_PORT".to_owned(), ports.egress.to_string()),
        ("SELVEDGE_STATE_DIR".to_owned(), folder.join(node).display().to_string()),
    ];
    if let Some(app) = app {
        variables.push(("SELVEDGE_APP_HOST".to_owned(), app.ip().to_string()));
        variables.push((format!("SELVEDGE_APP_PORT_{PORT}"), app.port().to_string()));
    }
    variables
}

/// Replaces whatever the caller's shell says to sidecars.
fn with_environment<'a>(command: &'a mut Command, variables: &[(String, String)]) -> &'a mut Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["APPMESH_", "ENVOY_", "SELVEDGE_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name.as_ref());
        }
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)))
}

async fn print_bootstrap(
    executable: &Path,
    file: &Path,
    variables: &[(String, String)],
) -> anyhow::Result<()> {
    let mut command = Command::new(executable);
    let output =
        with_environment(&mut command, variables).args(["proxy", "--print-envoy-bootstrap"]).output().await?;
    anyhow::ensure!(
        output.status.success(),
        "no bootstrap for Envoy: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::write(file, output.stdout)?;
    Ok(())
}

/// SELVEDGE_ENVOY, then PATH, then the one that the tests install.
fn find_envoy() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("SELVEDGE_ENVOY") {
        return Some(PathBuf::from(path));
    }
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    if let Some(found) = on_path.map(|folder| folder.join("envoy")).find(|file| file.is_file()) {
        return Some(found);
    }
    // Python's wrapper in bin/ forks; the program itself lies among the packages.
    let libraries = std::fs::read_dir("target/venv/lib").ok()?;
    let packages = libraries.flatten().map(|entry| entry.path().join("site-packages/envoy/_bin/envoy"));
    packages.into_iter().find(|file| file.is_file())
}

fn log_end(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut lines = VecDeque::with_capacity(LOG_LINES_SHOWN);
    for line in text.lines() {
        if lines.len() == LOG_LINES_SHOWN {
            lines.pop_front();
        }
        lines.push_back(line);
    }
    lines.into_iter().map(|line| format!("  | {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_different_and_free() {
        let sets = Ports::free(3).expect("loopback has ports");
        let mut ports: Vec<u16> = sets.iter().flat_map(|set| [set.ingress, set.egress, set.admin]).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 9);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }
}

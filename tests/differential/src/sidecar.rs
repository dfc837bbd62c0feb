//! A proxy of either plane, started for one resource of the mesh without interception.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::control::MESH;
use crate::{envoy, place, stats};

/// A proxy is ready by then unless it is broken; with thousands of clusters it takes its time.
const READY_MAX: Duration = Duration::from_secs(60);

/// Which proxy carries the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    Envoy,
    Ours,
}

/// A proxy that is ready. It ends when it is dropped.
#[derive(Debug)]
pub struct Sidecar {
    pub admin: SocketAddr,
    pub ingress: SocketAddr,
    pub egress: SocketAddr,
    process: Child,
}

/// What a proxy is told at its start.
#[derive(Debug)]
pub struct Start<'a> {
    /// `virtualNode/NAME` or `virtualGateway/NAME`.
    pub resource: &'a str,
    pub control: SocketAddr,
    /// The real port of the application by the declared one.
    pub app_ports: Vec<(String, u16)>,
    /// The zone that it says it stands in.
    pub zone: Option<String>,
    /// Where its log and its bootstrap go.
    pub folder: &'a Path,
    /// The stem of those files.
    pub name: &'a str,
    /// The UDP port of an X-Ray daemon that gets one request's span in a hundred; `None` traces nothing.
    pub traced_to: Option<u16>,
}

/// Where a proxy listens.
#[derive(Clone, Copy, Debug)]
struct Ports {
    admin: u16,
    ingress: u16,
    egress: u16,
}

// === impl Plane ===

impl Plane {
    pub const ALL: [Self; 2] = [Self::Envoy, Self::Ours];

    pub fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Ours => "ours",
        }
    }
}

// === impl Ports ===

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self { admin: place::free_port()?, ingress: place::free_port()?, egress: place::free_port()? })
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Starts a proxy and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready within a minute.
    pub async fn start(plane: Plane, start: &Start<'_>) -> Result<Self> {
        Self::start_at(plane, start, &Ports::free()?, &[]).await
    }

    /// Starts one as an argument of `runner`, a program and its arguments that watch another one; it has ten times as long
    /// to be ready.
    ///
    /// # Errors
    /// As [`Sidecar::start`].
    pub async fn start_under(runner: &[OsString], plane: Plane, start: &Start<'_>) -> Result<Self> {
        Self::start_at(plane, start, &Ports::free()?, runner).await
    }

    /// Starts one more proxy of ours that listens where this one does or did; only its admin endpoint differs.
    ///
    /// # Errors
    /// As [`Sidecar::start`].
    pub async fn start_successor(&self, start: &Start<'_>) -> Result<Self> {
        let ports =
            Ports { admin: place::free_port()?, ingress: self.ingress.port(), egress: self.egress.port() };
        Self::start_at(Plane::Ours, start, &ports, &[]).await
    }

    async fn start_at(plane: Plane, start: &Start<'_>, ports: &Ports, runner: &[OsString]) -> Result<Self> {
        let log = start.folder.join(format!("{}.log", start.name));
        let process = match plane {
            Plane::Envoy => start_envoy(start, ports, &log, runner)?,
            Plane::Ours => start_ours(start, ports, &log, runner)?,
        };
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut sidecar = Self {
            admin: local(ports.admin),
            ingress: local(ports.ingress),
            egress: local(ports.egress),
            process,
        };
        let patience = if runner.is_empty() { READY_MAX } else { 10 * READY_MAX };
        sidecar.wait_until_ready(patience).await.with_context(|| format!("see {}", log.display()))?;
        Ok(sidecar)
    }

    /// The process id; `None` once it ended.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Asks the proxy to end, as a supervisor does, and waits until it has.
    ///
    /// # Errors
    /// When it is gone already, or takes longer than `patience`.
    pub async fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        terminate(&mut self.process, patience).await
    }

    /// Fails when the proxy ended or refused a configuration.
    ///
    /// # Errors
    /// When it did.
    pub async fn check(&mut self) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            bail!("the proxy ended with {status}");
        }
        let stats = stats::read(self.admin).await?;
        let rejected: Vec<_> =
            stats.iter().filter(|(name, count)| name.ends_with(".update_rejected") && **count > 0).collect();
        ensure!(rejected.is_empty(), "the proxy refused a configuration: {rejected:?}");
        Ok(())
    }

    async fn wait_until_ready(&mut self, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if matches!(stats::get(self.admin, "/ready").await, Ok((200, _))) {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the proxy ended with {status} before it was ready");
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("the proxy is not ready after {patience:?}")
    }
}

/// Sends SIGTERM and waits for the end.
///
/// # Errors
/// When the process is gone already, or takes longer than `patience`.
pub async fn terminate(process: &mut Child, patience: Duration) -> Result<ExitStatus> {
    let id = process.id().context("the process ended by itself")?;
    nix::sys::signal::kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGTERM)?;
    let ended = timeout(patience, process.wait()).await;
    Ok(ended.with_context(|| format!("SIGTERM did not end the process within {patience:?}"))??)
}

fn start_envoy(start: &Start<'_>, ports: &Ports, log: &Path, runner: &[OsString]) -> Result<Child> {
    let path = start.folder.join(format!("{}.bootstrap.json", start.name));
    std::fs::write(&path, serde_json::to_vec_pretty(&bootstrap(start, ports))?)?;
    envoy::start_under(runner, &path, log)
}

/// A bootstrap as any Envoy would use it; only the node's metadata says that nothing is intercepted.
fn bootstrap(start: &Start<'_>, ports: &Ports) -> Value {
    let app_ports: Map<String, Value> =
        start.app_ports.iter().map(|(declared, real)| (declared.clone(), json!(real))).collect();
    let ads = json!({"resource_api_version": "V3", "ads": {}});
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let http2 = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}
        }
    });
    let mut bootstrap = json!({
        "node": {
            "id": format!("mesh/{MESH}/{}", start.resource),
            "cluster": format!("mesh/{MESH}/{}", start.resource),
            "metadata": {"selvedge": {
                "interception": "none",
                "bind": "127.0.0.1",
                "ingress_port": ports.ingress,
                "egress_port": ports.egress,
                "app_host": "127.0.0.1",
                "app_port": app_ports,
            }},
        },
        "admin": {"address": address(ports.admin)},
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "control"}}],
            },
        },
        "static_resources": {"clusters": [{
            "name": "control",
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": http2,
            "load_assignment": {
                "cluster_name": "control",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(start.control.port())}}]}],
            },
        }]},
    });
    if let Some(port) = start.traced_to {
        // As App Mesh's image had it: the connection managers say that they trace, the bootstrap says whom they tell.
        bootstrap["tracing"] = json!({"http": {"name": "envoy.tracers.xray", "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.XRayConfig",
            "daemon_endpoint": {"protocol": "UDP", "address": "127.0.0.1", "port_value": port},
            "segment_name": start.resource,
            "sampling_rule_manifest": {"inline_string": sampling_rules().to_string()},
        }}});
    }
    if let Some((zone, local)) = start.zone.as_ref().zip(start.resource.strip_prefix("virtualNode/")) {
        let local = format!("cds_local_{MESH}_{local}");
        let source = json!({"resource_api_version": "V3", "ads": {}, "initial_fetch_timeout": "1s"});
        bootstrap["node"]["locality"] = json!({"zone": zone});
        bootstrap["cluster_manager"] = json!({"local_cluster_name": local});
        if let Some(clusters) = bootstrap["static_resources"]["clusters"].as_array_mut() {
            clusters.push(json!({
                "name": local, "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {"eds_config": source},
            }));
        }
    }
    bootstrap
}

/// X-Ray's rules for one request in a hundred.
fn sampling_rules() -> Value {
    json!({"version": 2, "rules": [], "default": {"fixed_target": 0, "rate": 0.01}})
}

fn start_ours(start: &Start<'_>, ports: &Ports, log: &Path, runner: &[OsString]) -> Result<Child> {
    let output = std::fs::File::create(log)?;
    let mut words = runner.to_vec();
    words.push(place::selvedge()?.into());
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .arg("proxy")
        .env("APPMESH_RESOURCE_ARN", format!("mesh/{MESH}/{}", start.resource))
        .env("APPMESH_XDS_ENDPOINT", start.control.to_string())
        .env("ENVOY_ADMIN_ACCESS_PORT", ports.admin.to_string())
        .env("SELVEDGE_INTERCEPTION", "none")
        .env("SELVEDGE_BIND", "127.0.0.1")
        .env("SELVEDGE_INGRESS_PORT", ports.ingress.to_string())
        .env("SELVEDGE_EGRESS_PORT", ports.egress.to_string())
        .env("SELVEDGE_APP_HOST", "127.0.0.1")
        .env("ENVOY_CONCURRENCY", "1")
        .env("SELVEDGE_STATE_DIR", start.folder.join(format!("{}.state", start.name)));
    if let Some(port) = start.traced_to {
        let manifest = start.folder.join(format!("{}.sampling.json", start.name));
        std::fs::write(&manifest, sampling_rules().to_string())?;
        command
            .env("ENABLE_ENVOY_XRAY_TRACING", "1")
            .env("AWS_XRAY_DAEMON_ADDRESS", format!("127.0.0.1:{port}"))
            .env("XRAY_SAMPLING_RULE_MANIFEST", manifest);
    }
    if let Some(zone) = &start.zone {
        command.env("SELVEDGE_ZONE", zone).env_remove("SELVEDGE_REGION").env_remove("AWS_REGION");
    }
    for (declared, real) in &start.app_ports {
        command.env(format!("SELVEDGE_APP_PORT_{declared}"), real.to_string());
    }
    let command = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).kill_on_drop(true);
    command.spawn().context("failed to start selvedge proxy")
}

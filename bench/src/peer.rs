//! The proxies that are measured, each with one worker and an access log.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use selvedge_differential::control::Control;
use selvedge_differential::place;
use selvedge_differential::placeholder::Placeholders;
use selvedge_differential::sidecar::{Plane, Sidecar, Start};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::mesh;

/// A proxy that runs. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    name: &'static str,
    address: SocketAddr,
    process_id: u32,
    _running: Running,
}

/// What keeps it running.
#[derive(Debug)]
enum Running {
    /// With the control plane that feeds it.
    Mesh {
        _sidecar: Box<Sidecar>,
        _control: Control,
    },
    Plain {
        _process: Child,
    },
}

// === impl Peer ===

impl Peer {
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process_id
    }
}

/// Starts every peer that is `wanted`, one after the other, each before `upstream`.
///
/// # Errors
/// When one is not installed or does not start.
pub(crate) async fn start_all(
    folder: &Path,
    upstream: SocketAddr,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Peer>> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("failed to clear {}", folder.display()))?;
    }
    let mut peers = Vec::new();
    for (name, plane) in [("selvedge", Plane::Ours), ("envoy", Plane::Envoy)] {
        if wanted(name) {
            peers.push(sidecar(name, plane, &folder.join(name), upstream).await?);
        }
    }
    for (name, start) in
        [("haproxy", haproxy as fn(&Path, u16, SocketAddr) -> Result<Command>), ("nginx", nginx)]
    {
        if wanted(name) {
            peers.push(plain(name, start, &folder.join(name), upstream).await?);
        }
    }
    Ok(peers)
}

/// A sidecar with the full mesh from a control plane of its own.
async fn sidecar(name: &'static str, plane: Plane, folder: &Path, upstream: SocketAddr) -> Result<Peer> {
    std::fs::create_dir_all(folder)?;
    let control = Control::start(folder).await?;
    control.create(&mesh::mesh(upstream.port()), &Placeholders::default()).await?;
    let resource = format!("virtualNode/{}", mesh::CALLER);
    let start = Start { resource: &resource, control: control.address, app_ports: Vec::new(), folder, name };
    let sidecar = Sidecar::start(plane, &start).await?;
    let process_id = sidecar.id().context("the proxy ended")?;
    Ok(Peer {
        name,
        address: sidecar.egress,
        process_id,
        _running: Running::Mesh { _sidecar: Box::new(sidecar), _control: control },
    })
}

async fn plain(
    name: &'static str,
    start: fn(&Path, u16, SocketAddr) -> Result<Command>,
    folder: &Path,
    upstream: SocketAddr,
) -> Result<Peer> {
    std::fs::create_dir_all(folder)?;
    let port = place::free_port()?;
    let mut command = start(folder, port, upstream)?;
    let log = std::fs::File::create(folder.join("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    let mut process = command
        .spawn()
        .with_context(|| format!("failed to start {name}: run cargo xtask test --only setup"))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for _ in 0..250 {
        if TcpStream::connect(address).await.is_ok() {
            let process_id = process.id().with_context(|| format!("{name} ended"))?;
            return Ok(Peer { name, address, process_id, _running: Running::Plain { _process: process } });
        }
        if let Some(status) = process.try_wait()? {
            bail!("{name} ended with {status}: see {}", folder.join("log").display());
        }
        sleep(Duration::from_millis(20)).await;
    }
    bail!("{name} does not listen after five seconds")
}

/// HAProxy with near-default settings: one thread, keep-alive on both sides, its HTTP log.
fn haproxy(folder: &Path, port: u16, upstream: SocketAddr) -> Result<Command> {
    let text = format!(
        "global\n  nbthread 1\n  log stdout format raw local0\n\
         defaults\n  mode http\n  log global\n  option httplog\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
         backend b\n  http-reuse always\n  server s {upstream}\n"
    );
    let path = folder.join("haproxy.cfg");
    std::fs::write(&path, text)?;
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(path);
    Ok(command)
}

/// nginx in one process: keep-alive on both sides, its access log in a buffer as busy sites have it.
fn nginx(folder: &Path, port: u16, upstream: SocketAddr) -> Result<Command> {
    let folder_text = folder.display();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {folder_text}/pid;\nerror_log {folder_text}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log {folder_text}/access.log combined buffer=64k flush=1s;\n\
         client_body_temp_path {folder_text}/body;\n  proxy_temp_path {folder_text}/proxy;\n\
         fastcgi_temp_path {folder_text}/f;\n  uwsgi_temp_path {folder_text}/u;\n  scgi_temp_path {folder_text}/s;\n\
         keepalive_requests 1000000000;\n  client_body_buffer_size 64k;\n\
         upstream u {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{port}; location / {{\n\
         proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}\n}}\n"
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, text)?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-c").arg(path).arg("-p").arg(folder);
    Ok(command)
}

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
use crate::work::{Speaks, Upstream, Work};

/// A proxy that runs. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    name: &'static str,
    address: SocketAddr,
    /// Where it takes what goes on by HTTP/2; the same place if hosts tell.
    http2_address: SocketAddr,
    /// Where its statistics are, if it has Envoy's.
    pub(crate) admin: Option<SocketAddr>,
    process_id: u32,
    _running: Running,
}

/// What a proxy is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Tcp,
}

/// Where the upstreams listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstreams {
    pub(crate) http1: SocketAddr,
    pub(crate) http2: SocketAddr,
    pub(crate) tcp: SocketAddr,
}

/// Which proxies are started, for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) kind: Kind,
    pub(crate) upstreams: Upstreams,
    pub(crate) services: usize,
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

    /// Where `work` is sent.
    pub(crate) fn address(&self, work: &Work) -> SocketAddr {
        if work.upstream == Upstream::Http2 { self.http2_address } else { self.address }
    }

    /// Whether it can do `work`.
    pub(crate) fn can(&self, work: &Work) -> bool {
        self.name != "nginx" || (work.upstream == Upstream::Http1 && work.speaks == Speaks::Http1)
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process_id
    }
}

/// Starts every peer that is `wanted`, one after the other, each before the upstreams. nginx is left out where it cannot
/// do the work: by HTTP/2 to its upstream, and as Debian's light one has no streams.
///
/// # Errors
/// When one is not installed or does not start.
pub(crate) async fn start_all(setup: Setup<'_>, wanted: impl Fn(&str) -> bool) -> Result<Vec<Peer>> {
    let folder = setup.folder;
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("failed to clear {}", folder.display()))?;
    }
    let mut peers = Vec::new();
    for (name, plane) in [("selvedge", Plane::Ours), ("envoy", Plane::Envoy)] {
        if wanted(name) {
            peers.push(sidecar(name, plane, &folder.join(name), setup).await?);
        }
    }
    if wanted("haproxy") {
        peers.push(plain("haproxy", haproxy, &folder.join("haproxy"), setup).await?);
    }
    if wanted("nginx") && setup.kind == Kind::Http {
        peers.push(plain("nginx", nginx, &folder.join("nginx"), setup).await?);
    }
    Ok(peers)
}

/// A sidecar with the full mesh from a control plane of its own.
async fn sidecar(name: &'static str, plane: Plane, folder: &Path, setup: Setup<'_>) -> Result<Peer> {
    std::fs::create_dir_all(folder)?;
    let control = Control::start(folder).await?;
    let Upstreams { http1, http2, tcp } = setup.upstreams;
    let ports = mesh::Ports { http1: http1.port(), http2: http2.port(), tcp: tcp.port() };
    control.create(&mesh::mesh(setup.services, ports), &Placeholders::default()).await?;
    let caller = if setup.kind == Kind::Tcp { mesh::TCP_CALLER } else { mesh::CALLER };
    let resource = format!("virtualNode/{caller}");
    let start = Start { resource: &resource, control: control.address, app_ports: Vec::new(), folder, name };
    let sidecar = Sidecar::start(plane, &start).await?;
    let process_id = sidecar.id().context("the proxy ended")?;
    Ok(Peer {
        name,
        address: sidecar.egress,
        http2_address: sidecar.egress,
        admin: Some(sidecar.admin),
        process_id,
        _running: Running::Mesh { _sidecar: Box::new(sidecar), _control: control },
    })
}

/// Writes a configuration for two ports before the upstreams, and the command that takes it.
type Configure = fn(&Path, [u16; 2], Setup<'_>) -> Result<Command>;

async fn plain(name: &'static str, configure: Configure, folder: &Path, setup: Setup<'_>) -> Result<Peer> {
    std::fs::create_dir_all(folder)?;
    let ports = [place::free_port()?, place::free_port()?];
    let mut command = configure(folder, ports, setup)?;
    let log = std::fs::File::create(folder.join("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    let mut process = command
        .spawn()
        .with_context(|| format!("failed to start {name}: run cargo xtask test --only setup"))?;
    let [address, http2_address] = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    for _ in 0..250 {
        if TcpStream::connect(address).await.is_ok() {
            let process_id = process.id().with_context(|| format!("{name} ended"))?;
            let running = Running::Plain { _process: process };
            return Ok(Peer { name, address, http2_address, admin: None, process_id, _running: running });
        }
        if let Some(status) = process.try_wait()? {
            bail!("{name} ended with {status}: see {}", folder.join("log").display());
        }
        sleep(Duration::from_millis(20)).await;
    }
    bail!("{name} does not listen after five seconds")
}

/// HAProxy with near-default settings: one thread, keep-alive on both sides, its HTTP log.
fn haproxy(folder: &Path, [port, http2_port]: [u16; 2], setup: Setup<'_>) -> Result<Command> {
    let Upstreams { http1, http2, tcp } = setup.upstreams;
    let (mode, option, server) = match setup.kind {
        Kind::Http => ("http", "httplog", http1),
        Kind::Tcp => ("tcp", "tcplog", tcp),
    };
    let reuse = if setup.kind == Kind::Http { "  http-reuse always\n" } else { "" };
    let mut text = format!(
        "global\n  nbthread 1\n  log stdout format raw local0\n\
         defaults\n  mode {mode}\n  log global\n  option {option}\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
         backend b\n{reuse}  server s {server}\n"
    );
    if setup.kind == Kind::Http {
        text.push_str(&format!(
            "frontend f2\n  bind 127.0.0.1:{http2_port}\n  default_backend b2\n\
             backend b2\n  http-reuse always\n  server s {http2} proto h2\n"
        ));
    }
    let path = folder.join("haproxy.cfg");
    std::fs::write(&path, text)?;
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(path);
    Ok(command)
}

/// nginx in one process: keep-alive on both sides, its access log in a buffer as busy sites have it.
fn nginx(folder: &Path, [port, _]: [u16; 2], setup: Setup<'_>) -> Result<Command> {
    let upstream = setup.upstreams.http1;
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

//! The proxies that are measured, each with one worker and an access log.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use selvedge_differential::control::Control;
use selvedge_differential::placeholder::Placeholders;
use selvedge_differential::sidecar::{self, Plane, Sidecar, Start};
use selvedge_differential::{certificates, place};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::measure::{self, Memory};
use crate::mesh;
use crate::report;
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
    process_ids: Vec<u32>,
    running: Running,
}

/// The one that nothing is held to.
pub(crate) const NGINX: &str = "nginx";

/// What a proxy is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Tcp,
    Tls,
    MutualTls,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Http, Self::Tcp, Self::Tls, Self::MutualTls];

    /// What does `work`.
    pub(crate) fn of(work: &Work) -> Self {
        match work.upstream {
            Upstream::Http1 | Upstream::Http2 => Self::Http,
            Upstream::Tcp => Self::Tcp,
            Upstream::BehindTls => Self::Tls,
            Upstream::BehindMutualTls => Self::MutualTls,
        }
    }
}

/// Where the upstreams listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstreams {
    pub(crate) http1: SocketAddr,
    pub(crate) http2: SocketAddr,
    pub(crate) tcp: SocketAddr,
    /// Takes spans by UDP, as an X-Ray daemon does.
    pub(crate) traces: SocketAddr,
}

/// Which proxies are started, for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) kind: Kind,
    pub(crate) upstreams: Upstreams,
    pub(crate) services: usize,
    /// One request in a hundred is traced.
    pub(crate) traced: bool,
}

/// What keeps it running.
#[derive(Debug)]
enum Running {
    /// Nothing: the upstream itself.
    Direct,
    /// With the control plane that feeds it.
    Mesh {
        sidecars: Vec<Sidecar>,
        _control: Box<Control>,
    },
    Plain {
        processes: Vec<Child>,
    },
}

// === impl Peer ===

impl Peer {
    /// No proxy: what the upstreams themselves take.
    pub(crate) fn direct(upstreams: Upstreams) -> Self {
        Self {
            name: report::DIRECT,
            address: upstreams.http1,
            http2_address: upstreams.http2,
            admin: None,
            process_ids: Vec::new(),
            running: Running::Direct,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Where `work` is sent.
    pub(crate) fn address(&self, work: &Work) -> SocketAddr {
        if work.upstream == Upstream::Http2 { self.http2_address } else { self.address }
    }

    /// Whether it can do `work`.
    pub(crate) fn can(&self, work: &Work) -> bool {
        self.name != NGINX || (work.upstream == Upstream::Http1 && work.speaks == Speaks::Http1)
    }

    /// Of the process that clients talk to; `None` without a proxy.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.process_ids.first().copied()
    }

    /// What the process that clients talk to holds of the memory.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn memory(&self) -> Result<Memory> {
        self.process_id().map_or_else(|| Ok(Memory::default()), measure::memory)
    }

    /// Asks it to end and waits until it has, for whoever reads what it leaves behind.
    ///
    /// # Errors
    /// When it is gone already, or takes longer than `patience`.
    pub(crate) async fn terminate(mut self, patience: Duration) -> Result<()> {
        match &mut self.running {
            Running::Direct => {}
            Running::Mesh { sidecars, .. } => {
                for sidecar in sidecars {
                    sidecar.terminate(patience).await?;
                }
            }
            Running::Plain { processes } => {
                for process in processes {
                    sidecar::terminate(process, patience).await?;
                }
            }
        }
        Ok(())
    }

    /// Of all that do the work.
    pub(crate) fn process_ids(&self) -> &[u32] {
        &self.process_ids
    }
}

/// Starts every peer that is `wanted`, one after the other, each before the upstreams and on the core of the proxies. nginx is left out where it cannot
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
    for (name, plane) in [(report::OURS, Plane::Ours), (report::ENVOY, Plane::Envoy)] {
        if wanted(name) {
            peers.push(sidecar(name, plane, &folder.join(name), setup).await?);
        }
    }
    if wanted(report::HAPROXY) {
        peers.push(plain(report::HAPROXY, haproxy, &folder.join("haproxy"), setup).await?);
    }
    if wanted(NGINX) && setup.kind == Kind::Http {
        peers.push(plain(NGINX, nginx, &folder.join("nginx"), setup).await?);
    }
    for id in peers.iter().flat_map(Peer::process_ids) {
        measure::pin(*id, crate::CORES[0])?;
    }
    Ok(peers)
}

async fn sidecar(name: &'static str, plane: Plane, folder: &Path, setup: Setup<'_>) -> Result<Peer> {
    sidecar_under(&[], name, plane, folder, setup).await
}

/// A sidecar with the full mesh from a control plane of its own, as an argument of `runner` if there is one.
///
/// # Errors
/// When something does not start.
pub(crate) async fn sidecar_under(
    runner: &[OsString],
    name: &'static str,
    plane: Plane,
    folder: &Path,
    setup: Setup<'_>,
) -> Result<Peer> {
    std::fs::create_dir_all(folder)?;
    let control = Control::start(folder).await?;
    let Upstreams { http1, http2, tcp, .. } = setup.upstreams;
    let ports = mesh::Ports { http1: http1.port(), http2: http2.port(), tcp: tcp.port() };
    let mut mesh = mesh::mesh(setup.services, ports);
    let mut placeholders = Placeholders::default();
    if matches!(setup.kind, Kind::Tls | Kind::MutualTls) {
        let certs = folder.join("certs");
        certificates::write(&mesh::authorities(), &certs)?;
        placeholders.set_certs(&certs);
        mesh::add_tls(&mut mesh, setup.kind == Kind::MutualTls);
    }
    control.create(&mesh, &placeholders).await?;
    // Whoever is called stands before who calls it; clients talk to the last.
    let nodes: &[&str] = match setup.kind {
        Kind::Http => &[mesh::CALLER],
        Kind::Tcp => &[mesh::TCP_CALLER],
        Kind::Tls => &[mesh::TLS_SERVER],
        Kind::MutualTls => &[mesh::TLS_SERVER, mesh::TLS_CALLER],
    };
    let mut sidecars = Vec::new();
    for node in nodes {
        let resource = format!("virtualNode/{node}");
        let app_ports = match *node == mesh::TLS_SERVER {
            true => vec![(mesh::TLS_PORT.to_string(), http1.port())],
            false => Vec::new(),
        };
        let start = Start {
            resource: &resource,
            control: control.address,
            app_ports,
            zone: None,
            folder,
            name: node,
            traced_to: setup.traced.then(|| setup.upstreams.traces.port()),
        };
        let started = Sidecar::start_under(runner, plane, &start).await;
        sidecars.push(started.with_context(|| format!("{name} as {node}"))?);
    }
    let first = sidecars.last().context("one was started")?;
    let address = if setup.kind == Kind::Tls { first.ingress } else { first.egress };
    let admin = Some(first.admin);
    let ids = sidecars.iter().rev().map(|sidecar| sidecar.id().context("the proxy ended"));
    let process_ids = ids.collect::<Result<_>>()?;
    let running = Running::Mesh { sidecars, _control: Box::new(control) };
    Ok(Peer { name, address, http2_address: address, admin, process_ids, running })
}

/// Writes a configuration for two ports before the upstreams, and the commands that take it: who is called before who calls it,
/// clients talk to the last.
type Configure = fn(&Path, [u16; 2], Setup<'_>) -> Result<Vec<Command>>;

/// HAProxy as an argument of `runner`, a program and its arguments that watch another one.
///
/// # Errors
/// As [`start_all`].
pub(crate) async fn haproxy_under(runner: &[OsString], folder: &Path, setup: Setup<'_>) -> Result<Peer> {
    plain_under(runner, report::HAPROXY, haproxy, folder, setup).await
}

async fn plain(name: &'static str, configure: Configure, folder: &Path, setup: Setup<'_>) -> Result<Peer> {
    plain_under(&[], name, configure, folder, setup).await
}

async fn plain_under(
    runner: &[OsString],
    name: &'static str,
    configure: Configure,
    folder: &Path,
    setup: Setup<'_>,
) -> Result<Peer> {
    std::fs::create_dir_all(folder)?;
    let ports = [place::free_port()?, place::free_port()?];
    let mut commands = configure(folder, ports, setup)?;
    if let ([program, arguments @ ..], Some(command)) = (runner, commands.last_mut()) {
        let mut watched = Command::new(program);
        watched.args(arguments).arg(command.as_std().get_program()).args(command.as_std().get_args());
        *command = watched;
    }
    let mut processes = Vec::new();
    for (number, mut command) in commands.into_iter().enumerate() {
        let log = std::fs::File::create(folder.join(format!("log.{number}")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let process = command.spawn();
        processes.push(
            process.with_context(|| format!("failed to start {name}: run cargo xtask test --only setup"))?,
        );
    }
    let [address, http2_address] = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    for _ in 0..3000 {
        if TcpStream::connect(address).await.is_ok() {
            let ids =
                processes.iter().rev().map(|process| process.id().with_context(|| format!("{name} ended")));
            let process_ids = ids.collect::<Result<_>>()?;
            let running = Running::Plain { processes };
            return Ok(Peer { name, address, http2_address, admin: None, process_ids, running });
        }
        for (number, process) in processes.iter_mut().enumerate() {
            if let Some(status) = process.try_wait()? {
                bail!("{name} ended with {status}: see {}", folder.join(format!("log.{number}")).display());
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    bail!("{name} does not listen after a minute")
}

/// HAProxy with near-default settings: one thread, keep-alive on both sides, its HTTP log. Where two sidecars are measured it is
/// two processes, as they are and as Envoys are: one that handed requests to itself would be spared the switches between them.
fn haproxy(folder: &Path, [port, http2_port]: [u16; 2], setup: Setup<'_>) -> Result<Vec<Command>> {
    let Upstreams { http1, http2, tcp, .. } = setup.upstreams;
    let (mode, option, server) = match setup.kind {
        Kind::Tcp => ("tcp", "tcplog", tcp),
        Kind::Http | Kind::Tls | Kind::MutualTls => ("http", "httplog", http1),
    };
    let reuse = if setup.kind == Kind::Tcp { "" } else { "  http-reuse always\n" };
    let (mut bind, mut server) = (format!("127.0.0.1:{port}"), server.to_string());
    let mut called = None;
    if matches!(setup.kind, Kind::Tls | Kind::MutualTls) {
        let certs = folder.join("certs");
        certificates::write(&mesh::authorities(), &certs)?;
        for name in ["server", "caller"] {
            // Chain and key in one file, as HAProxy wants them.
            let read = |ending: &str| std::fs::read_to_string(certs.join(format!("mesh.{name}.{ending}")));
            std::fs::write(certs.join(format!("{name}.pem")), read("pem")? + &read("key")?)?;
        }
        let certs = certs.display();
        let encrypted = format!("ssl crt {certs}/server.pem");
        if setup.kind == Kind::Tls {
            bind = format!("{bind} {encrypted}");
        } else {
            let verifying =
                format!("127.0.0.1:{http2_port} {encrypted} ca-file {certs}/mesh.pem verify required");
            called = Some((verifying, server));
            server = format!(
                "127.0.0.1:{http2_port} ssl crt {certs}/caller.pem ca-file {certs}/mesh.pem verify required \
                 verifyhost server.mesh.local"
            );
        }
    }
    let configured = |bind: &str, server: &str| {
        format!(
            "global\n  nbthread 1\n  log stdout format raw local0\n\
             defaults\n  mode {mode}\n  log global\n  option {option}\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             frontend f\n  bind {bind}\n  default_backend b\n\
             backend b\n{reuse}  server s {server}\n"
        )
    };
    let mut text = configured(&bind, &server);
    if setup.kind == Kind::Http {
        text.push_str(&format!(
            "frontend f2\n  bind 127.0.0.1:{http2_port}\n  default_backend b2\n\
             backend b2\n  http-reuse always\n  server s {http2} proto h2\n"
        ));
    }
    let called = called.map(|(bind, server)| configured(&bind, &server));
    let files = called.into_iter().map(|text| ("called.cfg", text)).chain([("haproxy.cfg", text)]);
    files
        .map(|(name, text)| {
            let path = folder.join(name);
            std::fs::write(&path, text)?;
            let mut command = Command::new("/usr/sbin/haproxy");
            command.arg("-db").arg("-f").arg(path);
            Ok(command)
        })
        .collect()
}

/// nginx in one process: keep-alive on both sides, its access log in a buffer as busy sites have it.
fn nginx(folder: &Path, [port, _]: [u16; 2], setup: Setup<'_>) -> Result<Vec<Command>> {
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
    Ok(vec![command])
}

//! The servers, each with the same files, certificate and upstream, on three ports.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use selvedge_differential::{certificates, place};

use super::{pin, program};
use crate::mesh;
use crate::peer::Upstreams;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Plain,
    Tls,
    Proxy,
}

/// A server that runs; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    ports: [u16; 3],
    process: Child,
}

const NAMES: [&str; 4] = ["selvedge", "lighttpd", "nginx", "caddy"];
const PATIENCE: Duration = Duration::from_secs(20);

/// Those that are wanted and there.
pub(super) fn installed(wanted: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut names = Vec::new();
    for name in NAMES.into_iter().filter(|name| wanted(name)) {
        match name == "selvedge" || program(name).is_some() {
            true => names.push(name),
            false => println!(
                "{name} is not installed: it is left out (cargo xtask test --only setup, or apt-get install {name})"
            ),
        }
    }
    names
}

/// The files that are served, and the certificate.
pub(super) fn lay_out(folder: &Path) -> Result<()> {
    let root = folder.join("www");
    std::fs::create_dir_all(&root).with_context(|| format!("failed to make {}", root.display()))?;
    for (name, len) in [("1k.txt", 1024), ("100k.txt", 100 * 1024), ("10m.txt", 10 * 1024 * 1024)] {
        std::fs::write(root.join(name), vec![b'x'; len])?;
    }
    let certs = folder.join("certs");
    certificates::write(&mesh::authorities(), &certs)?;
    let read = |ending: &str| std::fs::read_to_string(certs.join(format!("mesh.server.{ending}")));
    std::fs::write(folder.join("server.pem"), read("pem")? + &read("key")?)?;
    Ok(())
}

impl Peer {
    /// Starts one, and waits until it listens.
    pub(super) async fn start(name: &'static str, folder: &Path, upstreams: Upstreams) -> Result<Self> {
        let mut peer = Self::spawn(name, folder, upstreams, &[])?;
        peer.listens().await?;
        pin(peer.process_id())?;
        Ok(peer)
    }

    /// The same, under callgrind, which writes to `out`.
    pub(super) async fn counted(
        name: &'static str,
        folder: &Path,
        upstreams: Upstreams,
        out: &Path,
    ) -> Result<Self> {
        Self::start_under(&callgrind(out), name, folder, upstreams).await
    }

    /// The same as an argument of `runner`, a program and its arguments that watch another one.
    pub(super) async fn start_under(
        runner: &[OsString],
        name: &'static str,
        folder: &Path,
        upstreams: Upstreams,
    ) -> Result<Self> {
        let mut peer = Self::spawn(name, folder, upstreams, runner)?;
        peer.listens().await?;
        Ok(peer)
    }

    /// Starts one and waits for nothing.
    pub(super) fn spawn(
        name: &'static str,
        folder: &Path,
        upstreams: Upstreams,
        runner: &[OsString],
    ) -> Result<Self> {
        let ports = [place::free_port()?, place::free_port()?, place::free_port()?];
        let own = folder.join(name);
        std::fs::create_dir_all(&own)?;
        let words = match name {
            "selvedge" => lighttpd(folder, &own, ports, upstreams, true)?,
            "lighttpd" => lighttpd(folder, &own, ports, upstreams, false)?,
            "nginx" => nginx(folder, &own, ports, upstreams)?,
            _ => caddy(folder, &own, ports, upstreams)?,
        };
        let words: Vec<OsString> = runner.iter().cloned().chain(words).collect();
        Self::of_words(name, &own, ports, &words)
    }

    /// A program and its arguments, with a folder of its own.
    pub(super) fn of_words(
        name: &'static str,
        own: &Path,
        ports: [u16; 3],
        words: &[OsString],
    ) -> Result<Self> {
        let log = std::fs::File::create(own.join("log"))?;
        let process = Command::new(&words[0])
            .args(&words[1..])
            .env("GOMAXPROCS", "1")
            .env("XDG_DATA_HOME", own)
            .env("XDG_CONFIG_HOME", own)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        Ok(Self { name, ports, process })
    }

    async fn listens(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for port in [Port::Plain, Port::Tls, Port::Proxy] {
            while tokio::net::TcpStream::connect(self.address(port)).await.is_err() {
                if let Some(status) = self.process.try_wait()? {
                    bail!("{} ended with {status}: see its log under target/bench/edge", self.name);
                }
                ensure!(Instant::now() < until, "{} does not listen", self.name);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    pub(super) fn address(&self, port: Port) -> SocketAddr {
        let port = match port {
            Port::Plain => self.ports[0],
            Port::Tls => self.ports[1],
            Port::Proxy => self.ports[2],
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal, as an operator would.
    pub(super) fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill").args(["-s", signal, &self.process_id().to_string()]).status()?;
        ensure!(status.success(), "{} cannot be sent {signal}", self.name);
        Ok(())
    }

    /// Tells it to leave and waits until it has.
    pub(super) async fn terminate(mut self) -> Result<()> {
        self.signal("TERM")?;
        let until = Instant::now() + PATIENCE;
        while self.process.try_wait()?.is_none() {
            ensure!(Instant::now() < until, "{} does not leave", self.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What counts a program's instructions, and writes those of each thread to `out` with its number behind.
pub(super) fn callgrind(out: &Path) -> [OsString; 5] {
    let mut file = OsString::from("--callgrind-out-file=");
    file.push(out);
    ["valgrind".into(), "--quiet".into(), "--tool=callgrind".into(), "--separate-threads=yes".into(), file]
}

/// One file for two: lighttpd, and ours, which reads it as it is. Ours is told to have one worker, as the others have.
fn lighttpd(
    folder: &Path,
    own: &Path,
    [plain, tls, proxy]: [u16; 3],
    upstreams: Upstreams,
    ours: bool,
) -> Result<Vec<OsString>> {
    let upstream = upstreams.http1;
    let folder = folder.display();
    let worker = if ours { "server.max-worker = 1\n" } else { "" };
    let text = format!(
        "server.modules = ( \"mod_openssl\", \"mod_proxy\" )\nserver.document-root = \"{folder}/www\"\n\
         server.bind = \"127.0.0.1\"\nserver.port = {plain}\nserver.max-fds = 8192\nserver.max-connections = 4096\n\
         server.max-keep-alive-requests = 65535\nserver.max-keep-alive-idle = 60\n\
         mimetype.assign = ( \".txt\" => \"text/plain\" )\n{worker}\
         $SERVER[\"socket\"] == \"127.0.0.1:{tls}\" {{ ssl.engine = \"enable\"\n  ssl.pemfile = \"{folder}/server.pem\" }}\n\
         $SERVER[\"socket\"] == \"127.0.0.1:{proxy}\" {{\n\
         proxy.server = ( \"\" => (( \"host\" => \"{}\", \"port\" => {} )) ) }}\n",
        upstream.ip(),
        upstream.port(),
    );
    let path = own.join("lighttpd.conf");
    std::fs::write(&path, text)?;
    let (binary, more): (PathBuf, &[&str]) = match ours {
        true => (place::selvedge()?, &["edge"]),
        false => (program("lighttpd").context("lighttpd is not installed")?, &[]),
    };
    let mut words = vec![OsString::from(binary)];
    words.extend(more.iter().map(OsString::from));
    words.extend(["-D".into(), "-f".into(), path.into()]);
    Ok(words)
}

fn nginx(
    folder: &Path,
    own: &Path,
    [plain, tls, proxy]: [u16; 3],
    upstreams: Upstreams,
) -> Result<Vec<OsString>> {
    let (folder, own_text, upstream) = (folder.display(), own.display(), upstreams.http1);
    let text = format!(
        "daemon off;\nmaster_process off;\npid {own_text}/pid;\nerror_log {own_text}/error.log;\n\
         events {{ worker_connections 8192; }}\nworker_rlimit_nofile 10000;\n\
         http {{ access_log off; sendfile on; tcp_nopush on;\n  types {{ text/plain txt; }}\n\
         client_body_temp_path {own_text}/body; proxy_temp_path {own_text}/proxy; fastcgi_temp_path {own_text}/f;\n\
         uwsgi_temp_path {own_text}/u; scgi_temp_path {own_text}/s;\n\
         keepalive_requests 1000000000; root {folder}/www;\n\
         ssl_certificate {folder}/certs/mesh.server.pem; ssl_certificate_key {folder}/certs/mesh.server.key;\n\
         ssl_protocols TLSv1.2 TLSv1.3;\n\
         upstream u {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{plain}; }}\n\
         server {{ listen 127.0.0.1:{tls} ssl http2; }}\n\
         server {{ listen 127.0.0.1:{proxy}; location / {{ proxy_pass http://u; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}\n}}\n"
    );
    let path = own.join("nginx.conf");
    std::fs::write(&path, text)?;
    let binary = program("nginx").context("nginx is not installed")?;
    Ok(vec![binary.into(), "-c".into(), path.into(), "-p".into(), own.into()])
}

fn caddy(
    folder: &Path,
    own: &Path,
    [plain, tls, proxy]: [u16; 3],
    upstreams: Upstreams,
) -> Result<Vec<OsString>> {
    let (folder, upstream) = (folder.display(), upstreams.http1);
    let text = format!(
        "{{\n  admin off\n  auto_https off\n  default_sni server.mesh.local\n}}\n\
         http://:{plain} {{\n  bind 127.0.0.1\n  root * {folder}/www\n  file_server\n}}\n\
         https://:{tls} {{\n  bind 127.0.0.1\n  tls {folder}/certs/mesh.server.pem {folder}/certs/mesh.server.key\n  \
         root * {folder}/www\n  file_server\n}}\n\
         http://:{proxy} {{\n  bind 127.0.0.1\n  reverse_proxy {upstream}\n}}\n"
    );
    let path = own.join("Caddyfile");
    std::fs::write(&path, text)?;
    let binary = program("caddy").context("caddy is not installed")?;
    Ok(vec![
        binary.into(),
        "run".into(),
        "--config".into(),
        path.into(),
        "--adapter".into(),
        "caddyfile".into(),
    ])
}

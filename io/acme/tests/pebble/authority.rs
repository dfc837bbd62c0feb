//! Pebble with a DNS server beside it that leads every name here, and the two ways to answer it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use selvedge_acme::Proofs;

/// The authority, until it is dropped.
pub(crate) struct Authority {
    pub(crate) directory: String,
    pub(crate) port: u16,
    pub(crate) folder: PathBuf,
    /// Who vouches for its own certificate.
    pub(crate) root: PathBuf,
    /// Where it looks for HTTP-01 and for TLS-ALPN-01.
    pub(crate) http_port: u16,
    pub(crate) tls_port: u16,
    children: Vec<Child>,
}

impl Authority {
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(folder, &serde_json::json!({}))
    }

    /// One that knows one account already, by this identifier and this key, and opens accounts for nobody else.
    pub(crate) fn start_bound(folder: &Path, id: &str, key: &[u8]) -> Self {
        let keys = serde_json::json!({ id: URL_SAFE_NO_PAD.encode(key) });
        let more =
            serde_json::json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": keys });
        Self::start_with(folder, &more)
    }

    fn start_with(folder: &Path, more: &serde_json::Value) -> Self {
        let [listen, management, http_port, tls_port, dns, dns_management] = free_ports();
        let root = certificates(folder);
        let path = |name: &str| folder.join(name).display().to_string();
        let mut config = serde_json::json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{listen}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": path("server.pem"),
            "privateKey": path("server.key"),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        for (name, value) in more.as_object().into_iter().flatten() {
            config["pebble"][name] = value.clone();
        }
        fs::write(folder.join("pebble.json"), config.to_string()).expect("a file");
        let dns_address = format!("127.0.0.1:{dns}");
        let names = Command::new("pebble-challtestsrv")
            .args(["-dns01", &dns_address, "-management", &format!("127.0.0.1:{dns_management}")])
            .args([
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-defaultIPv4",
                "127.0.0.1",
                "-defaultIPv6",
                "",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble-challtestsrv, of Debian's package pebble");
        let mut pebble = Command::new("pebble")
            .args(["-strict", "-dnsserver", &dns_address, "-config", &path("pebble.json")])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble, of Debian's package pebble");
        let output = pebble.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let is_ready = |line: &std::io::Result<String>| {
            line.as_ref().is_ok_and(|line| line.contains("directory available"))
        };
        assert!(lines.by_ref().any(|line| is_ready(&line)), "pebble did not start");
        // Its output is read until its end, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let authority = Self {
            directory: format!("https://127.0.0.1:{listen}/dir"),
            port: listen,
            folder: folder.to_owned(),
            root,
            http_port,
            tls_port,
            children: vec![pebble, names],
        };
        for port in [listen, dns_management] {
            await_port(port);
        }
        authority
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// It says that it is there a moment before it listens.
fn await_port(port: u16) {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(5));
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

/// An authority for the authority's own front door.
fn certificates(folder: &Path) -> PathBuf {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).expect("a certificate");
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().expect("a key");
    let server =
        CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("parameters");
    let server = server.signed_by(&server_key, &issuer).expect("a certificate");
    fs::write(folder.join("server.pem"), server.pem()).expect("a file");
    fs::write(folder.join("server.key"), server_key.serialize_pem()).expect("a file");
    let path = folder.join("root.pem");
    fs::write(&path, root.pem()).expect("a file");
    path
}

/// Answers the authority's questions until it is dropped.
pub(crate) struct Responder {
    port: u16,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    pub(crate) fn http(port: u16, proofs: Proofs) -> Self {
        Self::run(port, move |mut socket| {
            let mut line = String::new();
            let mut reader = BufReader::new(socket.try_clone().expect("a socket"));
            let _ = reader.read_line(&mut line);
            let path = line.split(' ').nth(1).unwrap_or_default();
            let token = path.strip_prefix(Proofs::HTTP_PATH).unwrap_or_default();
            let text = wait(proofs.text(token)).expect("the store is there").unwrap_or_default();
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", text.len());
            let _ = socket.write_all((head + &text).as_bytes());
        })
    }

    pub(crate) fn tls(port: u16, proofs: Proofs) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(proofs)));
        config.alpn_protocols = vec![Proofs::ALPN.to_vec()];
        let config = Arc::new(config);
        Self::run(port, move |mut socket| {
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).expect("a session");
            let _ = session.complete_io(&mut socket);
            let _ = socket.read(&mut [0; 64]);
        })
    }

    fn run(port: u16, serve: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let ends = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let ends = Arc::clone(&ends);
            move || {
                for socket in listener.incoming().flatten() {
                    if ends.load(Ordering::Relaxed) {
                        return;
                    }
                    let _ = socket.set_read_timeout(Some(Duration::from_secs(5)));
                    serve(socket);
                }
            }
        });
        Self { port, ends, thread: Some(thread) }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Resolver(Proofs);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        assert!(
            hello.alpn()?.any(|protocol| protocol == Proofs::ALPN),
            "the authority asks for its protocol"
        );
        let (certificate, key) =
            wait(self.0.certificate(hello.server_name()?)).expect("the store is there")?;
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("a key");
        Some(Arc::new(CertifiedKey::new(vec![certificate], key)))
    }
}

/// What a thread without a runtime waits for.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

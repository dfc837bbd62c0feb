//! What stands before the authority, and says no in its place when it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::authority::Authority;

/// An answer in the authority's place: status, `Retry-After`, body.
pub(crate) type Answer = (u16, Option<String>, String);

/// Says what is answered to a path with a payload, or changes what the authority answered.
pub(crate) type Script = Box<dyn FnMut(&str, &Value) -> Option<Answer> + Send>;

/// Passes requests on, unless its script says otherwise; what came is remembered.
pub(crate) struct Gateway {
    pub(crate) directory: String,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    script: Arc<Mutex<Option<Script>>>,
}

/// `{"type": "urn:ietf:params:acme:error:…", …}`.
pub(crate) fn refusal(status: u16, kind: &str, retry_after: Option<&str>) -> Option<Answer> {
    let body = format!(
        r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"a test says so","status":{status}}}"#
    );
    Some((status, retry_after.map(str::to_owned), body))
}

impl Gateway {
    pub(crate) fn before(authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (server, client) = (server(authority), client(authority));
        let behind = authority.port;
        let seen: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let script: Arc<Mutex<Option<Script>>> = Arc::default();
        let (noted, asked) = (Arc::clone(&seen), Arc::clone(&script));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let session = ServerConnection::new(Arc::clone(&server)).expect("a session");
                let mut stream = StreamOwned::new(session, socket);
                let Some((head, path, body)) = read(&mut stream) else { continue };
                let payload = payload(&body);
                noted.lock().expect("a lock").push((path.clone(), payload.clone()));
                let said = asked.lock().expect("a lock").as_mut().and_then(|script| script(&path, &payload));
                let answer = match said {
                    Some((status, retry_after, text)) => spoken(status, retry_after.as_deref(), &text),
                    None => pass_on(&client, behind, &head, &body),
                };
                let _ = stream.write_all(&answer);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self { directory: format!("https://127.0.0.1:{port}/dir"), seen, script }
    }

    /// From now on the script decides.
    pub(crate) fn say(&self, script: impl FnMut(&str, &Value) -> Option<Answer> + Send + 'static) {
        *self.script.lock().expect("a lock") = Some(Box::new(script));
    }

    /// Whatever comes is passed on.
    pub(crate) fn be_quiet(&self) {
        *self.script.lock().expect("a lock") = None;
    }

    /// What came since this was asked last.
    pub(crate) fn take_seen(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.seen.lock().expect("a lock"))
    }
}

/// The head as it came, its path, and the body.
fn read(stream: &mut impl Read) -> Option<(String, String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let path = head.split(' ').nth(1)?.to_owned();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((head, path, body))
}

/// What was signed.
fn payload(body: &[u8]) -> Value {
    let signed: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = signed["payload"].as_str().unwrap_or_default();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap_or_default()).unwrap_or_default()
}

fn spoken(status: u16, retry_after: Option<&str>, text: &str) -> Vec<u8> {
    let wait = retry_after.map_or_else(String::new, |wait| format!("Retry-After: {wait}\r\n"));
    format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\n{wait}Replay-Nonce: none\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

/// The authority's own answer, to its last byte.
fn pass_on(client: &Arc<ClientConfig>, port: u16, head: &str, body: &[u8]) -> Vec<u8> {
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let session = ClientConnection::new(Arc::clone(client), name).expect("a session");
    let socket = TcpStream::connect(("127.0.0.1", port)).expect("the authority is there");
    let mut stream = StreamOwned::new(session, socket);
    let kept =
        head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:") && !line.is_empty());
    let head: String = kept.map(|line| format!("{line}\r\n")).collect();
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).expect("a request");
    stream.write_all(body).expect("a body");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn server(authority: &Authority) -> Arc<ServerConfig> {
    let file = |name: &str| authority.folder.join(name);
    let chain = CertificateDer::pem_file_iter(file("server.pem")).expect("a file");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("a chain");
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.expect("a certificate"))
}

fn client(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.root).expect("a root")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

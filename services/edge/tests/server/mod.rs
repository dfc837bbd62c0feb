//! Servers for tests: the edge on a thread of the test's own process, and the real lighttpd beside it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use selvedge_edge::{Options, run};
use selvedge_site::lighttpd::{Alone, Level, Options as Reading, compile, parse};
use selvedge_site::{Compat, Program, edge_toml};

/// Debian's lighttpd.
pub(crate) const LIGHTTPD: &str = "/usr/sbin/lighttpd";
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn compiled(text: &str) -> Result<Program, String> {
    let options = Reading { compat: Compat::V1_4_69, allow_shell: false };
    let document = match parse("test.conf", &mut Alone(text.to_owned()), options) {
        Ok(document) => document,
        Err((found, sources)) => return Err(found.iter().map(|one| one.shown(&sources)).collect()),
    };
    let compiled = compile(&document, Compat::V1_4_69, Level::Modules);
    let report = || compiled.diagnostics.iter().map(|one| one.shown(&document.sources)).collect();
    compiled.program.ok_or_else(report)
}

/// A port that nobody listens on, below those that the kernel gives to whoever connects somewhere: it is not taken between
/// here and the moment when somebody listens on it.
pub(crate) fn free_port() -> u16 {
    let began = std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos();
    let mut candidates =
        (0..).map(|turn: u32| 12_000 + (began.wrapping_add(turn.wrapping_mul(7919)) % 20_000) as u16);
    candidates.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a port")
}

/// A configuration on a port of loopback.
pub(crate) fn on_port(port: u16, text: &str) -> String {
    format!("server.bind = \"127.0.0.1\"\nserver.port = {port}\nserver.tag = \"test\"\n{text}")
}

/// Starts the edge; it ends with the test's process.
pub(crate) fn edge(text: &str) -> SocketAddr {
    let port = free_port();
    serve(port, compiled(&on_port(port, text)).unwrap_or_else(|problem| panic!("{problem}")))
}

/// The same of a configuration in our own form, which says nothing of where to listen.
pub(crate) fn edge_in_form(text: &str) -> SocketAddr {
    let port = free_port();
    let text = format!("[[listen]]\naddress = \"127.0.0.1:{port}\"\n{text}");
    let document = edge_toml::parse("edge.toml", &text).unwrap_or_else(|(found, _)| panic!("{found:?}"));
    serve(port, edge_toml::compile(&document).unwrap_or_else(|found| panic!("{found:?}")).0)
}

fn serve(port: u16, program: Program) -> SocketAddr {
    std::thread::spawn(move || {
        let options = Options { workers: Some(1), ..Options::default() };
        run(program, options).unwrap_or_else(|error| panic!("{error:?}"));
    });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    await_server(address);
    address
}

pub(crate) fn await_server(address: SocketAddr) {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until, "nobody listens on {address}");
        std::thread::yield_now();
    }
}

/// The real lighttpd; ended when dropped.
pub(crate) struct Lighttpd {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Lighttpd {
    pub(crate) fn start(folder: &Path, text: &str) -> Self {
        let port = free_port();
        let file = folder.join(format!("lighttpd-{port}.conf"));
        std::fs::write(&file, on_port(port, text)).unwrap();
        let child = Command::new(LIGHTTPD)
            .arg("-D")
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        await_server(address);
        Self { address, child }
    }
}

impl Drop for Lighttpd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends bytes, closes its half, reads what comes until the end.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    exchange_over(TcpStream::connect(address).unwrap(), bytes)
}

/// The same over a connection that there is.
pub(crate) fn exchange_over(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server may have answered and closed before the end of what it refuses.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// An answer taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: String,
    /// In lower case, sorted.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn code(&self) -> u16 {
        self.status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }
}

/// The first answer in what a server sent.
pub(crate) fn answer(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default().to_owned();
    let mut headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    headers.sort();
    Answer { status, headers, body: body.to_owned() }
}

pub(crate) fn get(address: SocketAddr, request: &str) -> Answer {
    answer(&exchange(address, request.as_bytes()))
}

/// A service that answers every request with `say` of its head, and tells what it was asked.
pub(crate) fn service(say: impl Fn(&str) -> String + Send + Sync + 'static) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    let say = std::sync::Arc::new(say);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (tell, say) = (tell.clone(), std::sync::Arc::clone(&say));
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                while let Some(head) = request_head(&mut reader) {
                    let _ = tell.send(head.clone());
                    let Ok(()) = (&stream).write_all(say(&head).as_bytes()) else { return };
                }
            });
        }
    });
    (port, told)
}

/// The head of the next request, whose body is read too, if its length is said.
fn request_head(reader: &mut BufReader<&TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut body =
        vec![0; field(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(head)
}

/// An answer with more lines in its head.
pub(crate) fn ok(more: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{more}\r\n{body}", body.len())
}

/// A field of a head.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let prefix = format!("{name}: ");
    head.lines().find(|line| line.to_ascii_lowercase().starts_with(&prefix)).map(|line| &line[prefix.len()..])
}

//! Applications in plain blocking code: each says who it is, or does as the path says.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A running application.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl App {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let counted = Arc::clone(&counted);
                std::thread::spawn(move || serve(&stream, address, &counted));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// What it says of itself.
    pub(crate) fn name(&self) -> String {
        self.address.port().to_string()
    }
}

fn serve(stream: &TcpStream, address: SocketAddr, requests: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut stream = stream;
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            head.push_str(&line);
        }
        let nth = requests.fetch_add(1, Ordering::SeqCst);
        let path = head.split(' ').nth(1)?;
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
        };
        if path.contains("close") {
            return None;
        }
        // The first request to any application of a test waits.
        if path.contains("slow") || (path.contains("first-slow") && nth == 0) {
            std::thread::sleep(Duration::from_millis(700));
        }
        let status = if path.contains("fail") { "503 Service Unavailable" } else { "200 OK" };
        let again = if path.contains("again") && nth == 0 { "x-again: yes\r\n" } else { "" };
        // An application that speaks gRPC in a head alone: whatever it is asked for is its status.
        let grpc = path
            .split_once("grpc-")
            .map(|(_, code)| format!("grpc-status: {code}\r\ngrpc-message: said\r\n"));
        let again = grpc.as_deref().unwrap_or(again);
        let body = match header("grpc-timeout") {
            _ if grpc.is_some() => String::new(),
            _ if path.contains("echo") => head.clone(),
            Some(timeout) => format!("{} {timeout}", address.port()),
            None => address.port().to_string(),
        };
        if path.contains("trickle") {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n").ok()?;
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(100));
                stream.write_all(b"xx").ok()?;
            }
            continue;
        }
        let answer = format!("HTTP/1.1 {status}\r\n{again}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).ok()?;
        // Whoever comes through a proxy that only passes bytes on reads until the end.
        if header("connection").is_some_and(|connection| connection.eq_ignore_ascii_case("close")) {
            return None;
        }
    }
}

/// An application that says what it is told by whoever looks at its bytes, and then closes.
pub(crate) struct Raw {
    pub(crate) address: SocketAddr,
}

impl Raw {
    /// `answer` is asked with everything that has come so far until it has an answer.
    pub(crate) fn start(answer: fn(&[u8]) -> Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
                    loop {
                        let read = std::io::Read::read(&mut stream, &mut buffer).unwrap_or(0);
                        bytes.extend_from_slice(&buffer[..read]);
                        if let Some(answer) = answer(&bytes) {
                            let _ = stream.write_all(&answer);
                            return;
                        }
                        if read == 0 {
                            return;
                        }
                    }
                });
            }
        });
        Self { address }
    }
}

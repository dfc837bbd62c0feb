//! An upstream in plain blocking code. It answers with the request that it saw, or as the path says.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// A running upstream.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = Self { address: listener.local_addr().unwrap(), counts: Arc::default() };
        let counts = Arc::clone(&upstream.counts);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counts.connections.fetch_add(1, Ordering::SeqCst);
                let counts = Arc::clone(&counts);
                thread::spawn(move || serve(stream, &counts));
            }
        });
        upstream
    }

    /// Answers everything with this.
    #[allow(dead_code, reason = "not every test needs it")]
    pub(crate) fn answering(body: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = Self { address: listener.local_addr().unwrap(), counts: Arc::default() };
        let counts = Arc::clone(&upstream.counts);
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (counts, body) = (Arc::clone(&counts), body.clone());
                thread::spawn(move || {
                    let mut unread = Vec::new();
                    while read_until(&mut stream, &mut unread, b"\r\n\r\n").is_some() {
                        counts.requests.fetch_add(1, Ordering::SeqCst);
                        let length = body.len();
                        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                        if stream.write_all(text.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        upstream
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }
}

/// An address where nobody listens, and nobody else will: it stays taken for as long as the process lasts.
pub(crate) fn nobody() -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address
}

fn read_until(stream: &mut TcpStream, unread: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = unread.windows(end.len()).position(|window| window == end) {
            return Some(unread.drain(..at + end.len()).collect());
        }
        read_more(stream, unread)?;
    }
}

fn read_more(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 65_536];
    let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
    unread.extend_from_slice(&buffer[..read]);
    Some(())
}

fn serve(mut stream: TcpStream, counts: &Counts) -> Option<()> {
    stream.set_nodelay(true).unwrap();
    let mut unread = Vec::new();
    loop {
        let head = String::from_utf8_lossy(&read_until(&mut stream, &mut unread, b"\r\n\r\n")?).into_owned();
        let nth = counts.requests.fetch_add(1, Ordering::SeqCst);
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let path = head.split(' ').nth(1).unwrap();
        if path.contains("early") {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").unwrap();
            thread::sleep(Duration::from_millis(100));
            return None;
        }
        let mut body = Vec::new();
        if let Some(length) = header("content-length") {
            let length: usize = length.parse().unwrap();
            while unread.len() < length {
                read_more(&mut stream, &mut unread)?;
            }
            body = unread.drain(..length).collect();
        } else if header("transfer-encoding").is_some() {
            loop {
                let line = read_until(&mut stream, &mut unread, b"\r\n")?;
                let length = std::str::from_utf8(&line[..line.len() - 2]).unwrap();
                let length = usize::from_str_radix(length, 16).unwrap();
                while unread.len() < length + 2 {
                    read_more(&mut stream, &mut unread)?;
                }
                body.extend(unread.drain(..length));
                unread.drain(..2);
                if length == 0 {
                    break;
                }
            }
        }
        reply(&mut stream, &head, path, &body, nth)?;
    }
}

fn reply(stream: &mut TcpStream, head: &str, path: &str, body: &[u8], nth: usize) -> Option<()> {
    let mut say = |text: &str| stream.write_all(text.as_bytes()).ok();
    if path.contains("close") || (path.contains("drop-first") && nth == 1) {
        return None;
    }
    if path.contains("garbage") {
        say("garbage\r\n\r\n")?;
        return None;
    }
    if path.contains("slow") {
        thread::sleep(Duration::from_millis(500));
    }
    if path.contains("fail-twice") && nth < 2 {
        return say("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nfail");
    }
    if path.contains("always-fail") {
        return say("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nfail");
    }
    if path.contains("denied") {
        return say("HTTP/1.1 403 Forbidden\r\ncontent-length: 7\r\nx-why: no\r\n\r\nrefused");
    }
    if path.contains("empty") {
        return say("HTTP/1.1 204 No Content\r\n\r\n");
    }
    if path.contains("http10") {
        say("HTTP/1.0 200 OK\r\n\r\nten")?;
        return None;
    }
    if path.contains("trailers") {
        return say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n");
    }
    if path.contains("truncated") {
        say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")?;
        return None;
    }
    if path.contains("interim") {
        say("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")?;
    }
    if path.contains("large") {
        say("HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n")?;
        return stream.write_all(&vec![b'x'; 3_000_000]).ok();
    }
    if path.contains("huge") {
        // More than sockets hold.
        say("HTTP/1.1 200 OK\r\ncontent-length: 64000000\r\n\r\n")?;
        return (0..64).try_for_each(|_| stream.write_all(&vec![b'x'; 1_000_000])).ok();
    }
    if path.contains("websocket") {
        say(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec: 1\r\n\r\n",
        )?;
        let mut buffer = [0; 1024];
        while let Ok(read) = stream.read(&mut buffer) {
            if read == 0 || stream.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
        return None;
    }
    let length = head.len() + body.len();
    say(&format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Up: 1\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n{head}"
    ))?;
    stream.write_all(body).ok()
}

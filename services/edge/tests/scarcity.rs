//! What runs out. Alone in its process, whose descriptors it bounds: no other test would find any.

mod server;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use server::edge;

/// Threats row 64: out of descriptors, and with a full disk behind the log, it goes on serving.
#[test]
fn scarcity_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "12345\n").unwrap();
    let address = edge(&format!(
        "server.document-root = \"{}\"\nserver.modules = ( \"mod_accesslog\" )\naccesslog.filename = \"/dev/full\"\n\
         server.max-fds = 64\nserver.max-connections = 1000\n",
        folder.path().display()
    ));
    let mut held = Vec::new();
    for _ in 0..100 {
        // More than there are descriptors: the rest waits with the kernel.
        held.extend(TcpStream::connect(address));
    }
    drop(held);
    let until = Instant::now() + Duration::from_secs(60);
    // The edge lives in this process and shares its descriptors: until it has closed what was held, there is none for us.
    let is_answered = || {
        let Ok(stream) = TcpStream::connect(address) else { return false };
        server::answer(&server::exchange_over(stream, b"GET /a.txt HTTP/1.0\r\n\r\n")).code() == 200
    };
    while !is_answered() {
        assert!(Instant::now() < until, "it does not come back");
        std::thread::yield_now();
    }
}

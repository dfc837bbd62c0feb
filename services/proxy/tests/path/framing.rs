//! The requests of `core/http/tests/framing/requests.txt` over real sockets: what is refused is answered once, the
//! connection closes, and nothing behind the proxy has seen a whole request.

use std::io::{Read, Write};
use std::time::Duration;

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

#[path = "../../../../core/http/tests/framing/cases.rs"]
mod cases;

use cases::Outcome;

fn mesh(upstream: &Upstream) -> Mesh {
    Mesh::http(http(vec![route("/", forward("up"))]), vec![cluster("up", &[upstream.address])])
}

#[test]
fn what_could_be_read_two_ways_reaches_nobody() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    for case in cases::all() {
        let Outcome::Refused(status) = case.ours else { continue };
        // A second request hides behind the first, as smugglers have it.
        let bytes = [&case.bytes, &b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"[..]].concat();
        let mut stream = mesh.connect().stream;
        let _ = stream.write_all(&bytes);
        let mut answers = Vec::new();
        // A reset may follow an answer to a head that was too long to be read.
        let _ = stream.read_to_end(&mut answers);
        let answers = String::from_utf8_lossy(&answers).into_owned();
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "line {}: {answers}", case.line);
        assert!(answers.contains("connection: close\r\n"), "line {}: {answers}", case.line);
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "line {}: {answers}", case.line);
        assert_eq!(upstream.requests(), 0, "line {}", case.line);
    }
    mesh.await_stat("http.in.downstream_rq_active", 0);
    mesh.await_stat("http.in.downstream_cx_active", 0);
}

#[test]
fn what_is_plain_is_forwarded_once() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let mut passed = 0;
    for case in cases::all() {
        if case.ours != Outcome::Pass {
            continue;
        }
        let mut client = mesh.connect();
        client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.stream.write_all(&case.bytes).unwrap();
        assert_eq!(client.answer(false).status, 200, "line {}", case.line);
        passed += 1;
        assert_eq!(upstream.requests(), passed, "line {}", case.line);
    }
}

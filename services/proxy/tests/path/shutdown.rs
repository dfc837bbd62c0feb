//! Going away without losing a request.

use std::time::{Duration, Instant};

use selvedge_wire::drain::DrainState;

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

fn drain(mesh: &Mesh, accept_ms: u64, whole_ms: u64) {
    let ms = Duration::from_millis;
    mesh.drain.send_replace(DrainState::begin(Instant::now(), ms(accept_ms), ms(whole_ms)).into());
}

#[test]
fn what_is_in_flight_is_finished_and_told_to_close() {
    let upstream = Upstream::start();
    let mut mesh =
        Mesh::http_on(2, http(vec![route("/", forward("up"))]), vec![cluster("up", &[upstream.address])]);
    let mut idle = mesh.connect();
    assert_eq!(idle.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").header("connection"), None);
    let mut busy = mesh.connect();
    busy.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    mesh.await_stat("cluster.up.upstream_rq_active", 1);
    drain(&mesh, 300, 10_000);
    let answer = idle.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let late = mesh.get("/");
    assert_eq!((late.status, late.header("connection")), (200, Some("close")), "some have not heard yet");
    let answer = busy.answer(false);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let begin = Instant::now();
    mesh.runtime.block_on(mesh.serving.ended());
    assert!(begin.elapsed() < Duration::from_secs(5), "nothing was left to wait for");
    assert!(std::net::TcpStream::connect(mesh.address).is_err());
}

#[test]
fn the_deadline_ends_what_does_not_end_by_itself() {
    let upstream = Upstream::start();
    let mut mesh =
        Mesh::http_on(2, http(vec![route("/", forward("up"))]), vec![cluster("up", &[upstream.address])]);
    let mut client = mesh.connect();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n");
    mesh.await_stat("http.in.downstream_rq_active", 1);
    drain(&mesh, 10, 200);
    mesh.runtime.block_on(mesh.serving.ended());
    assert!(client.is_closed());
}

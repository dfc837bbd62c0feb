//! A process without descriptors: what is open goes on, and what waits is taken in once there are some. In a process of
//! its own, since the limit is the process's.

#[path = "path/mesh.rs"]
#[expect(dead_code, reason = "the request path's tests use the rest")]
mod mesh;
#[path = "path/upstream.rs"]
#[expect(dead_code, reason = "the request path's tests use the rest")]
mod upstream;

use std::fs::File;
use std::time::Duration;

use mesh::{Mesh, cluster, forward, http, route};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use upstream::Upstream;

#[test]
fn without_descriptors_what_is_open_goes_on() {
    let upstream = Upstream::start();
    let mesh = Mesh::http(http(vec![route("/", forward("up"))]), vec![cluster("up", &[upstream.address])]);
    let mut client = mesh.connect();
    assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: h\r\n\r\n").status, 200);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 256, hard).unwrap();
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(File::open("/dev/null").is_err(), "none is left");
    taken.pop();
    // This one gets the last descriptor; the proxy has none to accept it with.
    let mut waiting = mesh.connect();
    waiting.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n");
    for _ in 0..50 {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: h\r\n\r\n").status, 200);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(mesh.stat("listener.127.0.0.1_0.downstream_cx_total"), 1);
    taken.truncate(taken.len() - 8);
    assert_eq!(waiting.answer(false).status, 200);
}

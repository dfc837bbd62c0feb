//! Whether the other end of an HTTP/2 connection is still there: asked, answered, and given up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use selvedge_traffic::*;

use crate::apps::App;
use crate::h2_app::H2App;
use crate::planes::{both, both_listening, listener, until};
use crate::{check_equal, cluster, endpoint, endpoint_at, group, http, ms, to};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
const INTERVAL: Duration = ms(300);
const TIMEOUT: Duration = ms(200);

fn asks() -> Http2Settings {
    let keepalive = Http2Keepalive { jitter_percent: 0, ..Http2Keepalive::every(INTERVAL, TIMEOUT) };
    Http2Settings { keepalive: Some(keepalive), ..Http2Settings::default() }
}

fn frame(stream: &mut TcpStream) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let mut content = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut content).ok()?;
    Some((head[3], head[4], content))
}

/// A client that says hello, and answers so many questions; how many it was asked before it was cut off.
fn answers(address: SocketAddr, mut answers: usize) -> (usize, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a bound");
    stream.write_all(&[PREFACE, SETTINGS].concat()).expect("open");
    let mut asked = 0;
    while let Some((kind, flags, content)) = frame(&mut stream) {
        match (kind, flags) {
            (4, 0) => stream.write_all(SETTINGS_ACK).expect("open"),
            (6, 0) => {
                asked += 1;
                if answers > 0 {
                    answers -= 1;
                    stream.write_all(&[b"\0\0\x08\x06\x01\0\0\0\0", &content[..]].concat()).expect("open");
                }
            }
            _ => {}
        }
    }
    (asked, begun.elapsed())
}

#[test]
fn a_client_that_does_not_answer_is_cut_off() {
    let app = App::start();
    let manager = HttpConnection { http2: asks(), ..http(vec![("/", to("up"))]) };
    let clusters = [cluster("up", vec![group(vec![endpoint(&app)])])];
    let Some(planes) = both_listening(&[listener(Network::Http(Box::new(manager)))], &clusters) else {
        return;
    };
    for answered in [0, 2] {
        let asked = check_equal(&planes, &format!("{answered} answers"), |plane| {
            let (asked, lasted) = answers(plane.listen, answered);
            let least = INTERVAL * (answered as u32 + 1) + TIMEOUT;
            // Envoy's timers are as coarse as a millisecond, and a machine may be busy.
            assert!(lasted + ms(50) >= least, "{}: {lasted:?} of {least:?}", plane.name);
            asked
        });
        assert_eq!(asked, answered + 1);
    }
    let counted = check_equal(&planes, "counted", |plane| plane.stat("http2.keepalive_timeout"));
    assert_eq!(counted, 2);
}

/// A host that takes requests and is then as good as dead.
fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = stream.write_all(&[SETTINGS, SETTINGS_ACK].concat());
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    address
}

#[test]
fn a_host_that_does_not_answer_is_given_up_and_another_that_does_is_not() {
    let alive = H2App::start(false);
    let of = |name: &str, address| Cluster {
        protocol: HttpProtocol::Http2,
        http2: asks(),
        ..cluster(name, vec![group(vec![endpoint_at(address)])])
    };
    let clusters = [of("silent", silent()), of("alive", alive.address)];
    let Some(planes) = both(&http(vec![("/silent", to("silent")), ("/", to("alive"))]), &clusters) else {
        return;
    };
    for plane in &planes {
        // It stands idle for several questions, and answers them.
        assert_eq!(plane.get("/s/Echo", &["content-type: application/grpc"]).status, 200, "{}", plane.name);
    }
    let given_up = check_equal(&planes, "silent", |plane| {
        let answer = plane.get("/silent", &[]);
        (answer.status, answer.body, plane.log(2))
    });
    assert_eq!(given_up.0, 503);
    check_equal(&planes, "counted", |plane| {
        let counted = |name: &str| plane.stat(&format!("cluster.{name}.http2.keepalive_timeout"));
        until("it is counted", || (counted("silent") == 1).then_some(()));
        let ended = |name: &str| plane.stat(&format!("cluster.silent.upstream_cx_{name}"));
        (counted("alive"), ended("destroy_local"), ended("destroy_local_with_active_rq"))
    });
    let connections = check_equal(&planes, "still there", |plane| {
        plane.get("/s/Echo", &["content-type: application/grpc"]);
        plane.stat("cluster.alive.upstream_cx_total")
    });
    assert_eq!(connections, 1);
}

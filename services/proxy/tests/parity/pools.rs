//! How a real Envoy and ours spread requests over connections to a host.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use selvedge_traffic::*;

use crate::planes::{Plane, both, until};
use crate::{check_equal, cluster, endpoint_at, group, http, to};

/// An application that answers each request when it is told to, and counts who connects.
struct Patient {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Requests that wait for their answer.
    waiting: Arc<Mutex<Vec<Sender<()>>>>,
}

impl Patient {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (connections, waiting) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (counted, kept) = (Arc::clone(&connections), Arc::clone(&waiting));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(&stream, &kept));
            }
        });
        Self { address, connections, waiting }
    }

    /// Waits until so many wait, and has them answered.
    fn answer(&self, waiting: usize) {
        until(&format!("{waiting} wait"), || (self.waiting() == waiting).then_some(()));
        self.waiting.lock().expect("no panic").drain(..).for_each(|waits| {
            // Whoever is gone needs no answer.
            let _ = waits.send(());
        });
    }

    fn waiting(&self) -> usize {
        self.waiting.lock().expect("no panic").len()
    }

    /// How many have connected since it was asked last.
    fn connected(&self) -> usize {
        self.connections.swap(0, Ordering::SeqCst)
    }
}

fn serve(stream: &TcpStream, waiting: &Mutex<Vec<Sender<()>>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let (mut line, mut path) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if path.is_empty() {
                path = line.split(' ').nth(1)?.to_owned();
            }
        }
        if path.starts_with("/wait") {
            let (sender, told): (_, Receiver<()>) = mpsc::channel();
            waiting.lock().expect("no panic").push(sender);
            told.recv().ok()?;
        }
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

fn bounded(name: &str, app: &Patient, thresholds: Thresholds) -> Cluster {
    let circuit_breakers = CircuitBreakers { default: thresholds, ..CircuitBreakers::default() };
    Cluster { circuit_breakers, ..cluster(name, vec![group(vec![endpoint_at(app.address)])]) }
}

fn counts<const N: usize>(plane: &Plane, cluster: &str, names: [&str; N]) -> [u64; N] {
    names.map(|name| plane.stat(&format!("cluster.{cluster}.{name}")))
}

/// Asks so many times at once, and lets the application answer in two turns, as many as wait; how the rest fared.
#[test]
fn requests_queue_for_so_many_connections_and_no_more_queue_than_may() {
    let app = Patient::start();
    let few = Thresholds { connections_max: 2, pending_requests_max: 2, ..Thresholds::default() };
    let Some(planes) = both(&http(vec![("/", to("few"))]), &[bounded("few", &app, few)]) else { return };
    let seen = check_equal(&planes, "two connections and two in the queue", |plane| {
        app.connected();
        // Both connections stand before anybody queues for them.
        let first: Vec<_> = (1..=2)
            .map(|so_many| {
                let asked = asking(plane);
                until("it waits", || (app.waiting() == so_many).then_some(()));
                asked
            })
            .collect();
        let queued: Vec<_> = (1..=2)
            .map(|so_many| {
                let asked = asking(plane);
                until("it is queued", || {
                    (plane.stat("cluster.few.upstream_rq_pending_active") == so_many).then_some(())
                });
                asked
            })
            .collect();
        let open = counts(
            plane,
            "few",
            ["circuit_breakers.default.cx_open", "circuit_breakers.default.rq_pending_open"],
        );
        let refused = plane.get("/wait", &[]);
        app.answer(2);
        app.answer(2);
        for asked in first.into_iter().chain(queued) {
            assert_eq!(asked.join().expect("no panic"), 200, "{}", plane.name);
        }
        // A real Envoy may count once more whenever a connection has room again and somebody waits.
        assert!(plane.stat("cluster.few.upstream_cx_overflow") >= 2, "{}", plane.name);
        let counted = ["upstream_cx_total", "upstream_rq_pending_total"];
        (
            open,
            (refused.status, refused.header("x-envoy-overloaded").map(str::to_owned)),
            app.connected(),
            counts(plane, "few", counted),
            counts(plane, "few", ["upstream_rq_pending_overflow", "upstream_rq_total", "upstream_rq_200"]),
        )
    });
    assert_eq!(seen.2, 2);
    assert_eq!(seen.1, (503, Some("true".to_owned())));
}

/// Requests one after the other, on as many connections as they may share.
#[test]
fn requests_one_after_the_other_share_connections_as_far_as_they_may() {
    let app = Patient::start();
    let shared = bounded("shared", &app, Thresholds::default());
    let spent =
        Cluster { requests_per_connection_max: Some(2), ..bounded("spent", &app, Thresholds::default()) };
    let routes = vec![("/spent", to("spent")), ("/", to("shared"))];
    let Some(planes) = both(&http(routes), &[shared, spent]) else { return };
    let seen = check_equal(&planes, "requests in turn", |plane| {
        ["shared", "spent"].map(|name| {
            app.connected();
            for _ in 0..5 {
                assert_eq!(plane.get(&format!("/{name}"), &[]).status, 200);
            }
            let counted = ["upstream_cx_total", "upstream_cx_http1_total", "upstream_cx_max_requests"];
            (app.connected(), counts(plane, name, counted))
        })
    });
    assert_eq!(seen.map(|(connected, _)| connected), [1, 3]);
}

fn asking(plane: &Plane) -> std::thread::JoinHandle<u16> {
    let address = plane.listen;
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a bound");
        stream.write_all(b"GET /wait HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").expect("open");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("an answer");
        line.get(9..12).and_then(|status| status.parse().ok()).expect("a status")
    })
}

//! How hosts and connections are spared: breakers with visible states, bounded pools, what hosts say of keep-alive.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use selvedge_traffic::{BreakerConfig, BreakerPolicy, CircuitBreakers, Cluster, Thresholds};

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

fn breaker() -> BreakerConfig {
    let short = Duration::from_millis(300);
    BreakerConfig { failures_in_a_row: 2, failure_percent: 0, open_time: short, ..BreakerConfig::default() }
}

fn mesh(cluster: Cluster) -> Mesh {
    Mesh::http(http(vec![route("/", forward("up"))]), vec![cluster])
}

#[test]
fn a_cluster_that_fails_is_left_alone_until_a_probe_succeeds() {
    let upstream = Upstream::start();
    let policy = BreakerPolicy { endpoint: None, cluster: Some(breaker()) };
    let mesh = mesh(Cluster { breaker: Some(policy), ..cluster("up", &[upstream.address]) });
    for _ in 0..2 {
        assert_eq!(mesh.get("/always-fail").status, 503);
    }
    assert_eq!(mesh.stat("cluster.up.breaker.cluster_open"), 1);
    let answer = mesh.get("/");
    assert_eq!((answer.status, answer.body.as_str()), (503, "circuit breaker open"));
    assert_eq!(answer.header("x-envoy-overloaded"), Some("true"));
    assert!(mesh.log(3)[2].starts_with("503 UO breaker_open{cluster} GET /"), "{:?}", mesh.log(3));
    assert_eq!(upstream.requests(), 2, "nobody was asked");
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(mesh.get("/").status, 200, "the probe");
    assert_eq!(mesh.get("/").status, 200);
    for (stat, value) in
        [("cluster_open", 0), ("cluster_half_open", 0), ("cluster_opened", 1), ("rejected", 1)]
    {
        assert_eq!(mesh.stat(&format!("cluster.up.breaker.{stat}")), value, "{stat}");
    }
}

#[test]
fn an_endpoint_that_fails_is_passed_over_while_others_serve() {
    let (good, bad) = (Upstream::start(), closing());
    let policy = BreakerPolicy { endpoint: Some(breaker()), cluster: None };
    let mesh = mesh(Cluster { breaker: Some(policy), ..cluster("up", &[good.address, bad]) });
    let failed = (0..10).filter(|_| mesh.get("/").status == 503).count();
    assert_eq!(failed, 2, "it is asked until its breaker opens");
    assert_eq!(mesh.stat("cluster.up.breaker.endpoints_open"), 1);
    assert_eq!(mesh.stat("cluster.up.breaker.rejected"), 0, "others took its part");
}

/// A host that closes every connection as soon as it is spoken to.
fn closing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    address
}

#[test]
fn pools_are_bounded_and_an_idle_one_makes_room() {
    let upstreams = [Upstream::start(), Upstream::start()];
    let one = Thresholds { pools_max: Some(1), ..Thresholds::default() };
    let mesh = mesh(Cluster {
        circuit_breakers: CircuitBreakers { default: one, high: one },
        ..cluster("up", &[upstreams[0].address, upstreams[1].address])
    });
    for _ in 0..4 {
        assert_eq!(mesh.get("/").status, 200, "one after the other they share the place");
    }
    assert_eq!(upstreams.each_ref().map(Upstream::requests), [2, 2]);
    let slow = mesh.connect();
    let mut slow = slow;
    slow.send("GET /slow HTTP/1.1\r\nhost: h\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    let answer = mesh.get("/");
    assert_eq!(answer.status, 503, "the place is taken");
    assert_eq!(mesh.stat("cluster.up.upstream_cx_pool_overflow"), 1);
    assert_eq!(slow.answer(false).status, 200);
}

#[test]
fn a_connection_is_given_up_before_its_host_closes_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, connections) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (number, mut stream) in listener.incoming().map_while(Result::ok).enumerate() {
            sender.send(number).unwrap();
            std::thread::spawn(move || {
                while stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {
                    let answer = "HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 0\r\n\r\n";
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mesh = mesh(cluster("up", &[address]));
    assert_eq!([mesh.get("/").status, mesh.get("/").status], [200, 200]);
    assert_eq!(connections.try_iter().count(), 1, "it is used again at once");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(mesh.get("/").status, 200);
    assert_eq!(connections.try_iter().count(), 1, "but not when the host is about to close it");
    assert_eq!(mesh.stat("cluster.up.upstream_rq_retry_stale_connection"), 0);
}

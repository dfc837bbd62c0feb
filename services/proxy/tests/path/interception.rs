//! Connections that the kernel redirects: where they wanted to go is asked of the kernel. Runs in a network namespace of
//! its own, and says that it skips where it may not make one.

use std::net::SocketAddr;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use selvedge_traffic::{Cluster, Discovery, Listener, LoadBalancing, Network};
use tokio::net::TcpSocket;

use crate::mesh::{Client, Mesh, cluster, forward, http, listener, route};
use crate::upstream::Upstream;

/// Who is intercepted. The proxy dials from another address, so that its own connections go through, as those of its
/// user id do in a real sidecar.
const CALLER: &str = "127.0.0.5";

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

/// Moves this thread, and all that it starts, into a network of its own.
fn is_alone() -> bool {
    unshare(CloneFlags::CLONE_NEWNET).is_ok() && run("ip", &["link", "set", "lo", "up"])
}

fn intercept(port: u16) -> bool {
    let port = port.to_string();
    let rule =
        ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-s", CALLER, "-j", "REDIRECT", "--to-ports", &port];
    run("iptables", &rule)
}

fn call(mesh: &Mesh, to: SocketAddr) -> Client {
    let stream = mesh.runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(CALLER.parse().unwrap(), 0)).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    Client::over(stream)
}

fn redirected() {
    if !is_alone() {
        return eprintln!("skipped: no network namespace may be made here");
    }
    let upstream = Upstream::start();
    let original = Cluster {
        discovery: Discovery::OriginalDst,
        balancing: LoadBalancing::ClusterProvided,
        ..cluster("original", &[])
    };
    let http = http(vec![route("/", forward("original"))]);
    let intercepting = Listener { original_dst: true, ..listener(Network::Http(Box::new(http))) };
    let mesh = Mesh::listening(intercepting, vec![original]);
    if !intercept(mesh.address.port()) {
        return eprintln!("skipped: no redirection may be set up here");
    }
    let answer = call(&mesh, upstream.address).ask("GET /x HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("GET /x "), "{}", answer.body);
    assert_eq!(upstream.requests(), 1);
    // Who comes straight to the proxy's port wanted to go nowhere else: dialling it would go round for ever.
    let answer = mesh.get("/y");
    assert_eq!((answer.status, answer.body.as_str()), (503, "no healthy upstream"));
}

#[test]
fn a_redirected_connection_goes_where_it_wanted() {
    std::thread::spawn(redirected).join().unwrap();
}

//! The units of systemd: what systemd's own tools say of them, and that the roles tell it when they serve.

#![allow(dead_code, reason = "each test uses its part of the server module")]

mod server;

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use server::{PROGRAM, Server, repository};

/// systemd's own measure, from 0 to 10: below 2 it calls a service "OK", the best but for one that can do nothing.
const EXPOSURE_MAX: &str = "20";

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: no systemd-analyze here");
    }
    let folder = tempfile::tempdir().expect("a folder");
    for unit in ["selvedge.service", "selvedge-proxy.service", "selvedge-edge.service"] {
        let text =
            std::fs::read_to_string(repository().join("packaging/systemd").join(unit)).expect("readable");
        // It looks whether the program is there.
        let path = folder.path().join(unit);
        std::fs::write(&path, text.replace("/usr/bin/selvedge", PROGRAM)).expect("written");
        for words in [&["verify"][..], &["security", "--offline=true", "--threshold", EXPOSURE_MAX]] {
            let output = Command::new("systemd-analyze").args(words).arg(&path).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{unit} {words:?}: {said}");
            assert!(!said.contains("Unknown") && !said.contains("Failed"), "{unit} {words:?}: {said}");
        }
    }
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a role as systemd would, and waits for its word.
fn told_ready(command: &mut Command) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    command.env("NOTIFY_SOCKET", &path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _running = Running(command.spawn().expect("it starts"));
    let mut word = [0; 64];
    let length = socket.recv(&mut word).expect("a word in time");
    assert_eq!(&word[..length], b"READY=1\n");
}

#[test]
fn a_control_plane_tells_systemd_when_it_serves() {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--roles", "control", "--store", "memory", "--listen", "127.0.0.1:0"]);
    told_ready(&mut command);
}

#[test]
fn a_sidecar_tells_systemd_when_it_serves() {
    let server = Server::start(&[]);
    server.prints(&["appmesh", "create-mesh", "--mesh-name", "m"]);
    server.prints(&[
        "appmesh",
        "create-virtual-node",
        "--mesh-name",
        "m",
        "--virtual-node-name",
        "n",
        "--spec",
        "{}",
    ]);
    let sockets = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let ports = sockets.map(|socket| socket.local_addr().expect("an address").port().to_string());
    let mut command = Command::new(PROGRAM);
    command
        .arg("proxy")
        .env("APPMESH_RESOURCE_ARN", "mesh/m/virtualNode/n")
        .env("APPMESH_XDS_ENDPOINT", server.url.trim_start_matches("http://"))
        .env("ENVOY_ADMIN_ACCESS_PORT", &ports[0])
        .env("SELVEDGE_INTERCEPTION", "none")
        .env("SELVEDGE_INGRESS_PORT", &ports[1])
        .env("SELVEDGE_EGRESS_PORT", &ports[2])
        .env("SELVEDGE_STATE_DIR", "none");
    told_ready(&mut command);
}

#[test]
fn an_edge_tells_systemd_when_it_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("edge.toml");
    let socket = folder.path().join("edge.sock");
    let form = format!(
        "[[listen]]\naddress = \"{}\"\n[[site]]\n[[site.route]]\nrespond = \"here\"\n",
        socket.display()
    );
    std::fs::write(&path, form).expect("written");
    let mut command = Command::new(PROGRAM);
    command.args(["edge", "-D", "-f"]).arg(&path);
    told_ready(&mut command);
}

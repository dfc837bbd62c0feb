//! `selvedge up` as a process: readiness, safety, the end.

#![allow(dead_code, reason = "each test uses its part of the server module")]

mod server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use server::{PROGRAM, Server};

/// The status of a plain GET.
fn get(url: &str, path: &str) -> String {
    let address: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

#[test]
fn it_is_ready_at_once_on_an_empty_store() {
    let begun = Instant::now();
    let server = Server::start(&[]);
    let elapsed = begun.elapsed();
    assert_eq!(get(&server.url, "/healthz"), "200");
    assert_eq!(get(&server.url, "/readyz"), "200");
    // The promise is 200 ms for a release build on an idle machine; tests run debug builds beside each other.
    assert!(elapsed < Duration::from_secs(2), "ready after {elapsed:?}");
}

#[test]
fn sigterm_ends_it_cleanly_and_what_was_written_stays() {
    let server = Server::start(&[]);
    server.prints(&["appmesh", "create-mesh", "--mesh-name", "kept"]);
    let (status, elapsed, folder) = server.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(elapsed < Duration::from_secs(5), "it took {elapsed:?}");
    let again = Server::start_in(folder, &[]);
    assert_eq!(
        again.prints(&["appmesh", "list-meshes", "--query", "meshes[].meshName", "--output", "text"]),
        "kept\n"
    );
}

#[test]
fn an_address_that_others_can_reach_needs_to_be_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(PROGRAM)
        .args(["up", "--listen", "0.0.0.0:0", "--data-dir"])
        .arg(folder.path())
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("not authenticated") && text.contains("--allow-unauthenticated-remote"), "{text}");
}

#[test]
fn a_server_without_a_disk_forgets_and_other_roles_do_not_exist() {
    let mut child = Command::new(PROGRAM)
        .args([
            "serve",
            "--roles",
            "control",
            "--store",
            "memory",
            "--listen",
            "127.0.0.1:0",
            "--log-level",
            "warn",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped above")).read_line(&mut line).expect("a line");
    let url = line.split_whitespace().last().expect("an address");
    assert_eq!(get(url, "/readyz"), "200");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    assert!(child.wait().expect("a child").success());
    for arguments in [
        &["serve", "--roles", "console", "--store", "memory"][..],
        &["serve", "--roles", "control", "--store", "postgres://x"],
        &["serve", "--roles", "control"],
    ] {
        let output = Command::new(PROGRAM).args(arguments).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_folder_in_use_is_refused_with_its_reason() {
    let server = Server::start(&[]);
    let output = Command::new(PROGRAM)
        .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(server.folder.path().join("data"))
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("another process"), "{output:?}");
}

#[test]
fn logs_are_one_json_object_a_line_when_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = std::fs::File::create(folder.path().join("log")).expect("a file");
    let mut child = Command::new(PROGRAM)
        .args(["up", "--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"])
        .arg(folder.path().join("data"))
        .stdout(std::process::Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("the program starts");
    let mut first = [0];
    child.stdout.take().expect("piped above").read_exact(&mut first).expect("it says that it is ready");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    assert!(child.wait().expect("a child").success());
    let log = std::fs::read_to_string(folder.path().join("log")).expect("the log");
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
}

#[test]
fn env_points_where_the_server_is() {
    let server = Server::start(&[]);
    let exports = server.prints(&["env"]);
    assert!(exports.contains(&format!("export AWS_ENDPOINT_URL_APP_MESH={}", server.url)), "{exports}");
    assert!(!exports.contains("AWS_ACCESS_KEY_ID"), "the environment has one: {exports}");
}

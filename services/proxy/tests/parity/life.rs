//! What a real Envoy and ours do when an operator has them fail, recover, close and end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::apps::App;
use crate::planes::{Plane, both, parse, until};
use crate::{check_equal, cluster, endpoint, group, http, to};

/// A request on a connection that stays open; whether the answer says that it closes.
fn on(stream: &mut TcpStream) -> (u16, bool) {
    stream.write_all(b"GET /up HTTP/1.1\r\nhost: h\r\n\r\n").expect("open");
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        bytes.push(byte[0]);
    }
    let answer = parse(&String::from_utf8_lossy(&bytes)).expect("an answer");
    let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    stream.read_exact(&mut vec![0; length]).expect("a body");
    (answer.status, answer.header("connection") == Some("close"))
}

fn connect(plane: &Plane) -> TcpStream {
    let stream = TcpStream::connect(plane.listen).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a bound");
    stream
}

fn state(plane: &Plane) -> (u16, String) {
    let ready = plane.page("/ready");
    (ready.status, ready.body)
}

#[test]
fn whoever_is_told_to_fail_says_so_and_recovers() {
    let app = App::start();
    let clusters = [cluster("up", vec![group(vec![endpoint(&app)])])];
    let Some(planes) = both(&http(vec![("/", to("up"))]), &clusters) else { return };
    let seen = check_equal(&planes, "fail and recover", |plane| {
        let before = (state(plane), on(&mut connect(plane)));
        let mut kept = connect(plane);
        let first = on(&mut kept);
        let told = plane.post("/healthcheck/fail");
        let failing = (state(plane), on(&mut kept), on(&mut connect(plane)), plane.stat("server.live"));
        let told_again = plane.post("/healthcheck/ok");
        let after = (state(plane), on(&mut connect(plane)), plane.stat("server.live"));
        (before, first, told, failing, told_again, after)
    });
    assert_eq!(seen.3.1, (200, true), "a client is told to go while it fails");
    assert_eq!(seen.5.1, (200, false), "and not afterwards");
}

#[test]
fn listeners_that_are_drained_at_once_leave_connections_as_they_are() {
    let app = App::start();
    let clusters = [cluster("up", vec![group(vec![endpoint(&app)])])];
    let Some(planes) = both(&http(vec![("/", to("up"))]), &clusters) else { return };
    check_equal(&planes, "drained at once", |plane| {
        let mut kept = connect(plane);
        let first = on(&mut kept);
        let told = plane.post("/drain_listeners");
        until("nobody is let in", || TcpStream::connect(plane.listen).is_err().then_some(()));
        (first, told, on(&mut kept).0)
    });
}

/// Every page of Envoy's, by GET and by POST: who may, and in which words others are told.
#[test]
fn pages_that_change_something_are_asked_for_by_post() {
    let app = App::start();
    let clusters = [cluster("up", vec![group(vec![endpoint(&app)])])];
    let Some(planes) = both(&http(vec![("/", to("up"))]), &clusters) else { return };
    for path in [
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/drain_listeners",
        "/logging",
        "/quitquitquit",
        "/reopen_logs",
        "/reset_counters",
        "/runtime_modify",
        "/cpuprofiler",
        "/heapprofiler",
        "/stats/recentlookups/clear",
        "/stats/recentlookups/disable",
        "/stats/recentlookups/enable",
    ] {
        let (status, body) = check_equal(&planes, path, |plane| {
            let answer = plane.page(path);
            (answer.status, answer.body)
        });
        assert_eq!((status, body.is_empty()), (405, false), "{path}");
    }
    for path in
        ["/ready", "/clusters", "/listeners", "/stats?filter=^server.live$", "/certs", "/hot_restart_version"]
    {
        let seen = check_equal(&planes, path, |plane| (plane.page(path).status, plane.post(path).0));
        assert_eq!(seen.0, 200, "{path}");
    }
    for (path, status) in [
        ("/runtime_modify", 400),
        ("/logging?nothing=info", 400),
        ("/logging?level=nothing", 400),
        ("/healthcheck/nothing", 404),
        ("/healthcheck/ok", 200),
        ("/reset_counters", 200),
        ("/reopen_logs", 200),
    ] {
        let seen = check_equal(&planes, path, |plane| plane.post(path).0);
        assert_eq!(seen, status, "{path}");
    }
    let headers = check_equal(&planes, "headers", |plane| {
        let answer = plane.page("/ready");
        ["content-type", "cache-control", "x-content-type-options"]
            .map(|name| answer.header(name).map(str::to_owned))
    });
    assert_eq!(headers[1].as_deref(), Some("no-cache, max-age=0"));
}

#[test]
fn who_is_told_to_quit_ends_in_order() {
    let app = App::start();
    let clusters = [cluster("up", vec![group(vec![endpoint(&app)])])];
    let Some(planes) = both(&http(vec![("/", to("up"))]), &clusters) else { return };
    let seen = check_equal(&planes, "quit", |plane| {
        let mut kept = connect(plane);
        let first = on(&mut kept);
        let told = plane.post("/quitquitquit");
        // The end, in order.
        let ended = kept.read(&mut [0; 16]).map_err(|error| error.kind());
        until("nobody listens", || TcpStream::connect(plane.listen).is_err().then_some(()));
        (first, told, ended)
    });
    assert_eq!(seen.2, Ok(0));
}

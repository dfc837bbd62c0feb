//! RFC 9113 and RFC 7541 case by case, in the order and under the section numbers of h2spec's suites `generic`, `http2`
//! and `hpack`: frames as bytes against a listener of ours.

use std::net::SocketAddr;
use std::time::Duration;

use crate::frames::{
    Connection, Frame, PREFACE, code, field, fields, flag, frame, get, kind, post, request, rst, settings,
    window_update,
};
use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

mod cases;

/// What must come of a case.
#[derive(Clone, Debug)]
enum Expect {
    /// The newest request is answered.
    Answer,
    /// The connection goes on.
    Alive,
    /// The connection ends, with one of these codes if it says one.
    ConnectionError(&'static [u32]),
    /// The stream, or with it the connection, ends with one of these codes.
    StreamError(&'static [u32]),
}

/// One case.
struct Case {
    section: &'static str,
    title: &'static str,
    /// Settings of the client.
    settings: Vec<(u16, u32)>,
    bytes: Vec<u8>,
    expect: Expect,
}

fn mesh() -> (Upstream, Mesh) {
    let upstream = Upstream::start();
    let mesh = Mesh::http(http(vec![route("/", forward("up"))]), vec![cluster("up", &[upstream.address])]);
    (upstream, mesh)
}

/// Plays a case; what came instead, if it was something else.
fn play(address: SocketAddr, case: &Case) -> Result<(), String> {
    let mut connection = Connection::open_with(address, &case.settings);
    connection.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    connection.silence = Some(false);
    connection.send(&case.bytes);
    let played = expect(&mut connection, case);
    if connection.silence == Some(true) { Err(format!("silence, {played:?}")) } else { played }
}

fn expect(connection: &mut Connection, case: &Case) -> Result<(), String> {
    match &case.expect {
        Expect::Answer => {
            let newest = newest(&case.bytes);
            let mut came = Vec::new();
            while let Some(next) = connection.next() {
                let ends = matches!(next.kind, kind::HEADERS | kind::GOAWAY | kind::RST_STREAM);
                if next.kind == kind::HEADERS && next.stream == newest {
                    return Ok(());
                }
                came.push(next);
                if ends && newest == 1 {
                    break;
                }
            }
            Err(format!("no answer: {came:?}"))
        }
        Expect::Alive => {
            if connection.is_alive() {
                Ok(())
            } else {
                Err("closed".to_owned())
            }
        }
        Expect::ConnectionError(codes) => {
            let came = connection.rest();
            match came.iter().find(|frame| frame.kind == kind::GOAWAY).and_then(Frame::code) {
                Some(code) if !codes.contains(&code) => Err(format!("GOAWAY {code}")),
                _ => Ok(()),
            }
        }
        Expect::StreamError(codes) => {
            let ends = |frame: &Frame| matches!(frame.kind, kind::GOAWAY | kind::RST_STREAM);
            let end = std::iter::from_fn(|| connection.next()).find(ends);
            match end.as_ref().and_then(Frame::code) {
                Some(code) if !codes.contains(&code) => Err(format!("{end:?}")),
                _ => Ok(()),
            }
        }
    }
}

/// The newest stream that these frames open.
fn newest(bytes: &[u8]) -> u32 {
    let mut newest = 0;
    selvedge_http::h2::frames::Frames::default().feed(bytes, |frame| {
        if frame.kind == kind::HEADERS {
            newest = newest.max(frame.stream);
        }
    });
    newest
}

#[test]
fn every_case_of_h2spec() {
    let (_upstream, mesh) = mesh();
    let cases = cases::all();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let wrong = play(mesh.address, case).err()?;
            Some(format!("{} {}: {wrong}", case.section, case.title))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The nine that need more than bytes follow.
    assert_eq!(cases.len() + 9, 147);
    mesh.await_stat("http.in.downstream_rq_active", 0);
}

/// generic 1.1, http2 3.5.1: the server's first frame is SETTINGS.
#[test]
fn h2spec_3_5_1_the_preface_is_answered_by_settings() {
    let (_upstream, mesh) = mesh();
    let mut connection = Connection::silent(mesh.address);
    connection.send(&[PREFACE, &settings(&[])].concat());
    let first = connection.next().unwrap();
    assert_eq!((first.kind, first.stream, first.flags), (kind::SETTINGS, 0, 0));
}

/// http2 3.5.2.
#[test]
fn h2spec_3_5_2_another_preface_ends_the_connection() {
    let upstream = Upstream::start();
    let http = selvedge_traffic::HttpConnection {
        codec: selvedge_traffic::Codec::Http2,
        ..http(vec![route("/", forward("up"))])
    };
    let mesh = Mesh::http(http, vec![cluster("up", &[upstream.address])]);
    let mut connection = Connection::silent(mesh.address);
    connection.send(b"INVALID CONNECTION PREFACE\r\n\r\n");
    connection.rest();
}

/// http2 5.1.2: streams beyond the limit are refused.
#[test]
fn h2spec_5_1_2_no_more_streams_than_were_announced() {
    let (_upstream, mesh) = mesh();
    let mut connection = Connection::open(mesh.address);
    for nth in 0..1025 {
        connection.send(&frame(kind::HEADERS, flag::END_HEADERS, nth * 2 + 1, &post("/")));
    }
    let refused = connection.await_kind(kind::RST_STREAM).unwrap();
    assert_eq!((refused.stream, refused.code()), (2049, Some(code::REFUSED_STREAM)));
}

/// http2 6.5.3.2 and 6.7.1: each is answered by its own acknowledgement.
#[test]
fn h2spec_6_5_3_and_6_7_settings_and_pings_are_acknowledged() {
    let (_upstream, mesh) = mesh();
    let mut connection = Connection::silent(mesh.address);
    connection.send(&[PREFACE, &settings(&[(4, 1)])].concat());
    let acknowledged = std::iter::from_fn(|| connection.next())
        .find(|frame| frame.kind == kind::SETTINGS && frame.flags == flag::ACK);
    assert!(acknowledged.is_some());
    connection.send(&frame(kind::PING, 0, 0, b"h2spec!!"));
    let pong = connection.await_kind(kind::PING).unwrap();
    assert_eq!((pong.flags, &*pong.payload), (flag::ACK, &b"h2spec!!"[..]));
}

/// http2 6.9.1.1: a window of one byte lets one byte out.
#[test]
fn h2spec_6_9_1_a_window_of_one_byte() {
    let (_upstream, mesh) = mesh();
    let mut connection = Connection::open_with(mesh.address, &[(4, 1)]);
    connection.send(&request(1, "/"));
    assert_eq!(connection.await_kind(kind::DATA).unwrap().payload.len(), 1);
    assert!(connection.is_alive());
}

/// http2 6.9.2.1: a window that grows by SETTINGS lets out what waited.
#[test]
fn h2spec_6_9_2_1_settings_open_the_window_of_open_streams() {
    let (_upstream, mesh) = mesh();
    let mut connection = Connection::open_with(mesh.address, &[(4, 0)]);
    connection.send(&request(1, "/"));
    connection.await_kind(kind::HEADERS).unwrap();
    connection.send(&settings(&[(4, 1)]));
    assert_eq!(connection.await_kind(kind::DATA).unwrap().payload.len(), 1);
}

/// http2 6.9.2.2: a window below zero lets nothing out until it is above.
#[test]
fn h2spec_6_9_2_2_a_window_may_be_negative() {
    let (_upstream, mesh) = mesh();
    let mut connection = Connection::open_with(mesh.address, &[(4, 3)]);
    connection.send(&request(1, "/"));
    assert_eq!(connection.await_kind(kind::DATA).unwrap().payload.len(), 3);
    connection.send(&settings(&[(4, 2)]));
    connection.send(&window_update(1, 2));
    assert_eq!(connection.await_kind(kind::DATA).unwrap().payload.len(), 1);
}

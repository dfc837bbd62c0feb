//! What HTTP/2 can carry and HTTP/1 would read as something else: line ends in values, lengths of its own, fields of the
//! connection. Nothing of it reaches an upstream that speaks HTTP/1.

mod cases;

use cases::Fate::{Harmless, Refused};
use cases::{block, rows};

use crate::frames::{Connection, field, fields, flag, frame, kind};
use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

#[test]
fn what_http1_would_read_as_something_else_goes_nowhere() {
    let rows = rows();
    assert!(rows.len() >= 48);
    let mut wrong = Vec::new();
    for row in rows {
        let upstream = Upstream::start();
        let http = http(vec![route("/", forward("up"))]);
        let mesh = Mesh::http(http, vec![cluster("up", &[upstream.address])]);
        let mut connection = Connection::open(mesh.address);
        connection.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &block(&row.fields)));
        let (ends, body) = (u8::from(row.trailers.is_empty()), row.body.unwrap_or_default());
        connection.send(&frame(kind::DATA, ends, 1, body));
        if !row.trailers.is_empty() {
            connection.send(&frame(kind::HEADERS, 5, 1, &block(&row.trailers)));
        }
        let mut came = Vec::new();
        let answered = loop {
            match connection.next() {
                Some(next) if matches!(next.kind, kind::RST_STREAM | kind::GOAWAY) => break false,
                Some(next) if next.stream == 1 => {
                    came.extend_from_slice(&next.payload);
                    if next.flags & flag::END_STREAM != 0 {
                        break true;
                    }
                }
                Some(_) => {}
                None => break false,
            }
        };
        let came = String::from_utf8_lossy(&came).into_owned();
        let requests = upstream.requests();
        let right = match row.fate {
            // A body is only known to be wrong once it has come: the request may have begun, but is never whole.
            Refused => requests == 0 || (row.what.contains("length") && !answered),
            Harmless => requests == 1 && answered && !came.contains("smuggled"),
        };
        if !right {
            wrong.push(format!("{}: answered {answered}, {requests} requests: {came:?}", row.what));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_request_without_anything_odd_passes() {
    let upstream = Upstream::start();
    let mesh = Mesh::http(http(vec![route("/", forward("up"))]), vec![cluster("up", &[upstream.address])]);
    let mut connection = Connection::open(mesh.address);
    let pairs = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "h"),
        ("content-length", "3"),
    ];
    connection.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &fields(&pairs)));
    connection.send(&frame(kind::DATA, 0, 1, b"abc"));
    connection.send(&frame(kind::HEADERS, 5, 1, &field("x", "y")));
    assert!(connection.await_kind(kind::DATA).is_some());
    assert_eq!(upstream.requests(), 1);
}

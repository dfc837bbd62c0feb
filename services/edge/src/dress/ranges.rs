//! Parts of a body (RFC 9110 §14).

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use selvedge_http::conditional;
use selvedge_http::head::Version;
use selvedge_http::known::HeaderId;
use selvedge_http::range::{self, Part, Range};

use crate::request::response::{FileBody, Piece};
use crate::request::{Body, Exchange, Response};

/// Answers with the parts that were asked for, where the body is at hand whole.
pub(super) fn apply(x: &Exchange<'_>, response: &mut Response) {
    let fields = &response.head.fields;
    let at_hand = matches!(response.body, Body::Bytes(_) | Body::File(_));
    if response.head.status != 200
        || !at_hand
        || !matches!(x.head.method(), "GET" | "HEAD")
        || x.head.version == Version::Http10 && !x.conf.global.feature_flags.bool("http10.range", false)
        || !x.conf.server.protocol_http11
        || !x.conf.server.range_requests
        || fields.named("content-encoding").is_some()
    {
        return;
    }
    if fields.named("accept-ranges").is_none() {
        response.head.fields.append(b"accept-ranges", b"bytes");
    }
    let Some(wanted) = x.header("range").filter(|_| x.head.method() == "GET") else { return };
    let tag = response.head.fields.named("etag").and_then(|tag| std::str::from_utf8(tag).ok());
    if x.header("if-range")
        .is_some_and(|if_range| !conditional::range_holds(if_range, tag, response.modified))
    {
        return;
    }
    let complete = response.body.length().unwrap_or(0);
    match range::parse(wanted, complete) {
        Range::Whole => {}
        Range::Unsatisfiable => {
            response.head.status = 416;
            for name in ["etag", "last-modified", "accept-ranges"] {
                response.head.fields.remove_named(name);
            }
            response.head.fields.append(b"content-range", format!("bytes */{complete}").as_bytes());
            response.body = Body::None;
        }
        Range::Parts(parts) => cut(response, &parts, complete),
    }
}

fn cut(response: &mut Response, parts: &[Part], complete: u64) {
    let Some(piece) = piece_of(&response.body) else { return };
    let source = std::mem::take(&mut response.body);
    response.head.status = 206;
    let mut pieces = VecDeque::new();
    if let [part] = parts {
        response.head.fields.append(b"content-range", part.content_range(complete).as_bytes());
        pieces.push_back(piece(*part));
    } else {
        let kind = response.head.fields.get_str(HeaderId::ContentType).map(str::to_owned);
        for (index, part) in parts.iter().enumerate() {
            let head = range::part_head(*part, complete, kind.as_deref(), index == 0);
            pieces.push_back(Piece::Bytes(Bytes::from(head)));
            pieces.push_back(piece(*part));
        }
        pieces.push_back(Piece::Bytes(Bytes::from(range::end())));
        response.head.fields.set_id(HeaderId::ContentType, range::MULTIPART.as_bytes());
    }
    response.body = match &source {
        Body::File(file) => Body::File(FileBody { file: Rc::clone(&file.file), pieces }),
        _ => {
            let of = |piece: Piece| match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Range { .. } => Bytes::new(),
            };
            Body::Bytes(pieces.into_iter().map(of).collect::<Vec<_>>().concat().into())
        }
    };
}

/// How a part is cut out of a body; `None` of one that was put together of several pieces.
fn piece_of(source: &Body) -> Option<impl Fn(Part) -> Piece + use<>> {
    let (bytes, base) = match source {
        Body::Bytes(bytes) => (Some(bytes.clone()), 0),
        Body::File(file) => match file.pieces.front() {
            Some(Piece::Range { offset, .. }) if file.pieces.len() == 1 => (None, *offset),
            _ => return None,
        },
        _ => return None,
    };
    Some(move |part: Part| match &bytes {
        Some(bytes) => Piece::Bytes(bytes.slice(part.first as usize..=part.last as usize)),
        None => Piece::Range { offset: base + part.first, len: part.length() },
    })
}

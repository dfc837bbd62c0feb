//! The HTTP/1 codec.

use selvedge_http::chunked::{ChunkError, Decoder};
use selvedge_http::encode;
use selvedge_http::framing::Framing;
use selvedge_http::head::{RequestHead, ResponseHead};
use selvedge_http::parse::{self, RequestError, RequestFacts, ResponseError, ResponseFacts};
use selvedge_http::refusal::{self, Admission};
use selvedge_http::scan::Scanner;
use selvedge_http::{hop, path as paths};

use crate::cut;

type Parsed<T, E> = Result<Option<(usize, T)>, E>;

fn parse_request(bytes: &[u8], piece: usize, head: &mut RequestHead) -> Parsed<RequestFacts, RequestError> {
    let mut scanner = Scanner::default();
    let mut arrived = 0;
    while arrived < bytes.len() {
        arrived = (arrived + piece).min(bytes.len());
        if let Some(parsed) = parse::request(&mut scanner, &bytes[..arrived], head, parse::Dialect::ENVOY)? {
            return Ok(Some(parsed));
        }
    }
    Ok(None)
}

/// A request head: however it is cut it reads the same, and what is sent on is read back as it was.
pub(super) fn request(bytes: &[u8]) {
    let (piece, bytes) = cut(bytes);
    let (mut head, mut whole) = (RequestHead::default(), RequestHead::default());
    let cut = parse_request(bytes, piece, &mut head);
    let at_once = parse_request(bytes, bytes.len().max(1), &mut whole);
    // A refusal may come as soon as its bytes are there, and for another reason than the whole would give.
    assert_eq!(cut.is_err(), at_once.is_err(), "{cut:?} {at_once:?}");
    let Ok(Some((len, facts))) = cut else { return };
    assert_eq!(at_once, Ok(Some((len, facts))));
    let admission = Admission { normalize_path: true, merge_slashes: true };
    // A tunnel has no path, and goes no further.
    if refusal::admit(&mut head, admission).is_err() || head.method() == "CONNECT" {
        return;
    }
    hop::strip_request(&mut head.fields, false);
    let mut wire = Vec::new();
    encode::request(&head, facts.framing, &mut wire);
    let mut again = RequestHead::default();
    let read = parse_request(&wire, wire.len(), &mut again);
    let Ok(Some((end, facts_again))) = read else {
        // Our own limits may be met by what a proxy adds; nothing else may be.
        assert!(
            matches!(read, Err(RequestError::HeadTooLarge | RequestError::TooManyHeaders)),
            "{read:?} {:?}",
            String::from_utf8_lossy(&wire)
        );
        return;
    };
    assert_eq!(end, wire.len(), "one request becomes one request");
    assert_eq!(facts_again.framing, facts.framing);
    assert_eq!(
        (again.method(), again.path(), again.authority()),
        (head.method(), head.path(), head.authority())
    );
}

fn parse_response(
    bytes: &[u8],
    piece: usize,
    head: &mut ResponseHead,
) -> Parsed<ResponseFacts, ResponseError> {
    let mut scanner = Scanner::default();
    let mut arrived = 0;
    while arrived < bytes.len() {
        arrived = (arrived + piece).min(bytes.len());
        if let Some(parsed) = parse::response(&mut scanner, &bytes[..arrived], "GET", head)? {
            return Ok(Some(parsed));
        }
    }
    Ok(None)
}

/// A response head, likewise.
pub(super) fn response(bytes: &[u8]) {
    let (piece, bytes) = cut(bytes);
    let (mut head, mut whole) = (ResponseHead::default(), ResponseHead::default());
    let cut = parse_response(bytes, piece, &mut head);
    let at_once = parse_response(bytes, bytes.len().max(1), &mut whole);
    assert_eq!(cut.is_err(), at_once.is_err(), "{cut:?} {at_once:?}");
    let Ok(Some((len, facts))) = cut else { return };
    assert_eq!(at_once, Ok(Some((len, facts))));
    hop::strip_response(&mut head.fields, false);
    let framing = if facts.framing == Framing::UntilClose { Framing::Chunked } else { facts.framing };
    let mut wire = Vec::new();
    encode::response(&head, framing, "GET", false, &mut wire);
    let mut again = ResponseHead::default();
    match parse_response(&wire, wire.len(), &mut again) {
        Ok(Some((end, _))) => assert_eq!((end, again.status), (wire.len(), head.status)),
        Err(ResponseError::HeadTooLarge | ResponseError::TooManyHeaders) => {}
        // These have no length; who forwards them takes it off.
        _ if head.status < 200 || head.status == 204 || head.status == 304 => {}
        read => panic!("{read:?} {:?}", String::from_utf8_lossy(&wire)),
    }
}

fn decode(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), ChunkError> {
    let (mut decoder, mut content) = (Decoder::default(), Vec::new());
    let (mut at, mut arrived) = (0, piece.min(bytes.len()));
    loop {
        let step = decoder.step(&bytes[at..arrived])?;
        at += step.skip;
        content.extend_from_slice(&bytes[at..at + step.content]);
        at += step.content;
        decoder.take(step.content);
        if step.end {
            assert!(decoder.is_done());
            return Ok((content, at, true));
        }
        if step.content == 0 {
            if arrived == bytes.len() {
                return Ok((content, at, false));
            }
            arrived = (arrived + piece).min(bytes.len());
        }
    }
}

/// A chunked body: however it is cut it holds the same content and ends at the same byte.
pub(super) fn chunks(bytes: &[u8]) {
    let (piece, bytes) = cut(bytes);
    assert_eq!(decode(bytes, piece), decode(bytes, bytes.len().max(1)));
}

/// A path: its normal form is its own normal form, and climbs nowhere.
pub(super) fn path(bytes: &[u8]) {
    let (options, bytes) = cut(bytes);
    // The parser lets nothing else through.
    let graphic = bytes.iter().copied().filter(u8::is_ascii_graphic).map(char::from);
    let path: String = std::iter::once('/').chain(graphic).collect();
    let (normalize, merge) = (options & 1 != 0, options & 2 != 0);
    let Ok(Some(normal)) = paths::normalize(&path, normalize, merge) else { return };
    let again = paths::normalize(&normal, normalize, merge);
    assert!(
        matches!(again, Ok(None)) || again.as_ref().is_ok_and(|again| again.as_ref() == Some(&normal)),
        "{again:?}"
    );
    if normalize {
        let only = normal.split(['?', '#']).next().unwrap_or_default();
        assert!(!only.split('/').any(|segment| segment == ".."), "{normal}");
    }
}

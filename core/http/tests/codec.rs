//! The HTTP/1 codec as a peer meets it: which heads are taken, which answers the others get, and that neither depends on
//! how the bytes were cut on their way.

#![expect(clippy::type_complexity, reason = "rows of a table")]

use proptest::prelude::*;
use selvedge_http::encode;
use selvedge_http::framing::{Framing, FramingError};
use selvedge_http::head::{RequestHead, ResponseHead, Version};
use selvedge_http::parse::{self, RequestError, RequestFacts, Upgrade};
use selvedge_http::refusal::{self, Admission};
use selvedge_http::scan::{REQUEST_HEAD_BYTES_MAX, Scanner};

fn request(bytes: &[u8]) -> Result<Option<(usize, RequestFacts, RequestHead)>, RequestError> {
    let mut head = RequestHead::default();
    Ok(parse::request(&mut Scanner::default(), bytes, &mut head, parse::Dialect::ENVOY)?
        .map(|(len, facts)| (len, facts, head)))
}

/// Status and details that a request gets from codec and admission together; 0 when it is served.
fn answer(bytes: &[u8]) -> (u16, &'static str) {
    let (facts, mut head) = match request(bytes) {
        Ok(Some((_, facts, head))) => (facts, head),
        Ok(None) => return (0, "incomplete"),
        Err(error) => {
            let refusal = error.refusal();
            assert!(refusal.protocol_error && refusal.close && !refusal.body.is_empty());
            return (refusal.status, refusal.details);
        }
    };
    let admission = Admission { normalize_path: true, merge_slashes: true };
    let admitted = refusal::admit(&mut head, admission)
        .and_then(|()| refusal::admit_upgrade(facts.upgrade, facts.upgrade == Upgrade::Connect));
    match admitted {
        Ok(()) => (0, ""),
        Err(refusal) => {
            assert!(!refusal.protocol_error && refusal.body.is_empty());
            (refusal.status, refusal.details)
        }
    }
}

/// The table of reference §1.8, column "ours"; statuses and details were read from Envoy 1.40 where both agree.
#[test]
fn what_is_refused_and_how() {
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(101));
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nb: {}", "x".repeat(REQUEST_HEAD_BYTES_MAX));
    let rows: &[(&[u8], (u16, &str))] = &[
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", (0, "")),
        (b"\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", (0, "")),
        (b"GET / HTTP/1.1\r\nhost: \r\n\r\n", (0, "")),
        (b"TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", (0, "")),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx_y: 1\r\n\r\n", (0, "")),
        (b"GET http://b.c/e HTTP/1.1\r\n\r\n", (0, "")),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", (0, "")),
        (b"GET / HTTP/1.0\r\n\r\n", (426, "low_version")),
        (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", (426, "low_version")),
        (b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", (400, "http1.codec_error")),
        (b"GET / HTTX/1.1\r\nhost: a\r\n\r\n", (400, "http1.codec_error")),
        (b"GET / HTTP/1.1\r\n\r\n", (400, "missing_host_header")),
        (b"GET / HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n", (400, "http1.duplicate_host")),
        (b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", (400, "http.invalid_authority")),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            (400, "http1.content_length_and_chunked_not_allowed"),
        ),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n",
            (501, "http1.invalid_transfer_encoding"),
        ),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            (501, "http1.invalid_transfer_encoding"),
        ),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            (400, "http1.codec_error"),
        ),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            (400, "http1.codec_error"),
        ),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\n", (400, "http1.codec_error")),
        (b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", (400, "http1.codec_error")),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n", (400, "http1.invalid_characters")),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n", (400, "http1.invalid_characters")),
        (b"GET / HTTP/1.1\nhost: a\n\n", (400, "http1.codec_error")),
        (b"GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n", (400, "http1.codec_error")),
        (b"GET /d#f HTTP/1.1\r\nhost: a\r\n\r\n", (400, "path_normalization_failed")),
        (b"GET foo HTTP/1.1\r\nhost: a\r\n\r\n", (400, "http1.codec_error")),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nhost: a\r\n\r\n", (400, "http1.codec_error")),
        (b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", (404, "absolute_path_rejected")),
        (b"FOO / HTTP/1.1\r\nhost: a\r\n\r\n", (400, "http1.codec_error")),
        (b"get / HTTP/1.1\r\nhost: a\r\n\r\n", (400, "http1.codec_error")),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            (403, "upgrade_failed"),
        ),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n",
            (403, "upgrade_failed"),
        ),
        (b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", (0, "")),
        (b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n", (0, "")),
        (b"\x16\x03\x01\x02\x00\x01\x00", (400, "http1.codec_error")),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", (400, "http1.codec_error")),
        (b"SSH-2.0-OpenSSH_9.2p1", (400, "http1.codec_error")),
        (b"GE", (0, "incomplete")),
        (many.as_bytes(), (431, "http1.too_many_headers")),
        (large.as_bytes(), (431, "http1.headers_too_large")),
    ];
    for (bytes, expected) in rows {
        let shown: String = String::from_utf8_lossy(bytes).chars().take(90).collect();
        assert_eq!(answer(bytes), *expected, "{shown:?}");
    }
}

#[test]
fn folded_values_become_one_line() {
    let (_, _, head) =
        request(b"GET / HTTP/1.1\r\nhost: a\r\nx: one\r\n\ttwo\r\n  three\r\ny: z\r\n\r\n").unwrap().unwrap();
    assert_eq!(head.fields.named("x"), Some(&b"one\ttwo  three"[..]));
    assert_eq!(head.fields.named("y"), Some(&b"z"[..]));
}

#[test]
fn what_a_head_settles() {
    let rows: &[(&str, RequestFacts)] = &[
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", RequestFacts::default()),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: Close\r\n\r\n",
            RequestFacts { close: true, ..Default::default() },
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n",
            RequestFacts { framing: Framing::Length(3), expects_continue: true, ..Default::default() },
        ),
        ("GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n", RequestFacts::default()),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n",
            RequestFacts { upgrade: Upgrade::WebSocket, ..Default::default() },
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
            RequestFacts { framing: Framing::Chunked, ..Default::default() },
        ),
    ];
    for (text, expected) in rows {
        let (len, facts, _) = request(text.as_bytes()).unwrap().unwrap();
        assert_eq!((len, facts), (text.len(), *expected), "{text:?}");
    }
}

#[test]
fn an_absolute_target_replaces_the_host() {
    let (_, _, head) = request(b"GET HTTPS://u@b.c:1/e?f HTTP/1.1\r\nhost: a\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.authority(), head.path(), head.scheme()), (Some("b.c:1"), "/e?f", "https"));
}

#[test]
fn responses_and_how_they_end() {
    let rows: &[(&str, &str, Option<(u16, Framing, bool)>)] = &[
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", "GET", Some((200, Framing::Length(3), false))),
        ("HTTP/1.1 200\r\ncontent-length: 3\r\n\r\n", "GET", Some((200, Framing::Length(3), false))),
        ("HTTP/1.1 200 OK\r\n\r\n", "GET", Some((200, Framing::UntilClose, true))),
        ("HTTP/1.1 200 OK\r\n\r\n", "HEAD", Some((200, Framing::None, false))),
        ("HTTP/1.1 204 No Content\r\n\r\n", "GET", Some((204, Framing::None, false))),
        ("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n", "GET", Some((200, Framing::Length(3), true))),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\n",
            "GET",
            Some((200, Framing::Length(3), false)),
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\n",
            "GET",
            Some((200, Framing::Length(3), true)),
        ),
        ("garbage\r\n\r\n", "GET", None),
        ("garb", "GET", None),
        ("HTTP/1.1 99 x\r\n\r\n", "GET", None),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\n", "GET", None),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", "GET", None),
        ("HTTP/1.1 200 OK\ncontent-length: 3\n\n", "GET", None),
    ];
    for (text, method, expected) in rows {
        let mut head = ResponseHead::default();
        let parsed = parse::response(&mut Scanner::default(), text.as_bytes(), method, &mut head);
        let found = parsed.ok().flatten().map(|(_, facts)| (head.status, facts.framing, facts.close));
        assert_eq!(found, *expected, "{text:?}");
    }
}

#[test]
fn heads_are_written_as_envoy_writes_them() {
    let (_, facts, head) = request(b"POST /e HTTP/1.1\r\nA: b\r\nHost: a\r\n\r\n").unwrap().unwrap();
    let mut out = Vec::new();
    encode::request(&head, facts.framing, &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "POST /e HTTP/1.1\r\nhost: a\r\na: b\r\ncontent-length: 0\r\n\r\n"
    );
    let mut reply = ResponseHead { status: 404, ..ResponseHead::default() };
    reply.fields.append(b"server", b"envoy");
    out.clear();
    encode::response(&reply, Framing::None, "GET", true, &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "HTTP/1.1 404 Not Found\r\nserver: envoy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    out.clear();
    reply.status = 204;
    encode::response(&reply, Framing::None, "GET", false, &mut out);
    assert_eq!(String::from_utf8_lossy(&out), "HTTP/1.1 204 No Content\r\nserver: envoy\r\n\r\n");
}

fn header() -> impl Strategy<Value = (String, String)> {
    ("[a-z][a-z0-9-]{0,12}", "[!-~]([ -~]{0,20}[!-~])?").prop_filter(
        "framing and connection headers have tests of their own",
        |(name, _)| {
            !matches!(
                name.as_str(),
                "host" | "connection" | "content-length" | "transfer-encoding" | "upgrade" | "expect"
            )
        },
    )
}

fn shape(head: &RequestHead) -> (String, String, Option<String>, Vec<(String, Vec<u8>)>) {
    (
        head.method().to_owned(),
        head.path().to_owned(),
        head.authority().map(str::to_owned),
        head.fields.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect(),
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_however_it_is_cut(
        headers in prop::collection::vec(header(), 0..20),
        path in "/[a-z0-9/._-]{0,30}",
        cuts in prop::collection::vec(0usize..2000, 0..4),
    ) {
        let mut head = RequestHead::default();
        head.set_method("GET");
        head.set_path(&path);
        head.set_authority("h.example:1");
        for (name, value) in &headers {
            head.fields.append(name.as_bytes(), value.as_bytes());
        }
        let mut wire = Vec::new();
        encode::request(&head, Framing::None, &mut wire);
        let len = wire.len();
        wire.extend_from_slice(b"following bytes");
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % len).collect();
        cuts.sort_unstable();
        let mut scanner = Scanner::default();
        let mut read = RequestHead::default();
        for cut in cuts {
            prop_assert_eq!(parse::request(&mut scanner, &wire[..cut], &mut read, parse::Dialect::ENVOY), Ok(None));
        }
        let (end, facts) = parse::request(&mut scanner, &wire, &mut read, parse::Dialect::ENVOY).unwrap().unwrap();
        prop_assert_eq!((end, facts), (len, RequestFacts::default()));
        prop_assert_eq!(shape(&read), shape(&head));
    }

    #[test]
    fn mutated_heads_are_answered_and_never_panic(
        edits in prop::collection::vec((0usize..200, any::<u8>()), 0..6),
        cut in 0usize..200,
    ) {
        let mut bytes = b"POST /a/../b?c HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nConnection: te, x\r\nTE: trailers\r\nX: 1\r\n 2\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut % 20));
        let _ = answer(&bytes);
        let mut head = ResponseHead::default();
        let _ = parse::response(&mut Scanner::default(), &bytes, "GET", &mut head);
    }

    #[test]
    fn anything_at_all_is_answered_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = answer(&bytes);
    }
}

/// What an edge takes and a mesh's proxy does not.
#[test]
fn the_dialect_of_the_web() {
    let of = |bytes: &[u8]| {
        let mut head = RequestHead::default();
        let read = parse::request(&mut Scanner::default(), bytes, &mut head, parse::Dialect::WEB);
        read.map(|read| read.map(|(_, facts)| (head.version, facts.close, head.path().to_owned())))
    };
    let one = |close: bool, path: &str| Ok(Some((Version::Http10, close, path.to_owned())));
    assert_eq!(of(b"GET / HTTP/1.0\r\n\r\n"), one(true, "/"));
    assert_eq!(of(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), one(false, "/"));
    assert_eq!(of("GET /ä HTTP/1.0\r\n\r\n".as_bytes()), one(true, "/%C3%A4"));
    assert_eq!(of(b"\r\nGET / HTTP/1.0\r\n\r\n"), one(true, "/"));
    assert_eq!(of(b"\r\n\r\nGET / HTTP/1.0\r\n\r\n"), Err(RequestError::Malformed("empty line")));
    assert_eq!(of(b"\r\n\r\n"), Err(RequestError::Malformed("empty line")));
    assert_eq!(of(b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"), Err(RequestError::DuplicateHost));
    assert_eq!(of(b"BREW / HTTP/1.1\r\nHost: b\r\n\r\n"), Err(RequestError::UnknownMethod));
    let chunked = of(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(chunked, Err(FramingError::UnknownTransferEncoding.into()));
    let long = [b"GET / HTTP/1.0\r\na: ".as_slice(), &[b'x'; 9000]].concat();
    assert_eq!(of(&long), Err(RequestError::HeadTooLarge));
}

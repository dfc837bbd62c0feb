//! Answers that are kept: what strangers do to have others' answers, or to have others wait.

mod server;

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use server::{edge, exchange, get, ok, service};

fn kept(backend: u16, more: &str) -> String {
    format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_proxy\", \"mod_status\" )\nmesh.cache = \"enable\"\n\
         status.status-url = \"/status\"\nproxy.server = ( \"/c/\" => (( \"host\" => \"127.0.0.1\", \"port\" => {backend} )) )\n{more}"
    )
}

fn status(found: &server::Answer) -> &str {
    found.header("cache-status").unwrap_or_default()
}

/// Whoever asks first and leaves takes nothing along: another one asks anew, and what it gets is kept.
#[test]
fn a_client_that_leaves_keeps_nobody_waiting() {
    let (begin, begun) = channel();
    let (go, gone) = channel::<()>();
    let gone = Arc::new(Mutex::new(Some(gone)));
    let (backend, asked) = service(move |head| {
        begin.send(()).unwrap();
        // The first request waits until its client has left.
        if let Some(gone) = gone.lock().unwrap().take().filter(|_| head.contains("/c/a")) {
            let _ = gone.recv_timeout(Duration::from_secs(10));
        }
        ok("Cache-Control: max-age=60\r\n", "kept")
    });
    let address = edge(&kept(backend, ""));
    let mut first = TcpStream::connect(address).unwrap();
    first.write_all(b"GET /c/a HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    begun.recv_timeout(Duration::from_secs(10)).expect("the first has asked");
    let follower =
        std::thread::spawn(move || get(address, "GET /c/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    drop(first);
    go.send(()).unwrap();
    let found = follower.join().unwrap();
    assert_eq!((found.code(), found.body.as_str()), (200, "kept"));
    let again = get(address, "GET /c/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!((again.body.as_str(), status(&again)), ("kept", "selvedge; hit"));
    assert!(asked.try_iter().count() <= 2, "and nobody asked who need not");
}

/// Who waits for an answer that fails, or may not be kept, is answered by itself.
#[test]
fn an_answer_that_cannot_be_kept_is_everybodys_own() {
    let (backend, asked) = service(|head| {
        match head.contains("/c/broken") {
        true => "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\nConnection: close\r\n\r\n12".to_owned(),
        false => ok("Cache-Control: no-store\r\n", "own"),
    }
    });
    let address = edge(&kept(backend, ""));
    let ask =
        |path: &str| get(address, &format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    let together = |path: &'static str| -> Vec<server::Answer> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(path))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    for found in together("/c/own") {
        assert_eq!((found.code(), found.body.as_str()), (200, "own"));
    }
    assert_eq!(asked.try_iter().count(), 8, "each has asked");
    assert!(!status(&ask("/c/own")).contains("hit"));
    let _ = asked.try_iter().count();
}

/// Pingora's CVE-2025-4366: what comes as the body of a request that the cache could answer is no request of its own.
#[test]
fn a_hit_leaves_no_body_on_the_connection() {
    let (backend, _) =
        service(|head| ok("Cache-Control: max-age=60\r\n", head.lines().next().unwrap_or_default()));
    let address = edge(&kept(backend, "server.http-parseopts = ( \"method-get-body\" => \"enable\" )\n"));
    get(address, "GET /c/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let hidden = "GET /c/hidden HTTP/1.1\r\nHost: h\r\n\r\n";
    for head in [
        format!("GET /c/a HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len()),
        format!(
            "GET /c/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
            hidden.len()
        ),
    ] {
        let next = "GET /c/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let text =
            String::from_utf8_lossy(&exchange(address, format!("{head}{next}").as_bytes())).into_owned();
        assert!(!text.contains("/c/hidden"), "{head}: {text}");
    }
}

/// Whatever a client says of itself besides what `Vary` names changes no answer that others are shown: it is told to the backend as
/// the edge knows it.
#[test]
fn no_header_of_one_client_shows_in_the_answer_of_another() {
    let (backend, asked) = service(|head| ok("Cache-Control: max-age=60\r\n", head));
    let address = edge(&kept(backend, ""));
    let lies = "X-Forwarded-Host: evil\r\nX-Host: evil\r\nX-Forwarded-Proto: evil\r\nProxy: evil\r\nX-Selvedge-Service: evil\r\nTE: evil\r\nX-Original-URL: /evil\r\nX-HTTP-Method-Override: EVIL\r\nX-Forwarded-Prefix: /evil\r\nForwarded: for=1.2.3.4;host=evil\r\nX-HTTP-Host-Override: evil\r\nX_Original_URL: /evil\r\nX.HTTP.Method.Override: EVIL\r\nConnection: x-evil\r\nX-Evil: evil\r\nSet-Cookie: evil\r\n";
    let found = get(address, &format!("GET /c/a HTTP/1.1\r\nHost: h\r\n{lies}\r\n"));
    assert_eq!(status(&found), "selvedge; fwd=miss; stored");
    assert!(!found.body.contains("evil"), "{}", found.body);
    let _ = asked.recv().unwrap();
    // Another method, or another spelling of it, is no way to have another answer kept.
    for odd in [
        "X-HTTP-Method-Override: POST\r\n",
        "Range: bytes=0-1\r\n",
        "If-None-Match: *\r\n",
        "Cache-Control: no-cache\r\nPragma: no-cache\r\n",
    ] {
        let found = get(address, &format!("GET /c/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{odd}\r\n"));
        assert!(status(&found).starts_with("selvedge; hit"), "{odd}: {found:?}");
    }
    assert!(asked.try_recv().is_err(), "and nobody makes the edge ask again");
    // Not everybody may have it forget: a trusted proxy on this machine passes others on.
    let address = edge(&kept(
        backend,
        "server.modules += ( \"mod_extforward\" )\nextforward.forwarder = ( \"127.0.0.1\" => \"trust\" )\n",
    ));
    get(address, "GET /c/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let purge = |from: &str| {
        get(
            address,
            &format!(
                "PURGE /c/a HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {from}\r\nConnection: close\r\n\r\n"
            ),
        )
        .code()
    };
    assert_eq!((purge("192.0.2.1"), purge("127.0.0.1")), (403, 200));
}

/// What is kept has a bound, whatever is asked for.
#[test]
fn what_is_kept_has_a_bound() {
    let (backend, _) = service(|_| ok("Cache-Control: max-age=600\r\n", &"x".repeat(200_000)));
    let address = edge(&kept(backend, "mesh.cache-mbytes = 1\n"));
    let began = Instant::now();
    let ask = |number: u32| {
        get(address, &format!("GET /c/{number} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
    };
    for number in 0..12 {
        assert_eq!(ask(number).body.len(), 200_000);
    }
    assert_eq!(status(&ask(11)), "selvedge; hit", "the last one");
    assert_eq!(status(&ask(0)), "selvedge; fwd=miss; stored", "the first one made room");
    assert!(began.elapsed() < Duration::from_secs(60));
}

/// RFC 9211: whoever looks for why an answer was not kept is told.
#[test]
fn cache_status_says_why_a_backend_was_asked() {
    const LONG: usize = 8 * 1024 * 1024 + 1;
    let (backend, _) = service(|head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path {
            "/c/stale" if head.to_ascii_lowercase().contains("if-none-match") => {
                "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=0\r\nETag: \"1\"\r\n\r\n".to_owned()
            }
            "/c/stale" => ok("Cache-Control: max-age=0\r\nETag: \"1\"\r\n", "a"),
            "/c/aged" => ok("Cache-Control: max-age=60\r\nAge: 100\r\nETag: \"1\"\r\n", "a"),
            "/c/private" => ok("Cache-Control: private\r\n", "a"),
            "/c/no-store" => ok("Cache-Control: no-store\r\n", "a"),
            "/c/cookie" => ok("Cache-Control: max-age=60\r\nSet-Cookie: a=b\r\n", "a"),
            "/c/vary" => ok("Cache-Control: max-age=60\r\nVary: *\r\n", "a"),
            "/c/undated" => ok("", "a"),
            "/c/long" => ok("Cache-Control: max-age=60\r\n", &"a".repeat(LONG)),
            "/c/teapot" => {
                "HTTP/1.1 418 I'm a teapot\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n"
                    .to_owned()
            }
            _ if head.starts_with("HEAD ") => "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n".to_owned(),
            _ => ok("Cache-Control: max-age=60\r\n", "a"),
        }
    });
    let address = edge(&kept(backend, ""));
    for (request, more, wanted) in [
        ("GET /c/a", "", "selvedge; fwd=miss; stored"),
        ("GET /c/a", "", "selvedge; hit"),
        ("HEAD /c/a", "", "selvedge; hit"),
        ("HEAD /c/head", "", "selvedge; fwd=miss; detail=head"),
        ("POST /c/a", "Content-Length: 1\r\n", "selvedge; fwd=method"),
        ("GET /c/a", "", "selvedge; fwd=miss; stored"),
        ("OPTIONS /c/a", "", "selvedge; fwd=method"),
        ("GET /c/a", "Upgrade: chat\r\nConnection: upgrade\r\n", "selvedge; fwd=bypass"),
        ("GET /c/none", "Cache-Control: only-if-cached\r\n", "selvedge; detail=only-if-cached"),
        ("GET /c/stale", "", "selvedge; fwd=miss; stored"),
        ("GET /c/stale", "", "selvedge; fwd=stale; fwd-status=304; stored"),
        ("GET /c/aged", "", "selvedge; fwd=miss; stored"),
        ("GET /c/aged", "", "selvedge; fwd=stale; fwd-status=200; stored"),
        ("GET /c/private", "", "selvedge; fwd=miss; detail=private"),
        ("GET /c/private", "", "selvedge; fwd=miss; detail=not-kept-lately"),
        ("GET /c/no-store", "", "selvedge; fwd=miss; detail=no-store"),
        ("GET /c/cookie", "", "selvedge; fwd=miss; detail=set-cookie"),
        ("GET /c/vary", "", "selvedge; fwd=miss; detail=vary"),
        ("GET /c/undated", "", "selvedge; fwd=miss; detail=undated"),
        ("GET /c/own", "Authorization: Basic eDp5\r\n", "selvedge; fwd=miss; detail=authorization"),
        ("GET /c/long", "", "selvedge; fwd=miss; detail=too-long"),
        ("GET /c/teapot", "", "selvedge; fwd=miss; detail=status"),
    ] {
        let body = if more.starts_with("Content-Length") { "x" } else { "" };
        // `Connection` stands once.
        let close = if more.contains("Connection") { "" } else { "Connection: close\r\n" };
        let found = get(address, &format!("{request} HTTP/1.1\r\nHost: h\r\n{close}{more}\r\n{body}"));
        assert_eq!(status(&found), wanted, "{request} {more}");
    }
    // Nobody answers there: that is no word of the cache's.
    let found = get(address, "GET /elsewhere HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!((found.code(), status(&found)), (404, ""));
}

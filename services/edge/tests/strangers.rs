//! What strangers do to an edge.

mod server;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use server::{edge, exchange, get};

fn site() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir_all(root.join("www/sub")).unwrap();
    std::fs::write(root.join("www/a.txt"), "12345\n").unwrap();
    std::fs::write(root.join("secret"), "secret\n").unwrap();
    std::fs::write(root.join("www/env.sh"), "printf '\\r\\n'; env\n").unwrap();
    let conf = format!(
        "server.document-root = \"{0}/www\"\nserver.modules = ( \"mod_access\", \"mod_cgi\", \"mod_extforward\", \"mod_alias\" )\n\
         cgi.assign = ( \".sh\" => \"/bin/sh\" )\nmimetype.assign = ( \".txt\" => \"text/plain\" )\n\
         extforward.forwarder = ( \"10.0.0.1\" => \"trust\" )\nalias.url = ( \"/al\" => \"{0}/www/sub/\" )\n",
        root.display()
    );
    (folder, conf)
}

/// Threats row 39: a byte now and then is not a request.
#[test]
fn a_head_has_its_time_and_no_more() {
    let (_folder, conf) = site();
    let address = edge(&conf);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(900))).unwrap();
    let began = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n").unwrap();
    let mut closed = false;
    // Were it the time from one byte to the next, it would never come.
    while began.elapsed() < Duration::from_secs(60) && !closed {
        let mut byte = [0];
        // The wait for an answer is the pause between two bytes of the head.
        closed = match stream.read(&mut byte) {
            Ok(0) => true,
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                stream.write_all(b"x").is_err()
            }
            _ => true,
        };
    }
    let took = began.elapsed();
    assert!(closed && took >= Duration::from_secs(9), "{closed} after {took:?}");
}

/// Threats row 43: rules and files see one path, and nothing leads out of the root.
#[test]
fn no_path_leads_out() {
    let (folder, conf) = site();
    std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join("www/link.txt")).unwrap();
    let address = edge(&format!("{conf}server.follow-symlink = \"disable\"\n"));
    // Where links are followed, no kernel resolves beneath a root: the rule on aliases stands alone.
    let follows = edge(&conf);
    for path in ["/al../a.txt", "/al..%2fa.txt", "/al%2e%2e/a.txt", "/al../../secret"] {
        for address in [address, follows] {
            let answer = get(address, &format!("GET {path} HTTP/1.0\r\n\r\n"));
            assert!(matches!(answer.code(), 403 | 404), "{path}: {}", answer.status);
        }
    }
    for path in [
        "/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/sub/..%2f..%2fsecret",
        "/sub/%2e%2e%2f%2e%2e/secret",
        "//../secret",
        "/.%2e/secret",
        "/%252e%252e/secret",
        "/..\\secret",
        "/..%5csecret",
        "/%c0%ae%c0%ae/secret",
        "/al../../secret",
        "/al../secret",
        "/link.txt",
        "/a.txt%00.html",
        "/proc/self/environ",
        "/a.txt/../../secret",
    ] {
        let answer = get(address, &format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(matches!(answer.code(), 400 | 403 | 404), "{path}: {}", answer.status);
        assert!(!answer.body.contains("secret\n"), "{path}");
    }
    assert_eq!(get(address, "GET /a.txt HTTP/1.0\r\n\r\n").code(), 200);
}

/// Threats row 40: who a request comes from is said by those who are trusted, and by nobody else.
#[test]
fn a_client_does_not_say_who_it_is() {
    let (_folder, conf) = site();
    let address = edge(&conf);
    let answer = get(
        address,
        "GET /env.sh HTTP/1.0\r\nX-Forwarded-For: 9.9.9.9\r\nX_Forwarded_For: 8.8.8.8\r\nForwarded: for=7.7.7.7\r\n\
         X-Forwarded-Client-Cert: By=x\r\nX-Selvedge-Identity: emperor\r\nX_Selvedge_Identity: emperor\r\nX.Selvedge.Subject: emperor\r\n\
         X!Forwarded!Client!Cert: By=x\r\nX-Envoy-External-Address: 6.6.6.6\r\nX_Envoy_Original_Path: /evil\r\nX.Forwarded.For: 9.9.9.9\r\nProxy: http://evil\r\n\r\n",
    );
    assert_eq!(answer.code(), 200);
    assert!(answer.body.contains("REMOTE_ADDR=127.0.0.1\n"), "{}", answer.body);
    for lie in ["9.9.9.9", "8.8.8.8", "7.7.7.7", "6.6.6.6", "By=x", "emperor", "HTTP_PROXY", "evil"] {
        assert!(!answer.body.contains(lie), "{lie} in {}", answer.body);
    }
}

/// Threats row 46: what is too much is refused early.
#[test]
fn too_much_is_refused() {
    let (_folder, conf) = site();
    let address = edge(&format!("{conf}server.max-request-size = 1024\n"));
    let many: String = (0..2000).map(|number| format!("a{number}: b\r\n")).collect();
    let ranges: String = (0..10_000).map(|number| format!("{0}-{0},", number % 6)).collect();
    for (request, expected) in [
        (format!("GET /{} HTTP/1.0\r\n\r\n", "x".repeat(20_000)), vec![431, 414]),
        (format!("GET / HTTP/1.0\r\n{many}\r\n"), vec![431]),
        (format!("GET / HTTP/1.0\r\na: {}\r\n\r\n", "x".repeat(65_536)), vec![431]),
        ("POST /env.sh HTTP/1.0\r\nContent-Length: 1099511627776\r\n\r\n".to_owned(), vec![413]),
        (
            format!("GET /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\nRange: bytes={ranges}\r\n\r\n"),
            vec![431],
        ),
        (
            format!(
                "GET /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\nRange: bytes={}\r\n\r\n",
                &ranges[..4000]
            ),
            vec![206],
        ),
    ] {
        let answer = get(address, &request);
        assert!(
            expected.contains(&answer.code()),
            "{}: {}",
            &request[..60.min(request.len())],
            answer.status
        );
    }
}

/// Nothing that two readers could read in two ways is answered, and what follows it on the connection never is.
#[test]
fn no_request_hides_in_another() {
    let (_folder, conf) = site();
    let address = edge(&conf);
    let hidden = "GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n";
    for head in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length : 5\r\n",
        "Content-Length: 5\r\nX: a\x00b\r\n",
        "X: a\rContent-Length: 5\r\n",
        "Content-Type: text/plain\r\nContent-Type: text/html\r\nContent-Length: 5\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n",
        "X: a\nContent-Length: 5\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Content-Length:\r\n\t5\r\n",
    ] {
        let request = format!("POST /env.sh HTTP/1.1\r\nHost: h\r\n{head}\r\n0\r\n\r\n{hidden}");
        let bytes = exchange(address, request.as_bytes());
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            text.starts_with("HTTP/1.1 400")
                || text.starts_with("HTTP/1.1 501")
                || text.starts_with("HTTP/1.0 400"),
            "{head:?}: {text}"
        );
        assert_eq!(text.matches("HTTP/1.").count(), 1, "{head:?}: {text}");
        assert!(!text.contains("12345"), "{head:?}");
    }
}

/// A request is for one host, in every reading of it.
#[test]
fn a_request_names_one_host() {
    let (_folder, conf) = site();
    let address = edge(&conf);
    for (line, host, expected) in [
        ("/a.txt", "Host: h\r\n", 200),
        ("http://h/a.txt", "Host: h\r\n", 200),
        ("http://other/a.txt", "Host: h\r\n", 400),
        ("http://evil@h/a.txt", "Host: h\r\n", 400),
        ("http://@h/a.txt", "Host: h\r\n", 400),
        ("/a.txt", "", 400),
        ("/a.txt", "Host: h\r\nHost: h\r\n", 400),
        ("/a.txt", "Host:\r\n h\r\n", 400),
        ("/a.txt", "Host: h:65536\r\n", 400),
        ("/a.txt", "Host: h@evil\r\n", 400),
        ("/a.txt", "Host: h/evil\r\n", 400),
        ("/a.txt", "X: a\r\n b\r\nHost: h\r\n", 200),
    ] {
        let found = get(address, &format!("GET {line} HTTP/1.1\r\n{host}Connection: close\r\n\r\n"));
        assert_eq!(found.code(), expected, "{line} {host:?}");
    }
}

/// Trailers do not become headers (CVE-2025-12642), and a client that closes its half is answered (CVE-2022-41556).
#[test]
fn trailers_are_no_headers() {
    let (_folder, conf) = site();
    let address = edge(&conf);
    let request = "POST /env.sh HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Trailer: in\r\n\r\n";
    let answer = get(address, request);
    assert_eq!(answer.code(), 200);
    assert!(
        answer.body.contains("CONTENT_LENGTH=1\n") && !answer.body.contains("X_TRAILER"),
        "{}",
        answer.body
    );
}

/// CVE-2019-11072, CVE-2022-22707, CVE-2022-37797 and whatever is like them: odd requests are answered, and the next one is.
#[test]
fn odd_requests_are_survived() {
    let (_folder, conf) = site();
    let conf = format!(
        "{conf}extforward.forwarder = ( \"127.0.0.1\" => \"trust\" )\nextforward.headers = ( \"Forwarded\", \"X-Forwarded-For\" )\n\
         server.http-parseopts = ( \"url-normalize\" => \"enable\", \"url-path-2f-decode\" => \"enable\" )\n"
    )
    .replacen("extforward.forwarder = ( \"10.0.0.1\" => \"trust\" )\n", "", 1);
    let address = edge(&conf);
    let elements: String = (0..900).map(|number| format!("for=\"[::{number:x}]\",")).collect();
    for request in [
        "GET /%2F? HTTP/1.0\r\n\r\n".to_owned(),
        "GET /%2f%2f%2f? HTTP/1.0\r\n\r\n".to_owned(),
        "GET //%2f..%2f..? HTTP/1.0\r\n\r\n".to_owned(),
        "GET /?%2F/.. HTTP/1.0\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.0\r\nForwarded: {}\r\n\r\n", &elements[..7000]),
        "GET / HTTP/1.0\r\nForwarded: for=\"\\\"\r\n\r\n".to_owned(),
        "GET / HTTP/1.0\r\nForwarded: ;;;=,=;for;for=;by=\"\r\n\r\n".to_owned(),
        "GET / HTTP/1.0\r\nX-Forwarded-For: ,,,[::,1.2.3.4.5,:::\r\n\r\n".to_owned(),
        "GET /env.sh HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned(),
        "GET /env.sh HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: \r\n\r\n".to_owned(),
        "GET /env.sh HTTP/1.1\r\nHost: h\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=-0,--1,9-1,18446744073709551616-\r\nConnection: close\r\n\r\n".to_owned(),
    ] {
        let _ = exchange(address, request.as_bytes());
        assert_eq!(get(address, "GET /a.txt HTTP/1.0\r\n\r\n").code(), 200, "after {request:.60}");
    }
}

/// A header cannot be put into an answer by way of a redirect; a rewrite grows no further than its bound (CVE-2026-42945 and its
/// kind).
#[test]
fn rewrites_and_redirects_are_bounded() {
    let (_folder, conf) = site();
    let address = edge(&format!(
        "{conf}server.modules += ( \"mod_redirect\", \"mod_rewrite\" )\nurl.redirect = ( \"^/to/(.*)\" => \"https://h/$1\" )\n\
         url.rewrite-repeat = ( \"^(/grow.*)$\" => \"$1$1\", \"^/q(.*)\\?(.*)$\" => \"/a.txt?$2$2\" )\n"
    ));
    for path in
        ["/to/x%0d%0aSet-Cookie:%20a=b", "/to/x%0aSet-Cookie:%20a=b", "/to/%E5%98%8A%E5%98%8DSet-Cookie:a=b"]
    {
        let found = get(address, &format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(
            found.header("set-cookie").is_none() && matches!(found.code(), 301 | 400),
            "{path}: {found:?}"
        );
    }
    let long = "x".repeat(4000);
    assert_eq!(get(address, &format!("GET /grow{long} HTTP/1.0\r\n\r\n")).code(), 500);
    assert_eq!(get(address, &format!("GET /q?{long} HTTP/1.0\r\n\r\n")).code(), 200);
    assert_eq!(get(address, "GET /a.txt HTTP/1.0\r\n\r\n").code(), 200);
}

/// Caddy's CVE-2026-27587, 27588 and 27590: rules see one path and one host in one case, however many rules there are, and no
/// other spelling of a name makes a program of a file.
#[test]
fn rules_hold_in_every_spelling() {
    let (folder, conf) = site();
    std::fs::create_dir(folder.path().join("www/private")).unwrap();
    std::fs::write(folder.path().join("www/private/p.txt"), "private\n").unwrap();
    let many: String = (0..150)
        .map(|number| format!("$HTTP[\"host\"] == \"h{number}.example\" {{ url.access-deny = ( \"\" ) }}\n"))
        .collect();
    let address =
        edge(&format!("{conf}$HTTP[\"url\"] =^ \"/private/\" {{ url.access-deny = ( \"\" ) }}\n{many}"));
    for path in [
        "/private/p.txt",
        "/%70rivate/p.txt",
        "/%70%72ivate%2fp.txt",
        "//private/p.txt",
        "/./private/p.txt",
        "/sub/../private/p.txt",
        "/sub/%2e%2e/private/p.txt",
        "/private//p.txt",
    ] {
        let found = get(address, &format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(
            matches!(found.code(), 403 | 404) && !found.body.contains("private\n"),
            "{path}: {}",
            found.status
        );
    }
    for host in ["h0.example", "H0.EXAMPLE", "h149.Example", "H149.example:80"] {
        let found =
            get(address, &format!("GET /a.txt HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        assert_eq!(found.code(), 403, "{host}");
    }
    for path in ["/a.txt/x.sh", "/a.txt/%E2%84%AA.sh", "/a.txt%20.sh", "/a.txt%00.sh", "/a.txt/.sh"] {
        let found = get(address, &format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(
            !found.body.contains("12345: ") && matches!(found.code(), 200 | 400 | 403 | 404),
            "{path}: {found:?}"
        );
    }
}

/// Where names of files are in lower case whatever is asked for, rules on them hold in either case: of ASCII, so that what is cut from
/// a path is as long as it was.
#[test]
fn rules_hold_in_either_case_where_files_are_found_in_either() {
    let (folder, conf) = site();
    let www = folder.path().join("www");
    std::fs::create_dir(www.join("private")).unwrap();
    std::fs::write(www.join("private/p.txt"), "private\n").unwrap();
    std::fs::write(www.join("sub/s.txt"), "of the alias\n").unwrap();
    std::fs::write(www.join("a\u{e9}.txt"), "accent\n").unwrap();
    std::fs::write(folder.path().join("users"), "u:p\n").unwrap();
    let conf = format!(
        "{conf}server.modules += ( \"mod_auth\", \"mod_authn_file\" )\nserver.force-lowercase-filenames = \"enable\"\n\
         auth.backend = \"plain\"\nauth.backend.plain.userfile = \"{}/users\"\nurl.access-deny = ( \".Inc\" )\n\
         auth.require = ( \"/Private/\" => ( \"method\" => \"basic\", \"realm\" => \"r\", \"require\" => \"valid-user\" ) )\n",
        folder.path().display()
    )
    .replace("\"/al\"", "\"/Al/\"");
    let ours = edge(&conf);
    let theirs = std::path::Path::new(server::LIGHTTPD).exists();
    let theirs = theirs.then(|| server::Lighttpd::start(folder.path(), &conf));
    for (path, code) in [
        ("/a.txt", 200),
        ("/A.TXT", 200),
        ("/private/p.txt", 401),
        ("/Private/p.txt", 401),
        ("/PRIVATE/P.TXT", 401),
        ("/%50rivate/p.txt", 401),
        ("/al/s.txt", 200),
        ("/AL/S.TXT", 200),
        ("/x.inc", 403),
        ("/X.INC", 403),
        ("/A%C3%A9.txt", 200),
        ("/a%C3%89.txt", 404),
        // A letter whose small form is longer.
        ("/a%C3%A9.txt/%C4%B0%C4%B0%C4%B0%C4%B0%C4%B0", 200),
    ] {
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        assert_eq!(get(ours, &request).code(), code, "{path}");
        if let Some(theirs) = &theirs {
            assert_eq!(get(theirs.address, &request).code(), code, "lighttpd: {path}");
        }
    }
}

/// Pingora's CVE-2025-4366 and 2026-2835: what comes as the body of a request that needs none is never a request of its own.
#[test]
fn a_body_that_nobody_reads_hides_nothing() {
    let (_folder, conf) = site();
    let address =
        edge(&format!("{conf}server.modules += ( \"mod_status\" )\nstatus.status-url = \"/status\"\n"));
    let hidden = "GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n";
    for (head, least) in [
        (format!("GET /sub/ HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", hidden.len()), 400),
        (format!("POST /status HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", hidden.len()), 200),
        ("POST /none HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n27\r\n".to_owned(), 400),
        ("POST /env.sh HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
    ] {
        let text =
            String::from_utf8_lossy(&exchange(address, format!("{head}{hidden}").as_bytes())).into_owned();
        assert!(!text.contains("12345"), "{head}: {text}");
        assert!(server::answer(text.as_bytes()).code() >= least, "{head}: {text}");
    }
}

/// CVE-2022-41556: clients that close their half, or all, in the middle leave no program and no place behind them taken.
#[test]
fn clients_that_leave_early_leave_nothing_behind() {
    let (folder, conf) = site();
    std::fs::write(
        folder.path().join("www/slow.sh"),
        "printf 'Content-Type: text/plain\\r\\n\\r\\n'; cat; sleep 0.05; echo end\n",
    )
    .unwrap();
    let address =
        edge(&format!("{conf}server.modules += ( \"mod_status\" )\nstatus.status-url = \"/status\"\n"));
    for number in 0..30 {
        let mut stream = TcpStream::connect(address).unwrap();
        let length = if number % 3 == 0 { 5 } else { 1 };
        write!(
            stream,
            "POST /slow.sh HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n\r\nx"
        )
        .unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        if number % 3 == 1 {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert!(text.starts_with("HTTP/1.1 200") && text.contains("end\n"), "{text}");
        }
    }
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let page = get(address, "GET /status?auto HTTP/1.0\r\n\r\n").body;
        // The one who asks is there.
        if page.contains("BusyServers: 1\n") || page.contains("BusyServers: 0\n") {
            break;
        }
        assert!(Instant::now() < until, "{page}");
    }
}

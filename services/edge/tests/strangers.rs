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
        "server.document-root = \"{0}/www\"\nserver.modules = ( \"mod_cgi\", \"mod_extforward\", \"mod_alias\" )\n\
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
    while began.elapsed() < Duration::from_secs(13) && !closed {
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
    assert!(
        closed && took >= Duration::from_secs(9) && took < Duration::from_secs(12),
        "{closed} after {took:?}"
    );
}

/// Threats row 43: rules and files see one path, and nothing leads out of the root.
#[test]
fn no_path_leads_out() {
    let (folder, conf) = site();
    std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join("www/link.txt")).unwrap();
    let address = edge(&format!("{conf}server.follow-symlink = \"disable\"\n"));
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
         X-Forwarded-Client-Cert: By=x\r\nX-Selvedge-Identity: emperor\r\nX_Selvedge_Identity: emperor\r\nProxy: http://evil\r\n\r\n",
    );
    assert_eq!(answer.code(), 200);
    assert!(answer.body.contains("REMOTE_ADDR=127.0.0.1\n"), "{}", answer.body);
    for lie in ["9.9.9.9", "8.8.8.8", "7.7.7.7", "By=x", "emperor", "HTTP_PROXY", "evil"] {
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
        "X: a\rContent-Length: 5\r\n",
        "X: a\nContent-Length: 5\r\n",
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

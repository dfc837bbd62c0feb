//! Files that are kept ready: what is sent again, how long a change may go unseen, and what is never kept.

mod server;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use server::{Answer, answer, edge, get};

/// What `services/edge/src/ready.rs` promises, and what the clocks of two threads may be apart.
const SEEN_WITHIN: Duration = Duration::from_millis(1000 + 500);

/// A folder with a file inside its root and one outside.
fn site(more: &str) -> (tempfile::TempDir, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("www");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("a.txt"), "first").unwrap();
    std::fs::write(root.join("long.txt"), vec![b'x'; 100_000]).unwrap();
    std::fs::write(folder.path().join("secret"), "outside").unwrap();
    let conf = format!(
        "server.document-root = \"{}\"\nserver.modules = ( \"mod_deflate\", \"mod_setenv\", \"mod_access\", \"mod_extforward\" )\n\
         mimetype.assign = ( \".txt\" => \"text/plain\" )\n{more}",
        root.display()
    );
    let address = edge(&conf);
    (folder, address)
}

fn ask(address: SocketAddr, path: &str, more: &str) -> Answer {
    get(address, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n{more}Connection: close\r\n\r\n"))
}

/// Asks until the answer is another than before; how long that took, up to the question: what a busy machine takes to answer is
/// no age of the answer.
fn until_changed(address: SocketAddr, path: &str, before: &Answer) -> (Answer, Duration) {
    let begun = Instant::now();
    loop {
        let asked = begun.elapsed();
        let found = ask(address, path, "");
        if (found.code(), &found.body) != (before.code(), &before.body) {
            return (found, asked);
        }
        assert!(asked < SEEN_WITHIN, "a change of {path} is not seen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// In one step, as deployments do it.
fn replace(path: &Path, make: impl FnOnce(&Path)) {
    let beside = path.with_extension("new");
    make(&beside);
    std::fs::rename(beside, path).unwrap();
}

/// Threats row 43: what a link leads to is not sent where links are not followed, even in place of a file that was.
#[test]
fn a_file_that_becomes_a_link_to_the_outside_is_not_sent_beyond_the_bound() {
    let (folder, address) = site("server.follow-symlink = \"disable\"\n");
    let (root, secret) = (folder.path().join("www"), folder.path().join("secret"));
    for path in ["/a.txt", "/long.txt"] {
        let before = ask(address, path, "");
        assert_eq!(before.code(), 200);
        assert_eq!(ask(address, path, "").body, before.body, "again, at once");
        replace(&root.join(&path[1..]), |beside| symlink(&secret, beside).unwrap());
        let (after, _) = until_changed(address, path, &before);
        assert_eq!(after.code(), 403, "{path}");
        assert!(!after.body.contains("outside"), "{path}");
    }
}

#[test]
fn a_changed_and_a_deleted_file_are_seen_within_the_bound() {
    let (folder, address) = site("");
    let file = folder.path().join("www/a.txt");
    let first = ask(address, "/a.txt", "");
    assert_eq!(first.body, "first");
    std::fs::write(&file, "second, and longer").unwrap();
    let (second, _) = until_changed(address, "/a.txt", &first);
    assert_eq!(second.body, "second, and longer");
    assert_eq!(second.header("content-length"), Some("18"));
    assert_ne!(second.header("etag"), first.header("etag"));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(until_changed(address, "/a.txt", &second).0.code(), 404);
}

#[test]
fn without_a_cache_of_states_a_change_is_seen_at_once() {
    let (folder, address) = site("server.stat-cache-engine = \"disable\"\n");
    for text in ["one", "two", "three"] {
        std::fs::write(folder.path().join("www/a.txt"), text).unwrap();
        assert_eq!(ask(address, "/a.txt", "").body, text);
    }
}

/// The second answer is made of what is kept, the first is not: they are the same.
#[test]
fn what_is_kept_is_what_was_sent() {
    let (_folder, address) = site(
        "setenv.add-response-header = ( \"X-Kept\" => \"yes\" )\n\
         deflate.mimetypes = ( \"text/plain\" )\ndeflate.allowed-encodings = ( \"gzip\" )\ndeflate.min-compress-size = 1\n",
    );
    let without_date = |mut answer: Answer| {
        answer.headers.retain(|(name, _)| name != "date");
        answer
    };
    for (path, more) in [
        ("/a.txt", ""),
        ("/long.txt", ""),
        ("/a.txt", "Accept-Encoding: gzip\r\n"),
        ("/a.txt?q", "Cookie: c\r\n"),
    ] {
        let [first, second] = [(); 2].map(|()| without_date(ask(address, path, more)));
        assert_eq!(first.code(), 200);
        assert_eq!(first, second, "{path} {more}");
        assert_eq!(second.header("x-kept"), Some("yes"));
        assert_eq!(second.header("connection"), Some("close"));
    }
    assert_eq!(ask(address, "/a.txt", "").header("content-encoding"), None);
    assert_eq!(ask(address, "/a.txt", "Accept-Encoding: gzip\r\n").header("content-encoding"), Some("gzip"));
}

#[test]
fn what_asks_for_something_else_is_not_answered_with_what_is_kept() {
    let (_folder, address) = site("url.access-deny = ( \"~\" )\n");
    let whole = ask(address, "/a.txt", "");
    let tag = whole.header("etag").unwrap().to_owned();
    assert_eq!(ask(address, "/a.txt", &format!("If-None-Match: {tag}\r\n")).code(), 304);
    let part = ask(address, "/a.txt", "Range: bytes=1-2\r\n");
    assert_eq!((part.code(), part.body.as_str()), (206, "ir"));
    let head = get(address, "HEAD /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!((head.code(), head.body.as_str()), (200, ""));
    assert_eq!(get(address, "GET /a.txt HTTP/1.1\r\nConnection: close\r\n\r\n").code(), 400, "no host");
    assert_eq!(get(address, "GET /a.txt HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx").code(), 400);
    let old = get(address, "GET /a.txt HTTP/1.0\r\n\r\n");
    assert!(old.status.starts_with("HTTP/1.0 200") && old.body == "first");
}

/// Where a condition looks at who asks or at a header, nothing is remembered for others.
#[test]
fn conditions_on_headers_and_addresses_are_judged_for_each_request() {
    let (_folder, address) = site("$HTTP[\"useragent\"] =~ \"bad\" { url.access-deny = ( \"\" ) }\n");
    for _ in 0..2 {
        assert_eq!(ask(address, "/a.txt", "User-Agent: good\r\n").code(), 200);
        assert_eq!(ask(address, "/a.txt", "User-Agent: bad\r\n").code(), 403);
    }
    let (_folder, address) = site(
        "extforward.forwarder = ( \"127.0.0.1\" => \"trust\" )\n\
         $HTTP[\"remoteip\"] == \"192.0.2.1\" { url.access-deny = ( \"\" ) }\n",
    );
    for _ in 0..2 {
        assert_eq!(ask(address, "/a.txt", "X-Forwarded-For: 192.0.2.2\r\n").code(), 200);
        assert_eq!(ask(address, "/a.txt", "X-Forwarded-For: 192.0.2.1\r\n").code(), 403);
    }
}

#[test]
fn requests_in_one_go_are_answered_in_order() {
    let (_folder, address) = site("");
    let mut stream = TcpStream::connect(address).unwrap();
    let one = "GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n".repeat(50);
    let last = "GET /long.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{one}{last}").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 51);
    assert_eq!(text.matches("\r\n\r\nfirst").count(), 50);
    assert_eq!(answer(text.rsplit_once("HTTP/1.1").unwrap().1.as_bytes()).body.len(), 100_000);
}

/// Several lines of a field are one list (RFC 9110 section 5.2).
#[test]
fn encodings_may_be_named_in_several_lines() {
    let (_folder, address) =
        site("deflate.mimetypes = ( \"text/plain\" )\ndeflate.allowed-encodings = ( \"gzip\" )\n");
    for (more, encoding) in [
        ("Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n", Some("gzip")),
        ("Accept-Encoding: gzip\r\nAccept-Encoding: br\r\n", Some("gzip")),
        ("Accept-Encoding: br\r\nAccept-Encoding: gzip;q=0\r\n", None),
        ("Accept-Encoding: br\r\n", None),
    ] {
        let found = ask(address, "/long.txt", more);
        assert_eq!((found.code(), found.header("content-encoding")), (200, encoding), "{more}");
    }
}

//! Digest sign-in (RFC 7616): what is shown once is good once, and in all else the edge judges as lighttpd does.

mod server;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use md5::{Digest as _, Md5};
use server::{Answer, LIGHTTPD, Lighttpd, compiled, edge, free_port, get, on_port};

fn hash(text: &str) -> String {
    Md5::digest(text).iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("text takes everything");
        out
    })
}

/// A folder with a file and a user, and what signs people in by digest there.
fn guarded(folder: &Path, more: &str) -> String {
    std::fs::write(folder.join("a.txt"), "12345\n").unwrap();
    std::fs::write(folder.join("users"), "ann:right\n").unwrap();
    let folder = folder.display();
    format!(
        "server.document-root = \"{folder}\"\nserver.modules = ( \"mod_rewrite\", \"mod_auth\", \"mod_authn_file\" )\n\
         auth.backend = \"plain\"\nauth.backend.plain.userfile = \"{folder}/users\"\n\
         auth.require = ( \"\" => ( \"method\" => \"digest\", \"realm\" => \"r\", \"require\" => \"valid-user\" {more} ) )\n"
    )
}

/// The nonce of a challenge.
fn nonce(challenged: &Answer) -> String {
    assert_eq!(challenged.code(), 401);
    let challenge = challenged.header("www-authenticate").unwrap();
    challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

fn stranger(address: SocketAddr) -> String {
    nonce(&get(address, "GET /a.txt HTTP/1.0\r\n\r\n"))
}

/// A right digest with a nonce and its count.
fn counted(nonce: &str, count: &str) -> String {
    let secret = hash("ann:r:right");
    let response = hash(&format!("{secret}:{nonce}:{count}:c:auth:{}", hash("GET:/a.txt")));
    format!(
        "username=\"ann\", realm=\"r\", nonce=\"{nonce}\", uri=\"/a.txt\", qop=auth, nc={count}, cnonce=\"c\", response=\"{response}\""
    )
}

/// The same by RFC 2069, which knows no count.
fn uncounted(nonce: &str) -> String {
    let response = hash(&format!("{}:{nonce}:{}", hash("ann:r:right"), hash("GET:/a.txt")));
    format!("username=\"ann\", realm=\"r\", nonce=\"{nonce}\", uri=\"/a.txt\", response=\"{response}\"")
}

fn show(address: SocketAddr, parameters: &str) -> Answer {
    get(address, &format!("GET /a.txt HTTP/1.0\r\nAuthorization: Digest {parameters}\r\n\r\n"))
}

fn is_stale(answer: &Answer) -> bool {
    answer.code() == 401
        && answer.header("www-authenticate").is_some_and(|challenge| challenge.contains("stale=true"))
}

/// Who has listened on the way has seen a right digest, and gets nothing for it, on whatever worker it is shown.
#[test]
fn a_digest_is_good_once() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let program = compiled(&on_port(port, &guarded(folder.path(), ""))).unwrap();
    std::thread::spawn(move || {
        let options = selvedge_edge::Options { workers: Some(3), ..selvedge_edge::Options::default() };
        selvedge_edge::run(program, options).unwrap_or_else(|error| panic!("{error}"));
    });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    server::await_server(address);
    let first = stranger(address);
    assert_ne!(first, stranger(address), "no two strangers count with one nonce");
    // As many connections as it takes to reach each worker.
    for count in 1..=16 {
        let text = format!("{count:08x}");
        assert_eq!(show(address, &counted(&first, &text)).code(), 200, "{count}");
        assert!(is_stale(&show(address, &counted(&first, &text))), "{count} again");
    }
    // Browsers ask for many things at once, which arrive in any order.
    for (count, fresh) in [(0x20, true), (0x1f, true), (0x1f, false), (0x1e, true), (0x20, false)] {
        let shown = show(address, &counted(&first, &format!("{count:08x}")));
        assert_eq!((shown.code() == 200, is_stale(&shown)), (fresh, !fresh), "{count}");
    }
    // Who is told that a nonce is stale goes on with the new one, without being asked for the password.
    let stale = show(address, &counted(&first, "00000001"));
    assert_eq!(show(address, &counted(&nonce(&stale), "00000001")).code(), 200);
    // Clients that do not count have a nonce for each request.
    let own = stranger(address);
    assert_eq!(show(address, &uncounted(&own)).code(), 200);
    assert!(is_stale(&show(address, &uncounted(&own))));
    assert!(is_stale(&show(address, &counted(&own, "00000001"))), "nor does it begin to count");
}

/// A page that leads to another one within the server is asked for once.
#[test]
fn a_request_that_turns_to_another_path_is_one_use() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("b.txt"), "54321\n").unwrap();
    let address = edge(&format!(
        "{}server.error-handler-404 = \"/b.txt\"\nurl.rewrite-if-not-file = ( \"^/gone\" => \"/b.txt\" )\n",
        guarded(folder.path(), "")
    ));
    for (count, path) in [(1, "/gone"), (2, "/away")] {
        let (nonce, count) = (stranger(address), format!("{count:08x}"));
        let request = hash(&format!("GET:{path}"));
        let response = hash(&format!("{}:{nonce}:{count}:c:auth:{request}", hash("ann:r:right")));
        let found = get(
            address,
            &format!(
                "GET {path} HTTP/1.0\r\nAuthorization: Digest username=\"ann\", realm=\"r\", nonce=\"{nonce}\", uri=\"{path}\", \
                 qop=auth, nc={count}, cnonce=\"c\", response=\"{response}\"\r\n\r\n"
            ),
        );
        assert_eq!(found.body, "54321\n", "{path}: {}", found.status);
    }
}

/// With a secret of its own a nonce outlives the process, and replicas believe each other's: each takes what was made since it
/// began, once.
#[test]
fn a_nonce_of_another_replica_is_believed_once() {
    let folder = tempfile::tempdir().unwrap();
    let text = guarded(folder.path(), ", \"nonce-secret\" => \"between the two\"");
    let (one, other) = (edge(&text), edge(&text));
    let made = stranger(one);
    assert_eq!(show(other, &counted(&made, "00000001")).code(), 200);
    assert!(is_stale(&show(other, &counted(&made, "00000001"))));
    let later = edge(&text);
    assert!(is_stale(&show(later, &counted(&made, "00000002"))), "it may have been used before");
    let alone = edge(&guarded(folder.path(), ""));
    assert!(is_stale(&show(alone, &counted(&made, "00000003"))), "another secret");
}

/// The status of each odd header, as the real lighttpd has it.
#[test]
fn headers_are_judged_as_lighttpd_judges_them() {
    assert!(Path::new(LIGHTTPD).exists(), "Debian's lighttpd is installed");
    let folder = tempfile::tempdir().unwrap();
    let text = guarded(folder.path(), "");
    let (ours, theirs) = (edge(&text), Lighttpd::start(folder.path(), &text));
    type Odd = fn(&str) -> String;
    let rows: [(&str, Odd); 14] = [
        ("as it should be", |nonce| counted(nonce, "00000001")),
        ("without a count", uncounted),
        ("auth-int", |nonce| counted(nonce, "00000001").replace("qop=auth", "qop=auth-int")),
        ("an unknown qop", |nonce| counted(nonce, "00000001").replace("qop=auth", "qop=other")),
        ("qop without nc", |nonce| counted(nonce, "00000001").replace("nc=00000001, ", "")),
        ("qop without cnonce", |nonce| counted(nonce, "00000001").replace("cnonce=\"c\", ", "")),
        ("another count than was signed", |nonce| {
            counted(nonce, "00000001").replace("nc=00000001", "nc=00000002")
        }),
        ("another path than was asked for", |nonce| counted(nonce, "00000001").replace("/a.txt", "/b.txt")),
        ("another realm", |nonce| counted(nonce, "00000001").replace("realm=\"r\"", "realm=\"s\"")),
        ("another user", |nonce| counted(nonce, "00000001").replace("ann", "eve")),
        ("an unknown algorithm", |nonce| counted(nonce, "00000001") + ", algorithm=ROT13"),
        ("an algorithm that is not offered", |nonce| counted(nonce, "00000001") + ", algorithm=SHA-256"),
        ("no response", |nonce| counted(nonce, "00000001").replace("response=", "answer=")),
        ("a nonce that nobody made", |_| counted("66aa:00112233445566778899aabbccddeeff", "00000001")),
    ];
    for (what, odd) in rows {
        let status = |address| show(address, &odd(&stranger(address))).code();
        assert_eq!(status(ours), status(theirs.address), "{what}");
    }
}

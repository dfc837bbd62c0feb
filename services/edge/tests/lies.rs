//! What a backend of an edge says that is not so (threats row 48): the client is told 502, or sees that something is missing, and the
//! next request is answered by somebody who was not asked before.

mod server;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use server::{edge, exchange, field, get, ok};

/// What is asked of a row's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// 502, and nothing of what was said.
    Bad,
    /// The head, and a body whose end the client cannot take for one; or 502, where the head has not been passed on yet.
    Cut,
    /// The answer as it should have been.
    Fine,
}

/// What is said; whether the backend closes then.
type Row = (&'static str, Vec<u8>, bool, Told);

fn rows() -> Vec<Row> {
    use Told::{Bad, Cut, Fine};
    let row = |what, said: &str, closes, told| (what, said.as_bytes().to_vec(), closes, told);
    vec![
        row("nothing", "", true, Bad),
        row("words", "lies\r\n\r\n", false, Bad),
        row("an answer of HTTP/0.9", "<html>lies</html>", true, Bad),
        row("a version that is none", "HTTP/3.9 200 OK\r\nContent-Length: 4\r\n\r\nlies", false, Bad),
        row("a status that is none", "HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\nlies", false, Bad),
        row("half a head", "HTTP/1.1 200 OK\r\nContent-Len", true, Bad),
        row(
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nlies",
            false,
            Bad,
        ),
        row("a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nlies", false, Bad),
        row("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 4, 5\r\n\r\nlies", false, Bad),
        row(
            "a coding that nobody knows",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nlies",
            true,
            Bad,
        ),
        row(
            "CR in a header",
            "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: lies\r\nContent-Length: 4\r\n\r\nlies",
            false,
            Bad,
        ),
        row("NUL in a header", "HTTP/1.1 200 OK\r\nX: a\0lies\r\nContent-Length: 4\r\n\r\nlies", false, Bad),
        row("a space before a colon", "HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nlies", false, Bad),
        row(
            "a change of protocol",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nlies",
            false,
            Bad,
        ),
        (
            "interim answers without end",
            b"HTTP/1.1 103 Early Hints\r\nX: lies\r\n\r\n".repeat(10_000),
            true,
            Bad,
        ),
        (
            "a head without end",
            [&b"HTTP/1.1 200 OK\r\n"[..], &b"X: lies\r\n".repeat(40_000)].concat(),
            true,
            Bad,
        ),
        (
            "a line without end",
            [&b"HTTP/1.1 200 OK\r\nX: "[..], &b"lies".repeat(100_000)].concat(),
            true,
            Bad,
        ),
        row("less than its length", "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nhalf", true, Cut),
        row(
            "a chunk without end",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nhalf",
            true,
            Cut,
        ),
        row("no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", true, Cut),
        row(
            "a chunk's size that is none",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nlies\r\n",
            false,
            Cut,
        ),
        row(
            "more than its length",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlies",
            false,
            Fine,
        ),
        row(
            "a body behind the last chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlies",
            false,
            Fine,
        ),
        row(
            "a few interim answers",
            "HTTP/1.1 103 Early Hints\r\nX: lies\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            false,
            Fine,
        ),
    ]
}

/// Answers `/N` with what row N says, and everything else with `truth`.
fn liar() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let rows = std::sync::Arc::new(rows());
        for stream in listener.incoming().map_while(Result::ok) {
            let rows = std::sync::Arc::clone(&rows);
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                while let Some(line) = lines.next() {
                    let row = line.strip_prefix("GET /").and_then(|rest| rest.split(' ').next());
                    let row = row.and_then(|number| rows.get(number.parse::<usize>().ok()?));
                    if lines.find(String::is_empty).is_none() {
                        return;
                    }
                    let truth = ok("", "truth").into_bytes();
                    let (said, closes) = row.map_or((&truth, false), |row| (&row.1, row.2));
                    if (&stream).write_all(said).is_err() || closes {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn a_backend_that_lies_is_believed_once_at_most() {
    let address = edge(&format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_proxy\" )\n\
         proxy.server = ( \"\" => (( \"host\" => \"127.0.0.1\", \"port\" => {} )) )\n",
        liar()
    ));
    for (number, (what, _, _, told)) in rows().into_iter().enumerate() {
        let bytes = exchange(address, format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains("lies"), "{what}: {text:.500}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{what}: {text:.500}"));
        let code = head.split(' ').nth(1).unwrap_or_default();
        match told {
            Told::Bad => assert_eq!(code, "502", "{what}: {text:.500}"),
            Told::Fine => assert_eq!((code, body.contains("ok")), ("200", true), "{what}: {text:.500}"),
            Told::Cut => {
                let length = field(head, "content-length").and_then(|length| length.parse::<usize>().ok());
                let is_whole =
                    length.map_or_else(|| body.ends_with("0\r\n\r\n"), |length| body.len() >= length);
                assert!(code == "502" || code == "200" && !is_whole, "{what}: {text:.500}");
            }
        }
        // Whoever is asked next has nothing of it left over.
        for _ in 0..3 {
            let found = get(address, "GET /truth HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
            assert_eq!((found.code(), found.body.as_str()), (200, "truth"), "after {what}");
        }
    }
}

//! The response cache, held to HTTP Caching (RFC 9111) and to stale answers (RFC 5861), section by section.

mod server;

use std::collections::HashMap;
use std::sync::Mutex;

use server::{edge, get, service};

/// What the backend answers: its status line, its headers, its body.
type Said = (&'static str, &'static str, &'static str);

/// What a client asks, and what comes of it.
struct Ask {
    request: &'static str,
    headers: &'static str,
    status: u16,
    body: &'static str,
    /// Whether the backend is asked.
    asks: bool,
}

/// Answers of a backend, the last of which it gives from then on, and requests one after the other. `%` in a path is the row's own.
struct Row {
    section: &'static str,
    said: &'static [Said],
    asked: &'static [Ask],
}

const fn asked(request: &'static str, headers: &'static str, status: u16, body: &'static str) -> Ask {
    Ask { request, headers, status, body, asks: true }
}

const fn kept(request: &'static str, headers: &'static str, status: u16, body: &'static str) -> Ask {
    Ask { request, headers, status, body, asks: false }
}

const AUTHORIZED: &str = "Authorization: Basic eDp5\r\n";
const OLD: &str = "Cache-Control: max-age=60\r\nAge: 100\r\nETag: \"1\"\r\n";

const ROWS: &[Row] = &[
    Row {
        section: "3: what says how long it is good is kept, and nothing is guessed",
        said: &[("200 OK", "Cache-Control: max-age=60\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), kept("GET %", "", 200, "a")],
    },
    Row {
        section: "3: without a word nothing is kept",
        said: &[("200 OK", "", "a")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "3: a status that is not final for its address",
        said: &[("302 Found", "Cache-Control: max-age=60\r\nLocation: /x\r\n", "")],
        asked: &[asked("GET %", "", 302, ""), asked("GET %", "", 302, "")],
    },
    Row {
        section: "3: that there is nothing",
        said: &[("404 Not Found", "Cache-Control: max-age=60\r\n", "none")],
        asked: &[asked("GET %", "", 404, "none"), kept("GET %", "", 404, "none")],
    },
    Row {
        section: "3: a method that changes something",
        said: &[("200 OK", "Cache-Control: max-age=60\r\n", "a")],
        asked: &[asked("POST %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "3.3: a part is no whole",
        said: &[("206 Partial Content", "Cache-Control: max-age=60\r\nContent-Range: bytes 0-0/9\r\n", "a")],
        asked: &[asked("GET %", "", 206, "a"), asked("GET %", "", 206, "a")],
    },
    Row {
        section: "3.5: what somebody was shown who is known",
        said: &[("200 OK", "Cache-Control: max-age=60\r\n", "a")],
        asked: &[asked("GET %", AUTHORIZED, 200, "a"), asked("GET %", AUTHORIZED, 200, "a")],
    },
    Row {
        section: "3.5: which keeps nobody else from what is for all",
        said: &[("200 OK", "Cache-Control: max-age=60\r\n", "a")],
        asked: &[
            asked("GET %", AUTHORIZED, 200, "a"),
            asked("GET %", "", 200, "a"),
            kept("GET %", "", 200, "a"),
            kept("GET %", AUTHORIZED, 200, "a"),
        ],
    },
    Row {
        section: "3.5: unless it is public",
        said: &[("200 OK", "Cache-Control: max-age=60, public\r\n", "a")],
        asked: &[asked("GET %", AUTHORIZED, 200, "a"), kept("GET %", "", 200, "a")],
    },
    Row {
        section: "3.5: or for shared caches",
        said: &[("200 OK", "Cache-Control: s-maxage=60\r\n", "a")],
        asked: &[asked("GET %", AUTHORIZED, 200, "a"), kept("GET %", "", 200, "a")],
    },
    Row {
        section: "3.5: or has to be checked when it is old",
        said: &[("200 OK", "Cache-Control: max-age=60, must-revalidate\r\n", "a")],
        asked: &[asked("GET %", AUTHORIZED, 200, "a"), kept("GET %", "", 200, "a")],
    },
    Row {
        section: "4.1: what varies by everything",
        said: &[("200 OK", "Cache-Control: max-age=60\r\nVary: *\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "4.1: what varies by a header, which may be absent",
        said: &[
            ("200 OK", "Cache-Control: max-age=60\r\nVary: X-A\r\n", "one"),
            ("200 OK", "Cache-Control: max-age=60\r\nVary: x-a\r\n", "two"),
            ("200 OK", "Cache-Control: max-age=60\r\nVary: X-a\r\n", "none"),
        ],
        asked: &[
            asked("GET %", "X-A: 1\r\n", 200, "one"),
            asked("GET %", "X-A: 2\r\n", 200, "two"),
            asked("GET %", "", 200, "none"),
            kept("GET %", "X-A: 1\r\nX-B: 3\r\n", 200, "one"),
            kept("GET %", "X-A:  2 \r\n", 200, "two"),
            kept("GET %", "", 200, "none"),
        ],
    },
    Row {
        section: "4.1: what varies by several headers, named in two lines",
        said: &[
            ("200 OK", "Cache-Control: max-age=60\r\nVary: X-A, X-B\r\nVary: X-C\r\n", "one"),
            ("200 OK", "Cache-Control: max-age=60\r\nVary: X-A, X-B\r\nVary: X-C\r\n", "two"),
            ("200 OK", "Cache-Control: max-age=60\r\nVary: X-A, X-B\r\nVary: X-C\r\n", "three"),
        ],
        asked: &[
            asked("GET %", "X-A: 1\r\nX-B: 2\r\nX-C: 3\r\n", 200, "one"),
            asked("GET %", "X-A: 1\r\nX-B: 2\r\nX-C: 4\r\n", 200, "two"),
            asked("GET %", "X-A: 1\r\nX-C: 3\r\n", 200, "three"),
            kept("GET %", "X-C: 3\r\nX-B: 2\r\nX-A: 1\r\n", 200, "one"),
            kept("GET %", "X-A: 1\r\nX-B: 2\r\nX-C: 4\r\n", 200, "two"),
            kept("GET %", "X-A: 1\r\nX-C: 3\r\n", 200, "three"),
        ],
    },
    Row {
        section: "4.2.3: what was made long ago is as old as its Date says",
        said: &[("200 OK", "Cache-Control: max-age=60\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "4.2.1: a time that is none is over",
        said: &[("200 OK", "Cache-Control: max-age=soon\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "5.2: a time in quotes is one",
        said: &[("200 OK", "Cache-Control: max-age=\"60\"\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), kept("GET %", "", 200, "a")],
    },
    Row {
        section: "4.2.1: s-maxage is more to us than max-age",
        said: &[("200 OK", "Cache-Control: max-age=0, s-maxage=60\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), kept("GET %", "", 200, "a")],
    },
    Row {
        section: "4.2.1: and less, where it says less",
        said: &[("200 OK", "Cache-Control: max-age=60, s-maxage=0\r\nETag: \"1\"\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "4.2.1: max-age is more than Expires",
        said: &[("200 OK", "Cache-Control: max-age=60\r\nExpires: Thu, 01 Jan 1970 00:00:00 GMT\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), kept("GET %", "", 200, "a")],
    },
    Row {
        section: "4.2.1: Expires alone",
        said: &[("200 OK", "Expires: Fri, 31 Dec 9999 23:59:59 GMT\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), kept("GET %", "", 200, "a")],
    },
    Row {
        section: "5.3: an Expires that is no date is over",
        said: &[("200 OK", "Expires: 0\r\nETag: \"1\"\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "4.2.3: it was old before it came here",
        said: &[("200 OK", "Cache-Control: max-age=60\r\nAge: 60\r\nETag: \"1\"\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "4.2.4: what is old is not sent, whoever fails",
        said: &[("200 OK", OLD, "a"), ("500 Internal Server Error", "", "fails")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 500, "fails")],
    },
    Row {
        section: "RFC 5861, 4: unless it may be",
        said: &[
            ("200 OK", "Cache-Control: max-age=60, stale-if-error=600\r\nAge: 100\r\n", "a"),
            ("503 Service Unavailable", "", "fails"),
        ],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "5.2.2.2: but never what has to be checked",
        said: &[
            (
                "200 OK",
                "Cache-Control: max-age=60, stale-if-error=600, must-revalidate\r\nAge: 100\r\nETag: \"1\"\r\n",
                "a",
            ),
            ("503 Service Unavailable", "", "fails"),
        ],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 503, "fails")],
    },
    Row {
        section: "4.3.3: the backend says that it is still good",
        said: &[
            ("200 OK", OLD, "a"),
            ("304 Not Modified", "Cache-Control: max-age=60\r\nAge: 0\r\nETag: \"1\"\r\n", ""),
            ("500 Internal Server Error", "", "is not asked"),
        ],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a"), kept("GET %", "", 200, "a")],
    },
    Row {
        section: "4.3.3: and gives another one where it is not",
        said: &[("200 OK", OLD, "a"), ("200 OK", "Cache-Control: max-age=60\r\nETag: \"2\"\r\n", "b")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "b"), kept("GET %", "", 200, "b")],
    },
    Row {
        section: "4.3.4: a 304 of something else is none",
        said: &[
            ("200 OK", OLD, "a"),
            ("304 Not Modified", "Cache-Control: max-age=60\r\nETag: \"2\"\r\n", ""),
            ("200 OK", "Cache-Control: max-age=60\r\nETag: \"2\"\r\n", "b"),
        ],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "b"), kept("GET %", "", 200, "b")],
    },
    Row {
        section: "4.3.4: a 304 that is not to be kept is of use this once",
        said: &[
            ("200 OK", OLD, "a"),
            ("304 Not Modified", "Cache-Control: no-store\r\nETag: \"1\"\r\n", ""),
            ("200 OK", "Cache-Control: no-store\r\n", "b"),
        ],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a"), asked("GET %", "", 200, "b")],
    },
    Row {
        section: "4.3.2: who has it is told so, and nobody is asked",
        said: &[(
            "200 OK",
            "Cache-Control: max-age=60\r\nETag: \"1\"\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
            "a",
        )],
        asked: &[
            asked("GET %", "If-None-Match: \"1\"\r\n", 304, ""),
            kept("GET %", "If-None-Match: \"0\", W/\"1\"\r\n", 304, ""),
            kept(
                "GET %",
                "If-None-Match: \"0\"\r\nIf-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT\r\n",
                200,
                "a",
            ),
            kept("GET %", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 304, ""),
        ],
    },
    Row {
        section: "4.3.5: a head of what is kept, and none that is kept for a whole",
        said: &[("200 OK", "Cache-Control: max-age=60\r\n", "a")],
        asked: &[asked("HEAD %", "", 200, ""), asked("GET %", "", 200, "a"), kept("HEAD %", "", 200, "")],
    },
    Row {
        section: "RFC 9110, 14: parts of what is kept",
        said: &[("200 OK", "Cache-Control: max-age=60\r\nETag: \"1\"\r\n", "abcdef")],
        asked: &[
            asked("GET %", "Range: bytes=1-2\r\n", 206, "bc"),
            kept("GET %", "Range: bytes=-1\r\n", 206, "f"),
            kept("GET %", "Range: bytes=0-0\r\nIf-Range: \"1\"\r\n", 206, "a"),
            kept("GET %", "Range: bytes=0-0\r\nIf-Range: \"0\"\r\n", 200, "abcdef"),
            kept("GET %", "", 200, "abcdef"),
        ],
    },
    Row {
        section: "4.4: what is changed is forgotten",
        said: &[("200 OK", "Cache-Control: max-age=60\r\n", "a")],
        asked: &[
            asked("GET %", "", 200, "a"),
            asked("PUT %", "", 200, "a"),
            asked("GET %", "", 200, "a"),
            asked("DELETE %", "", 200, "a"),
            asked("GET %", "", 200, "a"),
        ],
    },
    Row {
        section: "4.4: and not where the change failed",
        said: &[("200 OK", "Cache-Control: max-age=60\r\n", "a"), ("403 Forbidden", "", "no")],
        asked: &[asked("GET %", "", 200, "a"), asked("POST %", "", 403, "no"), kept("GET %", "", 200, "a")],
    },
    Row {
        section: "4.4: with what the answer names, of the same origin, by path, URL or neighbour",
        said: &[
            ("200 OK", "Cache-Control: max-age=60\r\n", "1"),
            ("200 OK", "Cache-Control: max-age=60\r\n", "2"),
            ("200 OK", "Cache-Control: max-age=60\r\n", "3"),
            ("201 Created", "Location: /c/%/1\r\nContent-Location: http://h/c/%/2\r\n", "made"),
            ("200 OK", "Cache-Control: max-age=60\r\n", "new 1"),
            ("200 OK", "Cache-Control: max-age=60\r\n", "new 2"),
            ("200 OK", "Location: http://other/c/%/1\r\nContent-Location: 2\r\n", "done"),
            ("200 OK", "Cache-Control: max-age=60\r\n", "newest 2"),
        ],
        asked: &[
            asked("GET %/1", "", 200, "1"),
            asked("GET %/2", "", 200, "2"),
            asked("GET %/3", "", 200, "3"),
            asked("POST %/", "", 201, "made"),
            asked("GET %/1", "", 200, "new 1"),
            asked("GET %/2", "", 200, "new 2"),
            kept("GET %/3", "", 200, "3"),
            asked("POST %/", "", 200, "done"),
            kept("GET %/1", "", 200, "new 1"),
            asked("GET %/2", "", 200, "newest 2"),
        ],
    },
    Row {
        section: "5.2.1.7: only what is kept, or nothing",
        said: &[("200 OK", "Cache-Control: max-age=60\r\n", "a")],
        asked: &[
            kept("GET %", "Cache-Control: only-if-cached\r\n", 504, ""),
            kept("HEAD %", "Cache-Control: only-if-cached\r\n", 504, ""),
            asked("GET %", "", 200, "a"),
            kept("GET %", "Cache-Control: only-if-cached\r\n", 200, "a"),
        ],
    },
    Row {
        section: "5.2.1.7: nor where it is known that nothing can be kept",
        said: &[("200 OK", "Cache-Control: no-store\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), kept("GET %", "Cache-Control: only-if-cached\r\n", 504, "")],
    },
    Row {
        section: "5.2.1.5: what a client wants kept nowhere",
        said: &[("200 OK", "Cache-Control: max-age=60\r\n", "a")],
        asked: &[
            asked("GET %", "Cache-Control: no-store\r\n", 200, "a"),
            asked("GET %", "", 200, "a"),
            kept("GET %", "", 200, "a"),
        ],
    },
    Row {
        section: "5.2.1.4, 5.4: a client has no say over who is asked (docs/design/068)",
        said: &[("200 OK", "Cache-Control: max-age=60\r\n", "a")],
        asked: &[
            asked("GET %", "", 200, "a"),
            kept("GET %", "Cache-Control: no-cache, max-age=0\r\nPragma: no-cache\r\n", 200, "a"),
        ],
    },
    Row {
        section: "5.2.2.4: no-cache is checked each time, and so where it names fields",
        said: &[("200 OK", "Cache-Control: max-age=60, no-cache=\"x-a\"\r\nETag: \"1\"\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "5.2.2.5: no-store",
        said: &[("200 OK", "Cache-Control: max-age=60, no-store\r\nETag: \"1\"\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "5.2.2.7: private, and so where it names fields",
        said: &[("200 OK", "Cache-Control: max-age=60, private=\"x-a\"\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "7.3: what sets a cookie is somebody's",
        said: &[("200 OK", "Cache-Control: max-age=60\r\nSet-Cookie: a=b\r\n", "a")],
        asked: &[asked("GET %", "", 200, "a"), asked("GET %", "", 200, "a")],
    },
    Row {
        section: "4: an address is all of it",
        said: &[
            ("200 OK", "Cache-Control: max-age=60\r\n", "a"),
            ("200 OK", "Cache-Control: max-age=60\r\n", "b"),
            ("200 OK", "Cache-Control: max-age=60\r\n", "c"),
        ],
        asked: &[
            asked("GET %?a", "", 200, "a"),
            asked("GET %?b", "", 200, "b"),
            asked("GET %", "", 200, "c"),
            kept("GET %?a", "", 200, "a"),
        ],
    },
];

#[test]
fn each_section_of_http_caching() {
    let turns: Mutex<HashMap<usize, usize>> = Mutex::default();
    let (port, heard) = service(move |head| {
        let path = head.split(' ').nth(1).unwrap();
        let own = path.trim_start_matches("/c/").split(['/', '?']).next().unwrap();
        let row: usize = own.parse().unwrap();
        let mut turns = turns.lock().unwrap();
        let turn = turns.entry(row).or_default();
        let said = ROWS[row].said;
        let (status, headers, body) = said[(*turn).min(said.len() - 1)];
        *turn += 1;
        let headers = headers.replace('%', own);
        let body = if head.starts_with("HEAD") { "" } else { body };
        let length = if status.starts_with("304") {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        format!("HTTP/1.1 {status}\r\n{length}{headers}\r\n{body}")
    });
    let address = edge(&format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_proxy\" )\nmesh.cache = \"enable\"\n\
         proxy.server = ( \"/c/\" => (( \"host\" => \"127.0.0.1\", \"port\" => {port} )) )\n"
    ));
    let mut wrong = Vec::new();
    for (number, row) in ROWS.iter().enumerate() {
        for (turn, ask) in row.asked.iter().enumerate() {
            let line = ask.request.replace('%', &format!("/c/{number}"));
            let found = get(
                address,
                &format!("{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{}\r\n", ask.headers),
            );
            let asks = heard.try_iter().count();
            let body = if found.code() == 504 { "" } else { found.body.as_str() };
            if (found.code(), body, asks > 0) != (ask.status, ask.body, ask.asks) {
                wrong.push(format!(
                    "{}\n  {}. {line}: {} {body:?}, the backend was asked {asks} times",
                    row.section,
                    turn + 1,
                    found.status
                ));
            }
            // §5.1: what was kept has an age; §5.5: nobody warns any more.
            let is_hit = found.header("cache-status") == Some("selvedge; hit");
            if is_hit && found.header("age").is_none() || found.header("warning").is_some() {
                wrong.push(format!("{}\n  {}. {line}: {:?}", row.section, turn + 1, found.headers));
            }
            if ask.status < 500 && !ask.asks && !is_hit {
                wrong.push(format!(
                    "{}\n  {}. {line}: {:?}",
                    row.section,
                    turn + 1,
                    found.header("cache-status")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

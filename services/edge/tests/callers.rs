//! Who asks, and how often: what a caller cannot say of itself, and whom a limit, a decision or an answer is for.

mod server;

use server::{edge, field, get, ok, service};

fn proxied(backend: u16, more: &str) -> String {
    format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_proxy\", \"mod_rewrite\", \"mod_auth\", \"mod_authn_file\" )\n\
         proxy.server = ( \"\" => (( \"host\" => \"127.0.0.1\", \"port\" => {backend} )) )\n{more}"
    )
}

/// A client chooses which conditions hold for it; it does not choose how often it may ask.
#[test]
fn a_rate_holds_whatever_else_holds() {
    let (backend, _) = service(|_| ok("", "in"));
    let conditions: String =
        (0..8).map(|n| format!("$HTTP[\"querystring\"] =~ \"b{n}\" {{ server.tag = \"t{n}\" }}\n")).collect();
    let limit = "mesh.per-client = ( \"rate\" => \"3/h\", \"burst\" => 3 )\n";
    let address = edge(&proxied(backend, &format!("{limit}{conditions}")));
    let mut let_in = 0;
    for mask in 0..200_u32 {
        let query: String = (0..8).filter(|n| mask >> n & 1 == 1).map(|n| format!("b{n}")).collect();
        let found = get(address, &format!("GET /?{query} HTTP/1.0\r\n\r\n"));
        assert!(matches!(found.code(), 200 | 429), "{}", found.status);
        let_in += u32::from(found.code() == 200);
    }
    assert_eq!(let_in, 3);
}

/// What the configuration says of a request is not said by its client under another spelling, which programs read as the same.
#[test]
fn a_header_that_is_set_has_no_second_spelling() {
    let (backend, passed) = service(|_| ok("", ""));
    let address = edge(&proxied(
        backend,
        "server.modules += ( \"mod_setenv\" )\n\
         setenv.set-request-header = ( \"X-User\" => \"me\", \"X-Gone\" => \"\", \"X_Odd\" => \"us\" )\n",
    ));
    let lies = "X_User: eve\r\nX.User: eve\r\nx-user: eve\r\nX_Gone: eve\r\nX-Gone: eve\r\nX-Odd: eve\r\nX_Host: eve\r\n\
                X-Host: eve\r\nX_Kept: 1\r\nConnection: X-User, X-Forwarded-For, X_Odd\r\n";
    assert_eq!(get(address, &format!("GET / HTTP/1.0\r\n{lies}\r\n")).code(), 200);
    let head = passed.recv().unwrap();
    assert!(!head.contains("eve"), "{head}");
    assert_eq!(field(&head, "x-user"), Some("me"), "{head}");
    assert_eq!(field(&head, "x_odd"), Some("us"), "{head}");
    assert_eq!(field(&head, "x_kept"), Some("1"), "{head}");
}

/// A request that is turned into another one on its way – by an error handler, by a rewrite of what is no file, by an index – is
/// one request to the limit.
#[test]
fn a_request_is_counted_once_however_it_is_turned() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("front.html"), "front\n").unwrap();
    for (what, path, turned_by, answer) in [
        ("nothing", "/front.html", "", 200),
        ("an index", "/", "index-file.names = ( \"front.html\" )", 200),
        ("a rewrite", "/none", "url.rewrite-if-not-file = ( \"\" => \"/front.html\" )", 200),
        ("a handler of what is missing", "/none", "server.error-handler-404 = \"/front.html\"", 200),
        ("a handler of errors", "/none", "server.error-handler = \"/front.html\"", 404),
    ] {
        let address = edge(&format!(
            "server.document-root = \"{}\"\nserver.modules = ( \"mod_rewrite\" )\n\
             mesh.per-client = ( \"rate\" => \"4/d\", \"burst\" => 4 )\n{turned_by}\n",
            folder.path().display()
        ));
        let codes: Vec<u16> =
            (0..6).map(|_| get(address, &format!("GET {path} HTTP/1.0\r\n\r\n")).code()).collect();
        assert_eq!(codes, [answer, answer, answer, answer, 429, 429], "turned by {what}");
    }
}

/// Whoever decides over a path decides over the one that is passed on (threats row 43), with every line of the credentials.
#[test]
fn a_service_decides_over_the_request_that_is_passed_on() {
    let (decider, asked) = service(|head| {
        let open = field(head, "x-forwarded-uri").is_some_and(|uri| uri.starts_with("/open/"));
        if open { ok("", "") } else { "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned() }
    });
    let (backend, passed) = service(|_| ok("", "in"));
    let address = edge(&proxied(
        backend,
        &format!("mesh.forward-auth = ( \"url\" => \"http://127.0.0.1:{decider}/check\" )\n"),
    ));
    for path in [
        "/open/../closed/x",
        "/open/%2e%2e/closed/x",
        "/open/..%2fclosed/x",
        "//closed/x",
        "/open/%2E./closed/x",
    ] {
        let found = get(address, &format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert_eq!(found.code(), 403, "{path}");
        assert_eq!(field(&asked.recv().unwrap(), "x-forwarded-uri"), Some("/closed/x"), "{path}");
    }
    assert!(passed.try_recv().is_err(), "nothing got through");
    let found = get(address, "GET /open/%61?q HTTP/1.0\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n");
    assert_eq!(found.code(), 200);
    let question = asked.recv().unwrap();
    assert_eq!(field(&question, "x-forwarded-uri"), Some("/open/a?q"));
    assert_eq!(field(&question, "cookie"), Some("a=1; b=2"));
    let request = passed.recv().unwrap();
    assert!(request.starts_with("GET /open/a?q HTTP/1.1\r\n"), "{request}");
    // Of two credentials one would be judged and the other one believed.
    let two = "GET /open/a HTTP/1.0\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n";
    assert_eq!(get(address, two).code(), 400);
    assert!(asked.try_recv().is_err() && passed.try_recv().is_err());
}

/// Headers that are ours by the rules of the path that a request is rewritten to.
#[test]
fn a_rewrite_brings_no_header_of_somebody_else_along() {
    let (decider, _) = service(|_| ok("", ""));
    let (backend, passed) = service(|_| ok("", "in"));
    let address = edge(&proxied(
        backend,
        &format!(
            "url.rewrite-once = ( \"^/old/(.*)\" => \"/new/$1\" )\n$HTTP[\"url\"] =^ \"/new/\" {{\n\
             mesh.forward-auth = ( \"url\" => \"http://127.0.0.1:{decider}/\", \"take\" => ( \"x-role\" ) )\n}}\n"
        ),
    ));
    for path in ["/new/a", "/old/a"] {
        let lie = format!("GET {path} HTTP/1.0\r\nX-Role: emperor\r\nX_Role: emperor\r\nX-Own: 1\r\n\r\n");
        assert_eq!(get(address, &lie).code(), 200);
        let request = passed.recv().unwrap();
        assert!(request.starts_with("GET /new/a ") && !request.contains("emperor"), "{request}");
        assert_eq!(field(&request, "x-own"), Some("1"), "{request}");
    }
}

/// What somebody was shown whom another service vouches for is kept for nobody else, unless it is for everybody.
#[test]
fn what_one_caller_was_shown_is_kept_for_no_other() {
    let (decider, _) =
        service(|head| ok(&format!("X-User: {}\r\n", field(head, "cookie").unwrap_or("nobody")), ""));
    let (backend, _) = service(|head| {
        let public = if head.contains("/all") { ", public" } else { "" };
        ok(&format!("Cache-Control: max-age=60{public}\r\n"), field(head, "x-user").unwrap_or("nobody"))
    });
    let address = edge(&proxied(
        backend,
        &format!(
            "mesh.cache = \"enable\"\n\
             mesh.forward-auth = ( \"url\" => \"http://127.0.0.1:{decider}/\", \"take\" => ( \"x-user\" ) )\n"
        ),
    ));
    let shown =
        |path: &str, user: &str| get(address, &format!("GET {path} HTTP/1.0\r\nCookie: {user}\r\n\r\n")).body;
    assert_eq!((shown("/own", "ann"), shown("/own", "bob")), ("ann".to_owned(), "bob".to_owned()));
    assert_eq!((shown("/all", "ann"), shown("/all", "bob")), ("ann".to_owned(), "ann".to_owned()));
}

/// A program that reads an underscore as a hyphen would read another end of the request, and a backend waits for no trailers that do not come.
#[test]
fn a_backend_is_told_one_end_of_a_request() {
    let (backend, passed) = service(|_| ok("", "in"));
    let address = edge(&proxied(backend, ""));
    let found = get(
        address,
        "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer_Encoding: chunked\r\nContent_Length: 7\r\ncontent-type: a/b\r\n\
         Content_Type: c/d\r\nTE: trailers\r\nTrailer: x-sum\r\nProxy-Authorization: Basic eDp5\r\nx_of_mine: stays\r\n\r\n",
    );
    assert_eq!(found.code(), 200);
    let head = passed.recv().unwrap();
    for lie in ["transfer_encoding", "content_length", "content_type", "te", "trailer", "proxy-authorization"]
    {
        assert_eq!(field(&head, lie), None, "{head}");
    }
    assert_eq!(
        (field(&head, "content-type"), field(&head, "x_of_mine")),
        (Some("a/b"), Some("stays")),
        "{head}"
    );
}

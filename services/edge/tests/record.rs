//! What is written down of requests: bytes that came, pages about the server.

mod server;

use std::path::Path;
use std::time::{Duration, Instant};

use server::{Lighttpd, edge, exchange, get};

/// The log's lines, once there are so many.
fn lines(log: &Path, count: usize) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.ends_with('\n') && text.lines().count() >= count {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(Instant::now() < until, "{text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn site(folder: &Path, log: &Path, format: &str) -> String {
    std::fs::write(folder.join("a.txt"), "12345\n").unwrap();
    std::fs::write(
        folder.join("eat.sh"),
        "cat > /dev/null; printf 'Content-Type: text/plain\\r\\n\\r\\nok'\n",
    )
    .unwrap();
    format!(
        "server.document-root = \"{}\"\nserver.modules = ( \"mod_accesslog\", \"mod_cgi\", \"mod_status\" )\n\
         cgi.assign = ( \".sh\" => \"/bin/sh\" )\nmimetype.assign = ( \".txt\" => \"text/plain\" )\n\
         accesslog.filename = \"{}\"\naccesslog.format = \"{format}\"\nstatus.status-url = \"/status\"\n",
        folder.display(),
        log.display()
    )
}

fn counted(page: &str, name: &str) -> u64 {
    let found = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {name} in {page}"))
}

/// Every byte of a request, and none of the next one's, as lighttpd counts where it has one request on a connection.
#[test]
fn bytes_that_came_are_those_of_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let (log, theirs) = (folder.path().join("log"), folder.path().join("theirs"));
    let address = edge(&site(folder.path(), &log, "%m %U %I"));
    let get_one = "GET /a.txt HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n";
    let post = "POST /eat.sh HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n1234567";
    let chunks = "POST /eat.sh HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let together = format!("{get_one}{post}{chunks}");
    exchange(address, together.as_bytes());
    let expected = [
        format!("GET /a.txt {}", get_one.len()),
        format!("POST /eat.sh {}", post.len()),
        format!("POST /eat.sh {}", chunks.len()),
    ];
    assert_eq!(lines(&log, 3), expected);
    let asks = "GET /status?prometheus HTTP/1.0\r\n\r\n";
    let before = counted(&get(address, asks).body, "selvedge_edge_received_bytes_total ");
    assert_eq!(before, together.len() as u64, "the one under way is counted when it is over");
    let lighttpd = Lighttpd::start(folder.path(), &site(folder.path(), &theirs, "%m %U %I"));
    for request in [get_one, post, chunks] {
        exchange(lighttpd.address, request.as_bytes());
    }
    // It writes every few seconds.
    assert_eq!(lines(&theirs, 3), expected);
}

/// By HTTP/2 a head has no bytes of its own: its names and values count, and the body.
#[test]
fn bytes_that_came_by_http2_are_head_and_body() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let conf = site(folder.path(), &log, "%m %U %I");
    let address = edge(&format!("{conf}server.feature-flags = ( \"server.h2c\" => \"enable\" )\n"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let driven = tokio::spawn(connection);
        let request = http::Request::post("http://h/eat.sh").header("x", "1").body(()).unwrap();
        let mut client = client.ready().await.unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data(vec![b'x'; 10_000].into(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        while let Some(part) = body.data().await {
            part.unwrap();
        }
        drop((client, body));
        driven.abort();
    });
    let head =
        [(":method", "POST"), (":scheme", "http"), (":authority", "h"), (":path", "/eat.sh"), ("x", "1")];
    let bytes: usize = head.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert_eq!(lines(&log, 1), [format!("POST /eat.sh {}", bytes + 10_000)]);
    let page = get(address, "GET /status?prometheus HTTP/1.0\r\n\r\n").body;
    assert!(counted(&page, "selvedge_edge_received_bytes_total ") > 10_000, "{page}");
}

/// What reads lighttpd's status reads ours.
#[test]
fn the_status_has_lighttpds_words() {
    let folder = tempfile::tempdir().unwrap();
    let conf = site(folder.path(), &folder.path().join("log"), "%m");
    let lighttpd = Lighttpd::start(folder.path(), &conf);
    let ours = edge(&conf);
    let page = |address, query: &str| get(address, &format!("GET /status?{query} HTTP/1.0\r\n\r\n"));
    let words = |address| -> Vec<String> {
        let text = page(address, "auto").body;
        text.lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(words(ours), words(lighttpd.address));
    let board = page(ours, "auto").body;
    let board = board.lines().find_map(|line| line.strip_prefix("Scoreboard: ")).unwrap();
    // This request, and connections of those before that are still being closed.
    let taken = board.trim_end_matches('_');
    assert_eq!(taken.replace(['C', 'r', 'k'], ""), "h", "{board:.80}");
    assert!(taken.len() < board.len(), "{board:.80}");
    let members = |text: &str| -> Vec<String> {
        let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
        members.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(members(&page(ours, "json").body), members(&page(lighttpd.address, "json").body));
    for address in [ours, lighttpd.address] {
        let found = page(address, "jsonp=show");
        let json = found.body.strip_prefix("show(").and_then(|text| text.strip_suffix(");"));
        members(json.unwrap_or_else(|| panic!("{found:?}")));
        assert_eq!(found.header("content-type"), Some("application/javascript"));
    }
    let told = page(ours, "jsonp=alert(1)//");
    assert!(!told.body.starts_with("alert"), "no script of a stranger's");
    assert_eq!(told.header("content-type"), Some("text/html; charset=utf-8"));
}

#[test]
fn a_lighttpd_conf_is_counted_by_site_and_route() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let conf = site(folder.path(), &log, "%m")
        + "$HTTP[\"host\"] == \"shop.example.com\" { server.tag = \"shop\" }\n$HTTP[\"url\"] =^ \"/a\" { server.tag = \"a\" }\n";
    let address = edge(&conf);
    // The second and the third are answered from what is kept ready.
    for _ in 0..3 {
        get(address, "GET /a.txt HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n");
    }
    get(address, "GET /none HTTP/1.1\r\nHost: other.example.com\r\nConnection: close\r\n\r\n");
    lines(&log, 4);
    let page = get(address, "GET /status?prometheus HTTP/1.0\r\n\r\n").body;
    let name = "selvedge_edge_route_requests_total";
    let shop = format!("{name}{{site=\"shop.example.com\",route=\"/a*\",class=\"2xx\"}} ");
    let others = format!("{name}{{site=\"*\",route=\"*\",class=\"4xx\"}} ");
    assert_eq!((counted(&page, &shop), counted(&page, &others)), (3, 1), "{page}");
}

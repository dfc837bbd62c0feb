//! The page of counters beside mod_status's: the same keys, in the same order, of the same kinds.

mod server;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use selvedge_edge::{Options, run};
use server::{
    Answer, LIGHTTPD, Lighttpd, await_server, compiled, edge, edge_in_form, free_port, get, on_port,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn asked(address: SocketAddr, query: &str) -> Answer {
    get(address, &format!("GET /status?{query} HTTP/1.0\r\n\r\n"))
}

/// Lines without their numbers.
fn shape(body: &str) -> Vec<String> {
    let lines = body.lines().filter(|line| !line.starts_with("Scoreboard"));
    lines.map(|line| line.chars().filter(|letter| !letter.is_ascii_digit()).collect()).collect()
}

fn number(body: &str, key: &str) -> u64 {
    let (_, rest) = body.split_once(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key} in {body}"));
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{key} in {body}"))
}

#[test]
fn counters_are_told_under_lighttpds_keys() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large"), vec![b'x'; 64 * 1024]).unwrap();
    let conf = format!(
        "server.document-root = \"{}\"\nserver.modules = ( \"mod_status\" )\nstatus.status-url = \"/status\"\n",
        folder.path().display()
    );
    let ours = edge(&conf);
    // The page counts what is over, and the seconds that are.
    let until = Instant::now() + PATIENCE;
    loop {
        for _ in 0..40 {
            assert_eq!(get(ours, "GET /large HTTP/1.0\r\n\r\n").code(), 200);
        }
        let body = asked(ours, "json").body;
        if number(&body, "RequestAverage5s") > 0 && number(&body, "TrafficAverage5s") > 0 {
            assert!(
                number(&body, "RequestsTotal") >= 40 && number(&body, "TrafficTotal") >= 40 * 64,
                "{body}"
            );
            break;
        }
        assert!(Instant::now() < until, "nothing is counted: {body}");
    }
    if !Path::new(LIGHTTPD).exists() {
        assert!(std::env::var_os("CI").is_none(), "{LIGHTTPD} is missing: run cargo xtask test --only setup");
        eprintln!("{LIGHTTPD} is not installed: nothing is compared. Run cargo xtask test --only setup");
        return;
    }
    let theirs = Lighttpd::start(folder.path(), &conf);
    for query in ["json", "jsonp=told", "auto"] {
        let (left, right) = (asked(theirs.address, query), asked(ours, query));
        assert_eq!(right.code(), 200, "{query}");
        assert_eq!(shape(&right.body), shape(&left.body), "{query}");
        if query == "jsonp=told" {
            assert_eq!(right.header("content-type"), left.header("content-type"), "{query}");
        }
    }
    // A name that is more than one is none.
    for query in ["jsonp=alert(1)", "jsonp="] {
        for address in [ours, theirs.address] {
            let told = asked(address, query);
            // The page that is answered otherwise tells of this request, as text.
            assert!(!told.body.starts_with("alert") && !told.body.contains("(1)("), "{query}: {}", told.body);
        }
    }
    let scoreboard = |address| {
        let body = asked(address, "auto").body;
        body.lines().find_map(|line| line.strip_prefix("Scoreboard: ").map(str::to_owned)).unwrap()
    };
    for address in [ours, theirs.address] {
        let places = scoreboard(address);
        assert!(places.len() > 10 && places.ends_with('_'), "{places:.40}");
    }
}

/// More than the kernel takes for a client that reads nothing.
const LONG_BYTES: u64 = 32 * 1024 * 1024;

/// The cells of the table of connections, a list a row, with its headings first.
fn table(page: &str) -> Vec<Vec<String>> {
    let (_, table) = page.split_once("<h2>Connections</h2>").unwrap_or_else(|| panic!("no table in {page}"));
    let (_, table) = table.split_once("<table").unwrap_or_else(|| panic!("no table in {page}"));
    let text = |cell: &str| -> String {
        let (_, cell) = cell.split_once('>').unwrap_or_default();
        let cell = cell.split_once("</t").map_or(cell, |(cell, _)| cell);
        // lighttpd's headings are links for a script that sorts.
        let plain = cell
            .split('<')
            .filter_map(|part| part.split_once('>').map_or(Some(part), |(_, text)| Some(text)));
        plain
            .collect::<String>()
            .trim_end_matches(':')
            .replace("&#x26;", "&amp;")
            .replace("&#x3C;", "&lt;")
            .replace("&#x3E;", "&gt;")
    };
    let rows = table.split("<tr>").skip(1);
    rows.map(|row| row.replace("<th", "<td").split("<td").skip(1).map(text).collect()).collect()
}

fn say(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// The page, once it has the rows that are waited for.
fn shown(address: SocketAddr, wanted: impl Fn(&[Vec<String>]) -> bool) -> (String, Vec<Vec<String>>) {
    let until = Instant::now() + PATIENCE;
    loop {
        let page = get(address, "GET /status HTTP/1.0\r\n\r\n").body;
        let rows = table(&page);
        if wanted(&rows) {
            return (page, rows);
        }
        assert!(Instant::now() < until, "{page}");
    }
}

fn column<'a>(rows: &'a [Vec<String>], name: &str) -> Vec<&'a str> {
    let place =
        rows[0].iter().position(|heading| heading == name).unwrap_or_else(|| panic!("{name} in {rows:?}"));
    rows[1..].iter().map(|row| row[place].as_str()).collect()
}

#[test]
fn connections_are_told_as_by_lighttpd() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::File::create(folder.path().join("long")).unwrap().set_len(LONG_BYTES).unwrap();
    std::fs::write(folder.path().join("short"), "a").unwrap();
    let conf = format!(
        "server.document-root = \"{}\"\nserver.modules = ( \"mod_status\" )\nstatus.status-url = \"/status\"\n",
        folder.path().display()
    );
    let look = |address: SocketAddr| {
        let _slow = say(address, "GET /long?x=%3Cb&y=<i> HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let _half = say(address, "GET /half HTTP/1.1\r\nHos");
        let _silent = say(address, "");
        let mut kept = say(address, "GET /short HTTP/1.1\r\nHost: k.example\r\n\r\n");
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\na") {
            let mut byte = [0];
            assert_eq!(kept.read(&mut byte).unwrap(), 1, "an answer");
            heard.push(byte[0]);
        }
        let (page, rows) = shown(address, |rows| {
            let states = column(rows, "State");
            let count = |name| states.iter().filter(|state| **state == name).count();
            (count("write"), count("read"), count("keep-alive")) == (1, 2, 1)
        });
        assert!(!page.contains("<b&y"), "what a client sends is no page: {page}");
        // Of the connection that sends, and of the one that asked for the page.
        let told = |state: &str| -> Vec<String> {
            let place = column(&rows, "State").iter().position(|found| *found == state).unwrap();
            ["Client IP", "Host", "URI", "File"]
                .iter()
                .map(|name| column(&rows, name)[place].to_owned())
                .collect()
        };
        let place = column(&rows, "State").iter().position(|found| *found == "write").unwrap();
        let (sent, all) = column(&rows, "Written")[place].split_once('/').unwrap();
        let (sent, all): (u64, u64) = (sent.parse().unwrap(), all.parse().unwrap());
        assert!(
            sent < LONG_BYTES && sent <= all && (LONG_BYTES..LONG_BYTES + 1024).contains(&all),
            "{sent} of {all}"
        );
        let letters =
            page.lines().find(|line| !line.is_empty() && line.chars().all(|c| "k.qrQRhsWSEC".contains(c)));
        let mut letters: Vec<char> = letters.unwrap_or_else(|| panic!("{page}")).chars().collect();
        letters.sort_unstable();
        letters.retain(|letter| *letter != 'C');
        assert_eq!(letters, ['W', 'h', 'k', 'r', 'r'], "{page}");
        (told("write"), told("handle-req"), rows[0][..8].to_vec())
    };
    let ours = look(edge(&conf));
    let file = folder.path().join("long").display().to_string();
    let target = "/long?x=%3Cb&amp;y=%3Ci%3E (/long?x=%3Cb&amp;y=&lt;i&gt;)";
    assert_eq!(ours.0, ["127.0.0.1", "a.example", target, &file]);
    assert_eq!(ours.1, ["127.0.0.1", "", "/status (/status)", ""]);
    if Path::new(LIGHTTPD).exists() {
        let theirs = Lighttpd::start(folder.path(), &conf);
        assert_eq!(ours, look(theirs.address));
    }
}

#[test]
fn a_page_tells_of_all_workers_and_of_routes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::File::create(folder.path().join("long")).unwrap().set_len(LONG_BYTES).unwrap();
    let (port, root) = (free_port(), folder.path().display());
    let text = format!(
        "server.document-root = \"{root}\"\nserver.modules = ( \"mod_status\" )\nstatus.status-url = \"/status\"\n"
    );
    let program = compiled(&on_port(port, &text)).unwrap_or_else(|problem| panic!("{problem}"));
    std::thread::spawn(move || {
        run(program, Options { workers: Some(3), ..Options::default() })
            .unwrap_or_else(|error| panic!("{error:?}"));
    });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    await_server(address);
    // Which worker has a connection is the kernel's choice: of so many none has all but once in 3^31 times.
    let _slow: Vec<TcpStream> = (0..32)
        .map(|turn| say(address, &format!("GET /long?{turn} HTTP/1.1\r\nHost: a.example\r\n\r\n")))
        .collect();
    let (page, rows) =
        shown(address, |rows| column(rows, "State").iter().filter(|state| **state == "write").count() == 32);
    let mut seen: Vec<&str> =
        column(&rows, "URI").into_iter().filter(|uri| uri.starts_with("/long?")).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 32, "{seen:?}");
    assert!(!page.contains("too busy") && !page.contains("not shown"), "{page}");

    let address = edge_in_form(&format!(
        "[[site]]\nhost = [\"a.example\"]\n[[site.route]]\nname = \"the <files>\"\npath = \"/long\"\nalias = \"{root}/long\"\n\
         [[site]]\n[[site.route]]\nname = \"page\"\npath = \"/status\"\nserver_status = true\n"
    ));
    let _slow = say(address, "GET /long HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let (_, rows) = shown(address, |rows| column(rows, "State").contains(&"write"));
    let of: Vec<(&str, &str)> = column(&rows, "Site").into_iter().zip(column(&rows, "Route")).collect();
    assert!(of.contains(&("a.example", "the &lt;files&gt;")) && of.contains(&("*", "page")), "{rows:?}");
    let auto = get(address, "GET /status?auto HTTP/1.0\r\n\r\n").body;
    assert!(auto.contains("\nScoreboard: ") && auto.contains('W'), "{auto}");
}

#[test]
fn a_body_that_comes_slowly_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let conf = format!(
        "server.document-root = \"{}\"\nserver.modules = ( \"mod_status\", \"mod_cgi\" )\nstatus.status-url = \"/status\"\n\
         cgi.assign = ( \".sh\" => \"/bin/sh\" )\n",
        folder.path().display()
    );
    std::fs::write(folder.path().join("a.sh"), "printf 'Content-Type: text/plain\\r\\n\\r\\n'\n").unwrap();
    let look = |address: SocketAddr| {
        let _slow = say(address, "POST /a.sh HTTP/1.1\r\nHost: p.example\r\nContent-Length: 1000\r\n\r\nabc");
        let (_, rows) = shown(address, |rows| column(rows, "State").contains(&"readpost"));
        let place = column(&rows, "State").iter().position(|found| *found == "readpost").unwrap();
        ["Read", "Host", "URI"].map(|name| column(&rows, name)[place].to_owned())
    };
    let ours = look(edge(&conf));
    assert_eq!(ours, ["3/1000", "p.example", "/a.sh (/a.sh)"]);
    if Path::new(LIGHTTPD).exists() {
        let theirs = Lighttpd::start(folder.path(), &conf);
        assert_eq!(ours, look(theirs.address));
    }
}

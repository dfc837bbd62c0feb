//! Traces that begin or go on at the edge, and access logs in JSON that know of them.

mod server;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use server::{edge, get};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Something that speaks HTTP, answers 200, and tells what it was asked: head and body.
fn listener() -> (u16, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tell = tell.clone();
            std::thread::spawn(move || {
                while let Some(asked) = answer(&stream) {
                    tell.send(asked).unwrap()
                }
            });
        }
    });
    (port, told)
}

fn answer(stream: &TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
}

/// The next spans that the collector gets.
fn spans(collector: &Receiver<(String, String)>) -> Vec<Value> {
    let (head, body) = collector.recv_timeout(Duration::from_secs(10)).expect("spans come");
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert_eq!(field(&head, "content-type"), Some("application/json"));
    let sent: Value = serde_json::from_str(&body).unwrap();
    let resource = &sent["resourceSpans"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "shop-edge");
    resource["scopeSpans"][0]["spans"].as_array().unwrap().clone()
}

fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a str> {
    let found = span["attributes"].as_array()?.iter().find(|one| one["key"] == key)?;
    found["value"]["stringValue"].as_str().or_else(|| found["value"]["intValue"].as_str())
}

fn conf(collector: u16, backend: u16, percent: u8, more: &str) -> String {
    format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_proxy\", \"mod_extforward\", \"mod_status\" )\n\
         proxy.server = ( \"/app\" => (( \"host\" => \"127.0.0.1\", \"port\" => {backend} )) )\n\
         status.status-url = \"/status\"\n\
         mesh.traces = ( \"otlp\" => \"http://127.0.0.1:{collector}\", \"percent\" => {percent}, \"name\" => \"shop-edge\" )\n{more}"
    )
}

#[test]
fn a_trace_begins_at_the_edge_and_goes_on_behind_it() {
    let ((collector, sent), (backend, asked)) = (listener(), listener());
    let address = edge(&conf(collector, backend, 100, ""));
    assert_eq!(
        get(address, "GET /app/a?secret=1 HTTP/1.1\r\nHost: Shop\r\nConnection: close\r\n\r\n").code(),
        200
    );
    let passed = asked.recv().unwrap().0;
    let told: Vec<&str> = field(&passed, "traceparent").expect("the backend is told").split('-').collect();
    let span = spans(&sent).pop().unwrap();
    assert_eq!((span["traceId"].as_str(), span["spanId"].as_str()), (Some(told[1]), Some(told[2])));
    assert_eq!(told[3], "01");
    assert!(span.get("parentSpanId").is_none(), "{span}");
    assert_eq!(span["kind"], 2);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/app/a"),
        ("url.scheme", "http"),
        ("server.address", "shop"),
        ("client.address", "127.0.0.1"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(attribute(&span, key), Some(value), "{key} of {span}");
    }
    let time = |key: &str| span[key].as_str().unwrap().parse::<u128>().unwrap();
    assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
}

#[test]
fn a_callers_trace_goes_on_and_a_stranger_does_not_decide_what_is_recorded() {
    let ((collector, sent), (backend, asked)) = (listener(), listener());
    let request = format!(
        "GET /app/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTracestate: a=b\r\nTraceparent: {CALLER}\r\n\r\n"
    );
    let address = edge(&conf(collector, backend, 100, ""));
    get(address, &request);
    let passed = asked.recv().unwrap().0;
    let told = field(&passed, "traceparent").unwrap();
    // The trace goes on with a span of ours, and we decide.
    assert!(told.starts_with(&CALLER[..36]) && told.ends_with("-01") && told != CALLER, "{told}");
    assert_eq!(field(&passed, "tracestate"), Some("a=b"));
    let span = spans(&sent).pop().unwrap();
    assert_eq!(span["parentSpanId"], "b7ad6b7169203331");
    // One of none is recorded, whatever strangers ask for.
    let silent = edge(&conf(collector, backend, 0, ""));
    get(silent, &request.replace("-00\r\n", "-01\r\n"));
    assert!(field(&asked.recv().unwrap().0, "traceparent").unwrap().ends_with("-00"));
    // A proxy that is trusted decides.
    let trusting =
        edge(&conf(collector, backend, 0, "extforward.forwarder = ( \"127.0.0.1\" => \"trust\" )\n"));
    get(trusting, &request.replace("-00\r\n", "-01\r\n"));
    assert!(field(&asked.recv().unwrap().0, "traceparent").unwrap().ends_with("-01"));
    assert_eq!(spans(&sent).len(), 1);
    // What is no trace is none.
    let odd = edge(&conf(collector, backend, 100, ""));
    get(odd, &request.replace(CALLER, "00-zz-1-1"));
    let passed = asked.recv().unwrap().0;
    assert!(
        field(&passed, "traceparent").unwrap().ends_with("-01") && field(&passed, "tracestate").is_none()
    );
    assert!(spans(&sent)[0].get("parentSpanId").is_none());
}

/// What is ready to be sent again is a request all the same.
#[test]
fn each_request_of_a_file_is_a_span() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "12345\n").unwrap();
    let (collector, sent) = listener();
    let conf = conf(collector, 1, 100, "mimetype.assign = ( \".txt\" => \"text/plain\" )\n");
    let address = edge(&conf.replace("/nonexistent", folder.path().to_str().unwrap()));
    for _ in 0..3 {
        assert_eq!(
            get(address, "GET /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").body,
            "12345\n"
        );
    }
    let mut found = Vec::new();
    while found.len() < 3 {
        found.extend(spans(&sent));
    }
    let ids: std::collections::BTreeSet<&str> =
        found.iter().filter_map(|span| span["spanId"].as_str()).collect();
    assert_eq!(ids.len(), 3);
    assert!(found.iter().all(|span| attribute(span, "url.path") == Some("/a.txt")), "{found:?}");
}

/// Without a collector nobody waits, and what is lost is counted.
#[test]
fn a_collector_that_is_away_holds_up_nobody() {
    let (backend, _asked) = listener();
    let address = edge(&conf(server::free_port(), backend, 100, ""));
    for _ in 0..20 {
        assert_eq!(get(address, "GET /app/a HTTP/1.0\r\n\r\n").code(), 200);
    }
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let page = get(address, "GET /status?prometheus HTTP/1.0\r\n\r\n").body;
        let line =
            page.lines().find_map(|line| line.strip_prefix("selvedge_edge_spans_dropped_total ")).unwrap();
        if line.parse::<u64>().unwrap() >= 20 {
            break;
        }
        assert!(Instant::now() < until, "{line}");
    }
}

#[test]
fn access_logs_in_json_are_json_whatever_a_client_sends() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.json");
    let (backend, asked) = listener();
    let (port, collector) = (server::free_port(), server::free_port());
    let text = format!(
        "[edge]\nname = \"shop-edge\"\n[[listen]]\naddress = \"127.0.0.1:{port}\"\n[traces]\notlp = \"http://127.0.0.1:{collector}\"\n\
         [log]\naccess = \"{}\"\nformat = \"json\"\n[[site]]\nhost = [\"h\"]\n[[site.route]]\nname = \"app\"\npath = \"/app/*\"\nproxy = [\"127.0.0.1:{backend}\"]\n",
        log.display()
    );
    let document =
        selvedge_site::edge_toml::parse("edge.toml", &text).unwrap_or_else(|(found, _)| panic!("{found:?}"));
    let compiled = selvedge_site::edge_toml::compile(&document);
    let (program, _) = compiled.unwrap_or_else(|found| panic!("{found:?}"));
    std::thread::spawn(move || {
        let options = selvedge_edge::Options { workers: Some(1), ..selvedge_edge::Options::default() };
        selvedge_edge::run(program, options).unwrap_or_else(|error| panic!("{error}"));
    });
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    server::await_server(address);
    let odd = "GET /app/\"a\\b?q=\"1\" HTTP/1.1\r\nHost: h\r\nConnection: close\r\nUser-Agent: \x1b[31m\"evil\"\\\r\nReferer: \u{e9}\r\n\r\n";
    get(address, odd);
    get(address, "GET /app/plain HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let until = Instant::now() + Duration::from_secs(10);
    let lines = loop {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if text.lines().count() >= 2 {
            break text;
        }
        assert!(Instant::now() < until, "{text}");
    };
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let plain = &lines[1];
    assert_eq!(plain["status"], 200, "{plain}");
    let time = plain["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.as_bytes()[10] == b'T' && time.ends_with("+0000"), "{time}");
    let passed = asked.try_iter().map(|(head, _)| head).find(|head| head.starts_with("get /app/plain"));
    let passed = passed.unwrap_or_else(|| panic!("{plain}"));
    let trace = field(&passed, "traceparent").unwrap();
    assert_eq!(plain["trace"].as_str(), trace.get(3..35));
    for (key, value) in [("method", "GET"), ("path", "/app/plain"), ("route", "app"), ("host", "h")] {
        assert_eq!(plain[key], value, "{key} of {plain}");
    }
    // What is counted can be summed up.
    assert_eq!((&plain["bytes"], &plain["received"]), (&2.into(), &55.into()), "{plain}");
    assert!(plain["microseconds"].is_u64(), "{plain}");
    // The guide has a row for each field, and for nothing else.
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/edge-serving.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let table = guide.split("| field of a JSON line |").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows = table.lines().skip(2).map(|row| row.split('|').nth(1).unwrap());
    let mut told: Vec<&str> = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let mut there: Vec<&str> = plain.as_object().unwrap().keys().map(String::as_str).collect();
    told.sort_unstable();
    there.sort_unstable();
    assert_eq!(told, there);
}

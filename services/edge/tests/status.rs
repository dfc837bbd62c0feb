//! The page of counters beside mod_status's: the same keys, in the same order, of the same kinds.

mod server;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use server::{Answer, LIGHTTPD, Lighttpd, edge, get};

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
            assert!(!asked(address, query).body.contains("alert"), "{query}");
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

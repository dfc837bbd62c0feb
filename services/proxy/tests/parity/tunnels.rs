//! WebSockets and CONNECT, by HTTP/1 and HTTP/2 on either side: what a client sends before the tunnel is there goes
//! nowhere, and what it sends then comes through.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use selvedge_traffic::matching::{HeaderCondition, HeaderMatch, PathMatch, RouteMatch};
use selvedge_traffic::*;

use crate::h2_app::{self, H2App};
use crate::planes::{Plane, both, until};
use crate::{check_equal, cluster, group, to};

const PAYLOAD: &str = "what goes through the tunnel";

/// Takes tunnels by HTTP/1, after a while, and sends back what comes through them. Whoever speaks too early is found out.
fn h1_app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    stream.set_read_timeout(Some(Duration::from_millis(300))).ok()?;
    let early = stream.read(&mut byte).is_ok_and(|read| read > 0);
    stream.set_read_timeout(None).ok()?;
    let answer = match &*head {
        _ if early => "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 5\r\n\r\nearly",
        head if head.contains("/refuse") => "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",
        head if head.starts_with("connect ") => "HTTP/1.1 200 OK\r\nx-tunnel: yes\r\n\r\n",
        head if head.contains("upgrade: websocket") && head.contains("connection: upgrade") => {
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: a\r\n\r\n"
        }
        _ => "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
    };
    stream.write_all(answer.as_bytes()).ok()?;
    echo(stream)
}

fn echo(mut stream: TcpStream) -> Option<()> {
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).ok()?;
        if read == 0 {
            return None;
        }
        stream.write_all(&buffer[..read]).ok()?;
    }
}

/// Sends back what comes, and ends when its client has.
fn tcp_app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || echo(stream));
        }
    });
    address
}

fn connection() -> HttpConnection {
    let connect = |authority: &str, cluster: &str, terminates: bool| {
        let header = HeaderMatch {
            name: ":authority".to_owned(),
            condition: HeaderCondition::Exact(authority.to_owned()),
            invert: false,
        };
        let matches = RouteMatch { path: PathMatch::Connect, headers: vec![header], ..RouteMatch::any() };
        let upgrades =
            RouteUpgrades { connect: Some(true), connect_terminates: terminates, ..RouteUpgrades::default() };
        Route::new(authority, matches, Action::Forward(Forward { upgrades, ..to(cluster) }))
    };
    let plain = |prefix: &str, cluster: &str| {
        Route::new(prefix, RouteMatch::prefix(prefix), Action::Forward(to(cluster)))
    };
    let refusing = Forward {
        upgrades: RouteUpgrades { websocket: Some(false), ..RouteUpgrades::default() },
        ..to("h1")
    };
    let routes = vec![
        connect("tcp.example:80", "tcp", true),
        connect("dead.example:80", "dead", true),
        connect("h1.example:80", "h1", false),
        connect("h2.example:80", "h2", false),
        Route::new("off", RouteMatch::prefix("/off"), Action::Forward(refusing)),
        plain("/h2/refuse", "h2"),
        plain("/h2", "h2"),
        plain("/", "h1"),
    ];
    let host = VirtualHost { name: "v".into(), domains: vec!["*".into()], routes, ..VirtualHost::default() };
    let table = RouteTable { name: "r".into(), virtual_hosts: vec![host], ..RouteTable::default() };
    HttpConnection {
        websocket: true,
        connect: true,
        extended_connect: true,
        ..HttpConnection::new("in", RouteSource::Inline(table))
    }
}

fn at(name: &str, address: SocketAddr) -> Cluster {
    cluster(name, vec![group(vec![Endpoint::new(Address::Socket(address))])])
}

/// By HTTP/1: the head of the answer without what differs, and what comes back.
fn ask(plane: &Plane, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(plane.listen).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a bound");
    // The payload comes at once, whether or not the tunnel is there.
    stream.write_all(format!("{request}\r\n\r\n{PAYLOAD}").as_bytes()).expect("open");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_exact(&mut byte).is_err() {
            break;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let own = ["date", "x-envoy-upstream-service-time", "x-request-id", "server"];
    let lines = head.lines().filter(|line| !own.iter().any(|name| line.starts_with(name)));
    let mut lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    lines[1..].sort_unstable();
    let mut body = vec![0; PAYLOAD.len()];
    let mut come = 0;
    while come < body.len() {
        match stream.read(&mut body[come..]) {
            Ok(read) if read > 0 => come += read,
            _ => break,
        }
    }
    (lines.join("\n"), String::from_utf8_lossy(&body[..come]).into_owned())
}

#[test]
fn tunnels_open_after_the_answer_and_carry_both_ways() {
    let (h1, h2, tcp) = (h1_app(), H2App::start(true), tcp_app());
    let dead = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let speaking = Cluster { protocol: HttpProtocol::Http2, extended_connect: true, ..at("h2", h2.address) };
    let clusters = [at("h1", h1), speaking, at("tcp", tcp), at("dead", dead)];
    let Some(planes) = both(&connection(), &clusters) else { return };
    let upgrade =
        "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\nsec-websocket-version: 13";
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: h\r\n{upgrade}");
    let connect = |authority: &str| format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}");
    let mut carried = 0;
    for request in [
        get("/chat"),
        get("/refuse"),
        get("/off"),
        get("/h2/chat"),
        get("/h2/refuse"),
        connect("tcp.example:80"),
        connect("h1.example:80"),
        connect("h2.example:80"),
        connect("dead.example:80"),
        connect("unknown.example:80"),
    ] {
        let seen = check_equal(&planes, &request, |plane| ask(plane, &request));
        carried += usize::from(seen.1 == PAYLOAD);
    }
    assert_eq!(carried, 5, "two WebSockets and three tunnels");

    let h2 = |method: &str, authority: &str, path: Option<&str>, protocol: Option<&'static str>| {
        let uri = ::http::Uri::builder().authority(authority);
        let uri = match path {
            Some(path) => uri.scheme("http").path_and_query(path),
            None => uri,
        };
        let mut request = ::http::Request::builder().method(method).uri(uri.build().expect("valid"));
        if path.is_some() && protocol.is_some() {
            request = request.header("sec-websocket-version", "13").header("sec-websocket-key", "x");
        }
        if let Some(protocol) = protocol {
            request = request.extension(h2::ext::Protocol::from_static(protocol));
        }
        request.body(()).expect("valid")
    };
    let mut carried = 0;
    for (authority, path, protocol) in [
        ("h", Some("/chat"), Some("websocket")),
        ("h", Some("/refuse"), Some("websocket")),
        ("h", Some("/off"), Some("websocket")),
        ("h", Some("/h2/chat"), Some("websocket")),
        ("h", Some("/chat"), Some("something")),
        ("tcp.example:80", None, None),
        ("h1.example:80", None, None),
        ("h2.example:80", None, None),
        ("unknown.example:80", None, None),
    ] {
        let seen = check_equal(&planes, &format!("{authority} {path:?} {protocol:?} by HTTP/2"), |plane| {
            h2_app::ask(plane.listen, h2("CONNECT", authority, path, protocol), PAYLOAD)
        });
        carried += usize::from(seen.body == PAYLOAD);
    }
    assert_eq!(carried, 5, "two WebSockets and three tunnels by HTTP/2");
    for plane in &planes {
        until(&format!("{}: no tunnel is left", plane.name), || {
            (plane.stat("http.in.downstream_cx_upgrades_active") == 0).then_some(())
        });
    }
}

#[test]
fn a_host_that_takes_no_websocket_on_a_stream_is_not_asked() {
    let h2 = H2App::start(false);
    let speaking = Cluster { protocol: HttpProtocol::Http2, extended_connect: true, ..at("h2", h2.address) };
    let clusters = [at("h1", h1_app()), speaking, at("tcp", tcp_app()), at("dead", h1_app())];
    let Some(planes) = both(&connection(), &clusters) else { return };
    let request = "GET /h2/chat HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket";
    for plane in &planes {
        let (head, body) = ask(plane, request);
        let refused = !head.starts_with("HTTP/1.1 101") && body != PAYLOAD;
        assert!(refused, "{}: {head}", plane.name);
    }
}

//! Requests that come again in the same bytes, and what comes between them: answered as if each were the first.

mod server;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use selvedge_edge::{Options, run};
use server::{await_server, compiled, edge, exchange, free_port, ok, on_port, service};

const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of files, and the configuration that serves it.
fn folder(more: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "first").unwrap();
    std::fs::write(folder.path().join("middle.txt"), vec![b'm'; 20_000]).unwrap();
    std::fs::write(folder.path().join("long.txt"), vec![b'x'; 100_000]).unwrap();
    std::fs::write(folder.path().join("empty.txt"), "").unwrap();
    let text = format!(
        "server.document-root = \"{}\"\nserver.max-keep-alive-requests = 65535\nserver.modules = ( \"mod_deflate\", \"mod_access\", \"mod_setenv\" )\n\
         mimetype.assign = ( \".txt\" => \"text/plain\" )\nurl.access-deny = ( \"~\" )\n\
         deflate.mimetypes = ( \"text/plain\" )\ndeflate.allowed-encodings = ( \"gzip\" )\n{more}",
        folder.path().display()
    );
    (folder, text)
}

/// A connection on which answers are read one by one.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Sends a request; its answer without `Date`, head and body.
    fn ask(&mut self, request: &str) -> (String, Vec<u8>) {
        self.stream.write_all(request.as_bytes()).unwrap();
        let head_end =
            self.until(|read| read.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4));
        let head: String = String::from_utf8(self.read.drain(..head_end).collect()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |n| n.parse().unwrap());
        self.until(|read| (read.len() >= length).then_some(length));
        (without_date(&head), self.read.drain(..length).collect())
    }

    fn until(&mut self, found: impl Fn(&[u8]) -> Option<usize>) -> usize {
        loop {
            if let Some(at) = found(&self.read) {
                return at;
            }
            let mut part = [0; 16 * 1024];
            let read = self.stream.read(&mut part).unwrap();
            assert!(read > 0, "the connection ended after {:?}", String::from_utf8_lossy(&self.read));
            self.read.extend_from_slice(&part[..read]);
        }
    }
}

fn without_date(text: &str) -> String {
    text.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect()
}

fn hot(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// SplitMix64: one seed gives one sequence.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % most as u64) as usize
    }
}

/// What is sent by one that keeps nothing is what is sent by one that keeps what it can, whatever requests come in whatever order
/// and pieces: among them heads that differ by little and mean something else.
#[test]
fn one_that_remembers_answers_as_one_that_does_not() {
    let (_folder, text) = folder("");
    let remembers = edge(&text);
    let forgets = edge(&format!("{text}server.stat-cache-engine = \"disable\"\n"));
    let odd = [
        "GET /a.txt HTTP/1.1\r\nHost: h2\r\n\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=1-2\r\n\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: h\r\nIf-Modified-Since: Fri, 31 Dec 2999 00:00:00 GMT\r\n\r\n",
        "GET /middle.txt HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n",
        "HEAD /a.txt HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a.txt HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
        "\r\nGET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a.txt~ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /missing HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    let hot = ["/a.txt", "/middle.txt", "/long.txt", "/empty.txt", "/a.txt?q"].map(hot);
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let mut bytes = Vec::new();
        for _ in 0..50 {
            let request = match dice.below(3) {
                0 => odd[dice.below(odd.len())],
                _ => &hot[dice.below(hot.len())],
            };
            bytes.extend_from_slice(request.repeat(1 + dice.below(3)).as_bytes());
        }
        // A body that looks like a head; the connection ends with its answer.
        let body = &hot[dice.below(hot.len())];
        let post = format!("POST /a.txt HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        bytes.extend_from_slice(post.as_bytes());
        let cuts: Vec<usize> = (0..dice.below(40)).map(|_| dice.below(bytes.len())).collect();
        let [kept, fresh] = [remembers, forgets].map(|address| {
            let answers = exchange_in_pieces(address, &bytes, &cuts);
            without_date(&String::from_utf8_lossy(&answers))
        });
        assert!(kept.matches("HTTP/1.").count() > 50, "seed {seed}");
        assert!(kept == fresh, "seed {seed}: {:?}", first_difference(&kept, &fresh));
    }
}

/// Sends bytes in pieces; all that comes.
fn exchange_in_pieces(address: SocketAddr, bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut cuts = cuts.to_vec();
    cuts.sort_unstable();
    let (mut writer, mut answers) = (stream.try_clone().unwrap(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut at = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                // The server may have closed after its last answer.
                if writer.write_all(&bytes[at..cut]).is_err() {
                    return;
                }
                at = cut;
            }
            let _ = writer.shutdown(std::net::Shutdown::Write);
        });
        let _ = (&stream).read_to_end(&mut answers);
    });
    answers
}

fn first_difference<'a>(one: &'a str, other: &'a str) -> Option<(&'a str, &'a str)> {
    one.lines().zip(other.lines()).find(|(one, other)| one != other)
}

/// A backend that says what it was asked, but for HEAD.
fn parrot() -> u16 {
    let (port, told) = service(|head| match head.starts_with("HEAD ") {
        true => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_owned(),
        false => ok("X-Of: backend\r\n", head),
    });
    // Whoever is told nothing more ends.
    std::thread::spawn(move || while told.recv().is_ok() {});
    port
}

/// What passes its requests on to a backend, changed in every way that a head and a listener settle.
fn passing(backend: u16) -> String {
    format!(
        "server.document-root = \"/nonexistent\"\nserver.max-keep-alive-requests = 65535\n\
         server.modules = ( \"mod_rewrite\", \"mod_redirect\", \"mod_access\", \"mod_setenv\", \"mod_proxy\" )\n\
         url.access-deny = ( \"~\" )\nserver.error-handler-404 = \"/sorry\"\n\
         url.rewrite = ( \"^/old/(.*)$\" => \"/new/$1?was=old\" )\nurl.redirect = ( \"^/gone\" => \"/elsewhere\" )\n\
         setenv.add-request-header = ( \"X-Seen\" => \"edge\" )\nsetenv.add-response-header = ( \"X-By\" => \"edge\" )\n\
         $REQUEST_HEADER[\"Cookie\"] =~ \"who=me\" {{ setenv.set-request-header = ( \"X-Who\" => \"me\" ) }}\n\
         $HTTP[\"querystring\"] =~ \"q=1\" {{ setenv.set-request-header = ( \"X-Query\" => \"one\" ) }}\n\
         $HTTP[\"url\"] =~ \"^/new/\" {{ setenv.set-response-header = ( \"X-New\" => \"yes\" ) }}\n\
         $HTTP[\"url\"] !~ \"^/none/\" {{ proxy.server = ( \"\" => (( \"host\" => \"127.0.0.1\", \"port\" => {backend} )) ) }}\n"
    )
}

/// Where a head leads, the first time and again: the backend hears the same from one that remembers ways and from one that, for a
/// condition on who asks, may not.
#[test]
fn a_way_that_is_known_leads_where_it_led() {
    let text = passing(parrot());
    let remembers = edge(&text);
    let forgets =
        edge(&format!("{text}$HTTP[\"remote-ip\"] == \"203.0.113.1\" {{ url.access-deny = ( \"\" ) }}\n"));
    let more = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let hot = [
        more("/a", ""),
        more("/a?q=1", ""),
        more("/a", "Cookie: who=me\r\n"),
        more("/a", "X-Forwarded-For: 9.9.9.9\r\nX-Selvedge-User: root\r\n"),
        more("/old/x%41", "Connection: X-Seen\r\n"),
        more("/b/../c//d", "Accept: */*\r\n"),
        more("/a", "").replace("Host: h", "Host: H2:80"),
        more("/a", "").replace("GET", "HEAD"),
    ];
    let odd = [
        more("/a~", ""),
        more("/gone", ""),
        more("/none/x", ""),
        more("/a", "Cookie: who=you\r\n"),
        more("/old/x%42", ""),
        more("/a", "").replace("1.1", "1.0").replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n"),
        more("/a", "Expect: 100-continue\r\n"),
        more("/a", "").replace("GET", "OPTIONS"),
        format!("\r\n{}", more("/a", "")),
        format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 28\r\n\r\n{}", &more("/a", "")[..28]),
    ];
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let mut bytes = Vec::new();
        for _ in 0..40 {
            let request = match dice.below(4) {
                0 => &odd[dice.below(odd.len())],
                _ => &hot[dice.below(hot.len())],
            };
            bytes.extend_from_slice(request.repeat(1 + dice.below(4)).as_bytes());
        }
        bytes.extend_from_slice(b"GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let cuts: Vec<usize> = (0..dice.below(40)).map(|_| dice.below(bytes.len())).collect();
        let [kept, fresh] = [remembers, forgets].map(|address| {
            without_date(&String::from_utf8_lossy(&exchange_in_pieces(address, &bytes, &cuts)))
        });
        assert!(kept.matches("X-Of: backend").count() > 40, "seed {seed}: {kept}");
        assert!(kept.contains("\r\n\r\nGET /end HTTP/1.1\r\n"), "seed {seed}: it ends with the last answer");
        assert!(kept == fresh, "seed {seed}: {:?}", first_difference(&kept, &fresh));
    }
}

/// Each address is told to the backend as its own, whoever said the same bytes before.
#[test]
fn a_way_that_is_known_says_who_asks() {
    let address = edge(&passing(parrot()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mut clients = [1, 2, 3].map(|last| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
        let stream = runtime.block_on(socket.connect(address)).unwrap().into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        (last, Client { stream, read: Vec::new() })
    });
    for turn in 0..6 {
        for (last, client) in &mut clients {
            let heard = String::from_utf8(client.ask(&hot("/a")).1).unwrap();
            let expected = format!("x-forwarded-for: 127.0.0.{last}\r\n");
            assert!(heard.contains(&expected), "turn {turn}: {heard}");
        }
    }
}

/// Whoever goes on asking sees a change no later than whoever comes new.
#[test]
fn a_change_is_seen_on_a_connection_that_asks_on() {
    let (folder, text) = folder("");
    let mut client = Client::connect(edge(&text));
    for path in ["/a.txt", "/middle.txt", "/long.txt"] {
        let request = hot(path);
        let first = client.ask(&request);
        for _ in 0..5 {
            assert_eq!(client.ask(&request), first);
        }
        // In one step, as deployments do it: what is being sent of the file before is sent to its end.
        let beside = folder.path().join("new");
        std::fs::write(&beside, "another").unwrap();
        std::fs::rename(&beside, folder.path().join(&path[1..])).unwrap();
        let changed = Instant::now();
        loop {
            let (head, body) = client.ask(&request);
            match body == b"another" {
                true => {
                    assert!(head.contains("Content-Length: 7\r\n"), "{head}");
                    break;
                }
                false => assert!(changed.elapsed() < PATIENCE, "a change of {path} is not seen"),
            }
        }
    }
}

#[test]
fn each_listener_has_its_own_answer_to_the_same_bytes() {
    let (_one, text) = folder("");
    let (other, _) = folder("");
    std::fs::write(other.path().join("a.txt"), "of the other").unwrap();
    let port = free_port();
    let address = edge(&format!(
        "{text}$SERVER[\"socket\"] == \"127.0.0.1:{port}\" {{ server.document-root = \"{}\" }}\n",
        other.path().display()
    ));
    let mut clients = [address, SocketAddr::from(([127, 0, 0, 1], port))].map(Client::connect);
    for _ in 0..6 {
        assert_eq!(clients[0].ask(&hot("/a.txt")).1, b"first");
        assert_eq!(clients[1].ask(&hot("/a.txt")).1, b"of the other");
    }
}

/// Many clients ask for a date by the second.
#[test]
fn the_date_goes_on() {
    let (_folder, text) = folder("");
    let address = edge(&text);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut dates = HashMap::<String, usize>::new();
    let until = Instant::now() + PATIENCE;
    while dates.len() < 3 {
        assert!(Instant::now() < until, "{dates:?}");
        stream.write_all(hot("/a.txt").as_bytes()).unwrap();
        let mut answer = String::new();
        while !answer.ends_with("first") {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).unwrap();
            assert!(read > 0, "the connection ended after {answer}");
            answer.push_str(std::str::from_utf8(&part[..read]).unwrap());
        }
        let date = answer.lines().find_map(|line| line.strip_prefix("Date: ")).unwrap();
        let said = selvedge_http::date::parse(date).unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(said.abs_diff(now) <= 1, "{date} at {now}");
        *dates.entry(date.to_owned()).or_default() += 1;
    }
}

#[test]
fn another_configuration_holds_for_the_next_request_of_a_connection() {
    let (folder, text) = folder("");
    another_configuration_holds(&folder.path().join("control.sock"), &text, "/a.txt");
    another_configuration_holds(&folder.path().join("other.sock"), &passing(parrot()), "/a");
}

fn another_configuration_holds(control: &Path, text: &str, path: &str) {
    let port = free_port();
    let with = |name: &str| {
        on_port(port, &format!("{text}setenv.set-response-header = ( \"X-Of\" => \"{name}\" )\n"))
    };
    let next = Arc::new(Mutex::new(with("before")));
    let program = compiled(&with("before")).unwrap_or_else(|problem| panic!("{problem}"));
    let options = Options {
        workers: Some(1),
        reload: Some({
            let next = Arc::clone(&next);
            Box::new(move || compiled(&next.lock().unwrap()))
        }),
        control: Some(control.to_owned()),
        ..Options::default()
    };
    std::thread::spawn(move || run(program, options).unwrap_or_else(|error| panic!("{error}")));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    await_server(address);
    let mut client = Client::connect(address);
    for name in ["before", "after", "at last"] {
        if name != "before" {
            *next.lock().unwrap() = with(name);
            assert!(reload(control).starts_with("HTTP/1.1 200"));
        }
        for turn in 0..5 {
            let (head, _) = client.ask(&hot(path));
            assert!(head.contains(&format!("X-Of: {name}\r\n")), "turn {turn} of {path}: {head}");
        }
    }
}

fn reload(control: &Path) -> String {
    let mut stream = UnixStream::connect(control).unwrap();
    stream.write_all(b"POST /reload HTTP/1.1\r\nHost: edge\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Bytes that look like the beginning of a known head are waited for like any others.
#[test]
fn a_head_that_comes_in_two_pieces_is_one() {
    let (_folder, text) = folder("");
    let address = edge(&text);
    let mut client = Client::connect(address);
    let request = hot("/a.txt");
    let first = client.ask(&request);
    for cut in 1..request.len() {
        assert_eq!(client.ask(&request), first);
        client.stream.write_all(&request.as_bytes()[..cut]).unwrap();
        // Another connection's turn: what was sent has been read by then.
        exchange(address, b"GET /missing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert_eq!(client.ask(&request[cut..]), first, "cut at {cut}");
    }
}

#[test]
fn a_connection_has_as_many_requests_as_it_may_have_whatever_they_say() {
    let (_folder, text) = folder("");
    let address = edge(&text.replace("65535", "7"));
    let mut client = Client::connect(address);
    for turn in 1..=8 {
        let (head, _) = client.ask(&hot("/a.txt"));
        assert_eq!(head.contains("Connection: close\r\n"), turn == 8, "turn {turn}: {head}");
    }
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
}

/// What a client saw of an answer: status, fields but `date`, body.
type Seen = (u16, Vec<(String, String)>, Vec<u8>);

/// Asks for everything at once on one connection, in a window of so many bytes a stream.
async fn ask_by_http2(
    address: SocketAddr,
    window: u32,
    requests: &[(&str, Option<(&str, &str)>)],
) -> Vec<Seen> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    // Answers that nobody has read yet keep no other from coming.
    builder.initial_window_size(window).initial_connection_window_size(1 << 24);
    let (mut client, connection) = builder.handshake::<_, bytes::Bytes>(stream).await.unwrap();
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for (path, field) in requests {
        client = client.ready().await.unwrap();
        let mut request = http::Request::get(format!("http://h{path}"));
        if let Some((name, value)) = field {
            request = request.header(*name, *value);
        }
        answers.push(client.send_request(request.body(()).unwrap(), true).unwrap().0);
    }
    let mut seen = Vec::new();
    for answer in answers {
        let (head, mut body) = answer.await.unwrap().into_parts();
        let mut fields: Vec<(String, String)> = head
            .headers
            .iter()
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        fields.sort();
        let mut bytes = Vec::new();
        while let Some(part) = body.data().await {
            let part = part.unwrap();
            body.flow_control().release_capacity(part.len()).unwrap();
            bytes.extend_from_slice(&part);
        }
        seen.push((head.status.as_u16(), fields, bytes));
    }
    seen
}

#[test]
fn by_http2_what_is_ready_is_what_would_have_been_sent_in_any_window() {
    let (_folder, text) = folder("server.feature-flags = ( \"server.h2c\" => \"enable\" )\n");
    let addresses = [edge(&text), edge(&format!("{text}server.stat-cache-engine = \"disable\"\n"))];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let requests: Vec<(&str, Option<(&str, &str)>)> = [
        ("/a.txt", None),
        ("/middle.txt", None),
        ("/a.txt", Some(("range", "bytes=1-2"))),
        ("/a.txt", Some(("if-modified-since", "Fri, 31 Dec 2999 00:00:00 GMT"))),
        ("/empty.txt", None),
        ("/a.txt", None),
        ("/middle.txt", Some(("accept-encoding", "gzip"))),
        ("/long.txt", None),
        ("/missing", None),
    ]
    .repeat(4);
    for (window, requests) in
        [(3, &[("/a.txt", None); 5][..]), (10_000, &requests), (65_535, &requests), (1 << 20, &requests)]
    {
        let [kept, fresh] =
            addresses.map(|address| runtime.block_on(ask_by_http2(address, window, requests)));
        assert_eq!((kept.len(), &*kept[0].2), (requests.len(), &b"first"[..]));
        for (at, (kept, fresh)) in kept.iter().zip(&fresh).enumerate() {
            assert_eq!((kept.0, &kept.1), (fresh.0, &fresh.1), "window {window}, {:?}", requests[at]);
            assert!(kept.2 == fresh.2, "window {window}, {:?}", requests[at]);
        }
    }
}

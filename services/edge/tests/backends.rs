//! What backends do to an edge: connections that die, answers that lie, files that were compressed before.

mod server;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use server::{answer, edge, exchange, get};

/// A backend on a port of loopback: `serve` gets each connection in turn, with its number.
fn backend(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = std::sync::Arc::new(serve);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let serve = std::sync::Arc::clone(&serve);
            std::thread::spawn(move || serve(number, stream.unwrap()));
        }
    });
    port
}

/// The head of a request, with its body if its length is said; `None` at the end.
fn request(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

fn proxied(port: u16) -> String {
    format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_proxy\" )\n\
         proxy.server = ( \"\" => (( \"host\" => \"127.0.0.1\", \"port\" => {port} )) )\n"
    )
}

/// A backend that answers once on each connection, says nothing of closing, and closes when the next request has come.
#[test]
fn a_kept_connection_that_died_costs_nobody_an_answer() {
    let (seen, requests) = mpsc::channel();
    let port = backend(move |number, stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        let mut first = true;
        while let Some(head) = request(&mut reader) {
            seen.send(format!("{number} {}", head.lines().next().unwrap())).unwrap();
            if !std::mem::replace(&mut first, false) {
                return;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    });
    let address = edge(&proxied(port));
    for _ in 0..4 {
        let found = get(address, "GET /a HTTP/1.0\r\n\r\n");
        assert_eq!((found.code(), found.body.as_str()), (200, "ok"));
    }
    let lines: Vec<String> = requests.try_iter().collect();
    assert!(lines.len() > 4, "a connection was kept and taken again: {lines:?}");
    // What might be done twice is not asked twice.
    let found = get(address, "POST /once HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc");
    let posts = requests.try_iter().filter(|line| line.contains("POST /once")).count();
    assert!(posts == 1 && matches!(found.code(), 200 | 502), "{posts} {}", found.status);
}

/// lighttpd 1.4.83 #3309: what a backend sends beyond its length is no second answer.
#[test]
fn what_follows_an_answer_is_no_other_answer() {
    let port = backend(|_, stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while request(&mut reader).is_some() {
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            );
        }
    });
    let address = edge(&proxied(port));
    let two = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let text = String::from_utf8_lossy(&exchange(address, two.as_bytes())).into_owned();
    assert!(!text.contains("evil"), "{text}");
    assert_eq!(text.matches("HTTP/1.1 200").count(), 2, "{text}");
}

/// Pingora CVE-2026-2833 and its kind: nothing goes through before a real 101.
#[test]
fn a_tunnel_opens_with_101_and_not_before() {
    let port = backend(|_, mut stream| {
        let mut part = [0; 1024];
        // Whatever comes is answered, a smuggled request as well.
        for said in ["no", "smuggled", "smuggled"] {
            let mut bytes = Vec::new();
            while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
                match stream.read(&mut part) {
                    Ok(read @ 1..) => bytes.extend_from_slice(&part[..read]),
                    _ => return,
                }
            }
            let said = if String::from_utf8_lossy(&bytes).contains("smuggled") { "smuggled" } else { said };
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len());
        }
    });
    let conf = proxied(port) + "proxy.header = ( \"upgrade\" => \"enable\" )\n";
    let asked = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let text = String::from_utf8_lossy(&exchange(edge(&conf), asked.as_bytes())).into_owned();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("no"), "{text}");
    assert!(text.contains("Connection: close\r\n"), "what follows is no request: {text}");
}

/// A backend that answers before the end of a body waits for the rest of it: what is sent on that connection next would be taken
/// for the body.
#[test]
fn a_connection_whose_body_has_not_ended_is_not_used_again() {
    let port = backend(|number, stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        let mut line = String::new();
        let mut said = false;
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
            // One head's end on each connection is answered, and nothing that comes behind it.
            if line.ends_with("\r\n\r\n") && !std::mem::replace(&mut said, true) {
                let own = format!("connection {number}");
                // Of those that have been used up none is kept.
                let close = if line.starts_with("GET ") { "Connection: close\r\n" } else { "" };
                let _ =
                    write!(stream, "HTTP/1.1 200 OK\r\n{close}Content-Length: {}\r\n\r\n{own}", own.len());
            }
        }
    });
    let address = edge(&(proxied(port) + "server.stream-request-body = 2\n"));
    for (turn, framing) in ["Content-Length: 1000000", "Transfer-Encoding: chunked"].iter().enumerate() {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        write!(client, "POST /up HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n5\r\nbegin\r\n").unwrap();
        let mut text = String::new();
        let mut part = [0; 1024];
        while !text.contains("connection ") {
            let read = client.read(&mut part).unwrap();
            assert!(read > 0, "{framing}: {text}");
            text.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        drop(client);
        let next = get(address, "GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert_eq!((next.code(), next.body), (200, format!("connection {}", 2 * turn + 1)), "{framing}");
    }
}

#[test]
fn a_file_that_was_compressed_before_is_sent_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("www");
    let cache = folder.path().join("cache");
    std::fs::create_dir(&root).unwrap();
    std::fs::create_dir(&cache).unwrap();
    let long = "a line of text\n".repeat(200);
    for name in ["both.txt", "stale.txt", "alone.txt"] {
        std::fs::write(root.join(name), &long).unwrap();
    }
    std::fs::write(root.join("both.txt.gz"), "GZ").unwrap();
    std::fs::write(root.join("both.txt.br"), "BR").unwrap();
    let old = std::fs::File::create(root.join("stale.txt.gz")).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let conf = format!(
        "server.document-root = \"{}\"\nserver.modules = ( \"mod_deflate\" )\nmimetype.assign = ( \".txt\" => \"text/plain\" )\n\
         mesh.precompressed = \"enable\"\ndeflate.mimetypes = ( \"text/\" )\ndeflate.allowed-encodings = ( \"br\", \"gzip\" )\n\
         deflate.cache-dir = \"{}\"\nserver.stat-cache-engine = \"disable\"\n",
        root.display(),
        cache.display(),
    );
    let address = edge(&conf);
    let ask = |path: &str, more: &str| {
        get(address, &format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{more}\r\n"))
    };
    for (accepted, encoding, body) in
        [("gzip", Some("gzip"), "GZ"), ("gzip, br", Some("br"), "BR"), ("br;q=0", None, long.as_str())]
    {
        let found = ask("/both.txt", &format!("Accept-Encoding: {accepted}\r\n"));
        assert_eq!((found.header("content-encoding"), found.body.as_str()), (encoding, body), "{accepted}");
        assert_eq!(found.header("vary"), Some("Accept-Encoding"));
        assert_eq!(found.header("content-type"), Some("text/plain"));
    }
    let tag = ask("/both.txt", "Accept-Encoding: gzip\r\n").header("etag").unwrap().to_owned();
    assert!(tag.ends_with("-gzip\""), "{tag}");
    let again = ask("/both.txt", &format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n"));
    assert_eq!(again.code(), 304);
    let part = ask("/both.txt", "Accept-Encoding: gzip\r\nRange: bytes=0-3\r\n");
    assert_eq!((part.code(), part.body.as_str()), (206, "a li"), "a part is of the original");
    assert_ne!(
        ask("/stale.txt", "Accept-Encoding: gzip\r\n").body.len(),
        0,
        "an older one is of an earlier original"
    );

    // Kept from the first request, taken for the second.
    assert_eq!(ask("/alone.txt", "Accept-Encoding: gzip\r\n").header("content-encoding"), Some("gzip"));
    let folder = cache.join(root.strip_prefix("/").unwrap());
    let kept: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let kept: Vec<_> = kept.iter().filter(|path| path.to_str().unwrap().contains("alone.txt")).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    std::fs::write(kept[0], "KEPT").unwrap();
    assert_eq!(ask("/alone.txt", "Accept-Encoding: gzip\r\n").body, "KEPT");
    std::fs::write(root.join("alone.txt"), long.repeat(2)).unwrap();
    assert_ne!(
        ask("/alone.txt", "Accept-Encoding: gzip\r\n").body,
        "KEPT",
        "another original has another tag"
    );
}

/// The answer that opens a tunnel is there before the backend says more: the client may be the one that speaks first.
#[test]
fn a_client_may_speak_first_in_a_tunnel() {
    let port = backend(|_, mut stream| {
        let mut part = [0; 4096];
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut part).unwrap();
            head.extend_from_slice(&part[..read]);
        }
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            )
            .unwrap();
        while let Ok(read @ 1..) = stream.read(&mut part) {
            stream.write_all(&part[..read]).unwrap();
        }
    });
    let address = edge(&(proxied(port) + "proxy.header = ( \"upgrade\" => \"enable\" )\n"));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut answered = String::new();
    while !answered.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut answered).unwrap(), 0, "{answered}");
    }
    assert!(answered.starts_with("HTTP/1.1 101"), "{answered}");
    stream.write_all(b"first").unwrap();
    let mut echo = [0; 5];
    reader.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"first");
}

/// mod_wstunnel beside Debian's: frames in front, bytes behind.
#[test]
fn a_websocket_tunnel_carries_bytes_as_lighttpds_does() {
    let port = backend(|_, mut stream| {
        let mut part = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut part) {
            // In capitals, so that an echo of frames would be seen.
            stream.write_all(&part[..read].to_ascii_uppercase()).unwrap();
        }
    });
    let conf = format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_wstunnel\" )\n\
         wstunnel.server = ( \"/ws\" => (( \"host\" => \"127.0.0.1\", \"port\" => {port} )) )\n\
         wstunnel.frame-type = \"binary\"\nwstunnel.origins = ( \"https://good.example\" )\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let theirs = std::path::Path::new("/usr/lib/lighttpd/mod_wstunnel.so").exists();
    let theirs = theirs.then(|| server::Lighttpd::start(folder.path(), &conf));
    let addresses = [Some(edge(&conf)), theirs.as_ref().map(|theirs| theirs.address)];
    let head = |more: &str| {
        format!("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{more}\r\n")
    };
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let good = format!("{key}Sec-WebSocket-Version: 13\r\nOrigin: https://good.example\r\n");
    for address in addresses.into_iter().flatten() {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        stream.write_all(head(&good).as_bytes()).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut answered = String::new();
        while !answered.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut answered).unwrap(), 0, "{answered}");
        }
        assert!(answered.starts_with("HTTP/1.1 101"), "{answered}");
        assert!(
            answered.to_ascii_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{answered}"
        );
        // "hello" in two parts with a ping between them, masked with zeros.
        for frame in [&b"\x02\x82\0\0\0\0he"[..], b"\x89\x81\0\0\0\0p", b"\x80\x83\0\0\0\0llo"] {
            stream.write_all(frame).unwrap();
        }
        let (mut content, mut pong) = (Vec::new(), false);
        while content.len() < 5 || !pong {
            let mut first = [0; 2];
            reader.read_exact(&mut first).unwrap();
            let mut payload = vec![0; usize::from(first[1])];
            reader.read_exact(&mut payload).unwrap();
            match first[0] & 0x0f {
                0xa => pong = payload == b"p",
                0x2 | 0x0 => content.extend(payload),
                other => panic!("a frame of kind {other}"),
            }
        }
        assert_eq!(content, b"HELLO");
        stream.write_all(b"\x88\x82\0\0\0\0\x03\xe8").unwrap();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert!(rest.starts_with(&[0x88]), "{rest:x?}");
    }
    let ours = addresses[0].unwrap();
    for (more, status) in [
        (good.replace("good.example", "evil.example"), 403),
        (good.replace("https://good.example", "https://not-good.example"), 403),
        (good.replace("Version: 13", "Version: 8"), 426),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400),
        (good.replace(key, ""), 400),
    ] {
        assert_eq!(answer(&exchange(ours, head(&more).as_bytes())).code(), status, "{more}");
    }
    // A frame that is not masked ends it with 1002, and nothing of it arrives.
    let bytes = exchange(ours, [head(&good).as_bytes(), b"\x82\x04evil"].concat().as_slice());
    assert!(bytes.ends_with(&[0x88, 2, 0x03, 0xea]), "{bytes:x?}");
}

/// A client that sends its body in two parts: the second one only when the backend has seen the first.
fn in_two_parts(
    address: std::net::SocketAddr,
    head: &str,
    parts: [&[u8]; 2],
    seen: &mpsc::Receiver<usize>,
) -> server::Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(parts[0]).unwrap();
    let mut came = 0;
    while came < parts[0].len() {
        came +=
            seen.recv_timeout(std::time::Duration::from_secs(10)).expect("the first part goes on at once");
    }
    stream.write_all(parts[1]).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    answer(&bytes)
}

/// A backend that tells of each piece of a body as it comes, and answers with how much there was at the end.
fn watching_backend() -> (u16, mpsc::Receiver<usize>) {
    let (tell, seen) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let port = backend(move |_, mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap() == 0 {
                return;
            }
        }
        let head = head.to_ascii_lowercase();
        let length: Option<usize> =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let (mut all, mut piece) = (Vec::new(), [0; 8192]);
        loop {
            let done = match length {
                Some(length) => all.len() >= length,
                None => all.ends_with(b"0\r\n\r\n"),
            };
            if done {
                break;
            }
            let read = reader.read(&mut piece).unwrap();
            if read == 0 {
                return;
            }
            all.extend_from_slice(&piece[..read]);
            tell.lock().unwrap().send(read).unwrap();
        }
        let content = all.iter().filter(|byte| **byte == b'x').count();
        let said = format!("{content} {}", if length.is_some() { "by length" } else { "in chunks" });
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len()).unwrap();
    });
    (port, seen)
}

/// `server.stream-request-body`: what has come of a body goes on before the rest is there, by its length or in chunks.
#[test]
fn a_body_that_is_streamed_goes_on_as_it_comes() {
    let (port, seen) = watching_backend();
    let address = edge(&format!("{}server.stream-request-body = 2\n", proxied(port)));
    let part = [b'x'; 100_000];
    let head = "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
    let by_length = format!("{head}Content-Length: 200000\r\n\r\n");
    let found = in_two_parts(address, &by_length, [&part, &part], &seen);
    assert_eq!((found.code(), found.body.as_str()), (200, "200000 by length"));
    while seen.try_recv().is_ok() {}
    let chunk = [b"186a0\r\n", &part[..], b"\r\n"].concat();
    let last = [&chunk[..], b"0\r\n\r\n"].concat();
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let found = in_two_parts(address, &chunked, [&chunk, &last], &seen);
    assert_eq!((found.code(), found.body.as_str()), (200, "200000 in chunks"));
}

/// Without it a body is gathered, whatever its size; and what is too much is too much either way.
#[test]
fn a_body_has_its_bound_whether_it_is_streamed_or_gathered() {
    for flags in [0, 1, 2] {
        let (port, seen) = watching_backend();
        let address = edge(&format!(
            "{}server.stream-request-body = {flags}\nserver.max-request-size = 128\n",
            proxied(port)
        ));
        let body = "x".repeat(100_000);
        let head = "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        let found = get(address, &format!("{head}186a0\r\n{body}\r\n0\r\n\r\n"));
        let how = if flags == 0 { "100000 by length" } else { "100000 in chunks" };
        assert_eq!((found.code(), found.body.as_str()), (200, how));
        let found = get(address, &format!("{head}186a0\r\n{body}\r\n186a0\r\n{body}\r\n0\r\n\r\n"));
        assert_eq!(found.code(), 413, "{flags}");
        drop(seen);
    }
}

/// A backend that has heard enough says so before the end, and that arrives.
#[test]
fn an_answer_before_the_end_of_a_body_is_passed_on() {
    let port = backend(|_, mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).unwrap();
        }
        write!(stream, "HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut some = [0; 1000];
        reader.read_exact(&mut some).unwrap();
        write!(stream, "HTTP/1.1 422 No\r\nContent-Length: 6\r\n\r\nenough").unwrap();
        // Open until the edge closes it.
        while reader.read(&mut some).is_ok_and(|read| read > 0) {}
    });
    let address = edge(&format!("{}server.stream-request-body = 1\n", proxied(port)));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    write!(stream, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(80_000))
        .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let found = answer(&bytes);
    assert_eq!(
        (found.code(), found.body.as_str(), found.header("connection")),
        (422, "enough", Some("close"))
    );
}

/// A backend that sends back each piece of a body as it comes, from the first one on.
fn echoing_backend() -> u16 {
    backend(|_, mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap() == 0 {
                return;
            }
        }
        write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let mut size = String::new();
        loop {
            size.clear();
            if reader.read_line(&mut size).unwrap_or(0) == 0 {
                return;
            }
            let len = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut piece = vec![0; len + 2];
            if reader.read_exact(&mut piece).is_err() {
                return;
            }
            let sent = stream.write_all(size.as_bytes()).and_then(|()| stream.write_all(&piece));
            if len == 0 || sent.is_err() {
                return;
            }
        }
    })
}

/// What is asked and what is answered are under way at once: each word is answered before the next one is said.
#[test]
fn a_request_and_its_answer_go_both_ways_at_once() {
    let address = edge(&format!("{}server.stream-request-body = 2\n", proxied(echoing_backend())));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    write!(stream, "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for word in 0..50 {
        let word = format!("word {word}");
        write!(stream, "{:x}\r\n{word}\r\n", word.len()).unwrap();
        if word == "word 0" {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
            }
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        }
        let mut heard = String::new();
        while heard.len() < word.len() {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let mut piece = vec![0; usize::from_str_radix(size.trim(), 16).unwrap() + 2];
            reader.read_exact(&mut piece).unwrap();
            heard.push_str(std::str::from_utf8(&piece[..piece.len() - 2]).unwrap());
        }
        assert_eq!(heard, word);
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"0\r\n\r\n");
}

/// More than all buffers hold goes out and comes back; and by HTTP/2 beside another stream.
#[test]
fn megabytes_go_both_ways_by_http2() {
    const PIECES: usize = 256;
    let conf = format!(
        "{}server.stream-request-body = 2\nserver.feature-flags = ( \"server.h2c\" => \"enable\" )\n",
        proxied(echoing_backend())
    );
    let address = edge(&conf);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let talk = async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let driven = tokio::spawn(connection);
        let one = async || {
            let mut client = client.clone().ready().await.unwrap();
            let request = http::Request::post("http://h/a").body(()).unwrap();
            let (answer, mut body) = client.send_request(request, false).unwrap();
            let speak = async {
                for _ in 0..PIECES {
                    let mut piece = bytes::Bytes::from(vec![b'x'; 16 * 1024]);
                    while !piece.is_empty() {
                        body.reserve_capacity(piece.len());
                        let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
                        body.send_data(piece.split_to(room.min(piece.len())), false).unwrap();
                    }
                }
                body.send_data(bytes::Bytes::new(), true).unwrap();
            };
            let hear = async {
                let mut heard = answer.await.unwrap().into_body();
                let mut count = 0;
                while let Some(piece) = heard.data().await {
                    let piece = piece.unwrap();
                    assert!(piece.iter().all(|byte| *byte == b'x'));
                    heard.flow_control().release_capacity(piece.len()).unwrap();
                    count += piece.len();
                }
                count
            };
            tokio::join!(speak, hear).1
        };
        let (first, second) = tokio::join!(one(), one());
        assert_eq!((first, second), (PIECES * 16 * 1024, PIECES * 16 * 1024));
        drop(driven);
    };
    runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_secs(15), talk).await.unwrap() });
}

/// Programs that have to be told a length before get a body of unknown length whole, also where bodies are streamed.
#[test]
fn a_body_of_unknown_length_is_gathered_for_programs_that_need_one() {
    let port = backend(|_, mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = Vec::new();
        reader.read_until(b':', &mut head).unwrap();
        let len: usize = std::str::from_utf8(&head[..head.len() - 1]).unwrap().parse().unwrap();
        let mut variables = vec![0; len + 1];
        reader.read_exact(&mut variables).unwrap();
        let text = String::from_utf8(variables).unwrap();
        let fields: Vec<&str> = text.trim_end_matches(',').split('\0').collect();
        assert_eq!(fields[0], "CONTENT_LENGTH");
        let mut body = vec![0; fields[1].parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let said = format!("{} of {}", body.iter().filter(|byte| **byte == b'x').count(), fields[1]);
        write!(stream, "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n{said}").unwrap();
    });
    let address = edge(&format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_scgi\" )\nserver.stream-request-body = 2\n\
         server.max-request-size = 512\n\
         scgi.server = ( \"/\" => (( \"host\" => \"127.0.0.1\", \"port\" => {port}, \"check-local\" => \"disable\" )) )\n"
    ));
    let head = "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let part = format!("186a0\r\n{}\r\n", "x".repeat(100_000));
    let found = get(address, &format!("{head}{part}{part}{part}0\r\n\r\n"));
    assert_eq!((found.code(), found.body.as_str()), (200, "300000 of 300000"));
    // Within the bound that every body has.
    let found = get(address, &format!("{head}{}0\r\n\r\n", part.repeat(6)));
    assert_eq!(found.code(), 413);
}

/// A FastCGI server that says how long a body it was told of, and how long the one was that came.
fn counting_fastcgi() -> u16 {
    backend(|_, mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut variables, mut came) = (Vec::new(), 0);
        loop {
            let mut head = [0; 8];
            reader.read_exact(&mut head).unwrap();
            let mut content = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]]))];
            reader.read_exact(&mut content).unwrap();
            reader.read_exact(&mut vec![0; usize::from(head[6])]).unwrap();
            match head[1] {
                4 => variables.extend_from_slice(&content),
                5 if content.is_empty() => break,
                5 => came += content.iter().filter(|byte| **byte == b'x').count(),
                _ => {}
            }
        }
        let text = String::from_utf8_lossy(&variables).into_owned();
        let told = text.split("CONTENT_LENGTH").nth(1).unwrap_or_default();
        let told: String = told.chars().take_while(char::is_ascii_digit).collect();
        let answer = format!("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n{came} of {told}");
        let mut record = vec![1, 6, 0, 1, 0, answer.len() as u8, 0, 0];
        record.extend_from_slice(answer.as_bytes());
        record.extend_from_slice(&[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        stream.write_all(&record).unwrap();
    })
}

#[test]
fn a_body_of_unknown_length_reaches_fastcgi_whole_and_with_its_length() {
    for streamed in ["0", "1", "2"] {
        let address = edge(&format!(
            "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_fastcgi\" )\n\
             server.stream-request-body = {streamed}\nserver.max-request-size = 512\n\
             fastcgi.server = ( \"/\" => (( \"host\" => \"127.0.0.1\", \"port\" => {}, \"check-local\" => \"disable\" )) )\n",
            counting_fastcgi()
        ));
        let head = "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        let part = format!("186a0\r\n{}\r\n", "x".repeat(100_000));
        let found = get(address, &format!("{head}{part}{part}{part}0\r\n\r\n"));
        assert_eq!((found.code(), found.body.as_str()), (200, "300000 of 300000"), "{streamed}");
        let found = get(address, &format!("{head}{}0\r\n\r\n", part.repeat(6)));
        assert_eq!(found.code(), 413, "{streamed}");
    }
}

#[test]
fn an_answer_to_head_says_what_a_get_would_be_told() {
    let port = backend(|_, mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let known = line.starts_with("HEAD /known ");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        let length = if known { "Content-Length: 5\r\n" } else { "" };
        write!(stream, "HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n").unwrap();
    });
    let address = edge(&format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_proxy\" )\n\
         proxy.server = ( \"/\" => (( \"host\" => \"127.0.0.1\", \"port\" => {port} )) )\n"
    ));
    for (path, length) in [("/known", Some("5")), ("/unknown", None)] {
        let found = get(address, &format!("HEAD {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
        assert_eq!(
            (found.code(), found.header("content-length"), found.body.as_str()),
            (200, length, ""),
            "{path}"
        );
    }
}

/// Answers once a file is there; notes that it has started in another.
const CREW: &str = r#"#!/usr/bin/python3
import os, socket, sys, threading, time
home = os.path.dirname(os.path.abspath(sys.argv[0]))
with open(home + "/started", "a") as started:
    started.write("%d\n" % os.getpid())
def answer(one):
    one.recv(65536)
    while not os.path.exists(home + "/go"):
        time.sleep(0.01)
    one.sendall(b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n%d" % os.getpid())
    one.close()
# It ends with whoever started it, however that ended.
parent = os.getppid()
def watch():
    while os.getppid() == parent:
        time.sleep(0.05)
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
listener = socket.socket(fileno=0)
while True:
    threading.Thread(target=answer, args=listener.accept()[:1]).start()
"#;

/// As many processes as there is work for, between `min-procs` and `max-procs`; with lighttpd no fewer are there at the start.
#[test]
fn more_processes_of_a_program_are_started_while_there_is_more_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    let begin = |name: &str| {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("app.py");
        std::fs::write(&program, CREW).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let conf = format!(
            "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_scgi\" )\n\
             scgi.server = ( \"/\" => (( \"socket\" => \"{0}/{name}\", \"bin-path\" => \"{0}/app.py\",\n\
             \"check-local\" => \"disable\", \"min-procs\" => 1, \"max-procs\" => 3, \"idle-timeout\" => 1 )) )\n",
            folder.path().display()
        );
        (folder, conf)
    };
    let started = |folder: &tempfile::TempDir| {
        std::fs::read_to_string(folder.path().join("started")).unwrap_or_default().lines().count()
    };
    let until = |folder: &tempfile::TempDir, count: usize| {
        let late = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while started(folder) < count {
            assert!(std::time::Instant::now() < late, "{} of {count} have started", started(folder));
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    let (folder, conf) = begin("ours");
    let address = edge(&conf);
    until(&folder, 1);
    let ask = move || get(address, "GET /a HTTP/1.0\r\n\r\n");
    let asked: Vec<_> = (0..8).map(|_| std::thread::spawn(ask)).collect();
    until(&folder, 3);
    std::fs::write(folder.path().join("go"), "").unwrap();
    for one in asked {
        assert_eq!(one.join().unwrap().code(), 200);
    }
    assert_eq!(started(&folder), 3, "and no more than may be");
    // Those beyond min-procs leave once nobody has asked for idle-timeout; the first stays and answers.
    let running = || {
        let numbers = std::fs::read_to_string(folder.path().join("started")).unwrap();
        numbers.lines().filter(|id| std::path::Path::new("/proc").join(id).exists()).count()
    };
    let late = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while running() > 1 {
        assert!(std::time::Instant::now() < late, "{} run on", running());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!((ask().code(), running(), started(&folder)), (200, 1, 3));
    if std::path::Path::new(server::LIGHTTPD).exists() {
        let (folder, conf) = begin("theirs");
        let _theirs = server::Lighttpd::start(folder.path(), &conf);
        until(&folder, 1);
    }
}

//! What one client may take: connections, bandwidth, time for a body; and who the client is when a load balancer says so.

mod server;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use server::{Lighttpd, answer, edge, exchange, get};

const PATIENCE: Duration = Duration::from_secs(60);

/// A site that believes the PROXY protocol from loopback.
fn site(more: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("www");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("a.txt"), "12345\n").unwrap();
    std::fs::write(root.join("60k.txt"), vec![b'x'; 60 * 1024]).unwrap();
    std::fs::write(
        root.join("who.sh"),
        "printf 'Content-Type: text/plain\\r\\n\\r\\n'; echo $REMOTE_ADDR $REMOTE_PORT\n",
    )
    .unwrap();
    let conf = format!(
        "server.document-root = \"{}\"\nserver.modules = ( \"mod_cgi\", \"mod_extforward\" )\n\
         cgi.assign = ( \".sh\" => \"/bin/sh\" )\nmimetype.assign = ( \".txt\" => \"text/plain\" )\n{more}",
        root.display()
    );
    (folder, conf)
}

const PROXIED: &str =
    "extforward.forwarder = ( \"127.0.0.1\" => \"trust\" )\nextforward.hap-PROXY = \"enable\"\n";

/// Says on whose behalf, asks for a file, keeps the connection; the status, or `None` when it was closed.
fn ask(address: SocketAddr, client: &str) -> (TcpStream, Option<u16>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("PROXY TCP4 {client} 127.0.0.1 40000 80\r\nGET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n");
    let _ = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    while !bytes.ends_with(b"12345\n") {
        match stream.read(&mut part) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&part[..read]),
            _ => return (stream, None),
        }
    }
    (stream, Some(answer(&bytes).code()))
}

/// Threats row 46: what one client holds is bounded, and nobody else notices.
#[test]
fn a_client_holds_no_more_connections_than_it_may() {
    let (_folder, conf) = site(&format!("{PROXIED}mesh.connections-per-client = 2\n"));
    let address = edge(&conf);
    let first = ask(address, "192.0.2.1");
    let second = ask(address, "192.0.2.1");
    assert_eq!((first.1, second.1), (Some(200), Some(200)));
    assert_eq!(ask(address, "192.0.2.1").1, None, "a third connection");
    assert_eq!(ask(address, "192.0.2.2").1, Some(200), "somebody else");
    drop(first);
    let until = Instant::now() + PATIENCE;
    while ask(address, "192.0.2.1").1.is_none() {
        assert!(Instant::now() < until, "the place of a connection that ended stays taken");
    }
}

#[test]
fn a_client_is_whom_a_trusted_load_balancer_names() {
    let version2 = |source: [u8; 4]| {
        let mut word = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
        word.extend_from_slice(&source);
        word.extend_from_slice(&[127, 0, 0, 1, 0x9c, 0x40, 0, 80]);
        word
    };
    let request = b"GET /who.sh HTTP/1.0\r\n\r\n";
    let with = |word: &[u8]| [word, request].concat();
    let rows: [(&str, Vec<u8>, u16, &str); 6] = [
        ("version 1", with(b"PROXY TCP4 192.0.2.7 127.0.0.1 40001 80\r\n"), 200, "192.0.2.7 40001\n"),
        ("IPv6", with(b"PROXY TCP6 2001:db8::7 ::1 40001 80\r\n"), 200, "2001:db8::7 40001\n"),
        ("version 2", with(&version2([192, 0, 2, 9])), 200, "192.0.2.9 40000\n"),
        ("unknown", with(b"PROXY UNKNOWN\r\n"), 200, "127.0.0.1 "),
        ("no word", request.to_vec(), 0, ""),
        ("nonsense", with(b"PROXY TCP4 a b c d\r\n"), 0, ""),
    ];
    let (folder, conf) = site(PROXIED);
    let ours = edge(&conf);
    let theirs = std::path::Path::new(server::LIGHTTPD).exists();
    let theirs = theirs.then(|| Lighttpd::start(folder.path(), &conf));
    for (name, bytes, status, body) in &rows {
        let found = answer(&exchange(ours, bytes));
        assert_eq!(found.code(), *status, "{name}");
        assert!(found.body.starts_with(body), "{name}: {}", found.body);
        if let Some(theirs) = &theirs {
            let found = answer(&exchange(theirs.address, bytes));
            assert!(*status == 0 || found.code() == *status, "lighttpd, {name}: {}", found.status);
            assert!(*status == 0 || found.body.starts_with(body), "lighttpd, {name}: {}", found.body);
        }
    }
    // Whoever is not trusted to say it has made a request that is none.
    let (_folder, conf) =
        site("extforward.forwarder = ( \"10.0.0.1\" => \"trust\" )\nextforward.hap-PROXY = \"enable\"\n");
    let found = answer(&exchange(edge(&conf), &rows[0].1));
    assert_eq!(found.code(), 400);
    assert!(!found.body.contains("192.0.2.7"));
}

fn fetch_60k(address: SocketAddr) -> Duration {
    let began = Instant::now();
    let found = get(address, "GET /60k.txt HTTP/1.0\r\n\r\n");
    assert_eq!((found.code(), found.body.len()), (200, 60 * 1024));
    began.elapsed()
}

/// Something takes so many milliseconds at least each time, and once so many at most: a busy machine makes late what is late, and
/// nothing early.
fn takes(what: &str, least: u64, most: u64, measure: impl Fn() -> Duration) {
    let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
    let mut took = Vec::new();
    while took.len() < 5 {
        let one = measure();
        assert!(one >= least, "{what}: {one:?}");
        if one < most {
            return;
        }
        took.push(one);
    }
    panic!("{what}: {took:?}");
}

#[test]
fn a_connection_has_its_bandwidth_as_with_lighttpd() {
    let (folder, conf) = site("connection.kbytes-per-second = 60\n");
    let ours = edge(&conf);
    takes("ours", 700, 3000, || fetch_60k(ours));
    if std::path::Path::new(server::LIGHTTPD).exists() {
        let theirs = Lighttpd::start(folder.path(), &conf);
        // It judges by whole seconds.
        takes("theirs", 0, 4000, || fetch_60k(theirs.address));
    }
}

#[test]
fn all_connections_of_a_client_share_its_bandwidth() {
    for shared in ["mesh.client-kbytes-per-second = 120\n", "server.kbytes-per-second = 120\n"] {
        let (_folder, conf) = site(shared);
        let address = edge(&conf);
        // Three alone would have taken half a second each.
        takes(shared, 1100, 5000, || {
            let began = Instant::now();
            let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(move || fetch_60k(address))).collect();
            threads.into_iter().for_each(|thread| {
                thread.join().unwrap();
            });
            began.elapsed()
        });
    }
}

/// Threats row 39: however steadily it comes, a body has its time.
#[test]
fn a_body_has_its_time_and_no_more() {
    let (_folder, conf) = site("mesh.body-timeout = 1\n");
    let address = edge(&conf);
    let mut stream = TcpStream::connect(address).unwrap();
    // The wait for an answer is the pause between two parts.
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    stream.write_all(b"POST /who.sh HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n").unwrap();
    let began = Instant::now();
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&part[..read]),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                assert!(began.elapsed() < PATIENCE, "nobody has cut it");
                let _ = stream.write_all(&[b'x'; 2000]);
            }
            Err(_) => break,
        }
    }
    assert_eq!(answer(&bytes).code(), 408);
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

/// What comes of a connection that is held open by a word now and then, for as long as `say` is heard; and how long that took.
fn hold(mut stream: TcpStream, say: &[u8]) -> (Vec<u8>, Duration) {
    // The wait for an answer is the pause between two words.
    stream.set_read_timeout(Some(Duration::from_millis(900))).unwrap();
    let began = Instant::now();
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&part[..read]),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                assert!(began.elapsed() < PATIENCE, "nobody has cut it");
                let _ = stream.write_all(say);
            }
            _ => return (bytes, began.elapsed()),
        }
    }
}

/// Threats row 39: a byte now and then is no body, whatever it is called: what talks by gRPC goes to the mesh.
#[test]
fn a_body_that_trickles_in_is_cut() {
    let (_folder, conf) = site("");
    let address = edge(&conf);
    let threads = ["text/plain", "application/grpc", "application/grpc+proto"].map(|kind| {
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(
                stream,
                "POST /who.sh HTTP/1.1\r\nHost: h\r\nContent-Type: {kind}\r\nContent-Length: 100000\r\n\r\n"
            )
            .unwrap();
            let (bytes, took) = hold(stream, b"x");
            assert_eq!(answer(&bytes).code(), 408, "{kind}");
            assert!(took >= Duration::from_secs(9), "{kind}: {took:?}");
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Threats row 39: whoever takes nothing of an answer is let go, and what was opened for it is closed.
#[test]
fn a_client_that_reads_nothing_is_let_go() {
    let (folder, conf) = site(
        "server.modules += ( \"mod_status\" )\nstatus.status-url = \"/status\"\nserver.max-write-idle = 1\n",
    );
    // More than the kernel holds for anybody.
    let large = std::fs::File::create(folder.path().join("www/large")).unwrap();
    large.set_len(64 << 20).unwrap();
    std::fs::write(folder.path().join("www/large.sh"), "printf 'A: b\\r\\n\\r\\n'; cat large\n").unwrap();
    let address = edge(&conf);
    let busy = |wanted: usize| {
        let page = get(address, "GET /status?auto HTTP/1.0\r\n\r\n").body;
        page.contains(&format!("BusyServers: {wanted}\n"))
    };
    for path in ["/large", "/large.sh"] {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let began = Instant::now();
        // The one who asks is there as well.
        while !busy(2) {
            assert!(began.elapsed() < PATIENCE, "{path} is not sent");
        }
        while !busy(1) {
            assert!(began.elapsed() < PATIENCE, "{path}: nobody has cut it");
        }
        assert!(began.elapsed() >= Duration::from_millis(900), "{path}: {:?}", began.elapsed());
    }
}

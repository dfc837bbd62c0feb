//! Calls to servers that are there, with TLS and without, and to those that must not be called.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use selvedge_guard::call::{Answer, Call};
use selvedge_guard::reach::Reach;
use selvedge_outbound::{Error, FETCH_BYTES_MAX, Fetcher, Roots};

/// Reads one request and answers with bytes; returns what it read.
fn server(answer: Vec<u8>) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a caller");
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && socket.read(&mut byte).expect("a request") == 1 {
            request.push(byte[0]);
        }
        let _ = socket.write_all(&answer);
        String::from_utf8(request).expect("ASCII")
    });
    (port, thread)
}

fn roots() -> Roots {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("roots-{}.pem", std::process::id()));
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&path, certificate.cert.pem()).expect("a file");
    Roots::File(path)
}

async fn fetch(operator: &str, url: &str) -> Result<Answer, Error> {
    let fetcher = Fetcher::new(Reach::of_operator([operator]), &roots()).expect("roots");
    fetcher.with_timeout(Duration::from_secs(2)).fetch(&Call::json(url)).await
}

#[tokio::test]
async fn an_answer_comes_whole() {
    let (port, server) =
        server(b"HTTP/1.1 404 Not Found\r\nX-A: b\r\nContent-Length: 4\r\n\r\nbody".to_vec());
    let url = format!("http://127.0.0.1:{port}/a/b?c=d");
    let answer = fetch(&url, &url).await.expect("an answer");
    assert_eq!(
        (answer.status, answer.body.as_slice(), answer.header("x-a")),
        (404, &b"body"[..], Some(&b"b"[..]))
    );
    let request = server.join().expect("a request");
    assert!(request.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
}

#[tokio::test]
async fn an_answer_without_length_ends_with_the_connection() {
    let (port, _server) = server(b"HTTP/1.1 200 OK\r\n\r\nuntil the end".to_vec());
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(fetch(&url, &url).await.expect("an answer").body, b"until the end");
}

#[tokio::test]
async fn this_machine_is_not_called_on_another_ones_word() {
    let (port, _server) = server(Vec::new());
    let local = format!("http://127.0.0.1:{port}/keys");
    for url in
        [&local, "http://169.254.169.254/latest", "https://127.0.0.1:1/", "https://[::ffff:127.0.0.1]:1/"]
    {
        let refused = fetch("https://issuer.example", url).await.expect_err("not within reach");
        assert!(matches!(refused, Error::Refused { .. } | Error::Target(_)), "{url}: {refused:?}");
    }
    let refused = fetch("https://localhost.example", &format!("https://localhost:{port}/")).await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "a name is judged by its addresses: {refused:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let (port, _server) = server(
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n".to_vec(),
    );
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(fetch(&url, &url).await.expect("an answer").status, 302);
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let long = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
        FETCH_BYTES_MAX + 1,
        "a".repeat(FETCH_BYTES_MAX + 1)
    );
    let (port, _server) = server(long.into_bytes());
    let url = format!("http://127.0.0.1:{port}/");
    assert!(matches!(fetch(&url, &url).await, Err(Error::TooLarge { .. })));

    // It accepts, by the kernel's queue, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://127.0.0.1:{}/", silent.local_addr().expect("an address").port());
    let fetcher = Fetcher::new(Reach::of_operator([url.as_str()]), &roots()).expect("roots");
    let answer = fetcher.with_timeout(Duration::from_millis(50)).fetch(&Call::json(&url)).await;
    assert!(matches!(answer, Err(Error::Patience { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(certificate.signing_key.serialize_der().into());
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|b| b.with_no_client_auth().with_single_cert(vec![certificate.cert.der().clone()], key))
        .expect("a server");
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a caller");
        let mut session = rustls::ServerConnection::new(config.into()).expect("a session");
        let _ = session.complete_io(&mut socket);
    });
    let url = format!("https://localhost:{port}/");
    let answer = fetch(&url, &url).await;
    assert!(matches!(answer, Err(Error::Tls { .. })), "{answer:?}");
    server.join().expect("it ends");
}

#[test]
fn without_authorities_nothing_is_called() {
    let empty = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("empty-{}.pem", std::process::id()));
    std::fs::write(&empty, "").expect("a file");
    for roots in [Roots::File(empty), Roots::File("/nowhere/at/all.pem".into())] {
        assert!(Fetcher::new(Reach::default(), &roots).is_err());
    }
}

//! Calls over real sockets: what is refused is not connected to.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use selvedge_outbound::{Answer, Client, Error, Guard, Outgoing, Trust};

/// A server that answers each request with `answer`; how many connections it took.
fn serve(answer: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            counted.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    if stream.write_all(answer).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, taken)
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

fn outgoing(url: &str, trust: Trust) -> Outgoing {
    Outgoing {
        method: Method::GET,
        url: url.parse().expect(url),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        patience: Duration::from_secs(5),
        answer_bytes_max: 1024,
        trust,
        keeps: true,
    }
}

async fn call(client: &Client, url: &str) -> Result<Answer, Error> {
    client.send(outgoing(url, Trust::Guarded)).await
}

#[tokio::test]
async fn no_spelling_of_the_machine_itself_is_called() {
    let (address, taken) = serve(OK);
    let client = Client::new(Guard::default());
    let port = address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f000001",
        "127.1",
        "0.0.0.0",
        "017700000001",
    ] {
        let error = call(&client, &format!("http://{host}:{port}/")).await.expect_err(host);
        assert!(matches!(error, Error::Refused { .. } | Error::Resolve { .. }), "{host}: {error}");
    }
    assert_eq!(taken.load(Ordering::SeqCst), 0, "nothing was connected to");
    let answer = client.send(outgoing(&format!("http://127.0.0.1:{port}/"), Trust::Operator)).await;
    assert_eq!(answer.expect("the operator's own choice").body, "hi");
}

#[tokio::test]
async fn an_allowed_address_is_called_over_a_kept_connection() {
    let (address, taken) = serve(OK);
    let client = Client::new(Guard::new(vec![address.to_string().parse().expect("an address")], &[]));
    for _ in 0..5 {
        assert_eq!(call(&client, &format!("http://{address}/x")).await.expect("an answer").body, "hi");
    }
    assert_eq!(taken.load(Ordering::SeqCst), 1, "one connection for all");
}

#[tokio::test]
async fn answers_that_do_not_come_or_do_not_end_are_given_up() {
    let allow = |address: SocketAddr| {
        Client::new(Guard::new(vec![address.to_string().parse().expect("an address")], &[]))
    };
    let (silent, _) = serve(b"");
    let patient = Outgoing {
        patience: Duration::from_millis(100),
        ..outgoing(&format!("http://{silent}/"), Trust::Guarded)
    };
    assert!(matches!(allow(silent).send(patient).await, Err(Error::Patience { .. })));
    let (endless, _) = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    let small = Outgoing { answer_bytes_max: 16, ..outgoing(&format!("http://{endless}/"), Trust::Guarded) };
    assert!(matches!(allow(endless).send(small).await, Err(Error::TooLarge { bytes_max: 16, .. })));
    let (other, _) = serve(b"SSH-2.0-OpenSSH\r\n");
    assert!(matches!(call(&allow(other), &format!("http://{other}/")).await, Err(Error::Exchange { .. })));
}

#[tokio::test]
async fn urls_that_are_none_are_refused_before_anything_is_resolved() {
    let client = Client::new(Guard::default());
    for url in ["/path", "ftp://example/", "http://user:secret@example/"] {
        let error = call(&client, url).await.expect_err(url);
        assert!(matches!(error, Error::Url(_)), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

//! WebSockets on streams of HTTP/2 (RFC 8441), as the library h2 asks for them; `tests/conformance/edge_websockets.py` does so with whole
//! WebSockets, and beside lighttpd.

mod server;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, SendStream};
use http::{Method, Request};
use server::edge;

const PATIENCE: Duration = Duration::from_secs(60);

/// A backend that takes every tunnel and answers its key; what becomes of the connection is `after`'s.
fn backend(after: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    use base64::Engine as _;
    use sha1::Digest as _;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        std::thread::scope(|scope| {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let after = &after;
                scope.spawn(move || {
                    let (mut head, mut byte) = (Vec::new(), [0]);
                    while !head.ends_with(b"\r\n\r\n") {
                        if stream.read(&mut byte).unwrap_or(0) == 0 {
                            return;
                        }
                        head.push(byte[0]);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let key = server::field(&head, "sec-websocket-key").unwrap_or_default();
                    let guid = selvedge_http::websocket::GUID;
                    let digest = sha1::Sha1::new().chain_update(key).chain_update(guid).finalize();
                    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
                    let answer = format!(
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                         Sec-WebSocket-Accept: {accept}\r\n\r\n"
                    );
                    if stream.write_all(answer.as_bytes()).is_ok() {
                        after(stream);
                    }
                });
            }
        });
    });
    port
}

fn site(folder: &std::path::Path, port: u16) -> SocketAddr {
    std::fs::write(folder.join("a.txt"), "12345\n").unwrap();
    edge(&format!(
        "server.document-root = \"{}\"\nserver.modules = ( \"mod_proxy\", \"mod_status\" )\nstatus.status-url = \"/status\"\n\
         server.feature-flags = ( \"server.h2c\" => \"enable\" )\nmimetype.assign = ( \".txt\" => \"text/plain\" )\n\
         $HTTP[\"url\"] == \"/ws\" {{\n  proxy.server = ( \"\" => (( \"host\" => \"127.0.0.1\", \"port\" => {port} )) )\n  \
         proxy.header = ( \"upgrade\" => \"enable\" )\n}}\n",
        folder.display()
    ))
}

fn on_thread(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("in time") });
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    // Its settings have come with the first answer.
    let mut sender = sender.ready().await.unwrap();
    let get = Request::get("http://h/status").body(()).unwrap();
    assert_eq!(sender.send_request(get, true).unwrap().0.await.unwrap().status(), 200);
    assert!(sender.is_extended_connect_protocol_enabled());
    sender
}

async fn wish(sender: &mut SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let mut ready = sender.clone().ready().await.unwrap();
    let mut request =
        Request::builder().method(Method::CONNECT).uri(format!("http://h{path}")).body(()).unwrap();
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    ready.send_request(request, false).unwrap()
}

/// Answers to GET are kept ready for a moment, and a wish for a tunnel is none: what follows a 200 would be the tunnel.
#[test]
fn a_file_that_is_kept_ready_is_no_tunnel() {
    let folder = tempfile::tempdir().unwrap();
    let address = site(folder.path(), 9);
    on_thread(async {
        let mut sender = connect(address).await;
        for _ in 0..3 {
            let get = Request::get("http://h/a.txt").body(()).unwrap();
            let answer = sender.send_request(get, true).unwrap().0.await.unwrap();
            assert_eq!(answer.status(), 200);
            let (answer, _stream) = wish(&mut sender, "/a.txt").await;
            assert_eq!(answer.await.unwrap().status(), 405);
        }
    });
}

/// A backend that does not read holds up what the client says, and its going all the same ends the tunnel.
#[test]
fn a_client_that_takes_its_stream_back_is_gone_for_a_backend_that_does_not_read() {
    let (tell, told) = channel();
    let port = backend(move |mut stream| {
        // Nothing is read until what was written cannot go on.
        while stream.write_all(&[0; 4096]).is_ok() {}
        let _ = tell.send(());
    });
    let folder = tempfile::tempdir().unwrap();
    let address = site(folder.path(), port);
    on_thread(async {
        let mut sender = connect(address).await;
        let (answer, mut stream) = wish(&mut sender, "/ws").await;
        assert_eq!(answer.await.unwrap().status(), 200);
        // More than the sockets to the backend hold, and less than a stream's window.
        let mut left: usize = 12 << 20;
        while left > 0 {
            stream.reserve_capacity(left.min(1 << 16));
            let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap().min(left);
            stream.send_data(Bytes::from(vec![0; room]), false).unwrap();
            left -= room;
        }
        // It is being served when an answer to a later question is there.
        let get = Request::get("http://h/a.txt").body(()).unwrap();
        assert_eq!(sender.send_request(get, true).unwrap().0.await.unwrap().status(), 200);
        stream.send_reset(Reason::CANCEL);
        let ended = tokio::task::spawn_blocking(move || told.recv_timeout(PATIENCE)).await.unwrap();
        assert!(ended.is_ok(), "the backend's connection ends");
    });
}

/// The end of a backend is the end of a stream (RFC 8441 §5), after everything that it said.
#[test]
fn what_a_backend_said_last_arrives_before_the_end() {
    let port = backend(|mut stream| stream.write_all(&[7; 300_000]).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let address = site(folder.path(), port);
    on_thread(async {
        let mut sender = connect(address).await;
        let (answer, _stream) = wish(&mut sender, "/ws").await;
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        for name in ["upgrade", "connection", "sec-websocket-accept", "content-length"] {
            assert_eq!(answer.headers().get(name), None, "{name}");
        }
        let (mut body, mut came) = (answer.into_body(), 0);
        while let Some(bytes) = body.data().await {
            let bytes = bytes.expect("an end in order");
            came += bytes.len();
            body.flow_control().release_capacity(bytes.len()).unwrap();
        }
        assert_eq!(came, 300_000);
    });
}

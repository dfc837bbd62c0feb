//! What HTTP/2 lets through, in the shape in which it goes on.

use std::future::poll_fn;
use std::task::Poll;

use selvedge_http::h2::encode;
use selvedge_http::h2::hpack::Decoder;
use selvedge_http::h2::receive;
use selvedge_http::head::RequestHead;
use selvedge_http::parse::Upgrade;
use selvedge_wire::buffer::Buffers;
use selvedge_wire::h2;
use selvedge_wire::io::Io;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// What of an input is said; sockets take it without being read.
const BYTES_MAX: usize = 64 * 1024;
/// Streams that are held open.
const HELD_MAX: usize = 16;

thread_local! {
    static PLACE: (Runtime, TcpListener) = {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a socket");
        (runtime, listener)
    };
}

/// Frames after the preface, from a client that says them and closes: every request that comes through has a head that can
/// be sent on, without a line end, and is read again as it was.
pub(super) fn server(bytes: &[u8]) {
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &bytes[..bytes.len().min(BYTES_MAX)]].concat();
    PLACE.with(|(runtime, listener)| {
        runtime.block_on(async {
            let address = listener.local_addr().expect("a bound socket");
            let mut client = TcpStream::connect(address).await.expect("a listening socket");
            let (stream, _) = listener.accept().await.expect("a connection");
            client.write_all(&bytes).await.expect("a socket that takes it");
            client.shutdown().await.expect("an open socket");
            let io = Io::new(stream, Buffers::default());
            let Ok(mut server) = h2::serve(io, true, h2::Http2Settings::default()).await else { return };
            let mut held = Vec::new();
            loop {
                let accepted = poll_fn(|cx| match server.poll_accept(cx) {
                    Poll::Pending if server.flood().is_some() => Poll::Ready(None),
                    polled => polled,
                });
                let Some(Ok(mut accepted)) = accepted.await else { break };
                let mut head = RequestHead::default();
                accepted.take_head(&mut head);
                check(&head, accepted.upgrade);
                held.truncate(HELD_MAX);
                held.insert(0, accepted.stream);
            }
            // Nothing of it is to wait in the system for its time to pass.
            if let Some(io) = server.into_io() {
                io.reset_on_close();
            }
        });
    });
}

fn check(head: &RequestHead, upgrade: Upgrade) {
    let texts = [head.method(), head.path(), head.authority().unwrap_or_default(), head.scheme()];
    assert!(!texts.iter().any(|text| text.contains(['\r', '\n', '\0'])), "{texts:?}");
    for (name, value) in head.fields.iter() {
        assert!(!name.is_empty() && !name.bytes().any(|byte| byte <= b' ' || byte == b':'), "{name:?}");
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{value:?}");
    }
    let mut block = Vec::new();
    if upgrade != Upgrade::None || encode::request(head, upgrade, &mut block).is_err() {
        return;
    }
    let mut again = RequestHead::default();
    let mut request = receive::Request::new(&mut again, usize::MAX / 16);
    let decoded = Decoder::default().decode(&block, |id, name, value| request.line(id, name, value));
    assert_eq!((decoded, request.finish(false)), (Ok(()), Ok(Upgrade::None)));
    assert_eq!(
        (again.method(), again.path(), again.fields.len()),
        (head.method(), head.path(), head.fields.len())
    );
}

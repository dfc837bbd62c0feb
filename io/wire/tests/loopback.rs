//! HTTP/1 bodies and opaque bytes over real sockets.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use selvedge_http::framing::Framing;
use selvedge_http::head::{RequestHead, ResponseHead};
use selvedge_wire::buffer::Buffers;
use selvedge_wire::channel::Content;
use selvedge_wire::detect::{self, Protocol};
use selvedge_wire::h1::Http1;
use selvedge_wire::io::Io;
use selvedge_wire::{connect, listen, relay};
use tokio::net::{TcpListener, TcpStream};

fn listener() -> (TcpListener, SocketAddr) {
    let listener = listen::bind(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
    let address = listener.local_addr().unwrap();
    (TcpListener::from_std(listener).unwrap(), address)
}

/// Runs a plain blocking client on a thread of its own.
fn client<T: Send + 'static>(
    address: SocketAddr,
    run: impl FnOnce(std::net::TcpStream) -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || run(std::net::TcpStream::connect(address).unwrap()))
}

async fn accept(listener: &TcpListener) -> Io {
    Io::new(listen::accept(listener).await.unwrap().0, Buffers::default())
}

/// Serves one connection: every request's body comes back as the response's, chunked.
async fn echo(listener: TcpListener) {
    let mut http = Http1::new(accept(&listener).await);
    let mut head = RequestHead::default();
    while poll_fn(|cx| http.poll_request(cx, &mut head)).await.unwrap().is_some() {
        let response = ResponseHead { status: 200, ..ResponseHead::default() };
        http.queue(|out| {
            selvedge_http::encode::response(&response, Framing::Chunked, head.method(), false, out)
        });
        http.begin_writing(Framing::Chunked);
        while poll_fn(|cx| http.poll_content(cx)).await.unwrap() == Content::Bytes {
            let content = http.content().to_vec();
            let sent = poll_fn(|cx| http.poll_send(cx, &content)).await.unwrap();
            http.consume(sent);
        }
        http.end();
        poll_fn(|cx| http.poll_flush(cx)).await.unwrap();
    }
}

fn echoed(stream: &mut std::net::TcpStream) -> Vec<u8> {
    let mut seen = Vec::new();
    while !seen.ends_with(b"0\r\n\r\n") {
        let mut buffer = [0; 65_536];
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "closed early");
        seen.extend_from_slice(&buffer[..read]);
    }
    let start = seen.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let (mut body, mut at) = (Vec::new(), start);
    let mut decoder = selvedge_http::chunked::Decoder::default();
    while !decoder.is_done() {
        let step = decoder.step(&seen[at..]).unwrap();
        at += step.skip;
        body.extend_from_slice(&seen[at..at + step.content]);
        at += step.content;
        decoder.take(step.content);
    }
    body
}

#[tokio::test]
async fn bodies_of_every_framing_and_size_come_through() {
    let (listener, address) = listener();
    let client = client(address, |mut stream| {
        for size in [1usize, 5, 16 * 1024, 1_000_000] {
            let body: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
            let mut sender = stream.try_clone().unwrap();
            let sent = body.clone();
            let thread = std::thread::spawn(move || {
                write!(sender, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n").unwrap();
                sender.write_all(&sent).unwrap();
            });
            assert!(echoed(&mut stream) == body, "content-length {size}");
            thread.join().unwrap();
            let mut sender = stream.try_clone().unwrap();
            let sent = body.clone();
            let thread = std::thread::spawn(move || {
                write!(sender, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
                for chunk in sent.chunks(7777) {
                    write!(sender, "{:X};x=y\r\n", chunk.len()).unwrap();
                    sender.write_all(chunk).unwrap();
                    sender.write_all(b"\r\n").unwrap();
                }
                sender.write_all(b"0\r\nx: y\r\n\r\n").unwrap();
            });
            assert!(echoed(&mut stream) == body, "chunked {size}");
            thread.join().unwrap();
        }
        // Both answers are read to their end: closing before that would reset the connection.
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        let answers = String::from_utf8(answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
        assert_eq!(answers.matches("\r\n\r\n0\r\n\r\n").count(), 2, "{answers}");
    });
    echo(listener).await;
    client.join().unwrap();
}

#[tokio::test]
async fn the_first_bytes_tell_the_protocol_and_stay() {
    for (sent, expected) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], Some(Protocol::Http2)),
        (b"GET / HTTP/1.1\r\n\r\n", Some(Protocol::Http1)),
        (b"PRI", Some(Protocol::Http1)),
        (b"", None),
    ] {
        let (listener, address) = listener();
        let client = client(address, move |mut stream| {
            for byte in sent {
                // The server may have seen enough and gone.
                let _ = stream.write_all(&[*byte]);
            }
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read(&mut [0]);
        });
        let mut io = accept(&listener).await;
        assert_eq!(detect::http(&mut io).await.unwrap(), expected, "{sent:?}");
        assert!(sent.starts_with(io.unread()));
        drop(io);
        client.join().unwrap();
    }
}

#[tokio::test]
async fn a_relay_carries_both_ways_and_passes_a_half_close_on() {
    let (front, front_address) = listener();
    let (back, back_address) = listener();
    let size = 3_000_000;
    let client = client(front_address, move |mut stream| {
        let sender = {
            let mut stream = stream.try_clone().unwrap();
            std::thread::spawn(move || {
                stream.write_all(&vec![1; size]).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            })
        };
        let mut seen = Vec::new();
        stream.read_to_end(&mut seen).unwrap();
        sender.join().unwrap();
        seen.len()
    });
    let server = std::thread::spawn({
        let back = back.into_std().unwrap();
        move || {
            back.set_nonblocking(false).unwrap();
            let (mut stream, _) = back.accept().unwrap();
            let mut seen = Vec::new();
            stream.read_to_end(&mut seen).unwrap();
            stream.write_all(&seen).unwrap();
            seen.len()
        }
    });
    let mut left = accept(&front).await;
    let timeout = Duration::from_secs(5);
    let mut right = Io::new(connect::connect(back_address, timeout).await.unwrap(), left.buffers().clone());
    let end = relay::relay(&mut left, &mut right, Some(timeout)).await;
    assert!(matches!(end, relay::End::Closed), "{end:?}");
    assert_eq!((left.bytes_read, left.bytes_written), (size as u64, size as u64));
    drop((left, right));
    assert_eq!((client.join().unwrap(), server.join().unwrap()), (size, size));
}

#[tokio::test]
async fn who_has_ended_breaks_nothing_by_closing() {
    let (front, front_address) = listener();
    let (back, back_address) = listener();
    let client = client(front_address, |mut stream| {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the other side has ended");
        // Until the relay is gone.
        while stream.write_all(&[1; 4096]).is_ok() {}
    });
    let server = std::thread::spawn({
        let back = back.into_std().unwrap();
        move || {
            back.set_nonblocking(false).unwrap();
            let (stream, _) = back.accept().unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // Closing over bytes that nobody has read is a reset.
            stream.peek(&mut [0]).unwrap();
        }
    });
    let mut left = accept(&front).await;
    let timeout = Duration::from_secs(5);
    let mut right = Io::new(connect::connect(back_address, timeout).await.unwrap(), left.buffers().clone());
    let end = relay::relay(&mut left, &mut right, Some(timeout)).await;
    assert!(matches!(end, relay::End::Closed), "{end:?}");
    drop((left, right));
    client.join().unwrap();
    server.join().unwrap();
}

#[tokio::test]
async fn a_silent_relay_ends_after_its_idle_time() {
    let (front, front_address) = listener();
    let (back, back_address) = listener();
    let _client = TcpStream::connect(front_address).await.unwrap();
    let mut left = accept(&front).await;
    let mut right = Io::new(TcpStream::connect(back_address).await.unwrap(), left.buffers().clone());
    let _server = back.accept().await.unwrap();
    let end = relay::relay(&mut left, &mut right, Some(Duration::from_millis(30))).await;
    assert!(matches!(end, relay::End::Idle), "{end:?}");
}

#[tokio::test]
async fn nobody_listening_is_a_refusal() {
    let (listener, address) = listener();
    drop(listener);
    let error = connect::connect(address, Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, connect::ConnectError::Refused(_)));
    assert_eq!(error.transport_failure(), "delayed connect error: Connection refused");
}

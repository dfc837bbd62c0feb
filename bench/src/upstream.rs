//! The upstream: answers every request as cheaply as a socket allows.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::work::{LARGE_LEN, LARGE_PATH, SMALL_LEN};

/// Bytes of a request's head, and of what is read at once.
const BUFFER_LEN: usize = 32 * 1024;

/// Headers of a request, those that proxies add included.
const HEADERS_MAX: usize = 64;

pub(crate) async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) {
    let (small, large) = (response(SMALL_LEN), response(LARGE_LEN));
    let mut buffer = vec![0; BUFFER_LEN];
    let mut filled = 0;
    // Without it, Nagle and delayed acknowledgements would be what is measured.
    let _ = stream.set_nodelay(true);
    loop {
        match stream.read(&mut buffer[filled..]).await {
            Ok(0) | Err(_) => return,
            Ok(read) => filled += read,
        }
        while let Some(request) = Request::parse(&buffer[..filled]) {
            let here = request.len.min(filled);
            buffer.copy_within(here..filled, 0);
            filled -= here;
            if skip(&mut stream, request.len - here).await.is_none() {
                return;
            }
            if stream.write_all(if request.is_large { &large } else { &small }).await.is_err() {
                return;
            }
        }
        if filled == buffer.len() {
            return;
        }
    }
}

/// Reads and forgets `len` bytes.
async fn skip(stream: &mut TcpStream, mut len: usize) -> Option<()> {
    let mut buffer = [0; 16 * 1024];
    while len > 0 {
        let end = len.min(buffer.len());
        match stream.read(&mut buffer[..end]).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => len -= read,
        }
    }
    Some(())
}

fn response(len: usize) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {len}\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + len, b'x');
    bytes
}

/// What the upstream needs to know of a request.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// Head and body.
    len: usize,
    is_large: bool,
}

// === impl Request ===

impl Request {
    /// The request at the beginning of `bytes`, once its head is whole. Bodies have a length: no peer sends chunks here.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(head_len)) = request.parse(bytes) else { return None };
        let is_large = request.path.is_some_and(|path| path.starts_with(LARGE_PATH));
        let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let body_len =
            length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok()).unwrap_or(0);
        Some(Self { len: head_len + body_len, is_large })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_with_its_body() {
        let rows: &[(&[u8], Option<Request>)] = &[
            (b"GET / HTTP/1.1\r\n", None),
            (b"GET / HTTP/1.1\r\n\r\n", Some(Request { len: 18, is_large: false })),
            (b"GET /api/large HTTP/1.1\r\n\r\nG", Some(Request { len: 27, is_large: true })),
            (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", Some(Request { len: 43, is_large: false })),
        ];
        for (bytes, expected) in rows {
            assert_eq!(Request::parse(bytes), *expected, "{}", String::from_utf8_lossy(bytes));
        }
    }
}

//! The upstream: answers every request head with one kibibyte, as cheaply as a socket allows.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of a body.
pub(crate) const BODY_LEN: usize = 1024;

pub(crate) async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY_LEN}\r\n\r\n");
    let response = [head.as_bytes(), &[b'x'; BODY_LEN]].concat();
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    // Without it, Nagle and delayed acknowledgements would be what is measured.
    let _ = stream.set_nodelay(true);
    loop {
        match stream.read(&mut buffer[filled..]).await {
            Ok(0) | Err(_) => return,
            Ok(read) => filled += read,
        }
        while let Some(end) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") {
            buffer.copy_within(end + 4..filled, 0);
            filled -= end + 4;
            if stream.write_all(&response).await.is_err() {
                return;
            }
        }
        if filled == buffer.len() {
            return;
        }
    }
}

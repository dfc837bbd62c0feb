//! The client's HTTP/1.1: one request on a connection of its own.

use std::net::SocketAddr;

use anyhow::Result;

use super::{Answered, Request, connect};
use crate::http1::{Connection, Head};

pub(super) async fn exchange(target: SocketAddr, request: &Request) -> Result<Answered> {
    let mut connection = Connection::new(connect(target).await?);
    // A proxy may answer and close before it has read everything.
    let _ = connection.write(&bytes_of(request)).await;
    let head = loop {
        match connection.read_head().await {
            Ok(Some(head)) if head.status().is_some_and(|status| status < 200) => {}
            Ok(Some(head)) => break head,
            Ok(None) => return Ok(ended("closed without an answer")),
            Err(_) => return Ok(ended("reset without an answer")),
        }
    };
    answered(&mut connection, head, &request.method).await
}

pub(super) async fn answered<S>(connection: &mut Connection<S>, head: Head, method: &str) -> Result<Answered>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let body = connection.read_body(head.response_framing(method)).await.unwrap_or_default();
    Ok(Answered {
        status: head.status().unwrap_or_default(),
        body: super::coding::text(&head.headers, &body.bytes),
        headers: head.headers,
        trailers: body.trailers,
        ending: if body.complete { String::new() } else { "cut short".into() },
    })
}

fn ended(how: &str) -> Answered {
    Answered { ending: how.into(), ..Answered::default() }
}

fn bytes_of(request: &Request) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", request.method, request.path, request.authority);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let chunked = request.chunked || !request.trailers.is_empty();
    if chunked {
        head.push_str("transfer-encoding: chunked\r\n");
    } else if !request.body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", request.body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if !chunked {
        bytes.extend_from_slice(&request.body);
        return bytes;
    }
    for piece in request.body.chunks(1000) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n");
    for (name, value) in &request.trailers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

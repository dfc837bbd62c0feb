//! An upgrade to WebSocket, then bytes there and back. Frames are opaque to a proxy, so none are built.

use std::net::SocketAddr;

use anyhow::Result;

use super::{Answered, Request, connect, http};
use crate::http1::Connection;

pub(super) async fn exchange(target: SocketAddr, request: &Request) -> Result<Answered> {
    let mut connection = Connection::new(connect(target).await?);
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", request.method, request.path, request.authority);
    head.push_str("connection: Upgrade\r\nupgrade: websocket\r\n");
    head.push_str("sec-websocket-version: 13\r\nsec-websocket-key: c2VsdmVkZ2Utc2VsdmVkZw==\r\n");
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    connection.write(head.as_bytes()).await?;
    let Some(head) = connection.read_head().await? else {
        return Ok(Answered { ending: "closed without an answer".into(), ..Answered::default() });
    };
    if head.status() != Some(101) {
        return http::answered(&mut connection, head, &request.method).await;
    }
    connection.write(&request.body).await?;
    let echoed = connection.read_exactly(request.body.len()).await?;
    Ok(Answered {
        status: 101,
        headers: head.headers,
        body: String::from_utf8_lossy(&echoed).into_owned(),
        trailers: Vec::new(),
        ending: String::new(),
    })
}

//! The application's HTTP/1.1.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Received, Script};
use crate::http1::{Body, Connection, Head};
use crate::scenario::FullAnswer;

pub(super) async fn serve(stream: TcpStream, script: Arc<Script>) {
    let mut connection = Connection::new(stream);
    // A proxy may go away at any moment: what it sent until then is on record.
    while let Ok(true) = exchange(&mut connection, &script).await {}
}

/// Serves one request; `false` when the connection is over.
async fn exchange(connection: &mut Connection<TcpStream>, script: &Script) -> Result<bool> {
    let Some(head) = connection.read_head().await? else { return Ok(false) };
    let body = connection.read_body(head.request_framing()).await?;
    let upgrades = head.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let received = received(&head, &body);
    let answer = script.answer(received.clone());
    sleep(Duration::from_millis(answer.delay_ms)).await;
    if answer.close {
        return Ok(false);
    }
    if let Some(raw) = &answer.raw {
        connection.write(raw.as_bytes()).await?;
        return Ok(false);
    }
    if upgrades && answer.status.is_none() {
        return echo_frames(connection).await;
    }
    write_answer(connection, &answer, received.method == "HEAD").await
}

fn received(head: &Head, body: &Body) -> Received {
    let mut words = head.first_line.split(' ');
    Received {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        authority: head.header("host").unwrap_or_default().to_owned(),
        headers: head.headers.iter().filter(|(name, _)| name != "host").cloned().collect(),
        body: String::from_utf8_lossy(&body.bytes).into_owned(),
        trailers: body.trailers.clone(),
    }
}

async fn write_answer(
    connection: &mut Connection<TcpStream>,
    answer: &FullAnswer,
    is_head: bool,
) -> Result<bool> {
    let status = answer.status.unwrap_or(200);
    let body = answer.body.as_deref().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let framed =
        answer.headers.keys().any(|name| ["content-length", "transfer-encoding"].contains(&name.as_str()));
    let chunked = !answer.trailers.is_empty();
    let bodiless = is_head || status == 204 || status == 304;
    if chunked {
        head.push_str("transfer-encoding: chunked\r\n");
    } else if !framed && status != 204 {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    if answer.body_delay_ms > 0 {
        connection.write(head.as_bytes()).await?;
        head.clear();
        sleep(Duration::from_millis(answer.body_delay_ms)).await;
    }
    if chunked {
        head.push_str(&format!("{:x}\r\n{body}\r\n0\r\n", body.len()));
        for (name, value) in &answer.trailers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
    } else if !bodiless {
        head.push_str(body);
    }
    connection.write(head.as_bytes()).await?;
    Ok(answer.headers.get("connection").is_none_or(|value| value != "close"))
}

/// Accepts the upgrade and sends back whatever comes.
async fn echo_frames(connection: &mut Connection<TcpStream>) -> Result<bool> {
    connection
        .write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n")
        .await?;
    loop {
        let bytes = connection.read_exactly(1).await?;
        if bytes.is_empty() {
            return Ok(false);
        }
        connection.write(&bytes).await?;
    }
}

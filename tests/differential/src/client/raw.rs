//! Bytes as they are: for what no honest client would send.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::AsyncWriteExt;

use super::{Answered, connect, http};
use crate::http1::{Connection, Head};

/// Sends `bytes`, reads until `quiet`, and returns each HTTP answer found in what came, or the bytes when they are no
/// HTTP.
pub(super) async fn exchange(target: SocketAddr, bytes: &[u8], quiet: Duration) -> Result<Vec<Answered>> {
    let stream = match connect(target).await {
        // A proxy that finds nobody behind it may reset the connection before connecting has returned.
        Err(error) if is_reset(&error) => {
            return Ok(vec![Answered { ending: "closed".into(), ..Answered::default() }]);
        }
        stream => stream?,
    };
    let mut connection = Connection::new(stream);
    // A proxy may refuse and close before it has read everything.
    let _ = connection.write(bytes).await;
    let (received, closed) = connection.read_until_quiet(quiet).await;
    let ending = if closed { "closed" } else { "open" };
    let mut answers = parse(&received).await?;
    match answers.last_mut() {
        Some(last) => last.ending = ending.into(),
        None => answers.push(Answered {
            body: String::from_utf8_lossy(&received).into_owned(),
            ending: ending.into(),
            ..Answered::default()
        }),
    }
    Ok(answers)
}

async fn parse(received: &[u8]) -> Result<Vec<Answered>> {
    let (mut far, near) = tokio::io::duplex(received.len().max(1));
    far.write_all(received).await?;
    drop(far);
    let mut connection = Connection::new(near);
    let mut answers = Vec::new();
    while let Ok(Some(head)) = connection.read_head().await {
        if !is_http(&head) {
            break;
        }
        answers.push(http::answered(&mut connection, head, "GET").await?);
    }
    Ok(answers)
}

fn is_reset(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

fn is_http(head: &Head) -> bool {
    head.first_line.starts_with("HTTP/1.") && head.status().is_some()
}

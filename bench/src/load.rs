//! The load: connections that each send one request, read its answer, and send the next.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::upstream::BODY_LEN;

/// What to ask, of whom, how many at a time.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) target: SocketAddr,
    pub(crate) authority: &'static str,
    pub(crate) connections: usize,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Of each request, in microseconds.
    pub(crate) latencies: Vec<u32>,
    pub(crate) took: Duration,
}

/// Works for `time`.
///
/// # Errors
/// When an answer is not 200 with the upstream's body: a proxy that refuses is not fast.
pub(crate) async fn run(work: &Work, time: Duration) -> Result<Done> {
    let begun = Instant::now();
    let until = begun + time;
    let mut connections = JoinSet::new();
    for _ in 0..work.connections {
        connections.spawn(connection(work.clone(), until));
    }
    let mut done = Done::default();
    while let Some(latencies) = connections.join_next().await {
        done.latencies.extend(latencies??);
    }
    done.took = begun.elapsed();
    Ok(done)
}

async fn connection(work: Work, until: Instant) -> Result<Vec<u32>> {
    let mut stream = TcpStream::connect(work.target).await.context("failed to connect")?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /api/items?page=2 HTTP/1.1\r\nhost: {}\r\nuser-agent: bench\r\naccept: */*\r\n\r\n",
        work.authority
    );
    let mut buffer = vec![0; 16 * 1024];
    let mut latencies = Vec::with_capacity(16 * 1024);
    while Instant::now() < until {
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await.context("failed to send")?;
        read_answer(&mut stream, &mut buffer).await?;
        latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(latencies)
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    let body_at = loop {
        filled += read(stream, &mut buffer[filled..]).await?;
        if let Some(end) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") {
            break end + 4;
        }
    };
    ensure!(
        buffer.starts_with(b"HTTP/1.1 200"),
        "the answer is {:?}",
        String::from_utf8_lossy(&buffer[..filled.min(200)])
    );
    // Every peer passes the upstream's length through.
    while filled < body_at + BODY_LEN {
        filled += read(stream, &mut buffer[filled..]).await?;
    }
    ensure!(filled == body_at + BODY_LEN, "the body is {} bytes", filled - body_at);
    Ok(())
}

async fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize> {
    match stream.read(buffer).await.context("failed to read")? {
        0 => bail!("the proxy closed the connection"),
        read => Ok(read),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn work_is_counted_and_a_refusal_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let server = tokio::spawn(crate::upstream::serve(listener));
        let work = Work { target, authority: "a", connections: 2 };
        let done = run(&work, Duration::from_millis(50)).await.unwrap();
        assert!(!done.latencies.is_empty());
        server.abort();
        let _ = server.await;
        assert!(run(&work, Duration::from_millis(50)).await.is_err());
    }
}

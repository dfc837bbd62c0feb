//! Opaque bytes: each one that arrives asks for a megabyte.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::work::{Job, MEGABYTE_LEN};

/// Works for `time` on one connection; latencies in microseconds.
///
/// # Errors
/// When the connection ends.
pub(crate) async fn work(job: Job, begun: Instant, time: Duration) -> Result<Vec<u32>> {
    let (mut stream, mut buffer) = connect(&job).await?;
    let mut latencies = Vec::with_capacity(1024);
    while begun.elapsed() < time {
        let sent = Instant::now();
        exchange(&mut stream, &mut buffer).await?;
        latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(latencies)
}

/// Asks `count` times on one connection.
///
/// # Errors
/// When the connection ends.
pub(crate) async fn repeat(job: &Job, count: usize) -> Result<()> {
    let (mut stream, mut buffer) = connect(job).await?;
    for _ in 0..count {
        exchange(&mut stream, &mut buffer).await?;
    }
    Ok(())
}

async fn connect(job: &Job) -> Result<(TcpStream, Vec<u8>)> {
    let stream = TcpStream::connect(job.target).await.context("failed to connect")?;
    stream.set_nodelay(true)?;
    Ok((stream, vec![0; 256 * 1024]))
}

async fn exchange(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    stream.write_all(b"?").await?;
    let mut left = MEGABYTE_LEN;
    while left > 0 {
        let end = left.min(buffer.len());
        let read = stream.read(&mut buffer[..end]).await?;
        ensure!(read > 0, "the proxy closed the connection");
        left -= read;
    }
    Ok(())
}

pub(crate) async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let (bytes, mut asked) = (vec![b'x'; MEGABYTE_LEN], [0; 64]);
            while let Ok(count @ 1..) = stream.read(&mut asked).await {
                for _ in 0..count {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

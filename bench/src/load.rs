//! The load: connections that each send one request, read its answer, and send the next.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::work::{Job, Speaks};
use crate::{http2, tcp, tls};

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Of each request, in microseconds.
    pub(crate) latencies: Vec<u32>,
    pub(crate) took: Duration,
}

/// One client connection.
pub(crate) struct Client<S = TcpStream> {
    stream: S,
    request: Vec<u8>,
    answer_body_len: usize,
    buffer: Vec<u8>,
}

/// Works for `time`.
///
/// # Errors
/// When an answer is not 200 with the upstream's body: a proxy that refuses is not fast.
pub(crate) async fn run(job: &Job, time: Duration) -> Result<Done> {
    let begun = Instant::now();
    let mut done = Done::default();
    let mut connections = JoinSet::new();
    match job.work.speaks {
        Speaks::Http1 => (0..job.connections).for_each(|number| {
            connections.spawn(work(job.clone(), number, begun, time));
        }),
        // A megabyte each is work enough for a few.
        Speaks::Tcp => (0..job.connections.div_ceil(8)).for_each(|_| {
            connections.spawn(tcp::work(job.clone(), begun, time));
        }),
        Speaks::Http2 | Speaks::Http2Tls => done.latencies = http2::run(job, begun, time).await?,
        Speaks::Tls => (0..job.connections).for_each(|_| {
            connections.spawn(tls::keep(job.clone(), begun, time));
        }),
        Speaks::Handshakes => (0..job.connections).for_each(|_| {
            connections.spawn(tls::shake(job.clone(), begun, time));
        }),
    }
    while let Some(latencies) = connections.join_next().await {
        done.latencies.extend(latencies??);
    }
    done.took = begun.elapsed();
    Ok(done)
}

/// Sends `count` requests one after the other on one connection: for who counts instead of measuring time.
///
/// # Errors
/// As [`run`].
pub(crate) async fn repeat(job: &Job, count: usize) -> Result<()> {
    match job.work.speaks {
        Speaks::Http1 => {
            let mut client = Client::connect(job).await?;
            for _ in 0..count {
                client.exchange().await?;
            }
            Ok(())
        }
        Speaks::Http2 | Speaks::Http2Tls => http2::repeat(job, count).await,
        Speaks::Tcp => tcp::repeat(job, count).await,
        Speaks::Tls | Speaks::Handshakes => tls::repeat(job, count).await,
    }
}

/// Opens connections, sends one request on each, and calls `look` while all are open and idle: once when there are
/// `counts[0]` of them, and once when `counts[1]` have come on top.
///
/// # Errors
/// When one is refused, or `look` fails.
pub(crate) async fn hold<T>(
    job: &Job,
    counts: [usize; 2],
    mut look: impl FnMut() -> Result<T>,
) -> Result<[T; 2]> {
    let mut clients = Vec::with_capacity(counts.iter().sum());
    let first = hold_more(job, counts[0], &mut clients, &mut look).await?;
    Ok([first, hold_more(job, counts[1], &mut clients, &mut look).await?])
}

async fn hold_more<T>(
    job: &Job,
    count: usize,
    clients: &mut Vec<Client<TcpStream>>,
    look: &mut impl FnMut() -> Result<T>,
) -> Result<T> {
    for _ in 0..count {
        let mut client = Client::connect(job).await?;
        client.exchange().await?;
        clients.push(client);
    }
    // A proxy may give memory back a moment after the last byte.
    tokio::time::sleep(Duration::from_secs(1)).await;
    look()
}

async fn work(job: Job, number: usize, begun: Instant, time: Duration) -> Result<Vec<u32>> {
    let mut client = Client::connect(&job).await?;
    let mut latencies = Vec::with_capacity(16 * 1024);
    // At a given rate each connection has its own beat, shifted so that they do not all send at once.
    let beat = job.work.rate.map(|rate| Duration::from_secs_f64(job.connections as f64 / f64::from(rate)));
    let mut next = begun + beat.unwrap_or_default().mul_f64(number as f64 / job.connections as f64);
    while begun.elapsed() < time {
        if let Some(beat) = beat {
            tokio::time::sleep_until(next.into()).await;
            next += beat;
        }
        let sent = Instant::now();
        client.exchange().await?;
        latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(latencies)
}

// === impl Client ===

impl Client {
    async fn connect(job: &Job) -> Result<Self> {
        let stream = TcpStream::connect(job.target).await.context("failed to connect")?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream, job))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(stream: S, job: &Job) -> Self {
        let buffer = vec![0; job.work.answer_body_len + 16 * 1024];
        Self { stream, request: job.work.request(), answer_body_len: job.work.answer_body_len, buffer }
    }

    pub(crate) async fn exchange(&mut self) -> Result<()> {
        self.stream.write_all(&self.request).await.context("failed to send")?;
        let mut filled = 0;
        let body_at = loop {
            filled += self.read(filled).await?;
            if let Some(end) = memchr::memmem::find(&self.buffer[..filled], b"\r\n\r\n") {
                break end + 4;
            }
        };
        let begins = String::from_utf8_lossy(&self.buffer[..filled.min(200)]);
        ensure!(self.buffer.starts_with(b"HTTP/1.1 200"), "the answer is {begins:?}");
        // Every peer passes the upstream's length through.
        while filled < body_at + self.answer_body_len {
            filled += self.read(filled).await?;
        }
        ensure!(filled == body_at + self.answer_body_len, "the body is {} bytes", filled - body_at);
        Ok(())
    }

    async fn read(&mut self, filled: usize) -> Result<usize> {
        match self.stream.read(&mut self.buffer[filled..]).await.context("failed to read")? {
            0 => bail!("the proxy closed the connection"),
            read => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::work::{Upstream, WORKS};

    #[tokio::test]
    async fn every_work_is_done_and_a_refusal_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let server = tokio::spawn(crate::upstream::serve(listener));
        for work in
            WORKS.iter().filter(|work| work.upstream == Upstream::Http1 && work.speaks == Speaks::Http1)
        {
            let job = Job { work: *work, target, connections: 2 };
            let done = run(&job, Duration::from_millis(50)).await.unwrap();
            assert!(!done.latencies.is_empty(), "{}", work.name);
        }
        server.abort();
        let _ = server.await;
        let job = Job { work: WORKS[0], target, connections: 2 };
        assert!(run(&job, Duration::from_millis(50)).await.is_err());
    }

    #[tokio::test]
    async fn http2_grpc_and_tcp_are_worked_without_a_proxy_too() {
        let by_itself = |work: &&crate::work::Work| matches!(work.upstream, Upstream::Http2 | Upstream::Tcp);
        for work in WORKS.iter().filter(by_itself) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let target = listener.local_addr().unwrap();
            let _server = match work.upstream {
                Upstream::Tcp => tokio::spawn(tcp::serve(listener)),
                _ => tokio::spawn(http2::serve(listener)),
            };
            let job = Job { work: *work, target, connections: 2 };
            let done = run(&job, Duration::from_millis(100)).await.unwrap();
            assert!(!done.latencies.is_empty(), "{}", work.name);
        }
    }

    #[tokio::test]
    async fn connections_are_held_while_somebody_looks() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let _server = tokio::spawn(crate::upstream::serve(listener));
        let job = Job { work: WORKS[0], target, connections: 1 };
        let mut looks = 0..;
        assert_eq!(hold(&job, [1, 2], || Ok(looks.next())).await.unwrap(), [Some(0), Some(1)]);
    }
}

//! HTTP/2 on both ends: a client with several streams a connection, and an upstream.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::tls;
use crate::work::{Job, SMALL_LEN, Speaks};

/// Streams that a client has open at once on each of its connections.
const STREAMS: usize = 8;
/// Windows that no body fills: flow control is not what is measured.
const WINDOW: u32 = 1 << 20;
/// What asks the upstream to send a message back, with trailers as gRPC has them.
pub(crate) const ECHO_PATH: &str = "/bench.Echo/Say";

/// Works for `time`, on an eighth of the connections with eight streams each; latencies in microseconds.
///
/// # Errors
/// When an answer is not what the upstream gives.
pub(crate) async fn run(job: &Job, begun: Instant, time: Duration) -> Result<Vec<u32>> {
    let mut streams = JoinSet::new();
    for _ in 0..job.connections.div_ceil(STREAMS) {
        let client = connect(job).await?;
        for _ in 0..STREAMS {
            streams.spawn(work(client.clone(), job.clone(), begun, time));
        }
    }
    let mut all = Vec::new();
    while let Some(latencies) = streams.join_next().await {
        all.extend(latencies??);
    }
    Ok(all)
}

/// Sends `count` requests one after the other on one connection.
///
/// # Errors
/// As [`run`].
pub(crate) async fn repeat(job: &Job, count: usize) -> Result<()> {
    let body = Bytes::from(job.work.request_body());
    let mut client = connect(job).await?;
    for _ in 0..count {
        client = exchange(client, job, &body).await?;
    }
    Ok(())
}

async fn connect(job: &Job) -> Result<SendRequest<Bytes>> {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    if job.work.speaks == Speaks::Http2Tls {
        let (client, connection) = builder.handshake(tls::connect_http2(job).await?).await?;
        tokio::spawn(connection);
        return Ok(client);
    }
    let stream = TcpStream::connect(job.target).await.context("failed to connect")?;
    stream.set_nodelay(true)?;
    let (client, connection) = builder.handshake(stream).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn work(mut client: SendRequest<Bytes>, job: Job, begun: Instant, time: Duration) -> Result<Vec<u32>> {
    let body = Bytes::from(job.work.request_body());
    let mut latencies = Vec::with_capacity(16 * 1024);
    while begun.elapsed() < time {
        let sent = Instant::now();
        client = exchange(client, &job, &body).await?;
        latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(latencies)
}

/// One request and its answer, checked; the connection comes back.
async fn exchange(client: SendRequest<Bytes>, job: &Job, body: &Bytes) -> Result<SendRequest<Bytes>> {
    let mut client = client.ready().await?;
    let (answer, stream) = client.send_request(job.work.message()?, body.is_empty())?;
    if !body.is_empty() {
        send(stream, body.clone(), None).await?;
    }
    let (head, receive) = answer.await?.into_parts();
    ensure!(head.status == 200, "the answer is {}", head.status);
    let (len, trailers) = read(receive).await?;
    ensure!(len == job.work.answer_body_len, "the body is {len} bytes");
    ensure!(!job.work.is_grpc() || trailers.is_some(), "no trailers");
    Ok(client)
}

async fn send(mut stream: SendStream<Bytes>, mut body: Bytes, trailers: Option<HeaderMap>) -> Result<()> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let granted =
            std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.context("the stream ended")??;
        let part = body.split_to(granted.min(body.len()));
        stream.send_data(part, body.is_empty() && trailers.is_none())?;
    }
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers)?;
    }
    Ok(())
}

async fn read(mut receive: RecvStream) -> Result<(usize, Option<HeaderMap>)> {
    let mut len = 0;
    while let Some(data) = receive.data().await {
        let data = data?;
        len += data.len();
        receive.flow_control().release_capacity(data.len())?;
    }
    Ok((len, receive.trailers().await?))
}

/// Answers every request with [`SMALL_LEN`] bytes, and [`ECHO_PATH`] with what it was sent.
pub(crate) async fn serve(listener: TcpListener) {
    let body = Bytes::from(vec![b'x'; SMALL_LEN]);
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let body = body.clone();
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
            let Ok(mut connection) = builder.handshake(stream).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(answer(request, respond, body.clone()));
            }
        });
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, body: Bytes) -> Option<()> {
    let echo = request.uri().path() == ECHO_PATH;
    let mut receive = request.into_body();
    let mut said = Vec::new();
    while let Some(data) = receive.data().await {
        let data = data.ok()?;
        receive.flow_control().release_capacity(data.len()).ok()?;
        if echo {
            said.extend_from_slice(&data);
        }
    }
    let response =
        Response::builder().header("content-type", if echo { "application/grpc" } else { "text/plain" });
    if echo {
        let stream = respond.send_response(response.body(()).ok()?, false).ok()?;
        let trailers = HeaderMap::from_iter([("grpc-status".parse().ok()?, "0".parse().ok()?)]);
        send(stream, said.into(), Some(trailers)).await.ok()
    } else {
        let response = response.header("content-length", body.len()).body(()).ok()?;
        let mut stream = respond.send_response(response, false).ok()?;
        stream.send_data(body, true).ok()
    }
}

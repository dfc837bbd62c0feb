//! The client's side of a scenario.

mod coding;
mod http;
mod http2;
mod raw;
mod tls;
mod websocket;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::http1::Headers;
use crate::scenario::{ClientSpeaks, ClientTls, Step};

/// Longest that one exchange may take: longer than App Mesh's default timeout of 15 seconds.
const EXCHANGE_MAX: Duration = Duration::from_secs(25);

/// One answer as the client saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    pub headers: Headers,
    pub body: String,
    pub trailers: Headers,
    /// How it ended, when it did not end as its framing says; `closed` or `open` after a raw exchange.
    pub ending: String,
}

/// A request with nothing left to look up.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub authority: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub chunked: bool,
    pub trailers: Headers,
    pub leave_after: Option<Duration>,
}

/// Sends what `step` says to `target`, as often as it says, and returns each answer.
///
/// # Errors
/// When the proxy does not accept a connection; what it does with one is an answer, not an error.
pub async fn perform(step: &Step, target: SocketAddr) -> Result<Vec<Answered>> {
    if let Some(bytes) = &step.raw {
        return raw::exchange(target, bytes.as_bytes(), step.quiet()).await;
    }
    let request = Request::of(step)?;
    let mut answers = Vec::with_capacity(step.times);
    let mut waiting = JoinSet::new();
    for started in 0..step.times.max(1) {
        if started >= step.parallel.max(1) {
            answers.extend(waiting.join_next().await.transpose()?.transpose()?);
        }
        waiting.spawn(one(request.clone(), step.speaks, step.tls.clone(), target));
    }
    while let Some(answer) = waiting.join_next().await {
        answers.push(answer??);
    }
    Ok(answers)
}

async fn one(
    request: Request,
    speaks: ClientSpeaks,
    tls: Option<ClientTls>,
    target: SocketAddr,
) -> Result<Answered> {
    let patience = request.leave_after.unwrap_or(EXCHANGE_MAX);
    let leaves = request.leave_after.is_some();
    let exchange = async {
        if let Some(tls) = &tls {
            return tls::exchange(target, &request, tls).await;
        }
        match speaks {
            ClientSpeaks::Http => http::exchange(target, &request).await,
            ClientSpeaks::Http2 | ClientSpeaks::Grpc => http2::exchange(target, &request).await,
            ClientSpeaks::Websocket => websocket::exchange(target, &request).await,
        }
    };
    match timeout(patience, exchange).await {
        Ok(answer) => answer,
        Err(_) if leaves => Ok(Answered { ending: "the client left".into(), ..Answered::default() }),
        Err(_) => bail!("no answer within {EXCHANGE_MAX:?}"),
    }
}

async fn connect(target: SocketAddr) -> Result<TcpStream> {
    let stream =
        TcpStream::connect(target).await.with_context(|| format!("failed to connect to {target}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

// === impl Request ===

impl Request {
    fn of(step: &Step) -> Result<Self> {
        let line = step.request.as_deref().context("a step needs one of request, raw, pauseMs, wait, api")?;
        let (method, path) = line.split_once(' ').with_context(|| format!("{line:?} is not METHOD PATH"))?;
        let body = match &step.body {
            None => Vec::new(),
            Some(Value::String(text)) => text.clone().into_bytes(),
            Some(other) => serde_json::to_vec(other)?,
        };
        let mut headers = step.headers.clone();
        let body =
            if step.speaks == ClientSpeaks::Grpc { http2::grpc_message(&mut headers, &body) } else { body };
        Ok(Self {
            method: method.to_owned(),
            path: path.to_owned(),
            authority: step.to.clone().context("a request needs `to`")?,
            headers,
            body,
            chunked: step.chunked,
            trailers: step.trailers.clone(),
            leave_after: step.leave_after_ms.map(Duration::from_millis),
        })
    }
}

//! The application's HTTP/2 with prior knowledge; gRPC is HTTP/2 with trailers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Received, Script};
use crate::http1::Headers;
use crate::scenario::FullAnswer;

pub(super) async fn serve(stream: TcpStream, script: Arc<Script>) {
    let Ok(mut connection) = server::handshake(stream).await else { return };
    let mut exchanges = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let script = Arc::clone(&script);
        exchanges.spawn(async move {
            // A stream that the proxy reset has no answer to give.
            let _ = exchange(request, respond, &script).await;
        });
    }
}

async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    script: &Script,
) -> Result<()> {
    let (parts, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let received = Received {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        authority: parts.uri.authority().map_or_else(String::new, ToString::to_string),
        headers: flat(&parts.headers),
        body: String::from_utf8_lossy(&bytes).into_owned(),
        trailers: flat(&trailers),
    };
    let answer = script.answer(received);
    sleep(Duration::from_millis(answer.delay_ms)).await;
    if let Some(code) = answer.reset {
        respond.send_reset(Reason::from(code));
        return Ok(());
    }
    write_answer(&mut respond, &answer).await
}

async fn write_answer(respond: &mut SendResponse<Bytes>, answer: &FullAnswer) -> Result<()> {
    let mut builder = Response::builder().status(answer.status.unwrap_or(200));
    for (name, value) in &answer.headers {
        builder = builder.header(name, value);
    }
    let body = answer.body.clone().unwrap_or_default();
    // A gRPC answer whose status stands in the head has neither body nor trailers.
    let ends = answer.headers.contains_key("grpc-status");
    let mut stream = respond.send_response(builder.body(())?, ends).context("failed to send the head")?;
    if ends {
        return Ok(());
    }
    sleep(Duration::from_millis(answer.body_delay_ms)).await;
    stream.send_data(Bytes::from(body), answer.trailers.is_empty())?;
    if !answer.trailers.is_empty() {
        let mut trailers = HeaderMap::new();
        for (name, value) in &answer.trailers {
            trailers.append(http::HeaderName::try_from(name)?, http::HeaderValue::try_from(value)?);
        }
        stream.send_trailers(trailers)?;
    }
    Ok(())
}

/// A header map as pairs.
pub(crate) fn flat(headers: &HeaderMap) -> Headers {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(pair).collect()
}

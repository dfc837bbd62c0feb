//! The client's HTTP/2 with prior knowledge, and gRPC on it.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Answered, Request, connect};
use crate::http1::Headers;

pub(super) async fn exchange(target: SocketAddr, request: &Request) -> Result<Answered> {
    let (client, connection) = h2::client::handshake(connect(target).await?).await.context("no HTTP/2")?;
    let driver = tokio::spawn(connection);
    let answer = match stream(client, request).await {
        Ok(answer) => answer,
        Err(error) => Answered { ending: ending(&error), ..Answered::default() },
    };
    driver.abort();
    Ok(answer)
}

/// Adds the headers of gRPC and returns `message` behind its length.
pub(super) fn grpc_message(headers: &mut Headers, message: &[u8]) -> Vec<u8> {
    headers.insert(0, ("te".into(), "trailers".into()));
    headers.insert(0, ("content-type".into(), "application/grpc".into()));
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

async fn stream(client: h2::client::SendRequest<Bytes>, request: &Request) -> Result<Answered> {
    let uri = format!("http://{}{}", request.authority, request.path);
    let mut builder = http::Request::builder().method(request.method.as_str()).uri(uri);
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let mut client = client.ready().await?;
    let ends = request.body.is_empty() && request.trailers.is_empty();
    let (response, mut sender) = client.send_request(builder.body(())?, ends)?;
    if !ends {
        // A proxy may answer, and reset the rest, before it has read everything.
        let _ = sender.send_data(Bytes::from(request.body.clone()), request.trailers.is_empty());
        if !request.trailers.is_empty() {
            let _ = sender.send_trailers(map_of(&request.trailers)?);
        }
    }
    let (parts, mut receiver) = response.await?.into_parts();
    let mut body = Vec::new();
    let mut how = String::new();
    while let Some(chunk) = receiver.data().await {
        match chunk {
            Ok(chunk) => {
                receiver.flow_control().release_capacity(chunk.len())?;
                body.extend_from_slice(&chunk);
            }
            Err(error) => {
                how = ending(&error.into());
                break;
            }
        }
    }
    let trailers =
        if how.is_empty() { receiver.trailers().await?.unwrap_or_default() } else { HeaderMap::new() };
    let headers = crate::app::flat(&parts.headers);
    Ok(Answered {
        status: parts.status.as_u16(),
        body: super::coding::text(&headers, &body),
        headers,
        trailers: crate::app::flat(&trailers),
        ending: how,
    })
}

fn map_of(headers: &Headers) -> Result<HeaderMap> {
    headers
        .iter()
        .map(|(name, value)| Ok((HeaderName::try_from(name)?, HeaderValue::try_from(value)?)))
        .collect()
}

fn ending(error: &anyhow::Error) -> String {
    let reason = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason);
    reason.map_or_else(|| format!("failed: {error}"), |reason| format!("reset: {}", reason.description()))
}

//! A probe by `grpc.health.v1.Health/Check`.
//!
//! The two messages have one field each, so they are written and read by hand:
//! `HealthCheckRequest { string service = 1; }`, `HealthCheckResponse { enum status = 1; }` with `SERVING = 1`.

use bytes::Bytes;
use selvedge_traffic::health::ProbeResult;
use tokio::io::{AsyncRead, AsyncWrite};

use super::USER_AGENT;

/// No answer of a health service is longer.
const RESPONSE_BYTES_MAX: usize = 1024;

/// Asks for the health of `service`; empty is the server as a whole.
pub(super) async fn check(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    service: &str,
    authority: &str,
) -> ProbeResult {
    let request = http::Request::builder()
        .method(http::Method::POST)
        .uri(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .header(http::header::USER_AGENT, USER_AGENT)
        .body(());
    let Ok(request) = request else { return ProbeResult::Refused };
    let Ok((client, connection)) = h2::client::handshake(stream).await else {
        return ProbeResult::NetworkFailure;
    };
    let exchange = exchange(client, request, frame(service));
    tokio::pin!(exchange);
    tokio::select! {
        result = &mut exchange => result.unwrap_or(ProbeResult::NetworkFailure),
        _ = connection => ProbeResult::NetworkFailure,
    }
}

async fn exchange(
    client: h2::client::SendRequest<Bytes>,
    request: http::Request<()>,
    message: Bytes,
) -> Result<ProbeResult, h2::Error> {
    let mut client = client.ready().await?;
    let (response, mut body) = client.send_request(request, false)?;
    body.send_data(message, true)?;
    let response = response.await?;
    if response.status() != http::StatusCode::OK || !is_ok(response.headers(), true) {
        return Ok(ProbeResult::Refused);
    }
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        // Releasing what has arrived cannot exceed the window.
        let _ = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
        if bytes.len() > RESPONSE_BYTES_MAX {
            return Ok(ProbeResult::Refused);
        }
    }
    let ok = body.trailers().await?.is_some_and(|trailers| is_ok(&trailers, false));
    Ok(if ok && is_serving(&bytes) { ProbeResult::Passed } else { ProbeResult::Refused })
}

fn is_ok(headers: &http::HeaderMap, absent_is_ok: bool) -> bool {
    headers.get("grpc-status").map_or(absent_is_ok, |status| status == "0")
}

/// The request with gRPC's five bytes before it: not compressed, length.
fn frame(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.into()
}

/// One uncompressed message whose first field says SERVING; field 1 as a varint is `08 01`.
fn is_serving(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 0, 0, length, 0x08, 0x01, ..] if *length >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_framed_as_grpc_frames_it() {
        assert_eq!(&frame("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&frame("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(&frame(&"x".repeat(200))[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }

    #[test]
    fn only_serving_is_serving() {
        for (bytes, serving) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], true),
            (&[0, 0, 0, 0, 2, 8, 2], false),
            (&[0, 0, 0, 0, 0], false),
            (&[1, 0, 0, 0, 2, 8, 1], false),
            (&[], false),
        ] {
            assert_eq!(is_serving(bytes), serving, "{bytes:?}");
        }
    }
}

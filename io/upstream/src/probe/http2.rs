//! A probe by HTTP/2 with prior knowledge.

use std::ops::Range;

use selvedge_traffic::health::ProbeResult;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Ending, USER_AGENT, judge};

/// GETs `path` on a connection of its own.
pub(super) async fn get(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    path: &str,
    authority: &str,
    expected: &[Range<u16>],
) -> Ending {
    let request = http::Request::builder()
        .uri(format!("http://{authority}{path}"))
        .header(http::header::USER_AGENT, USER_AGENT)
        .body(());
    let Ok(request) = request else { return Ending::of(ProbeResult::Refused) };
    let Ok((client, connection)) = h2::client::handshake(stream).await else {
        return Ending::of(ProbeResult::NetworkFailure);
    };
    let exchange = async {
        let mut client = client.ready().await?;
        let (response, _) = client.send_request(request, true)?;
        response.await
    };
    tokio::pin!(exchange);
    tokio::select! {
        response = &mut exchange => match response {
            Ok(response) => judge(
                response.status().as_u16(),
                response.headers().contains_key("x-envoy-immediate-health-check-fail"),
                expected,
            ),
            Err(_) => Ending::of(ProbeResult::NetworkFailure),
        },
        _ = connection => Ending::of(ProbeResult::NetworkFailure),
    }
}

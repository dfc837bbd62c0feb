//! A probe by HTTP/1.1.

use std::ops::Range;

use selvedge_http::head::ResponseHead;
use selvedge_http::parse;
use selvedge_http::scan::Scanner;
use selvedge_traffic::health::ProbeResult;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Ending, USER_AGENT, judge};

/// GETs `path` on a connection of its own.
pub(super) async fn get(
    mut stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    path: &str,
    authority: &str,
    expected: &[Range<u16>],
) -> Ending {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: {USER_AGENT}\r\nconnection: close\r\n\r\n"
    );
    if stream.write_all(request.as_bytes()).await.is_err() {
        return Ending::of(ProbeResult::NetworkFailure);
    }
    let mut bytes = Vec::new();
    let mut scanner = Scanner::default();
    let mut head = ResponseHead::default();
    loop {
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return Ending::of(ProbeResult::NetworkFailure),
            Ok(_) => {}
        }
        // The parser bounds the head, and so what is read here.
        match parse::response(&mut scanner, &bytes, "GET", &mut head) {
            Ok(None) => {}
            Ok(Some((length, _))) if (100..200).contains(&head.status) => {
                bytes.drain(..length);
                scanner = Scanner::default();
            }
            Ok(Some(_)) => {
                let fails = head.fields.named("x-envoy-immediate-health-check-fail").is_some();
                return judge(head.status, fails, expected);
            }
            Err(_) => return Ending::of(ProbeResult::Refused),
        }
    }
}

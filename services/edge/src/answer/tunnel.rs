//! Bytes both ways, after a change of protocol.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use selvedge_wire::channel::Channel;
use selvedge_wire::deadline::Deadline;
use selvedge_wire::stream::Stream;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::Instant;

use super::backend::Held;
use crate::request::{Exchange, Response};

/// A tunnel in which nobody says anything ends after this.
pub(crate) const TUNNEL_IDLE: Duration = Duration::from_secs(3600);

/// The far side of a tunnel.
pub(crate) struct Tunnel {
    pub(crate) stream: Stream,
    /// What the far side said already.
    pub(crate) early: Bytes,
    /// Lets go of the backend when the tunnel ends.
    pub(crate) _held: Held,
}

/// A tunnel of WebSocket frames to a program that speaks bytes.
pub(crate) async fn raw(_x: &mut Exchange<'_>, _stream: Stream, _held: Held) -> Response {
    tracing::warn!(
        "wstunnel.server is not served yet: use proxy.server with proxy.header = ( \"upgrade\" => \"enable\" )"
    );
    Response::status(501)
}

/// Moves bytes until both sides have ended, or nobody says anything.
pub(crate) async fn run(
    channel: &mut Channel,
    deadline: &mut Deadline,
    tunnel: &mut Tunnel,
) -> io::Result<u64> {
    let Channel::Http1(http) = channel else { return Err(io::ErrorKind::Unsupported.into()) };
    http.become_opaque();
    let Tunnel { stream, early, .. } = tunnel;
    let mut back = early.to_vec();
    let mut there: Vec<u8> = Vec::new();
    let (mut client_ended, mut far_ended, mut told) = (false, false, false);
    let mut passed = 0;
    deadline.set(Some(Instant::now() + TUNNEL_IDLE));
    poll_fn(|cx| {
        loop {
            let mut moved = false;
            // From the client.
            if there.is_empty() && !client_ended {
                if !http.io.unread().is_empty() {
                    there.extend_from_slice(http.io.unread());
                    let len = there.len();
                    http.io.consume(len);
                    moved = true;
                } else {
                    match http.io.poll_fill(cx) {
                        Poll::Ready(Ok(0) | Err(_)) => {
                            client_ended = true;
                            moved = true;
                        }
                        Poll::Ready(Ok(_)) => moved = true,
                        Poll::Pending => {}
                    }
                }
            }
            if !there.is_empty() {
                match Pin::new(&mut *stream).poll_write(cx, &there) {
                    Poll::Ready(Ok(written)) => {
                        there.drain(..written);
                        moved = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            } else if client_ended && !told && Pin::new(&mut *stream).poll_shutdown(cx).is_ready() {
                told = true;
            }
            // From the far side.
            if back.is_empty() && !far_ended {
                match read(stream, cx) {
                    Poll::Ready(Ok(bytes)) if bytes.is_empty() => {
                        far_ended = true;
                        moved = true;
                    }
                    Poll::Ready(Ok(bytes)) => {
                        back = bytes;
                        moved = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            if !back.is_empty() {
                match http.poll_send(cx, &back) {
                    Poll::Ready(Ok(written)) => {
                        passed += written as u64;
                        back.drain(..written);
                        moved = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            if far_ended && back.is_empty() || client_ended && there.is_empty() && told && far_ended {
                return Poll::Ready(Ok(passed));
            }
            if moved {
                deadline.set(Some(Instant::now() + TUNNEL_IDLE));
                continue;
            }
            return deadline.poll(cx).map(|()| Ok(passed));
        }
    })
    .await
}

fn read(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
    let mut bytes = [0u8; 16 * 1024];
    let mut buffer = ReadBuf::new(&mut bytes);
    match Pin::new(stream).poll_read(cx, &mut buffer) {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().to_vec())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => Poll::Pending,
    }
}

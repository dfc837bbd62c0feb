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
use super::mesh::Asked;
use super::wstunnel::Frames;
use crate::request::response::Source as _;

/// A tunnel in which nobody says anything ends after this.
pub(crate) const TUNNEL_IDLE: Duration = Duration::from_secs(3600);

/// Bytes that wait for a client before it is read on.
pub(crate) const BACK_BYTES_MAX: usize = 64 * 1024;

/// A tunnel that stands.
pub(crate) struct Tunnel {
    pub(crate) far: Far,
    /// What the far side said already.
    pub(crate) early: Bytes,
    /// The client speaks in frames, and the program does not.
    pub(crate) frames: Option<Frames>,
    /// Lets go of the backend when the tunnel ends.
    pub(crate) _held: Held,
}

/// Who is at the far side.
pub(crate) enum Far {
    Stream(Stream),
    /// The data plane, on this thread.
    Mesh(Box<Asked>),
}

impl Far {
    /// What the far side says; nothing once it has said everything.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let stream = match self {
            Self::Stream(stream) => stream,
            Self::Mesh(asked) => return asked.poll_next(cx).map_ok(Option::unwrap_or_default),
        };
        let mut bytes = [0u8; 16 * 1024];
        let mut buffer = ReadBuf::new(&mut bytes);
        let polled = Pin::new(stream).poll_read(cx, &mut buffer);
        polled.map_ok(|()| Bytes::copy_from_slice(buffer.filled()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Stream(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Mesh(asked) => asked.poll_say(cx, bytes),
        }
    }

    /// Says that nothing more will come.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Stream(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Mesh(asked) => {
                asked.fall_silent(cx);
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// Moves bytes until both sides have ended, or nobody says anything.
pub(crate) async fn run(
    channel: &mut Channel,
    deadline: &mut Deadline,
    tunnel: &mut Tunnel,
) -> io::Result<u64> {
    let Channel::Http1(http) = channel else { return Err(io::ErrorKind::Unsupported.into()) };
    http.become_opaque();
    let Tunnel { far, early, frames, .. } = tunnel;
    let ping = frames.as_ref().and_then(|frames| frames.ping);
    let mut idle_until = Instant::now() + TUNNEL_IDLE;
    let mut back = early.to_vec();
    let mut there: Vec<u8> = Vec::new();
    let (mut client_ended, mut far_ended, mut told) = (false, false, false);
    let mut passed = 0;
    let next = |idle_until: Instant| ping.map_or(idle_until, |ping| idle_until.min(Instant::now() + ping));
    deadline.set(Some(next(idle_until)));
    poll_fn(|cx| {
        loop {
            let mut moved = false;
            // The answer that opened the tunnel leaves before anybody has said anything: the client may be the first.
            if !http.is_flushed()
                && let Poll::Ready(Err(error)) = http.poll_flush(cx)
            {
                return Poll::Ready(Err(error));
            }
            // From the client.
            // Answers to frames wait there as well: whoever does not read them is not read.
            if there.is_empty() && !client_ended && back.len() < BACK_BYTES_MAX {
                let mut took = 0;
                if !http.io.unread().is_empty() {
                    match frames {
                        None => {
                            there.extend_from_slice(http.io.unread());
                            took = there.len();
                        }
                        Some(frames) => {
                            let (read, open) = frames.take(http.io.unread(), &mut there, &mut back);
                            took = read;
                            client_ended = !open;
                        }
                    }
                    http.io.consume(took);
                    moved |= took > 0;
                }
                // A part of a frame's head waits for the rest.
                if took == 0 && !client_ended {
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
                match far.poll_write(cx, &there) {
                    Poll::Ready(Ok(written)) => {
                        there.drain(..written);
                        moved = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            } else if client_ended && !told && far.poll_shutdown(cx).is_ready() {
                told = true;
            }
            // From the far side.
            if back.is_empty() && !far_ended {
                match far.poll_read(cx) {
                    Poll::Ready(Ok(bytes)) if bytes.is_empty() => {
                        far_ended = true;
                        moved = true;
                        // Who has said goodbye is not told again.
                        if let Some(frames) = frames.as_ref().filter(|_| !client_ended) {
                            back = frames.farewell();
                        }
                    }
                    Poll::Ready(Ok(bytes)) => {
                        back = frames.as_ref().map_or_else(|| bytes.to_vec(), |frames| frames.wrap(&bytes));
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
            if frames.is_some() && client_ended && there.is_empty() && back.is_empty() && http.is_flushed() {
                return Poll::Ready(Ok(passed));
            }
            if moved {
                idle_until = Instant::now() + TUNNEL_IDLE;
                deadline.set(Some(next(idle_until)));
                continue;
            }
            if deadline.poll(cx).is_pending() {
                return Poll::Pending;
            }
            let Some(frames) = frames.as_ref().filter(|_| Instant::now() < idle_until) else {
                return Poll::Ready(Ok(passed));
            };
            back.extend_from_slice(&frames.ask());
            deadline.set(Some(next(idle_until)));
        }
    })
    .await
}

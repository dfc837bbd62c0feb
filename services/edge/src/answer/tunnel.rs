//! Bytes both ways, after a change of protocol.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use selvedge_wire::channel::{Channel, ChannelError, Content};
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

/// Bytes of a client on their way to the far side.
pub(crate) const THERE_BYTES_MAX: usize = 64 * 1024;

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

/// What a tunnel came to.
pub(crate) struct Passed {
    /// Bytes that the client was sent.
    pub(crate) bytes: u64,
    /// How it ended; whoever broke it is not told apart.
    pub(crate) ended: io::Result<()>,
}

/// Moves bytes until both sides have ended, or nobody says anything.
pub(crate) async fn run(channel: &mut Channel, deadline: &mut Deadline, tunnel: &mut Tunnel) -> Passed {
    if let Channel::Http1(http) = channel {
        http.become_opaque();
    }
    let Tunnel { far, early, frames, .. } = tunnel;
    let ping = frames.as_ref().and_then(|frames| frames.ping);
    let mut idle_until = Instant::now() + TUNNEL_IDLE;
    let mut back = early.to_vec();
    let mut there: Vec<u8> = Vec::new();
    let (mut client_ended, mut far_ended, mut told) = (false, false, false);
    let mut passed = 0;
    let next = |idle_until: Instant| ping.map_or(idle_until, |ping| idle_until.min(Instant::now() + ping));
    deadline.set(Some(next(idle_until)));
    let ended = poll_fn(|cx| {
        loop {
            let mut moved = false;
            // The answer that opened the tunnel leaves before anybody has said anything: the client may be the first.
            let flushed = channel.poll_flush(cx).map_err(into_io)?.is_ready();
            // From the client.
            // Answers to frames wait there as well: whoever does not read them is not read.
            if there.is_empty() && !client_ended && back.len() < BACK_BYTES_MAX {
                match channel.poll_content(cx) {
                    Poll::Ready(Ok(Content::Bytes)) => {
                        let content = channel.content();
                        let content = &content[..content.len().min(THERE_BYTES_MAX)];
                        match frames {
                            None => there.extend_from_slice(content),
                            Some(frames) => client_ended = !frames.take(content, &mut there, &mut back),
                        }
                        let took = content.len();
                        channel.consume(took);
                        moved = true;
                    }
                    Poll::Ready(Ok(Content::End)) => (client_ended, moved) = (true, true),
                    // A stream that was reset takes no more either; of a connection that broke nobody knows.
                    Poll::Ready(Err(error)) => match &*channel {
                        Channel::Http1(_) => (client_ended, moved) = (true, true),
                        _ => return Poll::Ready(Err(into_io(error))),
                    },
                    Poll::Pending => {}
                }
            } else if let Channel::Http2(stream) = &mut *channel
                && stream.poll_gone(cx).is_ready()
            {
                // While nothing is read of it.
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
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
                match channel.poll_send(cx, &back, false) {
                    Poll::Ready(Ok(written)) => {
                        passed += written as u64;
                        back.drain(..written);
                        moved = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(into_io(error))),
                    Poll::Pending => {}
                }
            }
            if moved {
                idle_until = Instant::now() + TUNNEL_IDLE;
                deadline.set(Some(next(idle_until)));
                continue;
            }
            // Only what has left is over.
            let over = far_ended || frames.is_some() && client_ended && there.is_empty();
            if over && back.is_empty() && flushed {
                return Poll::Ready(Ok(()));
            }
            if deadline.poll(cx).is_pending() {
                return Poll::Pending;
            }
            let Some(frames) = frames.as_ref().filter(|_| Instant::now() < idle_until) else {
                return Poll::Ready(Ok(()));
            };
            back.extend_from_slice(&frames.ask());
            deadline.set(Some(next(idle_until)));
        }
    })
    .await;
    Passed { bytes: passed, ended }
}

fn into_io(error: ChannelError) -> io::Error {
    match error {
        ChannelError::Io(error) => error,
        other => io::Error::other(other),
    }
}

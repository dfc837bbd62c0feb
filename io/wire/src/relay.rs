//! Opaque bytes, both ways, until both sides have ended or nothing has moved for too long.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::buffer::Size;
use crate::deadline::Deadline;
use crate::io::Io;
use crate::pipe::Pipe;

/// After so many bytes one way, buffers are large: most connections are short, and a few carry most bytes.
const LARGE_AFTER_BYTES: u64 = 128 * 1024;

/// How a relay ended.
#[derive(Debug)]
pub enum End {
    /// Both sides closed in order.
    Closed,
    /// Nothing moved for the idle time.
    Idle,
    /// It has lasted as long as it may.
    Spent,
    /// The left or the right connection broke.
    Broken { left: bool, error: io::Error },
}

impl End {
    /// A side that has said its last word may close without hearing the other out: that is no breach.
    fn unless_ended(self, rightwards: &Way, leftwards: &Way) -> Self {
        match self {
            Self::Broken { left: true, .. } if rightwards.done => Self::Closed,
            Self::Broken { left: false, .. } if leftwards.done => Self::Closed,
            end => end,
        }
    }
}

/// Relays until the end. Half-closed connections stay open the other way.
pub async fn relay(left: &mut Io, right: &mut Io, idle: Option<Duration>) -> End {
    relay_until(left, right, idle, None).await
}

/// The same, until `until` at most.
pub async fn relay_until(
    left: &mut Io,
    right: &mut Io,
    idle: Option<Duration>,
    until: Option<Instant>,
) -> End {
    let over_at = |moved_at: Instant| {
        let idle = idle.map(|idle| moved_at + idle);
        idle.into_iter().chain(until).min()
    };
    let mut rightwards = Way::default();
    let mut leftwards = Way::default();
    let mut deadline = Deadline::default();
    let mut moved_at = Instant::now();
    deadline.set(over_at(moved_at));
    poll_fn(|cx| {
        let before = (rightwards.moved, leftwards.moved);
        let there = match rightwards.poll(cx, left, right) {
            Poll::Ready(Err(broken)) => {
                return Poll::Ready(broken.end(true).unless_ended(&rightwards, &leftwards));
            }
            polled => polled.is_ready(),
        };
        let back = match leftwards.poll(cx, right, left) {
            Poll::Ready(Err(broken)) => {
                return Poll::Ready(broken.end(false).unless_ended(&rightwards, &leftwards));
            }
            polled => polled.is_ready(),
        };
        if there && back {
            return Poll::Ready(End::Closed);
        }
        if idle.is_some() && before != (rightwards.moved, leftwards.moved) {
            moved_at = Instant::now();
            deadline.set(over_at(moved_at));
        }
        let spent = || until.is_some_and(|until| until <= Instant::now());
        deadline.poll(cx).map(|()| if spent() { End::Spent } else { End::Idle })
    })
    .await
}

/// One direction.
#[derive(Default)]
struct Way {
    moved: u64,
    done: bool,
    /// Bytes on their way through the kernel, with the pipe that holds them.
    pipe: Option<Pipe>,
}

/// Which end of a direction broke.
struct Broken {
    reading: bool,
    error: io::Error,
}

impl Broken {
    fn end(self, from_left: bool) -> End {
        End::Broken { left: self.reading == from_left, error: self.error }
    }
}

impl Way {
    /// Whether bytes need not come up to this process at all: many have passed, and neither side is encrypted.
    fn may_splice(&self, from: &Io, to: &Io) -> bool {
        from.unread().is_empty() && !from.is_eof() && from.is_plain() && to.is_plain()
    }

    /// Moves bytes from socket to socket through a pipe, without a copy. A direction that has nothing to move holds no
    /// pipe. Ready before the end when no pipe can be had: then bytes are copied.
    fn poll_splice(&mut self, cx: &mut Context<'_>, from: &mut Io, to: &mut Io) -> Poll<Result<(), Broken>> {
        loop {
            if let Some(pipe) = &mut self.pipe {
                while pipe.filled() > 0 {
                    let moved = ready!(to.poll_splice_out(cx, pipe))
                        .map_err(|error| Broken { reading: false, error })?;
                    self.moved += moved as u64;
                }
            }
            let pipe = match &mut self.pipe {
                Some(pipe) => pipe,
                None => {
                    // Wait first, borrow then.
                    ready!(from.poll_readable(cx)).map_err(|error| Broken { reading: true, error })?;
                    match Pipe::lease() {
                        Some(pipe) => self.pipe.insert(pipe),
                        None => return Poll::Ready(Ok(())),
                    }
                }
            };
            let Poll::Ready(moved) = from.poll_splice_in(cx, pipe) else {
                self.pipe = None;
                return Poll::Pending;
            };
            if moved.map_err(|error| Broken { reading: true, error })? == 0 {
                self.pipe = None;
                ready!(to.poll_shutdown(cx)).map_err(|error| Broken { reading: false, error })?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Io, to: &mut Io) -> Poll<Result<(), Broken>> {
        if self.pipe.is_some() {
            ready!(self.poll_splice(cx, from, to))?;
        }
        while !self.done {
            while !from.unread().is_empty() {
                let written = ready!(to.poll_write(cx, &[IoSlice::new(from.unread())]))
                    .map_err(|error| Broken { reading: false, error })?;
                from.consume(written);
                self.moved += written as u64;
            }
            if self.moved > LARGE_AFTER_BYTES {
                if self.may_splice(from, to) {
                    ready!(self.poll_splice(cx, from, to))?;
                    if self.done {
                        break;
                    }
                }
                from.expect(Size::Large);
            }
            if ready!(from.poll_fill(cx)).map_err(|error| Broken { reading: true, error })? == 0 {
                ready!(to.poll_shutdown(cx)).map_err(|error| Broken { reading: false, error })?;
                self.done = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}

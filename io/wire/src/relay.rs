//! Opaque bytes, both ways, until both sides have ended or nothing has moved for too long.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::buffer::Size;
use crate::deadline::Deadline;
use crate::io::Io;

/// After so many bytes one way, buffers are large: most connections are short, and a few carry most bytes.
const LARGE_AFTER_BYTES: u64 = 128 * 1024;

/// How a relay ended.
#[derive(Debug)]
pub enum End {
    /// Both sides closed in order.
    Closed,
    /// Nothing moved for the idle time.
    Idle,
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
    let mut rightwards = Way::default();
    let mut leftwards = Way::default();
    let mut deadline = Deadline::default();
    let mut moved_at = Instant::now();
    deadline.set(idle.map(|idle| moved_at + idle));
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
            deadline.set(idle.map(|idle| moved_at + idle));
        }
        deadline.poll(cx).map(|()| End::Idle)
    })
    .await
}

/// One direction.
#[derive(Default)]
struct Way {
    moved: u64,
    done: bool,
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
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Io, to: &mut Io) -> Poll<Result<(), Broken>> {
        while !self.done {
            while !from.unread().is_empty() {
                let written = ready!(to.poll_write(cx, &[IoSlice::new(from.unread())]))
                    .map_err(|error| Broken { reading: false, error })?;
                from.consume(written);
                self.moved += written as u64;
            }
            if self.moved > LARGE_AFTER_BYTES {
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

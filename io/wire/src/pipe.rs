//! Pipes through which the kernel moves bytes from socket to socket without a copy.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

/// How many pipes one worker may have in use; each takes two descriptors. Beyond that bytes are copied.
pub const PIPES_MAX: usize = 512;
/// How many are kept for the next who needs one.
const PIPES_KEPT_MAX: usize = 16;
/// What a pipe is asked to hold. The kernel may give less, down to its own 64 KiB.
const PIPE_BYTES: i32 = 256 * 1024;
/// No single move is longer: a fast peer must not hold the worker.
const MOVE_BYTES_MAX: usize = 1024 * 1024;

thread_local! {
    static KEPT: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    static LEASED: Cell<usize> = const { Cell::new(0) };
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe in use. Dropping it gives an empty one back; one that still holds bytes is closed.
#[derive(Debug)]
pub(crate) struct Pipe {
    ends: Option<Ends>,
    filled: usize,
}

impl Pipe {
    /// A pipe, unless too many are in use or the process has no descriptors left.
    pub(crate) fn lease() -> Option<Self> {
        if LEASED.get() >= PIPES_MAX {
            return None;
        }
        let ends = KEPT.with(|kept| kept.borrow_mut().pop()).or_else(open)?;
        LEASED.set(LEASED.get() + 1);
        Some(Self { ends: Some(ends), filled: 0 })
    }

    /// Bytes that it holds.
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// Moves bytes from `socket` into the pipe, which is empty. 0 is the end of what the peer says.
    pub(crate) fn fill(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let moved = splice(socket, None, &ends.write, None, MOVE_BYTES_MAX, flags())?;
        self.filled += moved;
        Ok(moved)
    }

    /// Moves bytes from the pipe to `socket`.
    pub(crate) fn drain(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let moved = splice(&ends.read, None, socket, None, self.filled, flags())?;
        self.filled -= moved;
        Ok(moved)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        LEASED.set(LEASED.get().saturating_sub(1));
        let Some(ends) = self.ends.take().filter(|_| self.filled == 0) else { return };
        KEPT.with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < PIPES_KEPT_MAX {
                kept.push(ends);
            }
        });
    }
}

fn open() -> Option<Ends> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).ok()?;
    // A refusal leaves the kernel's own size.
    let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
    Some(Ends { read, write })
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn kept() -> usize {
        KEPT.with(|kept| kept.borrow().len())
    }

    #[test]
    fn bytes_pass_and_only_an_empty_pipe_is_used_again() {
        let (mut source, from) = UnixStream::pair().expect("sockets");
        let (to, mut sink) = UnixStream::pair().expect("sockets");
        source.write_all(b"through the kernel").expect("room");
        let mut pipe = Pipe::lease().expect("a pipe");
        assert_eq!(pipe.fill(&from).expect("bytes are there"), 18);
        assert_eq!(pipe.drain(&to).expect("room"), 18);
        let mut read = [0; 18];
        sink.read_exact(&mut read).expect("they arrive");
        assert_eq!(&read, b"through the kernel");
        drop(pipe);
        assert_eq!(kept(), 1);
        source.write_all(b"left behind").expect("room");
        let mut pipe = Pipe::lease().expect("the same");
        pipe.fill(&from).expect("bytes are there");
        drop(pipe);
        assert_eq!(kept(), 0, "nobody must read another's bytes");
        assert_eq!(LEASED.get(), 0);
    }

    #[test]
    fn only_so_many_are_in_use() {
        LEASED.set(PIPES_MAX);
        assert!(Pipe::lease().is_none());
        LEASED.set(0);
    }
}

//! Buffers that connections borrow only while they have bytes: an idle connection holds none.

use std::cell::RefCell;
use std::rc::Rc;

/// Size of an ordinary buffer; most messages fit whole.
pub const SMALL_BYTES: usize = 16 * 1024;
/// Size of a buffer for bodies that are known to be longer than a small one.
pub const LARGE_BYTES: usize = 64 * 1024;
/// Buffers of each size that a worker keeps for later; more are given back to the allocator.
const KEPT_MAX: usize = 64;
/// The longest scratch vector that is kept.
const SCRATCH_KEPT_BYTES_MAX: usize = 16 * 1024;

/// One worker's spare buffers.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Rc<Spare>);

#[derive(Debug, Default)]
struct Spare {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    scratch: RefCell<Vec<Vec<u8>>>,
}

/// Which buffer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Small,
    Large,
}

impl Buffers {
    /// Borrows a buffer; it goes back when the lease is dropped.
    pub fn lease(&self, size: Size) -> Lease {
        let (spare, len) = match size {
            Size::Small => (&self.0.small, SMALL_BYTES),
            Size::Large => (&self.0.large, LARGE_BYTES),
        };
        let bytes = spare.borrow_mut().pop().unwrap_or_else(|| vec![0; len]);
        Lease { bytes, start: 0, end: 0, home: self.clone() }
    }

    /// An empty vector for bytes that are being written.
    pub fn scratch(&self) -> Vec<u8> {
        self.0.scratch.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Takes a vector back.
    pub fn give_back(&self, mut scratch: Vec<u8>) {
        let mut kept = self.0.scratch.borrow_mut();
        if kept.len() < KEPT_MAX && scratch.capacity() > 0 && scratch.capacity() <= SCRATCH_KEPT_BYTES_MAX {
            scratch.clear();
            kept.push(scratch);
        }
    }
}

/// A borrowed buffer with unread bytes in its middle.
#[derive(Debug)]
pub struct Lease {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    home: Buffers,
}

impl Lease {
    /// The unread bytes.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Marks the first `len` unread bytes as read.
    pub fn consume(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// The whole buffer, whatever lies in it; for those who keep their own places in it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole buffer, of at least `len` bytes.
    pub(crate) fn all(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        &mut self.bytes
    }

    /// The unread bytes, to be changed where they lie.
    pub(crate) fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// The free space behind the unread bytes, at least one byte of it unless `limit` unread bytes are there already:
    /// bytes are moved to the front or the buffer is made larger as needed.
    pub fn space(&mut self, limit: usize) -> &mut [u8] {
        if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else if self.bytes.len() < limit {
                self.bytes.resize((self.bytes.len() * 2).min(limit), 0);
            }
        }
        &mut self.bytes[self.end..]
    }

    /// Marks the first `len` bytes of the space as unread.
    pub fn filled(&mut self, len: usize) {
        self.end = (self.end + len).min(self.bytes.len());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let kept = match bytes.len() {
            SMALL_BYTES => &self.home.0.small,
            LARGE_BYTES => &self.home.0.large,
            _ => return,
        };
        let mut kept = kept.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_and_is_used_again() {
        let buffers = Buffers::default();
        let first = buffers.lease(Size::Small).bytes.as_ptr();
        assert_eq!(buffers.lease(Size::Small).bytes.as_ptr(), first);
        assert_ne!(buffers.lease(Size::Large).bytes.as_ptr(), first);
    }

    #[test]
    fn unread_bytes_survive_moving_and_growing() {
        let buffers = Buffers::default();
        let mut lease = buffers.lease(Size::Small);
        lease.space(SMALL_BYTES * 2).fill(7);
        lease.filled(SMALL_BYTES);
        lease.consume(SMALL_BYTES - 3);
        assert_eq!(lease.space(SMALL_BYTES).len(), SMALL_BYTES - 3);
        assert_eq!(lease.unread(), [7; 3]);
        lease.filled(SMALL_BYTES);
        assert!(lease.space(SMALL_BYTES).is_empty(), "no more than the limit");
        assert_eq!(lease.space(SMALL_BYTES * 2).len(), SMALL_BYTES);
        assert_eq!(lease.unread().len(), SMALL_BYTES);
    }
}

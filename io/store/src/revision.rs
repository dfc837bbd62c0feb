//! The store's logical clock.

use std::fmt;

/// A point in the store's history: the number of transactions that wrote something up to and including it.
///
/// Revisions start at [`Revision::ZERO`] (an empty store) and grow by exactly one for each transaction that
/// writes; only a store without a feed may pass some over when its process was killed. They fit an `i64`, the widest
/// integer of every SQL backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// The revision of a store in which nothing has ever been written.
    pub const ZERO: Self = Self(0);

    /// A revision that was printed or stored before.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The plain number, for printing and storing.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The revision of the next transaction that writes.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

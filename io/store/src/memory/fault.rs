//! What can go wrong, and where.

/// Decides what fails. Seeded by a simulation, or a fixed list in a test.
pub trait Failpoints: Send {
    /// The fault that strikes at this passage of `point`, if any.
    fn strike(&mut self, point: Point) -> Option<Fault>;
}

/// A place in the store that a plan is asked about, each time it is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Reading the change feed.
    Changes,
    /// Opening a snapshot.
    Snapshot,
    /// A transaction, once for each call.
    Transact,
    /// Telling the subscribers of a commit.
    Wake,
}

/// What strikes. One that makes no sense at a [`Point`] does nothing there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The store cannot be reached; nothing is done. Anywhere but at `Wake`.
    Unavailable,
    /// What is stored does not read back. Anywhere but at `Wake`.
    Corrupt,
    /// No space for the commit; nothing is done. At `Transact`.
    Full,
    /// A conflict: the closure runs twice and only the second run counts. At `Transact`.
    Retry,
    /// "Done but timed out": the commit happens and the caller is not told. At `Transact`.
    TimeoutDone,
    /// Timed out before the commit, which looks the same to the caller. At `Transact`.
    TimeoutUndone,
    /// The server dies with the transaction not committed. At `Transact`.
    CrashBeforeCommit,
    /// The server dies after the commit and before the answer. At `Transact`.
    CrashAfterCommit,
    /// The subscribers hear nothing of this commit. At `Wake`.
    LoseWake,
}

impl<F: FnMut(Point) -> Option<Fault> + Send> Failpoints for F {
    fn strike(&mut self, point: Point) -> Option<Fault> {
        self(point)
    }
}

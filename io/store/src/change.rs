//! One entry of the change feed.

use crate::Revision;

/// What a transaction did to one key.
///
/// The feed says *which* key changed and not to what: a reader takes a snapshot, which is at least as new, and
/// sees where the key stands. A transaction that touches a key several times leaves one entry, the last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The transaction that made the change; all its entries share it.
    pub revision: Revision,
    /// The key that changed.
    pub key: String,
    /// Written or removed.
    pub operation: Operation,
}

/// The kind of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// The key was removed.
    Delete,
    /// The key was written, for the first time or again.
    Put,
}

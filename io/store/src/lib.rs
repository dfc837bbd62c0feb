//! Durable state, by shape and never by noun.
//!
//! A [`Store`] keeps *revisioned documents* (a string key, bytes, the revisions that created and last modified
//! it) and a *change feed* that names every key that each revision touched. A transaction is serialisable,
//! atomic and, once acknowledged, durable; each one that writes takes the next [`Revision`], so a feed without
//! gaps is one whose revisions follow each other by one.
//!
//! Two backends pass one contract suite (`tests/contract.rs`): [`sqlite`] for an installation of one machine and
//! [`memory`] for tests and simulation, deterministic, with every error a real store can give. The trait is
//! synchronous: a caller on an async runtime hands the call to a blocking thread, and a simulation drives it
//! without any runtime.
//!
//! What must not lie in a store as it is goes through a [`Vault`]: sealed with a key that is kept elsewhere.
//!
//! Append-only logs, timers, leases and series are further shapes of this room; they arrive with the first role
//! that needs them.

mod change;
mod document;
mod lease;
mod limit;
pub mod memory;
mod read;
mod revision;
pub mod sqlite;
mod store;
mod subscription;
mod transaction;
mod vault;

pub use change::{Change, Operation};
pub use document::Document;
pub use lease::{Lease, LeaseError};
pub use limit::{
    KEY_BYTES_MAX, LimitExceeded, PAGE_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_WRITES_MAX, VALUE_BYTES_MAX,
};
pub use read::Read;
pub use revision::Revision;
pub use store::{Committed, Error, RETAINED_REVISIONS, Store, WriteError};
pub use subscription::{Subscription, Wake};
pub use transaction::{Abort, Transaction};
pub use vault::{SECRETS_KEY_BYTES, Vault, VaultError};

//! Where account, certificates and proofs are kept: the little that replicas need of a store, so that it may be a database beside
//! them or somebody whom they call.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use selvedge_store::{Store, WriteError};

/// A document, and the revision of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub value: Bytes,
    pub revision: u64,
}

/// A document that is written, or taken away where there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub value: Option<Bytes>,
}

/// What a write depends on: a key, and the revision that was read; 0 when there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub key: String,
    pub revision: u64,
}

/// The store cannot be asked, or does not do it; the text is why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store: {0}")]
pub struct Unavailable(pub String);

/// What a call comes to.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send + 'a>>;

/// A store of documents, shared by replicas. Keys begin with [`PREFIX`].
pub trait Documents: Send + Sync {
    /// The document under a key.
    fn get(&self, key: &str) -> Asked<'_, Option<Kept>>;

    /// Makes all the changes in one transaction, unless what was `seen` has changed since; the revision that they made, or `None`
    /// when nothing was written.
    fn commit(&self, seen: Option<Seen>, changes: Vec<Change>) -> Asked<'_, Option<u64>>;
}

/// What all keys begin with.
pub const PREFIX: &str = "acme/";

impl Change {
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: Some(value.into()) }
    }

    pub fn delete(key: impl Into<String>) -> Self {
        Self { key: key.into(), value: None }
    }
}

/// [`Documents::get`], where it may block.
pub(crate) fn get(store: &dyn Store, key: &str) -> Result<Option<Kept>, Unavailable> {
    let found = store.snapshot().and_then(|read| read.get(key));
    let kept =
        |found: selvedge_store::Document| Kept { value: found.value, revision: found.modified.number() };
    found.map(|found| found.map(kept)).map_err(|error| Unavailable(error.to_string()))
}

/// [`Documents::commit`], where it may block.
pub(crate) fn commit(
    store: &dyn Store,
    seen: Option<&Seen>,
    changes: &[Change],
) -> Result<Option<u64>, Unavailable> {
    let written = store.write(|tx| {
        if let Some(seen) = seen {
            let revision = tx.get(&seen.key)?.map_or(0, |found| found.modified.number());
            if revision != seen.revision {
                return Err(WriteError::Refused(()));
            }
        }
        for Change { key, value } in changes {
            match value {
                Some(value) => tx.put(key, value.clone())?,
                None => drop(tx.delete(key)?),
            }
        }
        Ok(())
    });
    match written {
        Ok(((), revision)) => Ok(Some(revision.number())),
        Err(WriteError::Refused(())) => Ok(None),
        Err(WriteError::Store(error)) => Err(Unavailable(error.to_string())),
    }
}

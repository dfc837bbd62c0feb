//! Who may write executions: the worker that took them over last.
//!
//! Every transaction of an execution looks at the epoch. A worker that was paused and comes back after another has taken over
//! finds a later one, and writes nothing: its steps did not happen.

use selvedge_store::{Error as StoreError, Read, Store, Transaction};

use super::Engine;

/// Where the epoch stands.
const KEY: &str = "worker";

/// Takes all executions over; gives back the epoch in which this worker may write.
pub(super) fn take_over(store: &dyn Store) -> Result<u64, StoreError> {
    let mut taken = 0;
    store.transact(&mut |tx| {
        taken = epoch(tx)? + 1;
        tx.put(KEY, taken.to_string().into())?;
        Ok(())
    })?;
    Ok(taken)
}

fn epoch(view: &(impl Read + ?Sized)) -> Result<u64, StoreError> {
    let Some(found) = view.get(KEY)? else { return Ok(0) };
    let parsed = std::str::from_utf8(&found.value).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| StoreError::Corrupt("the worker's epoch is no number".to_owned()))
}

impl Engine {
    /// Refuses a transaction when another worker has taken over.
    pub(crate) fn fence(&self, tx: &dyn Transaction) -> Result<(), StoreError> {
        let found = epoch(tx)?;
        if found == self.epoch {
            return Ok(());
        }
        let ours = self.epoch;
        Err(StoreError::Unavailable(format!(
            "another worker has taken over: it is epoch {found}, and ours was {ours}"
        )))
    }
}

//! Writing documents.

use crate::{Error, Read};
use bytes::Bytes;

/// A running read-write transaction. It reads its own writes, and nobody else sees them before it commits.
///
/// The first error of any method dooms the transaction: [`Store::transact`](crate::Store::transact) then rolls
/// it back even if the closure goes on and returns `Ok`.
pub trait Transaction: Read {
    /// Writes `value` under `key`, over whatever stands there.
    ///
    /// # Errors
    /// [`Error::Limit`] beyond a bound, and the backend's own failures.
    fn put(&mut self, key: &str, value: Bytes) -> Result<(), Error>;

    /// Removes `key` and says whether it was there. Removing nothing writes nothing.
    ///
    /// # Errors
    /// [`Error::Limit`] beyond a bound, and the backend's own failures.
    fn delete(&mut self, key: &str) -> Result<bool, Error>;
}

/// Why a transaction's closure asks to be rolled back.
#[derive(Debug)]
pub enum Abort {
    /// The caller decided against it: a check inside the transaction failed.
    Refused,
    /// The store failed it.
    Failed(Error),
}

impl From<Error> for Abort {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

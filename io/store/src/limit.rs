//! The bounds of everything a caller can make grow.

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// The largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// The most keys one transaction may write or delete.
pub const TRANSACTION_WRITES_MAX: usize = 4096;
/// The most bytes of keys and values one transaction may write.
pub const TRANSACTION_BYTES_MAX: usize = 16 << 20;
/// The most documents or changes one page returns, whatever limit was asked for. A page of the feed may exceed
/// it by the rest of its last transaction.
pub const PAGE_MAX: usize = 1024;

/// A key, value or transaction beyond its bound. The caller's fault; nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// The key is empty.
    #[error("the key is empty")]
    KeyEmpty,
    /// The key holds a NUL, which some SQL engines cannot keep in a text.
    #[error("the key holds a NUL")]
    KeyNul,
    /// The key is longer than [`KEY_BYTES_MAX`].
    #[error("the key is {0} bytes long, at most {KEY_BYTES_MAX} are allowed")]
    KeyTooLong(usize),
    /// The value is larger than [`VALUE_BYTES_MAX`].
    #[error("the value of {key:?} is {bytes} bytes long, at most {VALUE_BYTES_MAX} are allowed")]
    ValueTooLarge {
        /// Where it was to be written.
        key: String,
        /// Its size.
        bytes: usize,
    },
    /// The transaction touches more than [`TRANSACTION_WRITES_MAX`] keys.
    #[error("the transaction writes more than {TRANSACTION_WRITES_MAX} times")]
    TooManyWrites,
    /// The transaction holds more than [`TRANSACTION_BYTES_MAX`] bytes.
    #[error("the transaction writes more than {TRANSACTION_BYTES_MAX} bytes")]
    TooManyBytes,
}

/// Counts what one transaction writes, and refuses what is beyond a bound.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    writes: usize,
    bytes: usize,
}

impl Allowance {
    /// Charges a write of `value` (empty for a delete) under `key`.
    pub(crate) fn charge(&mut self, key: &str, value: &[u8]) -> Result<(), LimitExceeded> {
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(LimitExceeded::ValueTooLarge { key: key.to_owned(), bytes: value.len() });
        }
        self.writes += 1;
        self.bytes += key.len() + value.len();
        if self.writes > TRANSACTION_WRITES_MAX {
            return Err(LimitExceeded::TooManyWrites);
        }
        if self.bytes > TRANSACTION_BYTES_MAX {
            return Err(LimitExceeded::TooManyBytes);
        }
        Ok(())
    }

    /// Whether anything has been written.
    pub(crate) fn is_used(&self) -> bool {
        self.writes > 0
    }
}

fn check_key(key: &str) -> Result<(), LimitExceeded> {
    if key.is_empty() {
        return Err(LimitExceeded::KeyEmpty);
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(LimitExceeded::KeyTooLong(key.len()));
    }
    if key.contains('\0') {
        return Err(LimitExceeded::KeyNul);
    }
    Ok(())
}

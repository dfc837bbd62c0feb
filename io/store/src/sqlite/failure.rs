//! What SQLite's result codes mean for a caller of the store.

use crate::Error;
use rusqlite::ErrorCode;

/// A failure anywhere but in `COMMIT`: nothing has been made durable.
pub(super) fn definite(error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt(error.to_string()),
        Some(_) => Error::Unavailable(error.to_string()),
        // No result code: a column was not what the schema says.
        None => Error::Corrupt(error.to_string()),
    }
}

/// A failure of `COMMIT`. An input/output error leaves open whether the log's last frame, which recovery would
/// honour, reached the disk.
pub(super) fn of_commit(error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => Error::Uncertain(error.to_string()),
        _ => definite(error),
    }
}

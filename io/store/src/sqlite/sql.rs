//! The statements. `?1`… are bound in the order that each comment names.

/// How every connection talks to the file. A reader that meets a checkpoint's brief exclusive lock waits.
pub(super) const CONNECTION: &str = "PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF;
     PRAGMA cache_size = -2048;";

/// What the writer adds: `FULL` syncs the log at each commit; the log shrinks back after a burst.
pub(super) const WRITER: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
     PRAGMA journal_size_limit = 67108864;";

/// What the writer of a log adds: more pages in memory, and a longer write-ahead log before it is folded into the file.
pub(super) const LOG: &str = "PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 8192;";

/// Looks at every page, up to the first fault → `ok`, or what is wrong
pub(super) const CHECK: &str = "PRAGMA quick_check(1)";

pub(super) const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";
pub(super) const BEGIN_READ: &str = "BEGIN";
pub(super) const COMMIT: &str = "COMMIT";
pub(super) const ROLLBACK: &str = "ROLLBACK";
pub(super) const SAVEPOINT: &str = "SAVEPOINT one";
pub(super) const RELEASE: &str = "RELEASE one";
pub(super) const ROLLBACK_TO: &str = "ROLLBACK TO one; RELEASE one";

/// key → value, created, modified
pub(super) const GET: &str = "SELECT value, created, modified FROM document WHERE key = ?1";

/// first key (inclusive) → key, value, created, modified
pub(super) const SCAN_FROM: &str =
    "SELECT key, value, created, modified FROM document WHERE key >= ?1 ORDER BY key";

/// last key seen (exclusive) → key, value, created, modified
pub(super) const SCAN_AFTER: &str =
    "SELECT key, value, created, modified FROM document WHERE key > ?1 ORDER BY key";

/// key, value, revision
pub(super) const PUT: &str = "INSERT INTO document (key, value, created, modified) VALUES (?1, ?2, ?3, ?3)
     ON CONFLICT (key) DO UPDATE SET value = excluded.value, modified = excluded.modified";

/// key, value, created, modified
pub(super) const PUT_CREATED: &str =
    "INSERT INTO document (key, value, created, modified) VALUES (?1, ?2, ?3, ?4)
     ON CONFLICT (key) DO UPDATE SET value = excluded.value, modified = excluded.modified";

/// key
pub(super) const DELETE: &str = "DELETE FROM document WHERE key = ?1";

/// revision, key, operation
pub(super) const RECORD: &str = "INSERT INTO change (revision, key, operation) VALUES (?1, ?2, ?3)
     ON CONFLICT (revision, key) DO UPDATE SET operation = excluded.operation";

/// after → revision, key, operation
pub(super) const CHANGES: &str =
    "SELECT revision, key, operation FROM change WHERE revision > ?1 ORDER BY revision, key";

/// newest revision to drop
pub(super) const COMPACT: &str = "DELETE FROM change WHERE revision <= ?1";

/// name → value
pub(super) const COUNTER: &str = "SELECT value FROM counter WHERE name = ?1";

/// name, value
pub(super) const SET_COUNTER: &str = "UPDATE counter SET value = ?2 WHERE name = ?1";

/// value → of all counters
pub(super) const SET_COUNTERS: &str = "UPDATE counter SET value = ?1";

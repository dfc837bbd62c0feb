//! The tables and their versions.

use rusqlite::Connection;

/// The version of the tables that this program writes. It opens older ones, bringing them up to date, and
/// refuses newer ones.
pub const SCHEMA_VERSION: i32 = 2;

/// `SELV` in ASCII: tells our files from other programs' databases.
pub(super) const APPLICATION_ID: i32 = 0x5345_4c56;

/// `MIGRATIONS[n]` leads from version `n` to version `n + 1`. Released ones are never edited.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [
    "CREATE TABLE document (
         key      TEXT   PRIMARY KEY NOT NULL,
         value    BLOB   NOT NULL,
         created  INTEGER NOT NULL,
         modified INTEGER NOT NULL
     ) STRICT;
     -- operation: 0 delete, 1 put
     CREATE TABLE change (
         revision  INTEGER NOT NULL,
         key       TEXT    NOT NULL,
         operation INTEGER NOT NULL,
         PRIMARY KEY (revision, key)
     ) STRICT, WITHOUT ROWID;
     -- revision: the last one taken; compacted: the newest one that the feed has dropped
     CREATE TABLE counter (
         name  TEXT    PRIMARY KEY NOT NULL,
         value INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;
     INSERT INTO counter (name, value) VALUES ('revision', 0), ('compacted', 0);",
    // A log may stand beside the file: who does not know it must not open this one.
    "",
];

/// Brings the tables from version `found` (0 is an empty file) to [`SCHEMA_VERSION`], all or nothing.
pub(super) fn migrate(connection: &Connection, found: i32) -> rusqlite::Result<()> {
    let pending = usize::try_from(found).map_or(&MIGRATIONS[..], |found| &MIGRATIONS[found..]);
    if pending.is_empty() {
        return Ok(());
    }
    let mut script = String::from("BEGIN IMMEDIATE;");
    pending.iter().for_each(|migration| script.push_str(migration));
    script.push_str(&format!("PRAGMA user_version = {SCHEMA_VERSION};"));
    script.push_str(&format!("PRAGMA application_id = {APPLICATION_ID};COMMIT;"));
    connection.execute_batch(&script)
}

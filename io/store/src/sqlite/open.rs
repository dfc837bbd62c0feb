//! Opening a store: the folder, its lock, the file's identity and version.

use super::log::{self, Log};
use super::reader::{self, Readers};
use super::writer::{Session, Writer};
use super::{Sqlite, Writing, schema, sql};
use crate::RETAINED_REVISIONS;
use crate::subscription::Subscribers;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "store.lock";
const DATA_FILE: &str = "store.sqlite3";
const LOG_FILE: &str = "store.log";

/// Up to this size every page is checked at start-up (about 1 ms a megabyte); beyond it the check would eat the
/// second that a restart may take, and damage shows when it is read.
const CHECKED_BYTES_MAX: u64 = 64 << 20;

/// How to open a [`Sqlite`] store.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many revisions the change feed keeps, at least one. Default: [`RETAINED_REVISIONS`].
    pub retained_revisions: u64,
    /// What the store is for.
    pub workload: Workload,
    /// The largest that the file may grow, in bytes; beyond it a write fails with [`Error::Full`](crate::Error::Full)
    /// and changes nothing, as on a disk that is full. Default: [`BYTES_MAX`].
    pub bytes_max: u64,
}

/// How large a store's file may grow unless its [`Options`] say otherwise: far beyond any mesh, and well before
/// most disks are full.
pub const BYTES_MAX: u64 = 16 << 30;

/// Why a store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or the lock file could not be made.
    #[error("prepare the data folder {}", dir.display())]
    Folder {
        /// The store's folder.
        dir: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process, or this one, has the store open.
    #[error("open the store in {}: another process is using it", dir.display())]
    InUse {
        /// The store's folder.
        dir: PathBuf,
    },
    /// The file is an SQLite database, but of another program.
    #[error("open {}: it is another program's database", file.display())]
    Foreign {
        /// The file found in the store's place.
        file: PathBuf,
    },
    /// A later release wrote the store.
    #[error(
        "open {}: its schema is version {found}, this program knows versions up to {known}; use the release that wrote it, or a later one",
        file.display()
    )]
    NewerSchema {
        /// The store's file.
        file: PathBuf,
        /// The version it has.
        found: i32,
        /// The latest version this program knows.
        known: i32,
    },
    /// The file is truncated, overwritten or not a database at all.
    #[error("open {}: the file is damaged: {detail}; restore it from a copy", file.display())]
    Corrupt {
        /// The store's file.
        file: PathBuf,
        /// What SQLite found.
        detail: String,
    },
    /// The log beside the file could not be read or made.
    #[error("open the log {}", file.display())]
    Log {
        /// The log's file.
        file: PathBuf,
        /// What the operating system said, or the store.
        source: io::Error,
    },
    /// SQLite could not open or prepare the file.
    #[error("open {}", file.display())]
    Sqlite {
        /// The store's file.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// What a store is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workload {
    /// Documents that change now and then, and readers that follow the feed.
    #[default]
    Followed,
    /// Documents that are written all the time and that nobody follows: there is no feed, and a write is acknowledged by a log of
    /// [`LOG_BYTES`](super::LOG_BYTES) beside the database, which gets it a moment later.
    Log,
}

impl Default for Options {
    fn default() -> Self {
        Self { retained_revisions: RETAINED_REVISIONS, bytes_max: BYTES_MAX, workload: Workload::default() }
    }
}

impl Options {
    /// Opens the store in `dir`, creating folder (mode 0700) and store as needed.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(&self, dir: &Path) -> Result<Sqlite, OpenError> {
        let mut lock = lock(dir)?;
        let file = dir.join(DATA_FILE);
        refuse_to_begin_again(&lock, &file)?;
        let connection = connect(&file).map_err(|error| explain(&file, error))?;
        identify(&connection, &file)?;
        let prepared = connection.execute_batch(sql::WRITER).and_then(|()| {
            let found = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            schema::migrate(&connection, found)?;
            if self.workload == Workload::Log {
                connection.execute_batch(sql::LOG)?;
            }
            limit(&connection, self.bytes_max)
        });
        prepared.map_err(|error| explain(&file, error))?;
        check(&connection, &file)?;
        mark(&mut lock).map_err(|source| OpenError::Folder { dir: dir.to_owned(), source })?;
        Ok(Sqlite {
            writer: self.writer(connection, dir, &file)?,
            readers: Readers::new(file),
            subscribers: Subscribers::default(),
            _lock: lock,
        })
    }
}

impl Options {
    /// The writer of this workload, with what a log's file has that the database does not.
    fn writer(&self, connection: Connection, dir: &Path, file: &Path) -> Result<Writing, OpenError> {
        let path = dir.join(LOG_FILE);
        let of_log = |source| OpenError::Log { file: path.clone(), source };
        let revision = reader::counter(&connection, "revision");
        let revision = revision.map_err(|error| corrupt(file, error.to_string()))?;
        let pending = log::pending(&path, revision).map_err(of_log)?;
        let pending = pending.map_err(|detail| corrupt(&path, detail))?;
        match self.workload {
            Workload::Followed => {
                let brought_in = pending.bring_in(&connection);
                brought_in.map_err(|error| of_log(io::Error::other(error)))?;
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(of_log(error)),
                    _ => {}
                }
                Ok(Writing::Followed(Writer::new(Session::new(connection, self.retained_revisions.max(1)))))
            }
            Workload::Log => {
                let reading = connect(file).map_err(|error| explain(file, error))?;
                let log = Log::open([connection, reading], &path, revision, pending).map_err(of_log)?;
                Ok(Writing::Log(log))
            }
        }
    }
}

/// A connection with the settings that readers and the writer share.
pub(super) fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.execute_batch(sql::CONNECTION)?;
    Ok(connection)
}

/// Bounds the file. One that is larger already keeps its size.
fn limit(connection: &Connection, bytes_max: u64) -> rusqlite::Result<()> {
    let page_bytes: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages = u32::try_from(bytes_max / u64::from(page_bytes.max(1))).unwrap_or(u32::MAX);
    connection.pragma_update_and_check(None, "max_page_count", pages.max(1), |_| Ok(()))
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let folder = |source| OpenError::Folder { dir: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(folder)?;
    let file =
        File::options().create(true).truncate(false).write(true).open(dir.join(LOCK_FILE)).map_err(folder)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(folder(source)),
    }
}

/// An empty or missing file is a new store, except where a store was made before: then its data is gone, and
/// starting over would hide that.
fn refuse_to_begin_again(lock: &File, file: &Path) -> Result<(), OpenError> {
    let is_marked = lock.metadata().is_ok_and(|metadata| metadata.len() > 0);
    let is_empty = fs::metadata(file).map_or(true, |metadata| metadata.len() == 0);
    if is_marked && is_empty {
        let detail = "it is missing or empty, though a store was made here".to_owned();
        return Err(OpenError::Corrupt { file: file.to_owned(), detail });
    }
    Ok(())
}

/// Notes in the lock file that the store has been made.
fn mark(lock: &mut File) -> io::Result<()> {
    if lock.metadata()?.len() == 0 {
        lock.write_all(b"a store was made here\n")?;
    }
    Ok(())
}

/// Refuses what is not ours or too new, before anything is written.
fn identify(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let pragma = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
            .map_err(|error| explain(file, error))
    };
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let is_empty = application == 0 && version == 0 && pragma("page_count")? == 0;
    if !is_empty && application != schema::APPLICATION_ID {
        return Err(OpenError::Foreign { file: file.to_owned() });
    }
    if version > schema::SCHEMA_VERSION {
        let (found, known) = (version, schema::SCHEMA_VERSION);
        return Err(OpenError::NewerSchema { file: file.to_owned(), found, known });
    }
    Ok(())
}

/// Reads every page of a file of moderate size, and what the store cannot do without of any.
fn check(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let corrupt = |detail| corrupt(file, detail);
    let size = fs::metadata(file).map_or(0, |metadata| metadata.len());
    if size <= CHECKED_BYTES_MAX {
        let verdict: String =
            connection.query_row(sql::CHECK, [], |row| row.get(0)).map_err(|error| explain(file, error))?;
        if verdict != "ok" {
            return Err(corrupt(verdict));
        }
    }
    for name in ["revision", "compacted"] {
        connection
            .query_row(sql::COUNTER, [name], |row| row.get::<_, i64>(0))
            .map_err(|error| corrupt(error.to_string()))?;
    }
    Ok(())
}

fn corrupt(file: &Path, detail: String) -> OpenError {
    OpenError::Corrupt { file: file.to_owned(), detail }
}

fn explain(file: &Path, error: rusqlite::Error) -> OpenError {
    let file = file.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Corrupt { file, detail: error.to_string() }
        }
        _ => OpenError::Sqlite { file, source: error },
    }
}

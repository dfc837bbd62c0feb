//! Log files: per-worker buffers, and the one thread that empties them.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use selvedge_traffic::{AccessLog, FileLog, LogFilter, LogSink};

use super::format::{Format, FormatError};
use super::{AccessLogger, Output, RecordSink};
use crate::Flag;
use crate::events::EventLog;
use crate::registry::Registry;
use crate::shard::current_shard;

/// A worker's buffer for one file holds at most this many bytes; what comes while it is full is dropped and counted.
pub const BUFFER_BYTES_MAX: usize = 1 << 20;

/// A buffer that reached this many bytes is written without waiting for the interval.
const FLUSH_BYTES: usize = 64 << 10;

/// A buffer keeps at most this much of its memory after it was written.
const BUFFER_BYTES_KEPT: usize = 256 << 10;

/// One file with a buffer for each thread that logs.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: String,
    /// Locked by its own worker and, for the moment of a swap, by the writer: never contended for long.
    buffers: Box<[Mutex<Vec<u8>>]>,
    dropped: AtomicU64,
    signal: Arc<Signal>,
}

impl LogFile {
    /// Lets `format` append one record to the calling thread's buffer.
    pub(crate) fn append(&self, format: impl FnOnce(&mut Vec<u8>)) {
        let index = current_shard() % self.buffers.len();
        let mut buffer = lock(&self.buffers[index]);
        if buffer.len() >= BUFFER_BYTES_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = buffer.len();
        format(&mut buffer);
        if before < FLUSH_BYTES && buffer.len() >= FLUSH_BYTES {
            drop(buffer);
            self.signal.wake();
        }
    }

    fn has_records(&self) -> bool {
        self.buffers.iter().any(|buffer| !lock(buffer).is_empty())
    }
}

/// How the writer is told that there is work.
#[derive(Debug, Default)]
struct Signal {
    awake: Mutex<Wake>,
    condition: Condvar,
}

#[derive(Debug, Default)]
struct Wake {
    full: bool,
    stop: bool,
}

impl Signal {
    fn wake(&self) {
        lock(&self.awake).full = true;
        self.condition.notify_one();
    }
}

/// All log files of a process; the same path is opened once.
#[derive(Debug)]
pub struct AccessLogs {
    workers: usize,
    registry: Registry,
    files: Mutex<HashMap<String, Arc<LogFile>>>,
    open: Mutex<HashMap<String, Target>>,
    reopen: AtomicBool,
    signal: Arc<Signal>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Where the bytes go.
#[derive(Debug)]
enum Target {
    Stdout,
    Stderr,
    File(File),
}

impl AccessLogs {
    /// Starts the writer, which writes at least once an `interval`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(workers: usize, registry: Registry, interval: Duration) -> io::Result<Arc<Self>> {
        let logs = Arc::new(Self {
            workers,
            registry,
            files: Mutex::default(),
            open: Mutex::default(),
            reopen: AtomicBool::new(false),
            signal: Arc::default(),
            writer: Mutex::default(),
        });
        let weak = Arc::downgrade(&logs);
        let signal = Arc::clone(&logs.signal);
        let writer = std::thread::Builder::new().name("access-logs".to_owned()).spawn(move || {
            loop {
                let (stop, full) = wait(&signal, interval);
                let Some(logs) = weak.upgrade() else { return };
                let written = logs.flush();
                if written && !full {
                    logs.registry.server().filesystem_flushed_by_timer.inc();
                }
                if stop {
                    return;
                }
            }
        })?;
        *lock(&logs.writer) = Some(writer);
        Ok(logs)
    }

    /// A logger for a file, which the writer opens at the first record.
    ///
    /// # Errors
    /// The format has an operator that is not known, or the filter names what is not.
    pub fn open(&self, log: &FileLog, filter: Option<&LogFilter>) -> Result<AccessLogger, FormatError> {
        let format = Arc::new(Format::compile(log)?);
        self.logger(Output::Line { format, file: self.file(&log.path) }, filter)
    }

    /// A logger that hands its records to `sink`.
    ///
    /// # Errors
    /// The filter names what is not known.
    pub fn to_sink(
        &self,
        sink: Arc<dyn RecordSink>,
        filter: Option<&LogFilter>,
    ) -> Result<AccessLogger, FormatError> {
        self.logger(Output::Sink(sink), filter)
    }

    fn logger(&self, output: Output, filter: Option<&LogFilter>) -> Result<AccessLogger, FormatError> {
        validate_filter(filter)?;
        let runtime = self.registry.runtime().clone();
        Ok(AccessLogger { output, filter: filter.cloned().map(Arc::new), runtime })
    }

    /// A log of events, which may stand in one file with others.
    pub fn events(&self, path: &str) -> EventLog {
        EventLog::new(self.file(path))
    }

    fn file(&self, path: &str) -> Arc<LogFile> {
        let mut files = lock(&self.files);
        let file = files.entry(path.to_owned()).or_insert_with(|| {
            Arc::new(LogFile {
                path: path.to_owned(),
                buffers: (0..=self.workers).map(|_| Mutex::default()).collect(),
                dropped: AtomicU64::new(0),
                signal: Arc::clone(&self.signal),
            })
        });
        Arc::clone(file)
    }

    /// Whether a format compiles, without opening anything.
    ///
    /// # Errors
    /// As [`AccessLogs::open`].
    pub fn validate(log: &AccessLog) -> Result<(), FormatError> {
        validate_filter(log.filter.as_ref())?;
        match &log.sink {
            LogSink::File(file) => Format::compile(file).map(drop),
            LogSink::Grpc(_) => Ok(()),
        }
    }

    /// Files are opened anew before the next write (`/reopen_logs`, after a rotation).
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
        self.signal.wake();
    }

    /// Writes what is buffered, on the calling thread; whether there was anything.
    pub fn flush(&self) -> bool {
        let mut open = lock(&self.open);
        if self.reopen.swap(false, Ordering::Relaxed) {
            open.clear();
        }
        let files: Vec<_> = lock(&self.files).values().map(Arc::clone).collect();
        let mut written = false;
        for file in &files {
            written |= self.write_file(file, &mut open);
        }
        drop(files);
        self.forget_unused(&mut open);
        written
    }

    /// Forgets the files that no logger uses any more, but for those whose last logger left something to be written.
    fn forget_unused(&self, open: &mut HashMap<String, Target>) {
        lock(&self.files).retain(|path, file| {
            let used = Arc::strong_count(file) > 1 || file.has_records();
            if !used {
                open.remove(path);
            }
            used
        });
    }

    /// Writes what is left and ends the writer.
    pub fn stop(&self) {
        lock(&self.signal.awake).stop = true;
        self.signal.condition.notify_one();
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            // A writer that panicked has nothing more to say.
            let _ = writer.join();
        }
    }

    fn write_file(&self, file: &LogFile, open: &mut HashMap<String, Target>) -> bool {
        let mut written = false;
        let stats = self.registry.server();
        stats.filesystem_records_dropped.add(file.dropped.swap(0, Ordering::Relaxed));
        for buffer in &file.buffers {
            let bytes = std::mem::take(&mut *lock(buffer));
            if bytes.is_empty() {
                continue;
            }
            written = true;
            stats.filesystem_write_buffered.inc();
            match write(&file.path, &bytes, open) {
                Ok(()) => stats.filesystem_write_completed.inc(),
                Err(error) => {
                    open.remove(&file.path);
                    stats.filesystem_write_failed.inc();
                    tracing::warn!(path = file.path, %error, "failed to write an access log");
                }
            }
            give_back(buffer, bytes);
        }
        written
    }
}

impl Drop for AccessLogs {
    fn drop(&mut self) {
        lock(&self.signal.awake).stop = true;
        self.signal.condition.notify_one();
        self.flush();
    }
}

fn validate_filter(filter: Option<&LogFilter>) -> Result<(), FormatError> {
    Ok(filter.map_or(Ok(()), |filter| filter.validate(|flag| Flag::of(flag).is_some()))?)
}

/// Returns a written buffer's memory to its worker, if the worker has not begun another meanwhile.
fn give_back(buffer: &Mutex<Vec<u8>>, mut bytes: Vec<u8>) {
    bytes.clear();
    bytes.shrink_to(BUFFER_BYTES_KEPT);
    let mut buffer = lock(buffer);
    if buffer.capacity() == 0 {
        *buffer = bytes;
    }
}

/// Waits for a full buffer, a stop, or the interval; gives (stop, full).
fn wait(signal: &Signal, interval: Duration) -> (bool, bool) {
    let awake = lock(&signal.awake);
    let (mut awake, _) = signal
        .condition
        .wait_timeout_while(awake, interval, |wake| !wake.full && !wake.stop)
        .unwrap_or_else(PoisonError::into_inner);
    (awake.stop, std::mem::take(&mut awake.full))
}

fn write(path: &str, bytes: &[u8], open: &mut HashMap<String, Target>) -> io::Result<()> {
    if !open.contains_key(path) {
        open.insert(path.to_owned(), target(path)?);
    }
    match open.get_mut(path) {
        Some(Target::Stdout) => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
        Some(Target::Stderr) => io::stderr().write_all(bytes),
        Some(Target::File(file)) => file.write_all(bytes),
        None => Ok(()),
    }
}

fn target(path: &str) -> io::Result<Target> {
    Ok(match path {
        "/dev/stdout" => Target::Stdout,
        "/dev/stderr" => Target::Stderr,
        path => Target::File(OpenOptions::new().create(true).append(true).open(path)?),
    })
}

/// A panic elsewhere leaves at worst a torn line.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use selvedge_traffic::AccessLogFormat;

    use super::*;
    use crate::access_log::Record;

    /// The interval is far beyond the test's life: only explicit flushes write.
    const NEVER: Duration = Duration::from_secs(3600);

    fn log_to(path: &std::path::Path, format: &str) -> FileLog {
        FileLog::new(path.display().to_string(), AccessLogFormat::Text(format.to_owned()))
    }

    #[test]
    fn records_are_written_at_flush_and_to_a_new_file_after_reopen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let logs = AccessLogs::start(1, Registry::new(1), NEVER).expect("a thread");
        let logger = logs.open(&log_to(&path, "%RESPONSE_CODE%\n"), None).expect("a known format");
        logger.log(&Record { status: 200, ..Record::default() });
        assert!(!path.exists());
        logs.flush();
        assert_eq!(std::fs::read_to_string(&path).expect("written"), "200\n");

        std::fs::rename(&path, folder.path().join("access.log.1")).expect("rotated");
        logs.reopen();
        logger.log(&Record { status: 404, ..Record::default() });
        logs.stop();
        assert_eq!(std::fs::read_to_string(&path).expect("written"), "404\n");
    }

    #[test]
    fn a_file_is_forgotten_with_its_last_logger_but_not_before_its_last_record_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let logs = AccessLogs::start(0, Registry::new(0), NEVER).expect("a thread");
        let logger = logs.open(&log_to(&path, "x\n"), None).expect("a known format");
        logger.log(&Record::default());
        drop(logger);
        // As when the logger went between the writing of a flush and its end.
        logs.forget_unused(&mut lock(&logs.open));
        logs.flush();
        assert_eq!(std::fs::read_to_string(&path).expect("written"), "x\n");
        assert!(lock(&logs.files).is_empty() && lock(&logs.open).is_empty());
    }

    #[test]
    fn a_full_buffer_drops_and_counts() {
        let file = LogFile {
            path: String::new(),
            buffers: Box::new([Mutex::default()]),
            dropped: AtomicU64::new(0),
            signal: Arc::default(),
        };
        for _ in 0..3 {
            file.append(|out| out.resize(out.len() + BUFFER_BYTES_MAX / 2, b'x'));
        }
        assert_eq!(file.dropped.load(Ordering::Relaxed), 1);
        assert_eq!(lock(&file.buffers[0]).len(), BUFFER_BYTES_MAX);
    }

    #[test]
    fn a_folder_that_is_not_there_is_counted_and_logged_again_once_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("later/access.log");
        let registry = Registry::new(0);
        let logs = AccessLogs::start(0, registry.clone(), NEVER).expect("a thread");
        let logger = logs.open(&log_to(&path, "x\n"), None).expect("a known format");
        logger.log(&Record::default());
        logs.flush();
        assert_eq!(registry.server().filesystem_write_failed.value(), 1);
        std::fs::create_dir(folder.path().join("later")).expect("made");
        logger.log(&Record::default());
        logs.flush();
        assert_eq!(std::fs::read_to_string(&path).expect("written"), "x\n");
    }
}

//! Log files: buffers that workers fill, and one thread that empties them.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use selvedge_site::Program;

/// A buffer holds at most this; what comes while it is full is dropped and counted.
pub(crate) const BUFFER_BYTES_MAX: usize = 1 << 20;
/// A buffer of this size is written at once.
const FLUSH_BYTES: usize = 32 << 10;
/// Other buffers are written at least so often.
const INTERVAL: Duration = Duration::from_millis(250);
/// Different log files of one configuration.
const FILES_MAX: usize = 4096;

#[derive(Debug)]
struct LogFile {
    path: String,
    /// One for each worker: locked by it, and for a moment by the writer.
    buffers: Box<[Mutex<Vec<u8>>]>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Wake {
    now: bool,
    stop: bool,
}

/// All log files of the process.
#[derive(Debug)]
pub(crate) struct Logs {
    workers: usize,
    files: Mutex<HashMap<String, Arc<LogFile>>>,
    wake: Mutex<Wake>,
    condition: Condvar,
    reopen: AtomicBool,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Where lines go.
enum Target {
    File(std::fs::File),
    Program(std::process::Child),
}

/// Nothing can panic while a lock is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Logs {
    /// Starts the writer.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(workers: usize) -> std::io::Result<Arc<Self>> {
        let logs = Arc::new(Self {
            workers: workers.max(1),
            files: Mutex::default(),
            wake: Mutex::default(),
            condition: Condvar::new(),
            reopen: AtomicBool::new(false),
            writer: Mutex::default(),
        });
        let own = Arc::clone(&logs);
        let writer = std::thread::Builder::new().name("access-logs".to_owned()).spawn(move || own.run())?;
        *lock(&logs.writer) = Some(writer);
        Ok(logs)
    }

    /// Appends a line to a file's buffer.
    pub(crate) fn append(&self, path: &str, worker: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let file = {
            let mut files = lock(&self.files);
            match files.get(path) {
                Some(file) => Arc::clone(file),
                None if files.len() >= FILES_MAX => return,
                None => {
                    let file = Arc::new(LogFile {
                        path: path.to_owned(),
                        buffers: (0..self.workers).map(|_| Mutex::default()).collect(),
                        dropped: AtomicU64::new(0),
                    });
                    files.insert(path.to_owned(), Arc::clone(&file));
                    file
                }
            }
        };
        let mut buffer = lock(&file.buffers[worker % self.workers]);
        if buffer.len() >= BUFFER_BYTES_MAX {
            file.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = buffer.len();
        write(&mut buffer);
        if before < FLUSH_BYTES && buffer.len() >= FLUSH_BYTES {
            drop(buffer);
            lock(&self.wake).now = true;
            self.condition.notify_one();
        }
    }

    /// Opens all files anew, after they were moved away.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
        lock(&self.wake).now = true;
        self.condition.notify_one();
    }

    /// Writes what is left and ends the writer.
    pub(crate) fn stop(&self) {
        lock(&self.wake).stop = true;
        self.condition.notify_one();
        if let Some(writer) = lock(&self.writer).take() {
            let _ = writer.join();
        }
    }

    fn run(&self) {
        let mut targets: HashMap<String, Target> = HashMap::new();
        loop {
            let stop = {
                let wake = lock(&self.wake);
                let waited =
                    self.condition.wait_timeout_while(wake, INTERVAL, |wake| !wake.now && !wake.stop);
                let (mut wake, _) = waited.unwrap_or_else(PoisonError::into_inner);
                wake.now = false;
                wake.stop
            };
            if self.reopen.swap(false, Ordering::Relaxed) {
                targets.clear();
            }
            self.flush(&mut targets);
            if stop {
                return;
            }
        }
    }

    fn flush(&self, targets: &mut HashMap<String, Target>) {
        let files: Vec<Arc<LogFile>> = lock(&self.files).values().cloned().collect();
        for file in files {
            for buffer in &file.buffers {
                let bytes = std::mem::take(&mut *lock(buffer));
                if bytes.is_empty() {
                    continue;
                }
                let written = match targets.get_mut(&file.path) {
                    Some(target) => target.write(&bytes),
                    None => Target::open(&file.path).and_then(|mut target| {
                        let written = target.write(&bytes);
                        targets.insert(file.path.clone(), target);
                        written
                    }),
                };
                if let Err(error) = written {
                    tracing::error!(%error, path = file.path, "an access log cannot be written");
                    targets.remove(&file.path);
                }
            }
            let dropped = file.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(dropped, path = file.path, "lines of an access log were dropped");
            }
        }
    }
}

/// Opens the files that a program's access logs go to, and closes them again: a server without the log that it was told to
/// write does not start, as with lighttpd.
///
/// # Errors
/// The path that cannot be written, and the system's word.
pub(crate) fn try_all(program: &Program) -> Result<(), (String, std::io::Error)> {
    if !program.global().modules.iter().any(|module| **module == *"mod_accesslog") {
        return Ok(());
    }
    let named = program.assignments("accesslog.filename").filter_map(|(_, value, _)| value.as_text());
    let paths = named.chain(&program.base().directives.accesslog.filename);
    for path in paths.filter(|path| !path.is_empty() && !path.starts_with('|')) {
        let opened = OpenOptions::new().append(true).create(true).open(&**path);
        opened.map_err(|error| (path.to_string(), error))?;
    }
    Ok(())
}

impl Target {
    /// A file, or `|command`.
    fn open(path: &str) -> std::io::Result<Self> {
        if let Some(command) = path.strip_prefix('|') {
            let child =
                Command::new("/bin/sh").arg("-c").arg(command.trim()).stdin(Stdio::piped()).spawn()?;
            return Ok(Self::Program(child));
        }
        Ok(Self::File(OpenOptions::new().append(true).create(true).open(path)?))
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::File(file) => file.write_all(bytes),
            Self::Program(child) => {
                child.stdin.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?.write_all(bytes)
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::Program(child) = self {
            // Its end of the pipe closes first; it ends by itself.
            drop(child.stdin.take());
            let _ = child.try_wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_and_move_to_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let text = path.to_str().unwrap();
        let logs = Logs::start(2).unwrap();
        logs.append(text, 0, |out| out.extend_from_slice(b"one\n"));
        logs.append(text, 5, |out| out.extend_from_slice(b"two\n"));
        logs.stop();
        let mut lines: Vec<String> =
            std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_buffer_has_a_bound() {
        let logs = Logs {
            workers: 1,
            files: Mutex::default(),
            wake: Mutex::default(),
            condition: Condvar::new(),
            reopen: AtomicBool::new(false),
            writer: Mutex::default(),
        };
        for _ in 0..3 {
            logs.append("x", 0, |out| out.resize(out.len() + BUFFER_BYTES_MAX, b'x'));
        }
        let files = lock(&logs.files);
        let file = files.get("x").unwrap();
        assert_eq!(lock(&file.buffers[0]).len(), BUFFER_BYTES_MAX);
        assert_eq!(file.dropped.load(Ordering::Relaxed), 2);
    }
}

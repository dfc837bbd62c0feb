//! Starting a program: its output is shown as it comes, and what it says about tests is counted.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Count;

/// How many of the last lines of a program that failed are kept.
const TAIL_LINES: usize = 40;

/// A program that ended with another status than zero.
#[derive(Debug)]
pub(super) struct Failure {
    what: String,
    status: ExitStatus,
    pub(super) count: Count,
    /// The last lines that it said, on either stream.
    pub(super) tail: Vec<String>,
}

/// A program about to be started under a limit of time.
#[derive(Debug)]
pub(super) struct Program {
    what: String,
    command: Command,
}

// === impl Program ===

impl Program {
    /// `program` in `folder`, ended after `limit` (by `timeout` of the core utilities, which ends what it started).
    pub(super) fn new(program: impl AsRef<OsStr>, folder: &Path, limit: Duration) -> Self {
        let mut command = Command::new("timeout");
        command.arg("--kill-after=10").arg(limit.as_secs().to_string()).arg(&program).current_dir(folder);
        Self { what: program.as_ref().to_string_lossy().into_owned(), command }
    }

    pub(super) fn args<I, A>(mut self, arguments: I) -> Self
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        for argument in arguments {
            self.what.push(' ');
            self.what.push_str(&argument.as_ref().to_string_lossy());
            self.command.arg(argument);
        }
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it, shows what it says, and returns how many tests it told of.
    ///
    /// # Errors
    /// When it cannot be started, or a [`Failure`] when it ends with another status than zero.
    pub(super) fn run(mut self) -> Result<Count> {
        println!("$ {}", self.what);
        let child = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("failed to start {}", self.what))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // A lock, for two threads read: one for each stream.
        let tail = Mutex::new(VecDeque::with_capacity(TAIL_LINES));
        let count = std::thread::scope(|scope| {
            let beside = stderr.map(|stream| scope.spawn(|| show(stream, &tail)));
            let count = stdout.map(|stream| show(stream, &tail)).unwrap_or_default();
            count.plus(beside.and_then(|thread| thread.join().ok()).unwrap_or_default())
        });
        let status = child.wait().with_context(|| format!("failed to wait for {}", self.what))?;
        if status.success() {
            return Ok(count);
        }
        let tail = tail.into_inner().unwrap_or_else(PoisonError::into_inner).into();
        Err(Failure { what: self.what, status, count, tail }.into())
    }
}

/// Prints each line, counts the tests that it tells of, and keeps the last ones.
fn show(stream: impl Read, tail: &Mutex<VecDeque<String>>) -> Count {
    let mut count = Count::default();
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        println!("{line}");
        count = count.plus(Count::told_by(&line));
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    count
}

// === impl Count ===

impl Count {
    pub(super) fn of(passed: u64, failed: u64) -> Self {
        Self { passed, failed, flaky: Vec::new() }
    }

    pub(super) fn plus(mut self, other: Self) -> Self {
        self.flaky.extend(other.flaky);
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed, flaky: self.flaky }
    }

    /// What a summary line of a test runner says: cargo's, nextest's, or a bare `N passed, N failed`; and the name of a
    /// test that passed only at another attempt, as nextest tells it: `FLAKY 2/3 [ 1.2s] (1/9) crate::file test`.
    fn told_by(line: &str) -> Self {
        let line = without_colours(line);
        let line = line.trim();
        if let Some(told) = line.strip_prefix("FLAKY ") {
            let name = told.rsplit_once(']').map_or(told, |(_, name)| name).trim();
            let name =
                name.strip_prefix('(').and_then(|name| name.split_once(") ")).map_or(name, |(_, name)| name);
            return Self { flaky: vec![name.to_owned()], ..Self::default() };
        }
        let bare = line.starts_with(|c: char| c.is_ascii_digit());
        if !(bare || line.starts_with("test result:") || line.starts_with("Summary [")) {
            return Self::default();
        }
        let words: Vec<&str> = line.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
        let before = |what: &str| {
            words
                .iter()
                .position(|word| *word == what)
                .and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok())
        };
        match before("passed") {
            Some(passed) => Self::of(passed, before("failed").unwrap_or_default()),
            None => Self::default(),
        }
    }
}

fn without_colours(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut in_code = false;
    for c in line.chars() {
        match c {
            '\u{1b}' => in_code = true,
            'm' if in_code => in_code = false,
            _ if !in_code => out.push(c),
            _ => {}
        }
    }
    out
}

// === impl Failure ===

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.status)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_lines_are_counted_and_others_are_not() {
        let rows = [
            ("test result: ok. 13 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out", (13, 0)),
            ("     Summary [   0.103s] 13 tests run: 12 passed, 1 failed, 2 skipped", (12, 1)),
            ("\u{1b}[32m     Summary\u{1b}[0m [   1.2s] 3 tests run: 3 passed, 0 skipped", (3, 0)),
            ("41 passed, 2 failed", (41, 2)),
            ("we have passed", (0, 0)),
            ("20 requests sent", (0, 0)),
        ];
        for (line, (passed, failed)) in rows {
            assert_eq!(Count::told_by(line), Count::of(passed, failed), "{line}");
        }
    }

    #[test]
    fn who_needed_another_attempt_is_named() {
        let rows = [
            (
                "   FLAKY 2/3 [   1.008s] ( 7/90) selvedge-edge::strangers scarcity",
                "selvedge-edge::strangers scarcity",
            ),
            ("\u{1b}[33m   FLAKY\u{1b}[0m 2/3 [   1.008s] sim::seeds all", "sim::seeds all"),
            ("FLAKY codec: two hosts", "codec: two hosts"),
        ];
        for (line, name) in rows {
            assert_eq!(Count::told_by(line).flaky, [name], "{line}");
        }
        assert_eq!(Count::told_by("not FLAKY at all"), Count::default());
    }

    #[test]
    fn a_program_that_fails_keeps_its_count_and_its_last_words() {
        let folder = Path::new(".");
        let limit = Duration::from_secs(60);
        let script = "seq 100; echo '3 passed, 1 failed'; exit 1";
        let error = Program::new("sh", folder, limit).args(["-c", script]).run().unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!(failure.count, Count::of(3, 1));
        assert_eq!(
            (failure.tail.len(), failure.tail.last().unwrap().as_str()),
            (TAIL_LINES, "3 passed, 1 failed")
        );
        assert_eq!(Program::new("true", folder, limit).run().unwrap(), Count::default());
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let error =
            Program::new("sleep", Path::new("."), Duration::from_secs(1)).args(["60"]).run().unwrap_err();
        assert!(error.to_string().contains("124"), "{error}");
    }
}

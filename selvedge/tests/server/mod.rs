//! A server for tests: this build's `selvedge up`, on a port that the system picks, with a folder of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_selvedge");
/// The longest wait for a process to do what it was asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; killed when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) folder: TempDir,
    child: Child,
}

impl Server {
    /// Starts a server and waits until it says that it is ready.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_in(TempDir::new().expect("a folder"), options)
    }

    /// The same, on what an earlier server left.
    pub(crate) fn start_in(folder: TempDir, options: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["up", "--listen", "127.0.0.1:0", "--log-level", "warn", "--data-dir"])
            .arg(folder.path().join("data"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped above");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { url: url.to_owned(), folder, child }
    }

    /// A command with the environment that `selvedge env` would give it.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("AWS_ENDPOINT_URL_APP_MESH", &self.url)
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_DEFAULT_REGION", "us-west-2")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_DEFAULT_OUTPUT");
        command
    }

    /// Runs `selvedge` with those arguments.
    pub(crate) fn selvedge(&self, arguments: &[&str]) -> Output {
        self.command(PROGRAM).args(arguments).output().expect("the program runs")
    }

    /// Runs it and answers what it printed; fails when it failed.
    pub(crate) fn prints(&self, arguments: &[&str]) -> String {
        let output = self.selvedge(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Sends SIGTERM and answers how the server ended and how long it took.
    pub(crate) fn terminate(mut self) -> (std::process::ExitStatus, Duration, TempDir) {
        let begun = Instant::now();
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let folder = std::mem::replace(&mut self.folder, TempDir::new().expect("a folder"));
        (status, begun.elapsed(), folder)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// The real AWS command line, where the test environment has installed it.
pub(crate) fn aws() -> Option<PathBuf> {
    let aws = repository().join("target/venv/bin/aws");
    if !aws.is_file() {
        eprintln!("SKIPPED: no AWS command line in target/venv");
    }
    aws.is_file().then_some(aws)
}

/// Acceptance inputs that lie beside the repository.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let folder =
        std::env::var_os("SELVEDGE_SHARED").map_or_else(|| repository().join("../shared"), PathBuf::from);
    let file = folder.join(path);
    if !file.exists() {
        eprintln!("SKIPPED: {} is not here", file.display());
    }
    file.exists().then_some(file)
}

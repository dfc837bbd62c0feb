//! One program.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::lines::{self, To};

/// What is left in a pipe after a program's end is read for so long; its own children may hold it open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a program is started.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// What its lines begin with; `None` lets it have this program's own input and output.
    pub(crate) name: Option<String>,
    /// All its lines go to standard error.
    pub(crate) aside: bool,
    /// It has no input, and its output is thrown away.
    pub(crate) silent: bool,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// What it does not inherit.
    pub(crate) without: Vec<OsString>,
    pub(crate) user: Option<(u32, u32)>,
    pub(crate) folder: Option<PathBuf>,
}

/// A program that runs, in a process group of its own: a Ctrl-C at the terminal does not reach it before its turn.
#[derive(Debug)]
pub(crate) struct Child {
    process: tokio::process::Child,
    lines: Vec<JoinHandle<()>>,
    signals: Signals,
}

/// Where a program gets its signals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signals {
    group: Pid,
    in_foreground: bool,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit code; of one that a signal ended, 128 and the signal's number, as shells have it.
    pub(crate) code: u8,
}

impl Spec {
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self {
            name: None,
            aside: false,
            silent: false,
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            without: Vec::new(),
            user: None,
            folder: None,
        }
    }

    /// Starts it, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The program is not there, or the user may not be taken on.
    pub(crate) fn start(&self) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).kill_on_drop(true);
        for name in &self.without {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if self.silent {
            command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        } else if self.name.is_some() {
            command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let program = self.program.to_string_lossy();
        let mut process = command.spawn().with_context(|| format!("failed to start {program}"))?;
        let id = process.id().context("it has ended already")?;
        let mut lines = Vec::new();
        if let Some(name) = &self.name {
            let to = if self.aside { To::Stderr } else { To::Stdout };
            let stdout = process.stdout.take().map(|from| tokio::spawn(lines::pass(name.clone(), from, to)));
            let stderr =
                process.stderr.take().map(|from| tokio::spawn(lines::pass(name.clone(), from, To::Stderr)));
            lines.extend(stdout.into_iter().chain(stderr));
        }
        let signals = Signals {
            group: Pid::from_raw(id.cast_signed()),
            in_foreground: self.name.is_none() && !self.silent,
        };
        Ok(Child { process, lines, signals })
    }
}

impl Child {
    /// Waits for its end. May be asked again.
    pub(crate) async fn ended(&mut self) -> Ended {
        let status = self.process.wait().await;
        for lines in self.lines.drain(..) {
            let _ = timeout(LAST_WORDS, lines).await;
        }
        // A child that cannot be waited for is one that somebody else has waited for.
        status.map_or(Ended { code: 1 }, Ended::of)
    }

    pub(crate) fn signals(&self) -> Signals {
        self.signals
    }

    /// Asks it to end, and insists after a while.
    pub(crate) async fn stop(&mut self, patience: Duration) -> Ended {
        self.signals.send(Signal::SIGTERM);
        match timeout(patience, self.process.wait()).await {
            Ok(_) => self.ended().await,
            Err(_) => {
                self.signals.send(Signal::SIGKILL);
                self.ended().await
            }
        }
    }
}

impl Signals {
    /// Sends the program, and what it started, a signal.
    pub(crate) fn send(self, signal: Signal) {
        // Fails only if it has ended.
        let _ = if self.in_foreground {
            nix::sys::signal::kill(self.group, signal)
        } else {
            killpg(self.group, signal)
        };
    }
}

impl Ended {
    fn of(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        Self { code: u8::try_from(code).unwrap_or(1) }
    }
}

//! To the background, as lighttpd goes without `-D`: the same program is started again in a session of its own, and this one
//! waits until it serves.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::REFUSED;
use crate::exit::Failure;

/// The option by which the second one knows that it is in the background.
const SECOND: &str = "--in-background";

/// Whether an edge of this configuration goes to the background unless it is told to stay. One that systemd hands sockets to
/// stays: they are for that process alone.
pub(super) fn is_for(file: &Path) -> bool {
    !super::load::is_own_form(file) && std::env::var_os("LISTEN_FDS").is_none()
}

/// Starts the same in the background, and returns once it serves.
///
/// # Errors
/// It does not get to serve; it has said why itself.
pub(super) fn start() -> Result<(), Failure> {
    let program = std::env::current_exe().context("failed to find the program that runs")?;
    let mut words = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    let mut child = command
        .args(words)
        .arg(SECOND)
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start in the background")?;
    let serves = child.stdout.take().is_some_and(|mut said| matches!(said.read(&mut [0]), Ok(1)));
    if serves {
        return Ok(());
    }
    let status = child.wait().context("failed to wait for the server")?;
    Err(Failure::Program(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(REFUSED)))
}

/// Leaves the terminal's session.
///
/// # Errors
/// The system refuses.
pub(super) fn settle() -> Result<(), Failure> {
    nix::unistd::setsid().context("failed to leave the session")?;
    Ok(())
}

/// Tells whoever waits that the server serves, and lets go of what it shares with it. Complaints go on where an error log
/// takes them.
pub(super) fn serving(has_error_log: bool) {
    let mut told = std::io::stdout();
    let _ = told.write_all(b"\n").and_then(|()| told.flush());
    let Ok(nothing) = File::options().read(true).write(true).open("/dev/null") else { return };
    let _ = nix::unistd::dup2_stdin(&nothing);
    let _ = nix::unistd::dup2_stdout(&nothing);
    if !has_error_log {
        let _ = nix::unistd::dup2_stderr(&nothing);
    }
}

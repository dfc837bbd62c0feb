//! What a command prints that a page runs.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::answer::programs::Script;

/// How long a command may take.
pub(crate) const COMMAND_TIME_MAX: Duration = Duration::from_secs(30);
/// What is taken of its output.
pub(crate) const COMMAND_BYTES_MAX: u64 = 1024 * 1024;

/// Runs it by the shell. Whatever goes wrong is told and leaves what was printed until then.
pub(super) async fn run(command: &str) -> Vec<u8> {
    let mut said = Vec::new();
    let started = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            tracing::error!(%error, command, "a page's command cannot be started");
            return said;
        }
    };
    let Some(stdout) = child.stdout.take() else { return said };
    // Told to end when it is dropped before its end.
    let _script = Script::new(child);
    let mut bounded = stdout.take(COMMAND_BYTES_MAX);
    match tokio::time::timeout(COMMAND_TIME_MAX, bounded.read_to_end(&mut said)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::error!(%error, command, "a page's command cannot be read"),
        Err(_) => tracing::error!(command, "a page's command took longer than {COMMAND_TIME_MAX:?}"),
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_prints_only_so_much() {
        assert_eq!(run("echo one; echo two >&2; exit 3").await, b"one\n");
        assert_eq!(run("cat").await, b"");
        assert_eq!(run("exec yes").await.len() as u64, COMMAND_BYTES_MAX);
    }

    /// On a paused clock: it goes on by itself when nothing else can happen.
    #[tokio::test(start_paused = true)]
    async fn a_command_has_its_time() {
        assert_eq!(run("exec sleep 1000").await, b"");
        // By then it has been told.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

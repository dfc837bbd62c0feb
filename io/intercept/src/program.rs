//! Running the programs that speak to the kernel.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use thiserror::Error;

/// Where the programs stand that a plain user's path may not reach.
const SEARCHED_AS_WELL: &str = "/usr/sbin:/sbin:/usr/local/sbin";

/// A program that did not do as asked.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("{0} is not installed")]
    Missing(String),
    #[error("{program} could not be run")]
    Run {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{program} refused: {said}")]
    Refused { program: String, said: String },
}

impl Failure {
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing(_))
    }
}

/// Runs a program with that text as its input, and answers what it printed.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, Failure> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", format!("{path}:{SEARCHED_AS_WELL}")).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Failure::Missing(program.to_owned()),
        _ => Failure::Run { program: program.to_owned(), source },
    };
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that has ended already says why by its status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    let said = if said.is_empty() { output.status.to_string() } else { said };
    Err(Failure::Refused { program: program.to_owned(), said })
}

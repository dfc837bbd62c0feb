//! How a command ends: its exit code, and what it says on standard error.

use std::io::Write as _;
use std::process::ExitCode;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line cannot be acted on: 2, as for every option that the parser refuses.
    #[error("{0}")]
    Usage(String),
    /// The server understood and refused: 254, as the AWS command line's second version ends.
    #[error("{0}")]
    Refused(String),
    /// A check that ran found what it looks for: 1, with its own report already printed.
    #[error("{0}")]
    Check(String),
    /// A program that was run for somebody ended so; it has said itself what there was to say.
    #[error("the program ended with {0}")]
    Program(u8),
    /// Anything else: 1.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Check(_) | Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 254,
            Self::Program(code) => *code,
        }
    }

    /// Says what happened, in the words of the AWS command line where it has some, and answers the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let mut err = std::io::stderr().lock();
        // Whoever reads may have gone: the exit code tells the rest.
        let _ = match self {
            Self::Program(_) => Ok(()),
            Self::Refused(message) => writeln!(err, "\n{message}"),
            Self::Usage(message) => writeln!(err, "error: {message}\n\nFor more information, try '--help'."),
            other => writeln!(err, "selvedge: {other}"),
        };
        ExitCode::from(self.code())
    }
}

impl From<selvedge_client::Error> for Failure {
    fn from(error: selvedge_client::Error) -> Self {
        match error {
            selvedge_client::Error::Service(refused) => Self::Refused(refused.to_string()),
            connect @ selvedge_client::Error::Connect { .. } => Self::Other(
                anyhow::Error::new(connect).context("no control plane answers; start one with `selvedge up`, or name another with --endpoint-url"),
            ),
            other => Self::Other(other.into()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

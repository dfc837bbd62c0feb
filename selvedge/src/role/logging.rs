//! Structured logs on standard error.

use std::io::IsTerminal;

use tracing_subscriber::filter::EnvFilter;

use crate::exit::Failure;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Options of every role.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Logs")]
pub(crate) struct LogArgs {
    /// Which lines are written: error, warn, info, debug, trace, or per module as in `info,selvedge_control=debug`
    #[arg(long, value_name = "LEVEL", env = "SELVEDGE_LOG_LEVEL", default_value = "info")]
    pub(crate) log_level: String,
    /// How a line looks
    #[arg(long, value_enum, env = "SELVEDGE_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// Sends this process's log lines to standard error.
///
/// # Errors
/// [`Failure::Usage`] when the level cannot be read.
pub(crate) fn start(args: &LogArgs) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&args.log_level)
        .map_err(|error| Failure::Usage(format!("--log-level {}: {error}", args.log_level)))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match args.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::Other(anyhow::anyhow!("logs could not be started: {error}")))
}

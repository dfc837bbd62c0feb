//! Structured logs on standard error.

use std::io::IsTerminal;
use std::sync::Arc;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, reload};

use crate::exit::Failure;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Options of every role.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Logs")]
pub(crate) struct LogArgs {
    /// Which lines are written: error, warn, info, debug, trace, or per module as in `info,selvedge_control=debug`
    #[arg(long, value_name = "LEVEL", env = "SELVEDGE_LOG_LEVEL")]
    pub(crate) log_level: Option<String>,
    /// How a line looks
    #[arg(long, value_enum, env = "SELVEDGE_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// Changes the level of a running process; gives the reason if the word is none.
pub(crate) type SetLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Sends this process's log lines to standard error, at `level` unless the options name one.
///
/// # Errors
/// [`Failure::Usage`] when the level cannot be read.
pub(crate) fn start(args: &LogArgs, level: &str) -> Result<SetLevel, Failure> {
    let level = args.log_level.as_deref().unwrap_or(level);
    let filter = filter(level).map_err(|reason| Failure::Usage(format!("log level {level:?}: {reason}")))?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match args.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(|error| Failure::Other(anyhow::anyhow!("logs could not be started: {error}")))?;
    Ok(Arc::new(move |level| handle.reload(self::filter(level)?).map_err(|error| error.to_string())))
}

/// Reads a level in our words or Envoy's.
fn filter(level: &str) -> Result<Targets, String> {
    let level = match level {
        "warning" => "warn",
        "critical" => "error",
        other => other,
    };
    // A bare word must be a level: a module of that name is never what was meant.
    let is_word = level.bytes().all(|byte| byte.is_ascii_alphabetic());
    if level.is_empty() || is_word && level.parse::<LevelFilter>().is_err() {
        return Err("write trace, debug, info, warning, error, critical or off".to_owned());
    }
    // Levels by module are all that is offered; filters by fields would bring an engine of expressions into every process.
    level.parse::<Targets>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_in_both_vocabularies() {
        for (level, accepted) in [
            ("info", true),
            ("warning", true),
            ("critical", true),
            ("off", true),
            ("info,selvedge_control=debug", true),
            ("loud", false),
            ("", false),
            ("a=b=c", false),
        ] {
            assert_eq!(filter(level).is_ok(), accepted, "{level:?}");
        }
    }
}

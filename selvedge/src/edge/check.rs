//! `selvedge edge check`: what is wrong or odd in a configuration, on this machine, and at the listeners that serve it.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use selvedge_site::Severity;
use selvedge_site::lighttpd::Level;
use serde_json::{Value, json};

use super::load::{self, Form};
use super::{Output, live, print};
use crate::exit::Failure;
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The configuration; - is standard input
    file: PathBuf,
    /// Also make TLS handshakes with every listener that is served now, without a name and for each name that the configuration has, and
    /// say what was negotiated; and whether the mesh has the gateway routes of this configuration
    #[arg(long)]
    live: bool,
    /// End with 1 for warnings as well: what this machine lacks is one
    #[arg(long)]
    strict: bool,
    /// For people, or for programs
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The mesh of the edge's gateway, for --live; the only one when left out
    #[arg(long, value_name = "NAME", env = "SELVEDGE_EDGE_MESH")]
    pub(super) mesh: Option<String>,
    /// The API, for --live
    #[arg(long, value_name = "URL", env = "SELVEDGE_EDGE_ENDPOINT")]
    pub(super) endpoint_url: Option<String>,
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

pub(super) fn run(args: &CheckArgs, form: Form) -> Result<(), Failure> {
    let now = now();
    let loaded = load::load(&args.file, form, Level::Modules).with_start_tried().with_surroundings(now);
    let is_text = args.output == Output::Text;
    let (report, summary) = (loaded.report(), print::summary(&loaded));
    let say = |text: &str| if is_text { output::emit(text) } else { Ok(()) };
    say(&if report.is_empty() {
        format!("{}: nothing is wrong with it\n", args.file.display())
    } else {
        report
    })?;
    let mut document = print::document(&loaded, &args.file);
    let mut outcome = Ok(());
    if loaded.failed() {
        outcome = Err(Failure::Check(summary));
    } else {
        say(&summary)?;
        let warns = loaded.diagnostics.iter().any(|one| one.severity == Severity::Warning);
        if args.strict && warns {
            outcome = Err(Failure::Check("there are warnings, and --strict".into()));
        }
    }
    if let Some(program) = loaded.program.as_ref().filter(|_| !loaded.failed()) {
        if let Some(told) = selvedge_edge::issued(program) {
            say(&told)?;
            document["certificates"] = json!(told.trim_end());
        }
        if args.live {
            let looks = live::look(program);
            looks.iter().try_for_each(|look| say(&look.text(now)))?;
            document["live"] = looks.iter().map(|look| look.json(now)).collect::<Value>();
            let judged = live::judge(&looks, now);
            outcome = outcome.and(judged);
            match live::published(program, args) {
                Ok(told) => {
                    told.iter().try_for_each(|(line, _)| say(&format!("{line}\n")))?;
                    let of_mesh =
                        |(line, good): &(String, bool)| json!({ "what": line, "asConfigured": good });
                    document["mesh"] = told.iter().map(of_mesh).collect::<Value>();
                    let others = told.iter().filter(|(_, good)| !good).count();
                    if others > 0 {
                        let message = format!("{others} of them are not in the mesh as they are here");
                        outcome = outcome.and(Err(Failure::Check(message)));
                    }
                }
                Err(failure) => outcome = outcome.and(Err(failure)),
            }
        }
    }
    if !is_text {
        let text = serde_json::to_string_pretty(&document).map_err(anyhow::Error::from)?;
        output::emit(&(text + "\n"))?;
    }
    outcome
}

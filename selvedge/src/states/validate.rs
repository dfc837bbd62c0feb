//! `selvedge states validate`: errors at their place in the file.

use std::fmt::Write as _;
use std::path::PathBuf;

use selvedge_asl::{Diagnostic, Severity};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::output::{self, Format};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states validate order.asl.json
  selvedge states validate - -o json < order.asl.json

It needs no server. Exit codes: 0 nothing is wrong, 1 something is.")]
pub(super) struct ValidateArgs {
    /// The file with the definition; - is standard input
    file: PathBuf,
    /// Print the findings as a document
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

pub(super) fn run(args: &ValidateArgs) -> Result<(), Failure> {
    let text = super::read_file(&args.file)?;
    let (_, found) = selvedge_asl::parse(&text);
    let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
    match args.output {
        Some(format) => output::print(&document(&found), format, "Diagnostics", output::Color::Auto)?,
        None => output::emit(&shown(&args.file.display().to_string(), &text, &found))?,
    }
    if errors > 0 { Err(Failure::Check(format!("{errors} errors"))) } else { Ok(()) }
}

fn document(found: &[Diagnostic]) -> Value {
    let shown = found.iter().map(|one| {
        json!({
            "severity": one.severity.name(), "code": one.code.name(), "message": one.message, "location": one.location,
            "line": one.place.0, "column": one.place.1,
        })
    });
    json!({ "diagnostics": shown.collect::<Vec<_>>() })
}

/// Each finding with the line that it is about.
fn shown(name: &str, text: &str, found: &[Diagnostic]) -> String {
    if found.is_empty() {
        return format!("{name}: nothing is wrong with it\n");
    }
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    for one in found {
        let (line, column) = one.place;
        let kind = one.severity.name().to_ascii_lowercase();
        let _ = writeln!(out, "{kind}: {}\n  --> {name}:{line}:{column}  {}", one.message, one.location);
        if let Some(source) = lines.get(line - 1) {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            let caret = " ".repeat(column.saturating_sub(1));
            let _ =
                writeln!(out, "{margin} |\n{number} | {source}\n{margin} | {caret}^ {}\n", one.code.name());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_points_into_the_file() {
        let text =
            "{\n  \"StartAt\": \"S\",\n  \"States\": {\"S\": {\"Type\": \"Pass\", \"Next\": \"X\"}}\n}";
        let (_, found) = selvedge_asl::parse(text);
        assert_eq!(
            shown("f.json", text, &found),
            "error: the target 'X' does not exist among these states\n  --> f.json:3:44  /States/S/Next\n  |\n\
             3 |   \"States\": {\"S\": {\"Type\": \"Pass\", \"Next\": \"X\"}}\n  |                                            ^ MISSING_TRANSITION_TARGET\n\n"
        );
        assert_eq!(shown("f", "", &[]), "f: nothing is wrong with it\n");
    }
}

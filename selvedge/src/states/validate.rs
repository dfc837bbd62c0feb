//! `selvedge states validate`: errors at their place in the file.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::plain;
use selvedge_asl::{Diagnostic, MachineType, Severity};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::output::{self, Format};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states validate order.asl.json
  selvedge states validate fast.asl.json --express
  selvedge states validate - -o json < order.asl.json

It needs no server. Exit codes: 0 nothing is wrong, 1 something is.")]
pub(super) struct ValidateArgs {
    /// The file with the definition; - is standard input
    file: PathBuf,
    /// It is for an express machine, which waits for nobody
    #[arg(long)]
    express: bool,
    /// Print the findings as a document
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

pub(super) fn run(args: &ValidateArgs) -> Result<(), Failure> {
    let text = super::read_file(&args.file)?;
    let kind = if args.express { MachineType::Express } else { MachineType::Standard };
    let (_, found) = selvedge_asl::parse_as(kind, &text);
    let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
    match args.output {
        Some(format) => output::print(&document(&found), format, "Diagnostics", output::Color::Auto)?,
        None => output::emit(&shown(&args.file.display().to_string(), &text, &found))?,
    }
    if errors > 0 {
        Err(Failure::Check(format!("{errors} error{}", if errors == 1 { "" } else { "s" })))
    } else {
        Ok(())
    }
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
        let (message, location) = (plain(&one.message), plain(&one.location));
        let _ = writeln!(out, "{kind}: {message}\n  --> {name}:{line}:{column}  {location}");
        if let Some(source) = lines.get(line - 1) {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            let (source, before) = excerpt(source, column - 1);
            let caret = " ".repeat(before);
            let _ =
                writeln!(out, "{margin} |\n{number} | {source}\n{margin} | {caret}^ {}\n", one.code.name());
        }
    }
    out
}

/// The characters of a line that are shown around the one at `column`, and how many of them stand before it: a definition may be one
/// line of a megabyte.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    const BEFORE: usize = 60;
    const SHOWN: usize = 100;
    let skipped = column.saturating_sub(BEFORE);
    let start = if skipped > 0 { "…" } else { "" };
    let mut rest = line.chars().skip(skipped);
    // One cell each, so that the caret stands below its character.
    let shown: String = rest.by_ref().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = if rest.next().is_some() { "…" } else { "" };
    (format!("{start}{shown}{end}"), column - skipped + start.chars().count())
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
            "error: Missing 'Next' target: X\n  --> f.json:3:44  /States/S/Next\n  |\n\
             3 |   \"States\": {\"S\": {\"Type\": \"Pass\", \"Next\": \"X\"}}\n  |                                            ^ MISSING_TRANSITION_TARGET\n\n"
        );
        assert_eq!(shown("f", "", &[]), "f: nothing is wrong with it\n");
    }

    #[test]
    fn a_caret_stands_below_its_place_in_lines_of_any_length() {
        assert_eq!(excerpt("\t\"a\": 1", 1), (" \"a\": 1".to_owned(), 1));
        let long = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let (text, before) = excerpt(&long, 500);
        assert_eq!(text.chars().nth(before), Some('X'));
        assert!(text.starts_with('…') && text.ends_with('…') && text.chars().count() == 102, "{text}");
        let (text, before) = excerpt("", 0);
        assert_eq!((&*text, before), ("", 0));
        // A thousand findings in one line of a megabyte.
        let states: Vec<String> = (0..1000).map(|n| format!(r#""S{n}": {{"Type": "X"}}"#)).collect();
        let text = format!(r#"{{"StartAt": "S0", "States": {{{}}}}}"#, states.join(","));
        let (_, found) = selvedge_asl::parse(&text);
        assert!(found.len() >= 1000);
        assert!(shown("f", &text, &found).len() < found.len() * 400);
    }

    #[test]
    fn what_a_definition_says_steers_no_terminal() {
        let text = "{\"StartAt\": \"S\u{1b}[2J\", \"States\": {\"S\": {\"Type\": \"Succeed\"}}}";
        let (_, found) = selvedge_asl::parse(&text.replace('\u{1b}', "\\u001b"));
        assert!(found.iter().any(|one| one.message.contains('\u{1b}')), "{found:?}");
        assert!(!shown("f", text, &found).contains('\u{1b}'));
    }
}

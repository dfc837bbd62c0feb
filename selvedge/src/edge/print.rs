//! A configuration in a few words.

use std::fmt::Write as _;
use std::path::Path;

use selvedge_site::{Diagnostic, Severity, Sources};
use serde_json::{Value, json};

use super::load::Loaded;

/// What was found, and what would be listened on.
pub(super) fn summary(loaded: &Loaded) -> String {
    let count = |severity| loaded.diagnostics.iter().filter(|found| found.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let mut out = format!("{errors} errors, {warnings} warnings");
    let Some(program) = &loaded.program else { return out };
    out.push('\n');
    for listener in &program.listeners {
        let tls = if listener.ssl.engine { " with TLS" } else { "" };
        let spare = if listener.spare { ", where systemd hands over no sockets" } else { "" };
        let _ = writeln!(out, "listens on {}{tls}{spare}", listener.token);
    }
    out
}

/// The same with every finding, for programs.
pub(super) fn document(loaded: &Loaded, file: &Path) -> Value {
    let count = |severity| loaded.diagnostics.iter().filter(|found| found.severity == severity).count();
    let listeners = loaded.program.iter().flat_map(|program| &program.listeners);
    let listeners =
        listeners.map(|one| json!({ "address": &*one.token, "tls": one.ssl.engine, "spare": one.spare }));
    json!({
        "file": file.display().to_string(),
        "errors": count(Severity::Error),
        "warnings": count(Severity::Warning),
        "findings": loaded.diagnostics.iter().map(|one| finding(one, &loaded.sources)).collect::<Vec<_>>(),
        "listeners": listeners.collect::<Vec<_>>(),
    })
}

fn finding(found: &Diagnostic, sources: &Sources) -> Value {
    let place = found.place.map(|place| {
        let (line, column) = sources.line_and_column(place);
        json!({ "file": sources.source(place).map(|source| &*source.name), "line": line, "column": column })
    });
    let severity = if found.severity == Severity::Error { "error" } else { "warning" };
    json!({ "severity": severity, "message": found.message, "hint": found.hint, "place": place })
}

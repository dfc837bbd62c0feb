//! A configuration in a few words.

use std::fmt::Write as _;

use super::load::Loaded;
use selvedge_site::Severity;

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

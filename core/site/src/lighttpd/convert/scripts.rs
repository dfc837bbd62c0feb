//! Programs by the ends of their paths, as the form's `scripts`.

use super::answer::address_of;
use super::text::{plain, quoted, shown, shown_list};
use super::{Value, Values};
use crate::directive::truth;
use crate::value::List;

/// Directives that say which programs answer, by the ends of paths.
pub(super) const PROGRAMS: [&str; 3] = ["cgi.assign", "fastcgi.server", "scgi.server"];

/// What a program is told by keys that `scripts` has, or that change nothing of what is answered.
const KNOWN: [&str; 14] = [
    "host",
    "port",
    "socket",
    "bin-path",
    "max-procs",
    "min-procs",
    "check-local",
    "bin-environment",
    "bin-copy-environment",
    "broken-scriptfilename",
    "idle-timeout",
    "max-load-per-proc",
    "disable-time",
    "allow-x-send-file",
];

/// The programs of a block.
#[derive(Default)]
pub(super) struct Scripts {
    /// Entries of `scripts`.
    pub(super) entries: Vec<String>,
    /// Those that the form cannot say: the directive and the end.
    pub(super) left: Vec<(&'static str, String)>,
}

/// Programs for files; those for everything, and for what is below a path, have routes of their own.
pub(super) fn of(values: &Values<'_>) -> Scripts {
    let mut scripts = Scripts::default();
    for key in PROGRAMS {
        let list = values.get(key).and_then(|value| value.as_list());
        for (end, value) in list.into_iter().flat_map(|list| list.iter()) {
            let Some(end) = end else { continue };
            if key != "cgi.assign" && (end.is_empty() || end.starts_with('/')) {
                continue;
            }
            let said = match (key, value) {
                ("cgi.assign", Value::Text(program)) => Some(format!("cgi = {}", quoted(program))),
                ("cgi.assign", _) => None,
                ("scgi.server", value) => servers("scgi", value),
                (_, value) => servers("fastcgi", value),
            };
            match said {
                Some(said) => scripts.entries.push(format!("{} = {{ {said} }}", quoted(end))),
                None => scripts.left.push((key, end.to_string())),
            }
        }
    }
    scripts
}

fn servers(way: &str, value: &Value) -> Option<String> {
    let hosts: Vec<&List> = value.as_list()?.iter().map(|(_, host)| host.as_list()).collect::<Option<_>>()?;
    let knows = |host: &&List| host.iter().all(|(key, _)| key.is_some_and(|key| KNOWN.contains(&&**key)));
    let sends_files = |host: &&List| host.get("allow-x-send-file").and_then(truth) == Some(true);
    if hosts.is_empty() || !hosts.iter().all(knows) || hosts.iter().any(sends_files) {
        return None;
    }
    let first = hosts[0];
    let mut out = if hosts.iter().any(|host| host.get("bin-path").is_some()) {
        let (program, socket) = (first.get("bin-path")?, first.get("socket")?);
        if hosts.len() > 1 || way != "fastcgi" {
            return None;
        }
        let mut out = format!("start = {}, socket = {}", quoted(&plain(program)), quoted(&plain(socket)));
        if let Some(processes) = first.get("max-procs").or_else(|| first.get("min-procs")) {
            out.push_str(&format!(", processes = {}", plain(processes)));
        }
        if let Some(environment) = first.get("bin-environment") {
            out.push_str(&format!(", environment = {}", shown(environment)));
        }
        if let Some(names) = first.get("bin-copy-environment") {
            out.push_str(&format!(", copy_environment = {}", shown_list(names)));
        }
        out
    } else {
        let addresses: Option<Vec<String>> =
            hosts.iter().map(|host| address_of(host).map(|address| quoted(&address))).collect();
        format!("{way} = [{}]", addresses?.join(", "))
    };
    // What is said of one has to hold for all.
    let switch = |key: &str| first.get(key).and_then(truth);
    for (from, to, usual) in
        [("check-local", "check_file", true), ("broken-scriptfilename", "broken_scriptfilename", false)]
    {
        if hosts.iter().any(|host| host.get(from).and_then(truth) != switch(from)) {
            return None;
        }
        if let Some(on) = switch(from).filter(|on| *on != usual) {
            out.push_str(&format!(", {to} = {on}"));
        }
    }
    Some(out)
}

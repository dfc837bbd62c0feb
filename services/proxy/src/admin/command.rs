//! The commands by path.

use std::fmt::Write;
use std::time::Instant;

use http::{Method, StatusCode};

use super::query::Query;
use super::reply::Reply;
use super::{Subject, clusters, config_dump, explain, listeners, process, runtime, server_info, statistics};
use crate::lifecycle::ListenerDrain;

/// One command.
struct Command {
    path: &'static str,
    /// It changes something: GET is refused.
    mutates: bool,
    help: &'static str,
    run: fn(&Subject, &Query) -> Reply,
}

const fn shows(path: &'static str, help: &'static str, run: fn(&Subject, &Query) -> Reply) -> Command {
    Command { path, mutates: false, help, run }
}

const fn changes(path: &'static str, help: &'static str, run: fn(&Subject, &Query) -> Reply) -> Command {
    Command { path, mutates: true, help, run }
}

const COMMANDS: &[Command] = &[
    shows("/", "Admin home page", |_, _| home()),
    shows("/certs", "print certs on machine", |subject, _| process::certs(subject.clusters.secrets())),
    shows("/clusters", "upstream cluster status", clusters::show),
    shows("/config_dump", "dump current configs", config_dump::show),
    shows("/contention", "dump current mutex contention stats (if enabled)", |_, _| {
        Reply::text("Mutex contention tracing is not supported.\n")
    }),
    changes("/cpuprofiler", "enable/disable the CPU profiler", |_, _| not_supported()),
    changes("/drain_listeners", "drain listeners: graceful, skip_exit, inboundonly", |subject, query| {
        let drain = ListenerDrain {
            graceful: query.has("graceful"),
            skip_exit: query.has("skip_exit"),
            inbound_only: query.has("inboundonly"),
        };
        if drain.skip_exit && !drain.graceful {
            return Reply::bad_request("skip_exit requires graceful\n");
        }
        subject.lifecycle.drain_listeners(drain, Instant::now());
        Reply::ok()
    }),
    shows("/explain", "tell what would become of a request: path, host, method, header, port", explain::show),
    changes("/healthcheck/fail", "cause the server to fail health checks", |subject, _| {
        subject.lifecycle.fail(true);
        Reply::ok()
    }),
    changes("/healthcheck/ok", "cause the server to pass health checks", |subject, _| {
        subject.lifecycle.fail(false);
        Reply::ok()
    }),
    shows("/help", "print out list of admin commands", |_, _| Reply::text(help())),
    changes("/heapprofiler", "enable/disable the heap profiler", |_, _| not_supported()),
    shows("/hot_restart_version", "print the hot restart compatibility version", |subject, _| {
        let enabled = subject.bootstrap.hot_restart.is_some();
        Reply::text(if enabled { crate::handover::VERSION } else { "disabled" })
    }),
    shows("/init_dump", "dump what is still warming", config_dump::init_dump),
    shows("/listeners", "print listener info", listeners::show),
    changes("/logging", "query/change logging levels: level, paths, <name>=<level>", |subject, query| {
        subject.levels.handle(query)
    }),
    shows("/memory", "print current memory usage", |_, _| process::memory()),
    changes("/quitquitquit", "exit the server", |subject, _| {
        subject.lifecycle.quit();
        Reply::ok()
    }),
    shows("/ready", "print server state, return 200 if LIVE, otherwise return 503", ready),
    changes("/reopen_logs", "reopen access logs", |subject, _| {
        subject.access_logs.reopen();
        Reply::ok()
    }),
    changes("/reset_counters", "reset all counters to zero", |subject, _| {
        subject.registry.reset_counters();
        Reply::ok()
    }),
    shows("/runtime", "print runtime values", runtime::show),
    changes("/runtime_modify", "add, modify or remove runtime values", runtime::modify),
    shows("/server_info", "print server version/status information", server_info::show),
    shows("/stats", "print server stats", statistics::show),
    shows("/stats/prometheus", "print server stats in prometheus format", statistics::prometheus),
    shows("/stats/recentlookups", "show recent stat-name lookups", statistics::recent_lookups),
    changes("/stats/recentlookups/clear", "clear list of stat-name lookups", |_, _| Reply::ok()),
    changes("/stats/recentlookups/disable", "disable recording of stat-name lookups", |_, _| Reply::ok()),
    changes("/stats/recentlookups/enable", "enable recording of stat-name lookups", |_, _| Reply::ok()),
];

/// Runs the command that `path` names.
pub(super) fn run(subject: &Subject, method: &Method, path: &str, query: &Query) -> Reply {
    let Some(command) = COMMANDS.iter().find(|command| command.path == path) else {
        return Reply::status(StatusCode::NOT_FOUND, format!("invalid path. {}", help()));
    };
    // Envoy answers queries by POST as well.
    let allowed = method == Method::POST || !command.mutates && [Method::GET, Method::HEAD].contains(method);
    if !allowed {
        let required = if command.mutates { "POST" } else { "GET" };
        return Reply::status(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("Method {method} not allowed, {required} required."),
        );
    }
    (command.run)(subject, query)
}

fn ready(subject: &Subject, _: &Query) -> Reply {
    let text = format!("{}\n", subject.lifecycle.state().text());
    let status = if subject.lifecycle.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply::status(status, text)
}

/// What a profiler would answer.
fn not_supported() -> Reply {
    Reply::status(StatusCode::NOT_IMPLEMENTED, "The current build does not support this profiler.\n")
}

fn help() -> String {
    let mut text = "admin commands are:\n".to_owned();
    for command in COMMANDS {
        let method = if command.mutates { " (POST)" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}: {}{method}", command.path, command.help);
    }
    text
}

fn home() -> Reply {
    let mut body =
        "<!DOCTYPE html>\n<title>selvedge admin</title>\n<h1>selvedge admin</h1>\n<table>\n".to_owned();
    for Command { path, help, mutates, .. } in COMMANDS {
        let link = if *mutates {
            format!("<form action=\"{path}\" method=\"post\"><button>{path}</button></form>")
        } else {
            format!("<a href=\"{path}\">{path}</a>")
        };
        // `<` stands in one help text.
        let help = help.replace('<', "&lt;");
        let _ = writeln!(body, "<tr><td>{link}</td><td>{help}</td></tr>");
    }
    body.push_str("</table>\n");
    Reply::html(body)
}

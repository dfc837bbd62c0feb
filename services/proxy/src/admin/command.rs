//! The commands by path.

use std::fmt::Write;
use std::time::Instant;

use http::{Method, StatusCode};

use super::query::Query;
use super::reply::Reply;
use super::{Subject, clusters, config_dump, listeners, process, server_info, statistics};

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
    shows("/certs", "print certs on machine", |_, _| process::certs()),
    shows("/clusters", "upstream cluster status", clusters::show),
    shows("/config_dump", "dump current configs", config_dump::show),
    changes("/drain_listeners", "drain listeners", |subject, query| {
        subject.lifecycle.drain_listeners(query.has("graceful"), Instant::now());
        Reply::ok()
    }),
    changes("/healthcheck/fail", "cause the server to fail health checks", |subject, _| {
        subject.lifecycle.fail(true);
        Reply::ok()
    }),
    changes("/healthcheck/ok", "cause the server to pass health checks", |subject, _| {
        subject.lifecycle.fail(false);
        Reply::ok()
    }),
    shows("/help", "print out list of admin commands", |_, _| Reply::text(help())),
    shows("/hot_restart_version", "print the hot restart compatibility version", |_, _| {
        Reply::text("disabled")
    }),
    shows("/init_dump", "dump what is still warming", config_dump::init_dump),
    shows("/listeners", "print listener info", listeners::show),
    changes("/logging", "change the log level: level=<trace|debug|info|warning|error>", logging),
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
    shows("/runtime", "print runtime values", |_, _| process::runtime()),
    shows("/server_info", "print server version/status information", server_info::show),
    shows("/stats", "print server stats", statistics::show),
    shows("/stats/prometheus", "print server stats in prometheus format", statistics::prometheus),
];

/// Runs the command that `path` names.
pub(super) fn run(subject: &Subject, method: &Method, path: &str, query: &str) -> Reply {
    let Some(command) = COMMANDS.iter().find(|command| command.path == path) else {
        return Reply::status(StatusCode::NOT_FOUND, format!("invalid path. {}", help()));
    };
    // Envoy answers queries by POST as well.
    let allowed = method == Method::POST || !command.mutates && [Method::GET, Method::HEAD].contains(method);
    if !allowed {
        let required = if command.mutates { "POST" } else { "GET" };
        return Reply::status(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("Method {method} not allowed, {required} required.\n"),
        );
    }
    (command.run)(subject, &Query::parse(query))
}

fn ready(subject: &Subject, _: &Query) -> Reply {
    let text = format!("{}\n", subject.lifecycle.state().text());
    let status = if subject.lifecycle.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply::status(status, text)
}

fn logging(subject: &Subject, query: &Query) -> Reply {
    let Some(level) = query.get("level") else {
        return Reply::bad_request("usage: /logging?level=<trace|debug|info|warning|error|off>\n");
    };
    // Envoy knows three more words.
    let meant = match level {
        "warning" => "warn",
        "critical" => "error",
        level => level,
    };
    let set = match &subject.set_log_level {
        _ if !["trace", "debug", "info", "warn", "error", "off"].contains(&meant) => {
            Err("unknown log level".to_owned())
        }
        Some(set) => set(meant),
        None => Err("this process's log level is fixed".to_owned()),
    };
    match set {
        Ok(()) => Reply::text(format!("active loggers:\n  all: {level}\n")),
        Err(reason) => Reply::bad_request(format!("error: {reason}\n")),
    }
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

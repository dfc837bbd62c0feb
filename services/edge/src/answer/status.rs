//! Pages about the server itself: what mod_status shows, and metrics in Prometheus' format.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use super::directory::escape;
use crate::request::{Exchange, Flow, Response};
use crate::scoreboard::{self, LETTERS_MAX, Row, SHOWN_MAX, State};

/// Answers with a page, where the path is that of one.
pub(crate) async fn page(x: &mut Exchange<'_>) -> Flow {
    let conf = &x.conf.status;
    let is = |url: &Option<selvedge_site::directive::Text>| {
        url.as_deref().is_some_and(|url| !url.is_empty() && url == x.path())
    };
    if x.conf.edge.metrics {
        return ControlFlow::Break(metrics(x));
    }
    if x.conf.edge.status || is(&conf.status_url) {
        // Boxed: who asks for it is no one in a hurry.
        return ControlFlow::Break(Box::pin(status(x)).await);
    }
    if is(&conf.config_url) {
        return ControlFlow::Break(config(x));
    }
    if is(&conf.statistics_url) {
        return ControlFlow::Break(Response::with(200, "text/plain", statistics(x)));
    }
    ControlFlow::Continue(())
}

/// What Prometheus reads.
fn metrics(x: &Exchange<'_>) -> Response {
    let mut text = x.worker.shared.stats.prometheus();
    x.site.routes.prometheus(&mut text);
    if let Some(standing) = &x.worker.shared.standing {
        standing.prometheus(&mut text);
    }
    if let Some(acme) = x.worker.shared.acme.load_full() {
        acme.progress().prometheus(&mut text);
    }
    x.site.certificates.prometheus(&mut text);
    x.worker.shared.handshakes.prometheus(&mut text);
    let name = "selvedge_edge_clients";
    let clients = x.worker.shared.clients.count();
    let _ = write!(text, "# HELP {name} Clients with a connection.\n# TYPE {name} gauge\n{name} {clients}\n");
    Response::with(200, "text/plain; version=0.0.4", text)
}

async fn status(x: &Exchange<'_>) -> Response {
    let stats = x.worker.shared.stats.snapshot();
    let uptime = x.worker.shared.began.elapsed().as_secs();
    let query = x.target.query();
    let has = |word: &str| query.split('&').any(|part| part == word || part.starts_with(&format!("{word}=")));
    // As lighttpd counts: a server is a place for a connection.
    let free = x.worker.shared.connections_max.saturating_sub(stats.connections);
    if has("auto") {
        let text = format!(
            "Total Accesses: {}\nTotal kBytes: {}\nUptime: {uptime}\nBusyServers: {}\nIdleServers: {free}\nScoreboard: {}\n",
            stats.requests,
            stats.sent / 1024,
            stats.connections,
            letters(&scoreboard::look(x.worker, 0).await.states, free),
        );
        return Response::with(200, "text/plain", text);
    }
    let callback =
        query.split('&').find_map(|part| part.strip_prefix("jsonp=")).filter(|name| is_function(name));
    let average = x.worker.shared.recent.average();
    if has("json") || callback.is_some() {
        // Written as lighttpd writes it, a line each: scripts read them by lines.
        let json = format!(
            "{{\n\t\"RequestsTotal\": {},\n\t\"TrafficTotal\": {},\n\t\"Uptime\": {uptime},\n\t\"BusyServers\": {},\n\t\"IdleServers\": {free},\n\
             \t\"RequestAverage5s\":{},\n\t\"TrafficAverage5s\":{}\n}}",
            stats.requests,
            stats.sent / 1024,
            stats.connections,
            average.requests,
            average.sent / 1024,
        );
        return match callback {
            Some(name) => Response::with(200, "application/javascript", format!("{name}({json});")),
            None => Response::with(200, "application/json", json),
        };
    }
    if has("prometheus") {
        return metrics(x);
    }
    let mut out = String::from(
        "<!DOCTYPE html>\n<html>\n<head><title>Status</title></head>\n<body>\n<h1>Server-Status</h1>\n<table>\n",
    );
    for (name, value) in [
        ("Hostname", escape(x.head.authority().unwrap_or_default())),
        ("Uptime", format!("{uptime} s")),
        ("Requests", stats.requests.to_string()),
        ("Traffic", format!("{} kbyte", stats.sent / 1024)),
        ("Requests, average since the start", format!("{} req/s", stats.requests / uptime.max(1))),
        ("Traffic, average since the start", format!("{} kbyte/s", stats.sent / 1024 / uptime.max(1))),
        ("Requests, average of 5 s", format!("{} req/s", average.requests)),
        ("Traffic, average of 5 s", format!("{} kbyte/s", average.sent / 1024)),
        ("Connections", stats.connections.to_string()),
        ("Requests under way", stats.active.to_string()),
    ] {
        let _ = writeln!(out, "<tr><td>{name}</td><td>{value}</td></tr>");
    }
    out.push_str("</table>\n");
    connections(&mut out, &scoreboard::look(x.worker, SHOWN_MAX).await);
    out.push_str("</body>\n</html>\n");
    Response::with(200, "text/html; charset=utf-8", out)
}

/// A letter for each place; `_` is a free one.
fn letters(states: &[State], free: u64) -> String {
    let mut out: String = states.iter().map(|state| state.letter()).collect();
    let room = LETTERS_MAX.saturating_sub(out.len());
    out.extend(std::iter::repeat_n('_', usize::try_from(free).unwrap_or(room).min(room)));
    out
}

/// What each connection is doing, under lighttpd's headings and ours.
fn connections(out: &mut String, seen: &scoreboard::Seen) {
    let _ = write!(out, "<h2>Connections</h2>\n<pre>\n{}\n", letters(&seen.states, 0));
    for state in State::ALL {
        let count = seen.states.iter().filter(|seen| **seen == state).count();
        let _ = writeln!(out, "{count:6}  {} = {}", state.letter(), state.name());
    }
    out.push_str("</pre>\n");
    if seen.silent > 0 {
        let _ = writeln!(out, "<p>{} workers are too busy to say what they do.</p>", seen.silent);
    }
    if seen.left_out > 0 {
        let _ = writeln!(out, "<p>{} more are not shown.</p>", seen.left_out);
    }
    // Where nothing is counted by site and route there is nothing to be said of them.
    let by_route = seen.rows.iter().any(|row| !row.site.is_empty());
    out.push_str("<table class=\"status\">\n<tr>");
    const HEADINGS: [&str; 11] =
        ["Client IP", "Read", "Written", "State", "Time", "Host", "URI", "File", "Protocol", "Site", "Route"];
    for heading in &HEADINGS[..if by_route { 11 } else { 9 }] {
        let _ = write!(out, "<th>{heading}</th>");
    }
    out.push_str("</tr>\n");
    for row in &seen.rows {
        self::row(out, row, by_route);
    }
    out.push_str("</table>\n");
}

fn row(out: &mut String, row: &Row, by_route: bool) {
    // As many as have come of as many as will; where nobody has said that, as many as have come.
    let bytes = |(some, all): (u64, Option<u64>)| format!("{some}/{}", all.unwrap_or(some));
    let target = match row.original.is_empty() {
        true => String::new(),
        false => format!("{} ({})", escape(&row.target), escape(&row.original)),
    };
    let _ = write!(
        out,
        "<tr><td class=\"string\">{}</td><td class=\"int\">{}</td><td class=\"int\">{}</td><td class=\"string\">{}</td>\
         <td class=\"int\">{}</td><td class=\"string\">{}</td><td class=\"string\">{target}</td><td class=\"string\">{}</td>\
         <td class=\"string\">{}</td>",
        row.remote,
        bytes(row.received),
        bytes(row.sent),
        row.state.name(),
        row.seconds,
        escape(&row.host),
        escape(&row.file),
        row.protocol,
    );
    if by_route {
        let of = [&row.site, &row.route].map(|text| escape(text));
        let _ = write!(out, "<td class=\"string\">{}</td><td class=\"string\">{}</td>", of[0], of[1]);
    }
    out.push_str("</tr>\n");
}

/// Whether a text is the name of a function, and no more of a script.
fn is_function(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

fn config(x: &Exchange<'_>) -> Response {
    let global = &x.conf.global;
    let mut out = String::from(
        "<!DOCTYPE html>\n<html>\n<head><title>Status</title></head>\n<body>\n<h1>Server-Config</h1>\n<table>\n",
    );
    let _ = writeln!(
        out,
        "<tr><td>Server</td><td>{}</td></tr>",
        escape(x.conf.server.tag.as_deref().unwrap_or_default())
    );
    for module in global.modules.iter() {
        let _ = writeln!(out, "<tr><td>Module</td><td>{}</td></tr>", escape(module));
    }
    out.push_str("</table>\n</body>\n</html>\n");
    Response::with(200, "text/html", out)
}

fn statistics(x: &Exchange<'_>) -> String {
    let site = &x.site;
    let mut out = String::new();
    for host in &site.backends {
        let (active, served, failed) = site.hosts.counts(host);
        let label = super::programs::label(host);
        let _ = write!(
            out,
            "gw.backend.{label}.load: {active}\ngw.backend.{label}.connected: {served}\ngw.backend.{label}.died: {failed}\n"
        );
    }
    let _ = writeln!(out, "gw.processes: {}", site.programs.count());
    out
}

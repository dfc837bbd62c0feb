//! Which rules hold for a URL, and which value came from which line.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use crate::condition::Truth;
use crate::facts::{Headers, RequestFacts};
use crate::pattern::PatternExhausted;
use crate::program::{Origin, Program, Resolved};
use crate::template::Parts;
use crate::value::Value;

/// A request that somebody asks about.
#[derive(Clone, Debug)]
pub struct Question {
    /// `http` or `https`.
    pub scheme: String,
    /// The host, perhaps with a port.
    pub host: String,
    /// The path, decoded.
    pub path: String,
    /// What follows `?`.
    pub query: String,
    /// The method.
    pub method: String,
    /// Who asks.
    pub remote: IpAddr,
    /// Headers.
    pub headers: Vec<(String, String)>,
}

/// The headers of a question.
struct Asked<'q>(&'q [(String, String)]);

impl Headers for Asked<'_> {
    fn header(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        self.0.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.into())
    }
}

/// How often a path is rewritten before it is taken for endless, as lighttpd does.
const REWRITES_MAX: usize = 100;

/// What holds for a request.
#[derive(Clone, Debug, Default)]
pub struct Explained {
    /// In words.
    pub text: String,
    /// What holds in the end.
    pub resolved: Arc<Resolved>,
}

/// Tells what holds for a request, in words.
///
/// # Errors
/// [`PatternExhausted`], as for the request itself.
pub fn explain(program: &Program, question: &Question) -> Result<Explained, PatternExhausted> {
    let mut out = String::new();
    let mut last = Arc::clone(program.base());
    let asked = Asked(&question.headers);
    let host = question.host.to_ascii_lowercase();
    let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let port: u16 = port.unwrap_or(if question.scheme == "https" { 443 } else { 80 });
    let listener = program.listeners.iter().find(|listener| listener.token.ends_with(&format!(":{port}")));
    match listener {
        Some(listener) => {
            let tls = if listener.ssl.engine { " with TLS" } else { "" };
            let _ = writeln!(out, "listener {}{tls}", listener.token);
        }
        None => {
            let _ = writeln!(out, "no listener has port {port}: conditions on sockets do not hold");
        }
    }
    let (mut path, mut query) = (question.path.clone(), question.query.clone());
    let mut finished = false;
    for _ in 0..REWRITES_MAX {
        let facts = RequestFacts {
            socket: listener.map(|listener| &*listener.token),
            remote: Some(question.remote),
            scheme: Some(&question.scheme),
            host: Some(&host),
            method: Some(&question.method),
            path: Some(&path),
            query: Some(&query),
            headers: Some(&asked),
        };
        let resolved = program.resolve(&facts)?;
        tell(program, &facts, &resolved, &mut out)?;
        last = Arc::clone(&resolved);
        if finished {
            break;
        }
        let rules = &resolved.directives.url.rewrite;
        let url = if query.is_empty() { path.clone() } else { format!("{path}?{query}") };
        let Some((number, rule, groups)) = rules.find(&url)? else { break };
        let condition = rules.condition.and_then(|id| program.condition(id));
        let found = condition.map(|condition| condition.groups(&facts)).transpose()?.flatten();
        let parts = Parts {
            rule: Some((&url, &groups)),
            condition: found.as_ref().map(|(text, groups)| (&**text, groups)),
            scheme: &question.scheme,
            authority: &host,
            port,
            path: &url,
            query: Some(&query).filter(|query| !query.is_empty()).map(String::as_str),
        };
        let Ok(target) = rule.template.expand(&parts) else { break };
        if rule.template.is_blank() {
            break;
        }
        let _ = writeln!(out, "\n\"{}\" makes it {target}", rule.pattern.as_str());
        finished = !rules.repeats(number);
        let (new_path, new_query) = target.split_once('?').unwrap_or((&target, ""));
        (path, query) = (new_path.to_owned(), new_query.to_owned());
        if !program.judges_again() {
            break;
        }
    }
    Ok(Explained { text: out, resolved: last })
}

fn tell(
    program: &Program,
    facts: &RequestFacts<'_>,
    resolved: &Resolved,
    out: &mut String,
) -> Result<(), PatternExhausted> {
    let truths = program.judge(facts)?;
    let holding: Vec<_> =
        program.conditions.iter().zip(&truths).filter(|(_, truth)| **truth == Truth::True).collect();
    if !holding.is_empty() {
        out.push_str("\nblocks that hold:\n");
    }
    for (condition, _) in holding {
        let _ = writeln!(out, "  {}  ({})", condition.text, program.sources.shown_line(condition.place));
    }
    let origins = program.origins(facts)?;
    out.push_str("\nvalues:\n");
    for origin in origins.iter().filter(|origin| !origin.overridden) {
        let _ = writeln!(
            out,
            "  {} = {}  ({})",
            origin.key,
            short(&origin.value),
            program.sources.shown_line(origin.place)
        );
        for before in origins.iter().filter(|before| before.overridden && before.key == origin.key) {
            let _ = writeln!(
                out,
                "      in place of {}  ({})",
                short(&before.value),
                program.sources.shown_line(before.place)
            );
        }
    }
    let _ = writeln!(out, "\nanswer: {}", answer(resolved, &origins));
    Ok(())
}

/// What answers, in words.
fn answer(resolved: &Resolved, origins: &[Origin]) -> String {
    let directives = &resolved.directives;
    let from = |key: &str| origins.iter().any(|origin| origin.key.starts_with(key) && !origin.overridden);
    if directives.edge.redirect_https {
        return "a redirect to HTTPS".into();
    }
    if let Some(fixed) = &directives.edge.respond {
        return format!("status {}", fixed.status);
    }
    if directives.edge.metrics {
        return "the server's counters".into();
    }
    if !directives.url.redirect.is_empty() {
        return "a redirect, where a rule of url.redirect fits; else the following".into();
    }
    if let Some(workflow) = &directives.mesh.workflow {
        return format!("the workflow {}", workflow.machine);
    }
    if let Some(service) = &directives.mesh.service {
        return format!("the virtual service {service}");
    }
    for (key, what) in
        [("proxy.", "an HTTP server"), ("fastcgi.", "a FastCGI server"), ("scgi.", "an SCGI server")]
    {
        if from(&format!("{key}server")) || (key == "proxy." && from("proxy")) {
            return format!("{what}, where its key fits; else files");
        }
    }
    match &directives.server.document_root {
        Some(root) => format!("files below {root}"),
        None => "nothing".into(),
    }
}

/// A value on one line.
fn short(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("\"{text}\""),
        Value::Integer(number) => number.to_string(),
        Value::List(list) => {
            let entries = list.iter().map(|(key, value)| match key {
                Some(key) => format!("\"{key}\" => {}", short(value)),
                None => short(value),
            });
            format!("( {} )", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

//! Which rules hold for a URL, and which value came from which line.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use crate::condition::{Network, Truth};
use crate::directive::{Directives, Rules};
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
        let rewrites = &resolved.directives.url.rewrite;
        let rewritten = if finished { None } else { expanded(program, rewrites, &facts, port)? };
        let redirected = match rewritten {
            Some(_) => None,
            None => expanded(program, &resolved.directives.url.redirect, &facts, port)?,
        };
        let answer = match &rewritten {
            Some(_) if program.judges_again() => "that of what it is rewritten to".to_owned(),
            _ => answer(program, &facts, &resolved, redirected.as_ref())?,
        };
        tell_route(program, &resolved, &mut out);
        tell(program, &facts, &answer, &mut out)?;
        last = Arc::clone(&resolved);
        let Some(Expanded { number, pattern, target }) = rewritten else { break };
        let _ = writeln!(out, "\n\"{pattern}\" makes it {target}");
        finished = !rewrites.repeats(number);
        let (new_path, new_query) = target.split_once('?').unwrap_or((&target, ""));
        (path, query) = (new_path.to_owned(), new_query.to_owned());
        if !program.judges_again() {
            break;
        }
    }
    Ok(Explained { text: out, resolved: last })
}

/// What a rule makes of a URL.
struct Expanded {
    number: usize,
    pattern: String,
    target: String,
}

/// The first rule that fits, and what it makes of the URL.
fn expanded(
    program: &Program,
    rules: &Rules,
    facts: &RequestFacts<'_>,
    port: u16,
) -> Result<Option<Expanded>, PatternExhausted> {
    let (path, query) = (facts.path.unwrap_or_default(), facts.query.unwrap_or_default());
    let url = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let Some((number, rule, groups)) = rules.find(&url)? else { return Ok(None) };
    if rule.template.is_blank() {
        return Ok(None);
    }
    let condition = rules.condition.and_then(|id| program.condition(id));
    let found = condition.map(|condition| condition.groups(facts)).transpose()?.flatten();
    let parts = Parts {
        rule: Some((&url, &groups)),
        condition: found.as_ref().map(|(text, groups)| (&**text, groups)),
        scheme: facts.scheme.unwrap_or_default(),
        authority: facts.host.unwrap_or_default(),
        port,
        path,
        query: Some(query).filter(|query| !query.is_empty()),
    };
    let target = rule.template.expand(&parts).ok();
    Ok(target.map(|target| Expanded { number, pattern: rule.pattern.as_str().to_owned(), target }))
}

fn redirect(resolved: &Resolved, to: &Expanded) -> String {
    let code = match resolved.directives.url.redirect_code {
        0 => 301,
        code => code,
    };
    format!("a redirect ({code}) to {}, by \"{}\"", to.target, to.pattern)
}

/// Which route of our own form it is.
fn tell_route(program: &Program, resolved: &Resolved, out: &mut String) {
    if program.judges_again() {
        // Its blocks have been told.
        return;
    }
    let index = usize::try_from(resolved.route).ok().and_then(|id| id.checked_sub(1));
    match index.and_then(|index| program.route_names().nth(index)) {
        Some((site, name)) => {
            let _ = writeln!(out, "\nroute {name} of site {site}");
        }
        None => {
            let tried = program.route_names().count();
            if tried > 0 {
                let _ = writeln!(out, "\nno route fits, of {tried}");
            }
        }
    }
}

fn tell(
    program: &Program,
    facts: &RequestFacts<'_>,
    answer: &str,
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
    let _ = writeln!(out, "\nanswer: {answer}");
    Ok(())
}

/// What answers, in words.
fn answer(
    program: &Program,
    facts: &RequestFacts<'_>,
    resolved: &Resolved,
    redirected: Option<&Expanded>,
) -> Result<String, PatternExhausted> {
    let origins = program.origins(facts)?;
    Ok(answer_by(resolved, &origins, facts, redirected))
}

fn answer_by(
    resolved: &Resolved,
    origins: &[Origin],
    facts: &RequestFacts<'_>,
    redirected: Option<&Expanded>,
) -> String {
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
    if let Some(redirected) = redirected {
        return redirect(resolved, redirected);
    }
    if let Some(why) = refused(directives, facts) {
        return format!("403: {why}");
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

/// Why nobody gets an answer, if nobody does.
fn refused(directives: &Directives, facts: &RequestFacts<'_>) -> Option<String> {
    let path = facts.path.unwrap_or_default();
    let ends = |list: &[crate::directive::Text]| list.iter().find(|end| path.ends_with(&***end)).cloned();
    if let Some(remote) = facts.remote {
        let is_in = |list: &[Network]| list.iter().any(|network| network.contains(remote));
        if is_in(&directives.edge.deny) || !directives.edge.allow.is_empty() && !is_in(&directives.edge.allow)
        {
            return Some(format!("{remote} may not ask"));
        }
    }
    if !directives.access.allow.is_empty() {
        let is_allowed = ends(&directives.access.allow).is_some();
        return (!is_allowed).then(|| "the path ends with nothing of url.access-allow".to_owned());
    }
    ends(&directives.access.deny).map(|end| format!("the path ends with \"{end}\" of url.access-deny"))
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

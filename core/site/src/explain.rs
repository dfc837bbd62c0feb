//! Which rules hold for a URL, and which value came from which line.

mod answer;
mod shown;

use std::net::IpAddr;
use std::sync::Arc;

use crate::condition::Truth;
use crate::directive::Rules;
use crate::facts::{Headers, RequestFacts};
use crate::pattern::PatternExhausted;
use crate::place::{Place, Sources};
use crate::program::{Program, Resolved, RuleSet};
use crate::route::Misfit;
use crate::template::Parts;
use crate::value::Value;
use answer::answer;

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

/// What holds for a request, and why.
#[derive(Clone, Debug, Default)]
pub struct Explained {
    /// The port that was asked.
    pub port: u16,
    /// The listener of that port: its token, and whether it speaks TLS.
    pub listener: Option<(String, bool)>,
    /// The request, and what rewrites made of it, in order.
    pub turns: Vec<Turn>,
    /// What holds in the end.
    pub resolved: Arc<Resolved>,
    sources: Sources,
}

/// One look at a target.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The path and the query.
    pub target: String,
    /// The conditions of a `lighttpd.conf`, all of them, in order.
    pub conditions: Vec<Judged>,
    /// The routes of an `edge.toml`, up to the one that fits.
    pub routes: Vec<Tried>,
    /// How many routes stand behind the one that fits: nobody asks them.
    pub unasked: usize,
    /// Everything that is set, in order.
    pub values: Vec<Told>,
    /// What answers, in words.
    pub answer: String,
    /// The expression of a rewrite that fits, and what it makes of the target.
    pub rewritten: Option<(String, String)>,
}

/// A condition and what is known of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// As `lighttpd -p` prints it.
    pub text: String,
    /// Where it was written first.
    pub place: Place,
    /// What is known of it.
    pub truth: Truth,
}

/// A route that was asked whether it is for the request.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The first host of its site.
    pub site: String,
    /// Its name, or its number.
    pub name: String,
    /// Where it begins.
    pub place: Place,
    /// What keeps it from being for the request; nothing when it is.
    pub misfits: Vec<Misfit>,
}

/// A value, and where it came from.
#[derive(Clone, Debug)]
pub struct Told {
    /// The directive, or the key.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Where it was set.
    pub place: Place,
    /// Values that it stands in place of, and where they were set.
    pub instead_of: Vec<(Value, Place)>,
}

/// Tells what holds for a request, and why.
///
/// # Errors
/// [`PatternExhausted`], as for the request itself.
pub fn explain(program: &Program, question: &Question) -> Result<Explained, PatternExhausted> {
    let asked = Asked(&question.headers);
    let host = question.host.to_ascii_lowercase();
    let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let port: u16 = port.unwrap_or(if question.scheme == "https" { 443 } else { 80 });
    let listener = program.listeners.iter().find(|listener| listener.token.ends_with(&format!(":{port}")));
    let mut explained = Explained {
        port,
        listener: listener.map(|listener| (listener.token.to_string(), listener.ssl.engine)),
        turns: Vec::new(),
        resolved: Arc::clone(program.base()),
        sources: program.sources.clone(),
    };
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
        let mut turn = turn(program, &facts, answer)?;
        explained.resolved = resolved;
        let again = rewritten.map(|Expanded { number, pattern, target }| {
            finished = !explained.resolved.directives.url.rewrite.repeats(number);
            let (new_path, new_query) = target.split_once('?').unwrap_or((&target, ""));
            let next = (new_path.to_owned(), new_query.to_owned());
            turn.rewritten = Some((pattern, target));
            next
        });
        explained.turns.push(turn);
        match again {
            Some((new_path, new_query)) if program.judges_again() => (path, query) = (new_path, new_query),
            _ => break,
        }
    }
    Ok(explained)
}

/// Everything about one target.
fn turn(program: &Program, facts: &RequestFacts<'_>, answer: String) -> Result<Turn, PatternExhausted> {
    let (path, query) = (facts.path.unwrap_or_default(), facts.query.unwrap_or_default());
    let mut turn = Turn {
        target: if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") },
        conditions: Vec::new(),
        routes: Vec::new(),
        unasked: 0,
        values: values(program, facts)?,
        answer,
        rewritten: None,
    };
    match program.rule_set() {
        RuleSet::Patches(_) => {
            let truths = program.judge(facts)?;
            let judged = program.conditions.iter().zip(&truths);
            turn.conditions = judged
                .map(|(one, truth)| Judged { text: one.text.to_string(), place: one.place, truth: *truth })
                .collect();
        }
        RuleSet::Routes(table) => {
            for route in &table.routes {
                let misfits = route.misfits(facts)?;
                let (site, name) = (route.site.to_string(), route.name.to_string());
                turn.routes.push(Tried { site, name, place: route.place, misfits });
                if turn.routes.last().is_some_and(|tried| tried.misfits.is_empty()) {
                    break;
                }
            }
            turn.unasked = table.routes.len() - turn.routes.len();
        }
    }
    Ok(turn)
}

/// What is set, each with what it stands in place of.
fn values(program: &Program, facts: &RequestFacts<'_>) -> Result<Vec<Told>, PatternExhausted> {
    let origins = program.origins(facts)?;
    let before = |key: &str| {
        let overridden = origins.iter().filter(|before| before.overridden && *before.key == *key);
        overridden.map(|before| (before.value.clone(), before.place)).collect()
    };
    let holding = origins.iter().filter(|origin| !origin.overridden);
    let told = holding.map(|origin| Told {
        key: origin.key.to_string(),
        value: origin.value.clone(),
        place: origin.place,
        instead_of: before(&origin.key),
    });
    Ok(told.collect())
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

//! A story: what somebody does, and what the world answers, in one file that reads from top to bottom.
//!
//! A line that begins with `> ` is done; the lines below it, up to the next one, are what must happen. Lines that
//! begin with `#` and empty ones are for the reader. What can be done:
//!
//! ```text
//! > first mesh                          the calls a tutorial begins with
//! > create node api-3 calls api.local   also: update; calls nobody if left out
//! > update node api-1 without discovery
//! > update route api/first / api-1=1 api-2=3
//! > create router api
//! > update service api.local by router api      also: by node api-1, by nobody
//! > delete route api/first              also: node, router, service
//! > next write is done but times out    also: is not done and times out
//! > wait 5                              seconds
//! > settle                              until every proxy has what the store holds
//! > show proxy-0                        its listeners, routes and clusters
//! ```
//! and every [`Act`].

use crate::act::{Act, Cast};
use crate::intent::{self, Intent, Subject, Verb};
use crate::network::Host;
use crate::world::{Failure, World};
use selvedge_store::RETAINED_REVISIONS;
use selvedge_store::memory::Fault;
use serde_json::json;
use std::time::Duration;

/// One seed does for every story: its chance decides only about delays.
const SEED: u64 = 1;
const CAST: Cast = Cast { controls: 2, proxies: 5, clients: 1 };

/// Why a story cannot be told to its end.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Broken {
    /// A line cannot be read.
    #[error("line {line}: what does {text:?} mean?")]
    Unreadable {
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// The world did what it must not.
    #[error("line {line}: {failure}")]
    Failed {
        /// Counted from 1.
        line: usize,
        /// What went wrong.
        failure: Failure,
    },
}

enum Step {
    Act(Act),
    Strike(Fault),
    Call(Vec<Intent>),
    Wait(Duration),
    Settle,
    Show(u8),
}

/// Tells a story: returns `script` with all that the world answers today.
///
/// # Errors
/// [`Broken`] at the first line that cannot be done.
pub fn tell(script: &str) -> Result<String, Broken> {
    let mut world = World::new(SEED, CAST, RETAINED_REVISIONS);
    let mut told = String::new();
    for (line, text) in (1..).zip(script.lines()) {
        let Some(command) = text.strip_prefix("> ") else {
            if text.is_empty() || text.starts_with('#') {
                told.push_str(text);
                told.push('\n');
            }
            continue;
        };
        let step = parse(command).ok_or_else(|| Broken::Unreadable { line, text: text.to_owned() })?;
        let shown = take(&mut world, step).map_err(|failure| Broken::Failed { line, failure })?;
        told.push_str(text);
        told.push('\n');
        for answer in world.trace().drain().iter().chain(&shown) {
            told.push_str("    ");
            told.push_str(answer.trim_end());
            told.push('\n');
        }
    }
    Ok(told)
}

/// Takes a step, and returns what it shows beyond the trace.
fn take(world: &mut World, step: Step) -> Result<Vec<String>, Failure> {
    match step {
        Step::Act(act) => world.act(act),
        Step::Strike(fault) => world.strike(fault),
        Step::Call(intents) => {
            world.tell(0, intents, 0);
            world.run_until_content()?;
        }
        Step::Wait(time) => world.run_for(time)?,
        Step::Settle => world.converge()?,
        Step::Show(proxy) => return Ok(world.show(proxy)),
    }
    Ok(Vec::new())
}

fn parse(command: &str) -> Option<Step> {
    if let Ok(act) = command.parse::<Act>() {
        return act.hosts().iter().all(|host| CAST.has(*host)).then_some(Step::Act(act));
    }
    let words: Vec<_> = command.split_whitespace().collect();
    Some(match words[..] {
        ["first", "mesh"] => Step::Call(Intent::first_mesh()),
        ["next", "write", "is", "done", "but", "times", "out"] => Step::Strike(Fault::TimeoutDone),
        ["next", "write", "is", "not", "done", "and", "times", "out"] => Step::Strike(Fault::TimeoutUndone),
        ["wait", seconds] => Step::Wait(Duration::from_secs(seconds.parse().ok()?)),
        ["settle"] => Step::Settle,
        ["show", host] => match host.parse() {
            Ok(Host::Proxy(index)) if index < CAST.proxies => Step::Show(index),
            _ => return None,
        },
        [verb, ref rest @ ..] => Step::Call(vec![call(verb, rest)?]),
        [] => return None,
    })
}

fn call(verb: &str, words: &[&str]) -> Option<Intent> {
    let verb = match verb {
        "create" => Verb::Create,
        "update" => Verb::Update,
        "delete" => Verb::Delete,
        _ => return None,
    };
    let (subject, spec) = match *words {
        ["node", name] => (Subject::node(name), intent::node_spec(name, &[])),
        ["node", name, "calls", ref services @ ..] => {
            (Subject::node(name), intent::node_spec(name, services))
        }
        ["node", name, "without", "discovery"] => {
            let mut spec = intent::node_spec(name, &[]);
            drop(spec.as_object_mut().and_then(|members| members.remove("serviceDiscovery")));
            (Subject::node(name), spec)
        }
        ["router", name] => (Subject::router(name), intent::router_spec()),
        ["route", path] => (route(path)?, json!({})),
        ["route", path, prefix, ref targets @ ..] => {
            let targets: Option<Vec<_>> = targets.iter().map(|target| weighted(target)).collect();
            (route(path)?, intent::route_spec(prefix, &targets?))
        }
        ["service", name] | ["service", name, "by", "nobody"] => (Subject::service(name), json!({})),
        ["service", name, "by", "router", router] => (Subject::service(name), intent::provider(router)),
        ["service", name, "by", "node", node] => {
            (Subject::service(name), json!({"provider": {"virtualNode": {"virtualNodeName": node}}}))
        }
        _ => return None,
    };
    Some(Intent::new(verb, subject, spec))
}

fn route(path: &str) -> Option<Subject> {
    path.split_once('/').map(|(router, name)| Subject::route(router, name))
}

fn weighted(target: &str) -> Option<(&str, usize)> {
    let (node, weight) = target.split_once('=')?;
    Some((node, weight.parse().ok()?))
}

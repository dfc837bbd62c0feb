//! Redrives, one and many, and the dead-letter log.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Answered, Reply, Request, document, json_reply, number, parameter, refuse, store_failed};
use crate::Engine;
use crate::arn::Arn;
use crate::dead::{self, Kind, LETTERS_PAGE_MAX, ReplayError, Wanted};
use crate::operations::execution;
use crate::operations::failure::Failed;
use crate::redrive::{self, Asked, RedriveError, RunError, RunStatus};

pub(super) fn answer(engine: &Arc<Engine>, request: &Request<'_>, segments: &[&str]) -> Answered {
    match (request.method, segments) {
        ("POST", ["executions", arn, "redrive"]) => redrive_one(engine, request, arn),
        ("GET", ["executions", arn, "revisions"]) => revisions(engine, arn),
        ("GET", ["dead-letters"]) => letters(engine, request),
        ("GET", ["dead-letters", id]) => {
            let found = dead::find(&*engine.store.snapshot()?, id)?;
            let unknown = || Reply::from(ReplayError::Unknown((*id).to_owned()));
            Ok(json_reply(200, &found.ok_or_else(unknown)?.show()))
        }
        ("POST", ["dead-letters", id, "replay"]) => replay(engine, request, id),
        ("DELETE", ["dead-letters", id]) => Ok(json_reply(200, &engine.discard(id, request.actor)?.show())),
        ("POST", ["redrives"]) => begin(engine, request),
        ("GET", ["redrives"]) => {
            let found = redrive::list_runs(&*engine.store.snapshot()?)?;
            let found: Vec<Value> = found.iter().map(redrive::Run::show).collect();
            Ok(json_reply(200, &json!({ "redrives": found })))
        }
        ("GET", ["redrives", id]) => {
            Ok(json_reply(200, &redrive::find_run(&*engine.store.snapshot()?, id)?.show()))
        }
        ("POST", ["redrives", id, turn @ ("pause" | "resume" | "cancel")]) => {
            let status = match *turn {
                "pause" => RunStatus::Paused,
                "resume" => RunStatus::Running,
                _ => RunStatus::Canceled,
            };
            Ok(json_reply(200, &engine.turn_run(id, status, request.actor)?.show()))
        }
        _ => Err(refuse(404, "NotFoundException", "there is nothing here; or not by this method")),
    }
}

impl From<RedriveError> for Reply {
    fn from(error: RedriveError) -> Self {
        let (status, code) = match &error {
            RedriveError::Unknown(_) => (404, "NotFoundException"),
            RedriveError::NoState(_)
            | RedriveError::NoInput(_)
            | RedriveError::TooLarge { .. }
            | RedriveError::TooDeep => (400, "BadRequestException"),
            RedriveError::Standing(_) | RedriveError::Child | RedriveError::Nothing | RedriveError::Raced => {
                (409, "ConflictException")
            }
            RedriveError::TooManyEdits => (400, "LimitExceededException"),
            RedriveError::Store(error) => return store_failed(error),
        };
        refuse(status, code, &error.to_string())
    }
}

impl From<RunError> for Reply {
    fn from(error: RunError) -> Self {
        let (status, code) = match &error {
            RunError::Unknown(_) => (404, "NotFoundException"),
            RunError::Rate | RunError::InputWithoutState => (400, "BadRequestException"),
            RunError::TooMany => (400, "LimitExceededException"),
            RunError::Over(_) => (409, "ConflictException"),
            RunError::Store(error) => return store_failed(error),
        };
        refuse(status, code, &error.to_string())
    }
}

impl From<ReplayError> for Reply {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Redrive(error) => error.into(),
            ReplayError::Unknown(_) => refuse(404, "NotFoundException", &error.to_string()),
            ReplayError::Refused(_) => refuse(409, "ConflictException", &error.to_string()),
            ReplayError::Store(error) => store_failed(&error),
        }
    }
}

impl From<Failed> for Reply {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Api(error) => refuse(404, "NotFoundException", &error.message),
            Failed::Store(error) => store_failed(&error),
        }
    }
}

fn wrong(path: &str, problem: &str) -> Reply {
    refuse(400, "BadRequestException", &format!("{path}: {problem}"))
}

/// A body that may be left out; what is not in `known` is a typing error.
fn members(request: &Request<'_>, known: &[&str]) -> Result<Value, Reply> {
    let body = if request.body.is_empty() { json!({}) } else { document(request.body)? };
    let members = body.as_object().ok_or_else(|| wrong("the body", "an object is expected"))?;
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => {
            Err(wrong(unknown, &format!("there is no such member; there is {}", known.join(", "))))
        }
        None => Ok(body),
    }
}

fn text(body: &Value, member: &str) -> Result<Option<String>, Reply> {
    match &body[member] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(wrong(member, "a text is expected")),
    }
}

/// Milliseconds since 1970, or RFC 3339.
fn time(text: Option<&str>, path: &str) -> Result<Option<i64>, Reply> {
    let Some(text) = text else { return Ok(None) };
    let parsed = text.parse::<i64>().ok().or_else(|| {
        let nanos = selvedge_asl::parse_timestamp(text)?;
        i64::try_from(nanos / 1_000_000).ok()
    });
    parsed.map(Some).ok_or_else(|| {
        wrong(path, "a time is expected: milliseconds since 1970, or such as 2026-01-31T12:00:00Z")
    })
}

fn redrive_one(engine: &Arc<Engine>, request: &Request<'_>, arn: &str) -> Answered {
    let body = members(request, &["from", "input"])?;
    let arn = Arn::parse(arn).map_err(Failed::from)?;
    let key = execution::execution_of(&arn)?;
    // Its ARN has a region, which its key has not.
    execution::find(&*engine.store.snapshot()?, &arn)?;
    let from = text(&body, "from")?.ok_or_else(|| wrong("from", "the name of a state is expected"))?;
    engine.redrive_from(&key, &from, body.get("input"), request.actor)?;
    revisions(engine, &arn.to_string())
}

fn revisions(engine: &Engine, arn: &str) -> Answered {
    let arn = Arn::parse(arn).map_err(Failed::from)?;
    let record = execution::find(&*engine.store.snapshot()?, &arn)?;
    let shown = record.edits.iter().enumerate().map(|(index, edit)| {
        json!({
            "revision": index + 1, "redriveCount": edit.redrive_count, "atMs": edit.at_ms, "by": edit.by,
            "state": edit.state, "input": edit.input,
        })
    });
    Ok(json_reply(200, &json!({ "execution": record.arn, "revisions": shown.collect::<Vec<_>>() })))
}

fn letters(engine: &Engine, request: &Request<'_>) -> Answered {
    let given = |name: &str| parameter(request.query, name).filter(|text| !text.is_empty());
    let kind = match given("kind") {
        None => None,
        Some(text) => Some(
            Kind::of(&text)
                .ok_or_else(|| wrong("kind", "it has to be execution, express, schedule or result"))?,
        ),
    };
    let wanted = Wanted {
        kind,
        machine: given("machine"),
        error: given("error"),
        state: given("state"),
        after_ms: time(given("after").as_deref(), "after")?,
        before_ms: time(given("before").as_deref(), "before")?,
    };
    let limit = number(request.query, "limit", LETTERS_PAGE_MAX as u64, LETTERS_PAGE_MAX as u64)?.max(1);
    let limit = usize::try_from(limit).unwrap_or(LETTERS_PAGE_MAX);
    let view = engine.store.snapshot()?;
    let (found, next) = dead::list(&*view, &wanted, &given("cursor").unwrap_or_default(), limit)?;
    let found: Vec<Value> = found.iter().map(dead::Letter::show).collect();
    Ok(json_reply(200, &json!({ "deadLetters": found, "next": next })))
}

fn replay(engine: &Arc<Engine>, request: &Request<'_>, id: &str) -> Answered {
    let body = members(request, &["from", "input"])?;
    let from = text(&body, "from")?;
    if from.is_none() && body.get("input").is_some() {
        return Err(RunError::InputWithoutState.into());
    }
    Ok(json_reply(200, &engine.replay(id, from.as_deref(), body.get("input"), request.actor)?.show()))
}

fn begin(engine: &Arc<Engine>, request: &Request<'_>) -> Answered {
    const KNOWN: &[&str] = &["machine", "error", "state", "after", "before", "from", "input", "rate"];
    let body = members(request, KNOWN)?;
    let at = |member: &str| {
        let given = match &body[member] {
            Value::Number(number) => Some(number.to_string()),
            _ => text(&body, member)?,
        };
        time(given.as_deref(), member)
    };
    let rate = match &body["rate"] {
        Value::Null => None,
        value => Some(value.as_u64().ok_or(RunError::Rate)?),
    };
    let asked = Asked {
        wanted: Wanted {
            kind: None,
            machine: text(&body, "machine")?,
            error: text(&body, "error")?,
            state: text(&body, "state")?,
            after_ms: at("after")?,
            before_ms: at("before")?,
        },
        from: text(&body, "from")?,
        input: body.get("input").cloned(),
        rate,
        actor: request.actor.to_owned(),
    };
    Ok(json_reply(201, &engine.begin_run(&asked)?.show()))
}

//! Schedules, as far as EventBridge Scheduler's words do not tell of them.

use serde_json::{Value, json};

use super::{Answered, Request, document, json_reply, parameter, refuse};
use crate::Engine;
use crate::record;
use crate::schedule::{self, CatchUp, Schedule};

/// Schedules of a page.
const PAGE: usize = 100;

pub(super) fn answer(engine: &Engine, request: &Request<'_>, segments: &[&str]) -> Answered {
    let unknown = || refuse(404, "NotFoundException", "there is no such schedule");
    match (request.method, segments) {
        ("GET", ["schedules"]) => list(engine, request),
        ("GET", ["schedules", group, name]) => {
            let found = schedule::found(&*engine.store.snapshot()?, group, name)?;
            Ok(json_reply(200, &found.ok_or_else(unknown)?.show()))
        }
        ("PUT", ["schedules", group, name, "catch-up"]) => {
            let body = document(request.body)?;
            let catch_up = body["catchUp"].as_str().and_then(CatchUp::of).ok_or_else(|| {
                refuse(400, "BadRequestException", "catchUp: it has to be ALL, LATEST or NONE")
            })?;
            let found = engine.set_catch_up(group, name, catch_up, request.actor)?;
            Ok(json_reply(200, &found.ok_or_else(unknown)?.show()))
        }
        _ => Err(refuse(404, "NotFoundException", "there is nothing here; or not by this method")),
    }
}

fn list(engine: &Engine, request: &Request<'_>) -> Answered {
    let prefix = match parameter(request.query, "group").filter(|group| !group.is_empty()) {
        Some(group) => format!("schedule/{group}/"),
        None => "schedule/".to_owned(),
    };
    let after = parameter(request.query, "after").filter(|after| after.starts_with(&prefix));
    let page = engine.store.snapshot()?.scan(&prefix, after.as_deref(), PAGE)?;
    let next = page.last().filter(|_| page.len() == PAGE).map(|last| last.key.clone());
    let shown = page.iter().map(|found| record::decode::<Schedule>(found).map(|found| found.show()));
    let shown: Vec<Value> = shown.collect::<Result<_, _>>()?;
    Ok(json_reply(200, &json!({ "schedules": shown, "next": next })))
}

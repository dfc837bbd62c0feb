//! Histories.

use selvedge_asl::Event;
use selvedge_aws::operations::stepfunctions::INVALID_TOKEN;
use selvedge_aws::page;
use selvedge_model::Value;
use serde_json::Map;
use serde_json::json;

use super::{Failed, Scope, execution, seconds};
use crate::record::{self, key};

const PAGE_DEFAULT: u64 = 100;
const PAGE_MAX: u64 = 1000;

pub(super) fn get(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("executionArn")?;
    let view = scope.engine.store.snapshot()?;
    let record = execution::find(&*view, &arn)?;
    let is_reverse = scope.flag("reverseOrder").unwrap_or(false);
    let with_data = scope.flag("includeExecutionData").unwrap_or(true);
    let limit = match scope.number("maxResults") {
        None | Some(0) => PAGE_DEFAULT,
        Some(limit) => limit.min(PAGE_MAX),
    };
    let list = format!("{}#{is_reverse}", record.arn);
    let operation = scope.call.operation.name;
    // The id of the event that the page before ended with.
    let after: Option<u64> = match scope.call.text("nextToken") {
        None => None,
        Some(token) => {
            let position =
                page::decode(operation, &list, token).ok().and_then(|position| position.parse().ok());
            Some(position.ok_or_else(|| INVALID_TOKEN.because("Invalid Token"))?)
        }
    };
    let last = record.last_event;
    let (from, to) = if is_reverse {
        let to = after.map_or(last, |after| after.saturating_sub(1));
        (to.saturating_sub(limit.saturating_sub(1)).max(1), to)
    } else {
        let from = after.map_or(1, |after| after + 1);
        (from, last.min(from + limit - 1))
    };
    let mut events = Vec::new();
    if from <= to {
        let prefix = key::histories(&record.machine, &record.name);
        let mut chunks = view.scan_all(&prefix)?;
        // The first chunk that may hold `from` is the last that begins at or before it.
        let first = chunks.partition_point(|chunk| first_of(&chunk.key, &prefix) <= from).saturating_sub(1);
        for chunk in chunks.drain(..).skip(first) {
            if first_of(&chunk.key, &prefix) > to {
                break;
            }
            let found: Vec<Event> = record::decode(&chunk)?;
            events.extend(found.into_iter().filter(|event| (from..=to).contains(&event.id)));
        }
    }
    let is_more = if is_reverse { from > 1 } else { to < last };
    let edge = if is_reverse { from } else { to };
    if is_reverse {
        events.reverse();
    }
    let mut output =
        json!({ "events": events.iter().map(|event| show(event, with_data)).collect::<Vec<_>>() });
    if is_more && !events.is_empty() {
        output["nextToken"] = page::encode(operation, &list, &edge.to_string()).into();
    }
    Ok(output)
}

fn first_of(key: &str, prefix: &str) -> u64 {
    key.strip_prefix(prefix).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// An event as the API has it.
pub(super) fn show(event: &Event, with_data: bool) -> Value {
    let mut output = Map::new();
    output.insert("timestamp".into(), seconds(event.at_ms));
    output.insert("type".into(), event.detail.type_name().into());
    output.insert("id".into(), event.id.into());
    output.insert("previousEventId".into(), event.previous.into());
    if let Some((member, details)) = event.detail.details(with_data) {
        output.insert(member, details);
    }
    Value::Object(output)
}

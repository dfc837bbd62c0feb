//! Histories.

use std::collections::VecDeque;

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
/// Bytes of the events of an answer, unless one alone has more; the rest is on the next page.
pub(super) const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Documents of a history that are in memory at a time.
const CHUNKS_AT_A_TIME: usize = 8;

pub(super) fn get(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("executionArn")?;
    let record = execution::find(&*scope.engine.store.snapshot()?, &arn)?;
    // The record of one that runs is written at its start and at its end: only the execution knows its last event. Asked first, so
    // that what is read afterwards holds that event.
    let running = scope.engine.last_event(&record.machine, &record.name)?;
    let view = scope.engine.store.snapshot()?;
    let record = if running.is_some() { record } else { execution::find(&*view, &arn)? };
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
    let last = running.unwrap_or(record.last_event);
    let (from, to) = if is_reverse {
        let to = after.map_or(last, |after| after.saturating_sub(1));
        (to.saturating_sub(limit.saturating_sub(1)).max(1), to)
    } else {
        let from = after.map_or(1, |after| after + 1);
        (from, last.min(from + limit - 1))
    };
    let mut page = Page { events: VecDeque::new(), bytes: 0, is_reverse, is_cut: false };
    let prefix = key::histories(&record.machine, &record.name);
    let mut last_key: Option<String> = None;
    let is_wanted = |event: &Event| (from..=to).contains(&event.id);
    let mut is_full = from > to;
    for event in record.first_events.events()?.iter().filter(|event| is_wanted(event)) {
        if is_full {
            break;
        }
        is_full = !page.take(show(event, with_data), event.id);
    }
    // A few documents at a time: a history may be larger than memory.
    'chunks: loop {
        if is_full {
            break;
        }
        let chunks = view.scan(&prefix, last_key.as_deref(), CHUNKS_AT_A_TIME)?;
        let is_last = chunks.len() < CHUNKS_AT_A_TIME;
        for (index, chunk) in chunks.iter().enumerate() {
            if first_of(&chunk.key, &prefix) > to {
                break 'chunks;
            }
            // What ends before `from` need not be read.
            let next = chunks.get(index + 1).map(|next| first_of(&next.key, &prefix));
            if next.is_some_and(|next| next <= from) {
                continue;
            }
            let found: Vec<Event> = record::history::decode(chunk)?;
            for event in found.into_iter().filter(&is_wanted) {
                if !page.take(show(&event, with_data), event.id) {
                    break 'chunks;
                }
            }
        }
        last_key = chunks.last().map(|chunk| chunk.key.clone());
        if is_last {
            break;
        }
    }
    let is_more = page.is_cut || if is_reverse { from > 1 } else { to < last };
    let edge = if is_reverse { page.events.front() } else { page.events.back() }.map(|(id, _, _)| *id);
    if is_reverse {
        page.events.make_contiguous().reverse();
    }
    let events: Vec<Value> = page.events.into_iter().map(|(_, event, _)| event).collect();
    let mut output = json!({ "events": events });
    if let Some(edge) = edge.filter(|_| is_more) {
        output["nextToken"] = page::encode(operation, &list, &edge.to_string()).into();
    }
    Ok(output)
}

/// Events of an answer, within its bytes.
struct Page {
    /// Ids, events and their sizes, in order.
    events: VecDeque<(u64, Value, usize)>,
    bytes: usize,
    is_reverse: bool,
    is_cut: bool,
}

impl Page {
    /// Takes an event; false when the answer is full. In reverse the later ones are wanted more.
    fn take(&mut self, event: Value, id: u64) -> bool {
        let bytes = event.to_string().len();
        if self.bytes + bytes > ANSWER_BYTES_MAX && !self.events.is_empty() && !self.is_reverse {
            self.is_cut = true;
            return false;
        }
        self.bytes += bytes;
        self.events.push_back((id, event, bytes));
        while self.bytes > ANSWER_BYTES_MAX && self.events.len() > 1 {
            let dropped = self.events.pop_front().map_or(0, |(_, _, bytes)| bytes);
            self.bytes -= dropped;
            self.is_cut = true;
        }
        true
    }
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

//! `/stats` and `/stats/prometheus`.

use selvedge_telemetry::Filter;

use super::Subject;
use super::process::Memory;
use super::query::Query;
use super::reply::Reply;
use crate::lifecycle::ServerState;

pub(super) fn show(subject: &Subject, query: &Query) -> Reply {
    match query.get("format") {
        Some("prometheus") => prometheus(subject, query),
        Some("json") => with_filter(subject, query, |filter| Reply::json(&subject.registry.json(filter))),
        None | Some("text" | "html") => {
            with_filter(subject, query, |filter| Reply::text(subject.registry.text(filter)))
        }
        Some(_) => Reply::bad_request("usage: /stats?format=(text|json|prometheus)\n"),
    }
}

pub(super) fn prometheus(subject: &Subject, query: &Query) -> Reply {
    let tags = &subject.bootstrap.stats_tags;
    with_filter(subject, query, |filter| Reply::text(subject.registry.prometheus(filter, tags)))
}

fn with_filter(subject: &Subject, query: &Query, show: impl FnOnce(&Filter) -> Reply) -> Reply {
    refresh(subject);
    let filter = Filter {
        inverted: query.has("invert_filter"),
        used_only: query.has("usedonly"),
        ..Filter::default()
    };
    let filter = match query.get("filter").filter(|expression| !expression.is_empty()) {
        Some(expression) => filter.with_name(expression),
        None => Ok(filter),
    };
    match filter {
        Ok(filter) => show(&filter),
        Err(error) => Reply::bad_request(format!("Invalid re2 regex: {error}\n")),
    }
}

/// Brings what nobody else counts up to date.
fn refresh(subject: &Subject) {
    let stats = subject.registry.server();
    let state = subject.lifecycle.state();
    let memory = Memory::read();
    stats.state.set(state.number());
    stats.live.set((state == ServerState::Live).into());
    stats.uptime.set(subject.lifecycle.started.elapsed().as_secs());
    stats.concurrency.set(subject.bootstrap.concurrency as u64);
    stats.memory_physical_size.set(memory.resident_bytes);
    stats.memory_allocated.set(memory.resident_bytes);
    stats.memory_heap_size.set(memory.virtual_bytes);
}

//! `/stats` and what stands below it.

use std::collections::BTreeMap;

use selvedge_telemetry::{Buckets, Exposition, Filter, Registry, Shape, StatisticKind};

use selvedge_traffic::circuit::{Bounded, Priority};
use selvedge_upstream::{Cluster, Clusters};

use super::Subject;
use super::process::Memory;
use super::query::Query;
use super::reply::{Body, Reply};
use crate::lifecycle::{Lifecycle, ServerState};

/// What a scraper that speaks OpenMetrics is told.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn show(subject: &Subject, query: &Query) -> Reply {
    let Some(buckets) = Buckets::parse(query.get("histogram_buckets").unwrap_or_default()) else {
        return Reply::bad_request(
            "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n",
        );
    };
    match query.get("format") {
        Some("prometheus") => prometheus(subject, query),
        Some("json") => {
            with_filter(subject, query, |filter| Reply::json(&subject.registry.json(filter, buckets)))
        }
        Some("html") => with_filter(subject, query, |filter| {
            Reply::html(page(query, &subject.registry.text(filter, buckets), false))
        }),
        Some("active-html") => with_filter(subject, query, |filter| {
            Reply::html(page(query, &subject.registry.text(filter, buckets), true))
        }),
        None | Some("" | "text") => {
            with_filter(subject, query, |filter| Reply::text(subject.registry.text(filter, buckets)))
        }
        Some(_) => Reply::bad_request("usage: /stats?format=(html|active-html|json|prometheus|text)\n"),
    }
}

pub(super) fn prometheus(subject: &Subject, query: &Query) -> Reply {
    let summaries = match query.get("histogram_buckets") {
        None | Some("" | "cumulative") => false,
        Some("summary") => true,
        Some(_) => return Reply::bad_request("unsupported prometheus histogram bucket mode\n"),
    };
    let exposition = if query.accepts(openmetrics_preferred) || query.get("format") == Some("openmetrics") {
        Exposition::OpenMetrics
    } else {
        Exposition::Prometheus
    };
    let shape = Shape { exposition, summaries, texts: query.has("text_readouts") };
    let tags = &subject.bootstrap.stats_tags;
    with_filter(subject, query, |filter| {
        // Thousands of clusters that nobody calls would be most of every scrape, and of what stores it.
        let filter = &Filter { idle_clusters_hidden: !query.has("all"), ..filter.clone() };
        let body = Body::Pieces(Box::new(subject.registry.prometheus(filter, tags, shape)));
        let reply = Reply { body, ..Reply::text("") };
        match exposition {
            Exposition::Prometheus => reply,
            Exposition::OpenMetrics => Reply { content_type: OPENMETRICS, ..reply },
        }
    })
}

/// Names are not interned here, so there are no lookups to be told of; the commands answer as Envoy's do.
pub(super) fn recent_lookups(_: &Subject, _: &Query) -> Reply {
    Reply::text("Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n\ntotal: 0\n")
}

/// Whether an Accept header prefers OpenMetrics to plain text.
fn openmetrics_preferred(accept: &str) -> bool {
    let quality = |wanted: &str| {
        let range = accept.split(',').map(str::trim).find(|range| range.starts_with(wanted))?;
        let q = range.split(';').filter_map(|part| part.trim().strip_prefix("q=")).next();
        Some(q.map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0)))
    };
    match (quality("application/openmetrics-text"), quality("text/plain")) {
        (Some(open), Some(plain)) => open >= plain && open > 0.0,
        (Some(open), None) => open > 0.0,
        _ => false,
    }
}

fn with_filter(subject: &Subject, query: &Query, show: impl FnOnce(&Filter) -> Reply) -> Reply {
    refresh(&subject.registry, &subject.lifecycle, &subject.clusters, subject.bootstrap.concurrency);
    let Some(kind) = query.get("type").map_or(Some(StatisticKind::All), StatisticKind::parse) else {
        return Reply::bad_request("invalid &type= param\n");
    };
    let filter = Filter {
        inverted: query.has("invert_filter"),
        used_only: query.has("usedonly"),
        kind,
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

/// The same text in a browser, with its parameters in a form; `active` renews itself.
fn page(query: &Query, text: &str, active: bool) -> String {
    let escape = |text: &str| {
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
    };
    let refresh = if active { "<meta http-equiv=\"refresh\" content=\"5\">\n" } else { "" };
    let format = if active { "active-html" } else { "html" };
    let checked = |name: &str| if query.has(name) { " checked" } else { "" };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<title>selvedge stats</title>\n{refresh}</head>\n<body>\n\
         <form method=\"get\" action=\"stats\"><input type=\"hidden\" name=\"format\" value=\"{format}\">\n\
         <label><input type=\"checkbox\" name=\"usedonly\"{}> used only</label>\n\
         <label>filter <input name=\"filter\" value=\"{}\"></label>\n\
         <button>show</button></form>\n<pre>{}</pre>\n</body>\n</html>\n",
        checked("usedonly"),
        escape(query.get("filter").unwrap_or_default()),
        escape(text),
    )
}

/// Brings what nobody else counts up to date.
pub(crate) fn refresh(registry: &Registry, lifecycle: &Lifecycle, clusters: &Clusters, concurrency: usize) {
    let stats = registry.server();
    let state = lifecycle.state();
    let memory = Memory::read();
    stats.state.set(state.number());
    stats.live.set((state == ServerState::Live).into());
    stats.uptime.set(lifecycle.started.elapsed().as_secs());
    stats.concurrency.set(concurrency as u64);
    stats.memory_physical_size.set(memory.resident_bytes);
    stats.memory_allocated.set(memory.resident_bytes);
    stats.memory_heap_size.set(memory.virtual_bytes);
    let mut tracked = BTreeMap::new();
    clusters.each_telling(|cluster| {
        let tells = |priority: &Priority| cluster.breaker(*priority).thresholds().track_remaining;
        let told = [Priority::Default, Priority::High].into_iter().filter(tells);
        let gauges: Vec<_> = told.flat_map(|priority| remaining(cluster, priority)).collect();
        if !gauges.is_empty() {
            tracked.insert(cluster.name.to_string(), gauges);
        }
    });
    registry.set_remaining(tracked);
}

/// What a circuit breaker has left, if its configuration says that this is told. A bound that is none has no rest: Envoy
/// shows the largest number that there is.
fn remaining(cluster: &Cluster, priority: Priority) -> Vec<(&'static str, u32)> {
    let breaker = cluster.breaker(priority);
    let left = breaker.remaining().into_iter().flatten();
    let left =
        left.filter(|(bounded, _)| *bounded != Bounded::Pools || breaker.thresholds().pools_max.is_some());
    left.map(|(bounded, left)| (name_of(priority, bounded), left)).collect()
}

fn name_of(priority: Priority, bounded: Bounded) -> &'static str {
    match (priority, bounded) {
        (Priority::Default, Bounded::Connections) => "circuit_breakers.default.remaining_cx",
        (Priority::Default, Bounded::Pools) => "circuit_breakers.default.remaining_cx_pools",
        (Priority::Default, Bounded::PendingRequests) => "circuit_breakers.default.remaining_pending",
        (Priority::Default, Bounded::Retries) => "circuit_breakers.default.remaining_retries",
        (Priority::Default, Bounded::Requests) => "circuit_breakers.default.remaining_rq",
        (Priority::High, Bounded::Connections) => "circuit_breakers.high.remaining_cx",
        (Priority::High, Bounded::Pools) => "circuit_breakers.high.remaining_cx_pools",
        (Priority::High, Bounded::PendingRequests) => "circuit_breakers.high.remaining_pending",
        (Priority::High, Bounded::Retries) => "circuit_breakers.high.remaining_retries",
        (Priority::High, Bounded::Requests) => "circuit_breakers.high.remaining_rq",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_spoken_to_those_who_prefer_it() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5", true),
            ("application/openmetrics-text;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.5", false),
            ("application/openmetrics-text; q=0", false),
        ] {
            assert_eq!(openmetrics_preferred(accept), expected, "{accept}");
        }
    }

    #[test]
    fn what_stands_in_a_page_is_escaped() {
        let query = Query::parse("filter=%22%3E%3Cscript%3E");
        let page = page(&query, "cluster.<b>.x: 1\n", false);
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
    }
}

//! `/runtime` and `/runtime_modify`: values that an operator sets while the process runs.

use serde_json::{Map, Value, json};

use super::Subject;
use super::query::Query;
use super::reply::Reply;

const USAGE: &str = "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n\
    use an empty value to remove a previously added override\n";

/// The admin layer is the only one that can differ from the built-in defaults.
pub(super) fn show(subject: &Subject, _: &Query) -> Reply {
    let one = |(key, value)| (key, json!({ "final_value": value, "layer_values": ["", value] }));
    let entries: Map<String, Value> = subject.registry.runtime().values().into_iter().map(one).collect();
    Reply::json(&json!({ "entries": entries, "layers": ["static_layer_0", "admin_layer"] }))
}

pub(super) fn modify(subject: &Subject, query: &Query) -> Reply {
    if query.pairs().next().is_none() {
        return Reply::bad_request(USAGE);
    }
    match subject.registry.runtime().modify(query.pairs()) {
        Ok(()) => Reply::ok(),
        Err(refused) => Reply::bad_request(format!("{refused}\n")),
    }
}

//! `/runtime` and `/runtime_modify`: values that an operator sets while the process runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::query::Query;
use super::reply::Reply;

/// So many values can be set.
const KEYS_MAX: usize = 1000;
/// A key and its value together have at most so many bytes.
const ENTRY_BYTES_MAX: usize = 4096;

/// The values of the admin layer; it is the only one that can differ from the built-in defaults.
#[derive(Debug, Default)]
pub struct Runtime(Mutex<BTreeMap<String, String>>);

impl Runtime {
    pub(super) fn show(&self) -> Reply {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries: Map<String, Value> = values
            .iter()
            .map(|(key, value)| (key.clone(), json!({ "final_value": value, "layer_values": ["", value] })))
            .collect();
        Reply::json(&json!({ "entries": entries, "layers": ["static_layer_0", "admin_layer"] }))
    }

    /// An empty value takes a key away.
    pub(super) fn modify(&self, query: &Query) -> Reply {
        if query.pairs().next().is_none() {
            return Reply::bad_request(
                "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n       or send the parameters as form values\nuse an empty value to remove a previously added override",
            );
        }
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = values.clone();
        for (key, value) in query.pairs() {
            if key.len() + value.len() > ENTRY_BYTES_MAX {
                return Reply::bad_request("the value is too long\n");
            }
            if value.is_empty() {
                next.remove(key);
            } else {
                next.insert(key.to_owned(), value.to_owned());
            }
        }
        if next.len() > KEYS_MAX {
            return Reply::bad_request("too many values\n");
        }
        *values = next;
        Reply::ok()
    }

    /// The number that is set for `key`, if one is.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn values_are_set_and_taken_away() {
        let runtime = Runtime::default();
        assert_eq!(runtime.modify(&Query::parse("tracing.random_sampling=50&b=x")).status, StatusCode::OK);
        assert_eq!(runtime.number("tracing.random_sampling"), Some(50.0));
        assert_eq!(runtime.number("b"), None, "no number");
        assert_eq!(runtime.modify(&Query::parse("b=&tracing.random_sampling=")).status, StatusCode::OK);
        assert_eq!(runtime.number("tracing.random_sampling"), None);
        assert_eq!(runtime.modify(&Query::parse("")).status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn values_are_bounded() {
        let runtime = Runtime::default();
        for n in 0..KEYS_MAX {
            assert_eq!(runtime.modify(&Query::parse(&format!("k{n}=1"))).status, StatusCode::OK);
        }
        assert_eq!(runtime.modify(&Query::parse("more=1")).status, StatusCode::BAD_REQUEST);
        let long = "x".repeat(ENTRY_BYTES_MAX);
        assert_eq!(runtime.modify(&Query::parse(&format!("k0={long}"))).status, StatusCode::BAD_REQUEST);
    }
}

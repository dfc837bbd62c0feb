//! What filters tell each other about a request (Envoy's dynamic metadata), and conditions on it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::matching::TextMatch;

/// How deep a condition looks into a list of lists.
const DEPTH_MAX: usize = 16;

/// A request's metadata: an object for each namespace, by convention the name of the filter that wrote it. Empty, it costs
/// nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, Map<String, Value>>);

impl Metadata {
    /// What a namespace holds under `path`.
    pub fn find<'a>(&self, namespace: &str, path: impl IntoIterator<Item = &'a str>) -> Option<&Value> {
        let mut path = path.into_iter();
        let mut value = self.0.get(namespace)?.get(path.next()?)?;
        for key in path {
            value = value.as_object()?.get(key)?;
        }
        Some(value)
    }

    /// A whole namespace.
    pub fn namespace(&self, namespace: &str) -> Option<&Map<String, Value>> {
        self.0.get(namespace)
    }

    /// Sets one member of a namespace.
    pub fn set(&mut self, namespace: &str, key: &str, value: Value) {
        if let Some(members) = self.0.get_mut(namespace) {
            members.insert(key.to_owned(), value);
        } else {
            self.0.insert(namespace.to_owned(), Map::from_iter([(key.to_owned(), value)]));
        }
    }
}

/// A condition on metadata.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetadataMatch {
    pub namespace: String,
    /// At least one.
    pub path: Vec<String>,
    pub value: ValueMatch,
    pub invert: bool,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum ValueMatch {
    Null,
    /// In `[start, end)`.
    Range {
        start: f64,
        end: f64,
    },
    Number(f64),
    Text(TextMatch),
    Bool(bool),
    /// There is a value, or there is none.
    Present(bool),
    /// A list with a member that is so.
    OneOf(Box<Self>),
    Any(Vec<Self>),
}

impl MetadataMatch {
    pub fn takes(&self, metadata: &Metadata) -> bool {
        let value = metadata.find(&self.namespace, self.path.iter().map(String::as_str));
        self.value.takes(value, DEPTH_MAX) != self.invert
    }
}

impl ValueMatch {
    fn takes(&self, value: Option<&Value>, depth: usize) -> bool {
        let number = || value.and_then(Value::as_f64);
        let Some(deeper) = depth.checked_sub(1) else { return false };
        match self {
            Self::Null => value.is_some_and(Value::is_null),
            Self::Range { start, end } => number().is_some_and(|number| (*start..*end).contains(&number)),
            #[expect(clippy::float_cmp, reason = "the number is configured as it is compared")]
            Self::Number(exact) => number().is_some_and(|number| number == *exact),
            Self::Text(text) => value.and_then(Value::as_str).is_some_and(|value| text.takes(value)),
            Self::Bool(exact) => value.and_then(Value::as_bool) == Some(*exact),
            Self::Present(present) => value.is_some() == *present,
            Self::OneOf(one) => value
                .and_then(Value::as_array)
                .is_some_and(|list| list.iter().any(|value| one.takes(Some(value), deeper))),
            Self::Any(many) => many.iter().any(|one| one.takes(value, deeper)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_look_at_the_value_under_the_path() {
        let mut metadata = Metadata::default();
        metadata.set(
            "jwt",
            "claims",
            json!({"sub": "a", "groups": ["dev", "ops"], "age": 7, "ok": true, "no": null}),
        );
        metadata.set("jwt", "other", json!(1));
        let text = |text: &str| ValueMatch::Text(TextMatch::exact(text));
        let one = |value| ValueMatch::OneOf(Box::new(value));
        for (path, value, takes) in [
            (&["claims", "sub"][..], text("a"), true),
            (&["claims", "sub"], text("b"), false),
            (&["claims", "groups"], one(text("ops")), true),
            (&["claims", "groups"], one(text("root")), false),
            (&["claims", "groups"], text("dev"), false),
            (&["claims", "sub"], one(text("a")), false),
            (&["claims", "age"], ValueMatch::Range { start: 7.0, end: 8.0 }, true),
            (&["claims", "age"], ValueMatch::Number(7.5), false),
            (&["claims", "ok"], ValueMatch::Bool(true), true),
            (&["claims", "no"], ValueMatch::Null, true),
            (&["claims", "gone"], ValueMatch::Null, false),
            (&["claims", "gone"], ValueMatch::Present(false), true),
            (&["claims", "sub", "deeper"], ValueMatch::Present(true), false),
            (&["claims", "sub"], ValueMatch::Any(vec![text("b"), text("a")]), true),
            (&["claims", "sub"], ValueMatch::Any(vec![]), false),
        ] {
            let path = path.iter().map(|key| (*key).to_owned()).collect();
            let mut matches = MetadataMatch { namespace: "jwt".into(), path, value, invert: false };
            assert_eq!(matches.takes(&metadata), takes, "{matches:?}");
            matches.invert = true;
            assert_eq!(matches.takes(&metadata), !takes, "{matches:?}");
        }
    }
}

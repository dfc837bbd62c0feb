//! Field masks: which members of a message are shown.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// Paths within paths, at most: a longer one fits nothing.
const DEPTH_MAX: usize = 32;
/// Paths of a mask; the rest is not looked at.
const PATHS_MAX: usize = 64;

/// Members by name, each with what of it is shown; all of it where nothing is said.
#[derive(Debug, Default)]
pub(super) struct Mask {
    text: String,
    tree: Tree,
}

#[derive(Debug, Default)]
struct Tree(BTreeMap<String, Self>);

impl Mask {
    /// Paths, separated by commas, of members, separated by dots.
    pub(super) fn parse(text: &str) -> Self {
        let mut tree = Tree::default();
        for path in text.split(',').take(PATHS_MAX) {
            let mut at = &mut tree;
            for member in path.trim().split('.').take(DEPTH_MAX) {
                at = at.0.entry(member.to_owned()).or_default();
            }
        }
        Self { text: text.to_owned(), tree }
    }

    /// What of a message is shown, its type included; `None` if it has nothing of what is asked for.
    pub(super) fn trim(&self, message: &Value) -> Option<Value> {
        trim(message, &self.tree)
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn trim(value: &Value, tree: &Tree) -> Option<Value> {
    if tree.0.is_empty() {
        return Some(value.clone());
    }
    let members = value.as_object()?;
    let mut shown = Map::new();
    let mut found = false;
    for (name, value) in members {
        if name == "@type" {
            shown.insert(name.clone(), value.clone());
        } else if let Some(value) = tree.0.get(name).and_then(|tree| trim(value, tree)) {
            found = true;
            shown.insert(name.clone(), value);
        }
    }
    found.then(|| shown.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_asked_for_is_shown() {
        let message = json!({
            "@type": "T",
            "cluster": { "@type": "C", "name": "c", "type": "EDS", "hosts": [1, 2] },
            "last_updated": "now",
        });
        let rows = [
            ("last_updated", json!({ "@type": "T", "last_updated": "now" })),
            ("cluster.name", json!({ "@type": "T", "cluster": { "@type": "C", "name": "c" } })),
            (
                "cluster.hosts, last_updated",
                json!({ "@type": "T", "cluster": { "@type": "C", "hosts": [1, 2] }, "last_updated": "now" }),
            ),
        ];
        for (mask, expected) in rows {
            assert_eq!(Mask::parse(mask).trim(&message), Some(expected), "{mask}");
        }
        // Longer than any mask may be: what is beyond is not looked at, and nothing overflows.
        let long = format!("{}last_updated", "nope,".repeat(PATHS_MAX));
        assert_eq!(Mask::parse(&long).trim(&message), None);
        let deep = vec!["cluster"; DEPTH_MAX * 1000].join(".");
        assert_eq!(Mask::parse(&deep).trim(&message), None);
        for mask in ["", "nope", "cluster.nope", "cluster.hosts.name", "cluster.name.x"] {
            assert_eq!(Mask::parse(mask).trim(&message), None, "{mask}");
        }
    }
}

//! Values of the form as directives have them.

use std::sync::Arc;

use super::super::node::{Kind, Node};
use crate::condition::{ConditionId, Network};
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::directive::rules::{Rule, Rules};
use crate::directive::{ContentEncoding, Text};
use crate::pattern::Pattern;
use crate::place::Place;
use crate::template::Template;
use crate::value::{List, Value};

/// Types of text, which are worth compressing.
pub(in crate::edge_toml) const COMPRESSED: &[&str] = &[
    "text/",
    "application/javascript",
    "application/json",
    "application/xml",
    "image/svg+xml",
    "application/wasm",
];

pub(super) fn encoding(name: &str) -> Option<ContentEncoding> {
    Some(match name {
        "zstd" => ContentEncoding::Zstd,
        "br" => ContentEncoding::Brotli,
        "gzip" => ContentEncoding::Gzip,
        "deflate" => ContentEncoding::Deflate,
        _ => return None,
    })
}

pub(super) fn one_rule(pattern: Pattern, to: &str, condition: Option<ConditionId>) -> Rules {
    Rules { rules: Arc::from([Rule { pattern, template: Template::parse(to) }]), condition, repeat_from: 1 }
}

pub(super) fn status(route: &Node, default: u16) -> u16 {
    let status = route.get("status").and_then(Node::integer);
    status.and_then(|status| u16::try_from(status).ok()).unwrap_or(default)
}

pub(super) fn texts(node: &Node) -> Arc<[Text]> {
    node.items().iter().filter_map(Node::text).cloned().collect()
}

pub(super) fn named(node: &Node) -> Arc<[(Text, Text)]> {
    node.entries().iter().filter_map(|(key, _, value)| Some((key.clone(), value.text()?.clone()))).collect()
}

pub(super) fn networks(node: Option<&Node>) -> Arc<[Network]> {
    let items = node.map(Node::items).unwrap_or_default();
    items.iter().filter_map(Node::text).filter_map(|text| Network::parse(text)).collect()
}

pub(super) fn unknown_name(
    place: Place,
    table: &str,
    name: &str,
    known: &[(Arc<str>, Place, Node)],
) -> Diagnostic {
    let found = Diagnostic::error(place, format!("there is no {table}{name}]"));
    match did_you_mean(name, known.iter().map(|(key, ..)| &**key)) {
        Some(guess) => found.with_hint(format!("did you mean \"{guess}\"?")),
        None => found,
    }
}

/// A value as directives have them: `client_id` is `client-id`.
pub(super) fn dashed(node: &Node) -> Value {
    match &node.kind {
        Kind::Table(entries) => {
            let entries = entries
                .iter()
                .map(|(key, _, value)| (Some(Text::from(key.replace('_', "-"))), dashed(value)));
            Value::List(entries.collect::<List>())
        }
        _ => value_of(node),
    }
}

/// For `explain`.
pub(super) fn value_of(node: &Node) -> Value {
    match &node.kind {
        Kind::Text(text) => Value::Text(text.clone()),
        Kind::Integer(number) => Value::Integer(*number),
        Kind::Switch(switch) => Value::Text(switch.to_string().into()),
        Kind::List(items) => Value::List(items.iter().map(|item| (None, value_of(item))).collect::<List>()),
        Kind::Table(entries) => Value::List(
            entries.iter().map(|(key, _, value)| (Some(key.clone()), value_of(value))).collect::<List>(),
        ),
        Kind::Other(what) => Value::Text((*what).into()),
    }
}

//! What a value may look like: what files are checked against, and what the schema says.

use serde_json::{Map, Value, json};

use super::node::{Kind, Node};
use super::unit;
use crate::condition::Network;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::directive::guard;

/// What a value may look like.
pub(super) enum Shape {
    /// Any text but blank.
    Text,
    /// Any text.
    AnyText,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `10s`.
    Duration,
    /// `16KiB`.
    Size,
    /// `512KiB/s`.
    Bandwidth,
    /// `20/s`.
    Rate,
    /// `10.0.0.0/8`.
    Network,
    /// A number in these bounds.
    Number(i64, i64),
    Switch,
    /// Several, or one that stands for a list of one.
    List(&'static Self),
    /// Tables in a list.
    Tables(&'static [Field]),
    Table(&'static [Field]),
    /// Any names, each with such a value.
    Named(&'static Self),
}

/// A key of a table.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
    /// What counts when it is left out, if one value says it.
    pub(super) usual: Option<Usual>,
}

/// A value that counts when none is given.
pub(super) enum Usual {
    Text(&'static str),
    Texts(&'static [&'static str]),
    Number(i64),
    Switch(bool),
}

/// Compares a value with a shape; `path` is where the value is, for a person.
pub(super) fn check(node: &Node, shape: &Shape, path: &str, found: &mut Vec<Diagnostic>) {
    let guess = guess(node, shape);
    let mut wrong = |message: String| {
        let finding = Diagnostic::error(node.place, message);
        found.push(match &guess {
            Some(guess) => finding.with_hint(format!("did you mean {guess}?")),
            None => finding,
        });
    };
    let parsed = |fits: bool, example: &str, wrong: &mut dyn FnMut(String)| {
        if !fits {
            wrong(format!("{path} should be {example}, not {}", shown(node)));
        }
    };
    let text = node.text().map(|text| &**text);
    match shape {
        Shape::Text => parsed(text.is_some_and(|text| !text.is_empty()), "text", &mut wrong),
        Shape::AnyText => parsed(text.is_some(), "text", &mut wrong),
        Shape::Word(words) => {
            if !text.is_some_and(|text| words.contains(&text)) {
                let mut finding = Diagnostic::error(
                    node.place,
                    format!("{path} should be one of {}, not {}", words.join(", "), shown(node)),
                );
                if let Some(guess) = text.and_then(|text| did_you_mean(text, words.iter().copied())) {
                    finding = finding.with_hint(format!("did you mean \"{guess}\"?"));
                }
                found.push(finding);
            }
        }
        Shape::Duration => parsed(
            text.is_some_and(|text| unit::duration_ms(text).is_some()),
            "a duration with a unit, such as \"10s\" or \"500ms\"",
            &mut wrong,
        ),
        Shape::Size => parsed(
            text.is_some_and(|text| unit::bytes(text).is_some()),
            "a size with a unit, such as \"16KiB\" or \"10MiB\"",
            &mut wrong,
        ),
        Shape::Bandwidth => parsed(
            text.is_some_and(|text| unit::bandwidth(text).is_some()),
            "a size a second, such as \"512KiB/s\"",
            &mut wrong,
        ),
        Shape::Rate => parsed(
            text.is_some_and(|text| guard::rate(text).is_ok()),
            "a number a second, minute, hour or day (s, m, h, d), such as \"20/s\"",
            &mut wrong,
        ),
        Shape::Network => parsed(
            text.is_some_and(|text| Network::parse(text).is_some()),
            "an address or a network, such as \"10.0.0.0/8\"",
            &mut wrong,
        ),
        Shape::Number(least, most) => {
            let fits = node.integer().is_some_and(|number| (*least..=*most).contains(&number));
            parsed(fits, &format!("a number from {least} to {most}"), &mut wrong);
        }
        Shape::Switch => parsed(node.switch().is_some(), "true or false", &mut wrong),
        Shape::List(inner) => {
            for (index, item) in node.items().iter().enumerate() {
                check(item, inner, &format!("{path}[{index}]"), found);
            }
        }
        Shape::Tables(fields) => match &node.kind {
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    check_table(item, fields, &format!("{path}[{index}]"), found);
                }
            }
            _ => {
                wrong(format!("{path} should be tables, [[{}]], not {}", without_numbers(path), node.shown()))
            }
        },
        Shape::Table(fields) => check_table(node, fields, path, found),
        Shape::Named(inner) => match &node.kind {
            Kind::Table(entries) => {
                for (key, _, value) in entries {
                    check(value, inner, &joined(path, key), found);
                }
            }
            _ => wrong(format!("{path} should be a table, not {}", node.shown())),
        },
    }
}

fn check_table(node: &Node, fields: &[Field], path: &str, found: &mut Vec<Diagnostic>) {
    let Kind::Table(entries) = &node.kind else {
        found.push(Diagnostic::error(node.place, format!("{path} should be a table, not {}", node.shown())));
        return;
    };
    for (key, place, value) in entries {
        match fields.iter().find(|field| *field.name == **key) {
            Some(field) => check(value, &field.shape, &joined(path, key), found),
            None => {
                let names = fields.iter().map(|field| field.name);
                let hint = match did_you_mean(key, names) {
                    Some(guess) => format!("did you mean {guess}?"),
                    None if !places_of(key).is_empty() => {
                        format!("{key} is a key of {}", places_of(key).join(", of "))
                    }
                    None => {
                        let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
                        format!("known here: {}", known.join(", "))
                    }
                };
                let message = format!("unknown key {}", joined(path, key));
                found.push(Diagnostic::error(*place, message).with_hint(hint));
            }
        }
    }
    for field in fields.iter().filter(|field| field.required && node.get(field.name).is_none()) {
        found.push(Diagnostic::error(node.place, format!("{} is missing", joined(path, field.name))));
    }
}

/// What somebody may have meant by a value that does not fit.
fn guess(node: &Node, shape: &Shape) -> Option<String> {
    let text = match &node.kind {
        Kind::Text(text) => text.to_string(),
        Kind::Integer(number) => number.to_string(),
        Kind::Switch(_) | Kind::List(_) | Kind::Table(_) | Kind::Other(_) => return None,
    };
    Some(match shape {
        Shape::Duration => format!("\"{}\"", unit::guess(&text, unit::OF_TIME, "s")?),
        Shape::Size => format!("\"{}\"", unit::guess(&text, unit::OF_SIZE, "KiB")?),
        Shape::Bandwidth => {
            let size = text.strip_suffix("/s").or_else(|| text.strip_suffix("ps")).unwrap_or(&text);
            format!("\"{}/s\"", unit::guess(size, unit::OF_SIZE, "KiB")?)
        }
        Shape::Rate if text.parse::<u32>().is_ok() => format!("\"{text}/s\""),
        Shape::Number(..) | Shape::Switch if matches!(node.kind, Kind::Text(_)) => {
            let fits = match shape {
                Shape::Switch => matches!(text.as_str(), "true" | "false"),
                _ => text.parse::<i64>().is_ok(),
            };
            fits.then(|| format!("{text}, without quotation marks"))?
        }
        Shape::Text | Shape::AnyText if matches!(node.kind, Kind::Integer(_)) => format!("\"{text}\""),
        _ => return None,
    })
}

/// The tables of the form that have a key, as they are written in a file.
fn places_of(key: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![(String::new(), super::shapes::KEYS, false)];
    while let Some((path, fields, is_list)) = left.pop() {
        for field in fields {
            let at = joined(&path, field.name);
            if field.name == key && !path.is_empty() {
                found.push(if is_list { format!("[[{path}]]") } else { format!("[{path}]") });
            }
            match &field.shape {
                Shape::Tables(fields) => left.push((at, fields, true)),
                Shape::Table(fields) | Shape::List(Shape::Table(fields)) => left.push((at, fields, false)),
                Shape::Named(Shape::Table(fields)) => left.push((format!("{at}.…"), fields, false)),
                _ => {}
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// A path as headers of tables have it.
fn without_numbers(path: &str) -> String {
    path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect::<Vec<_>>().join(".")
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn shown(node: &Node) -> String {
    match &node.kind {
        Kind::Text(text) => format!("\"{text}\""),
        Kind::Integer(number) => number.to_string(),
        Kind::Switch(switch) => switch.to_string(),
        _ => node.shown().to_owned(),
    }
}

/// The shape in the words of JSON Schema.
pub(super) fn schema(shape: &Shape) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match shape {
        Shape::Text => json!({ "type": "string", "minLength": 1 }),
        Shape::AnyText => json!({ "type": "string" }),
        Shape::Word(words) => json!({ "enum": words }),
        Shape::Duration => text("^([0-9]+ *(ms|s|m|h|d)|0+)$"),
        Shape::Size => text("^([0-9]+ *(B|kB|KB|MB|GB|KiB|MiB|GiB)|0+)$"),
        Shape::Bandwidth => text("^([0-9]+ *(B|kB|KB|MB|GB|KiB|MiB|GiB)|0+)/s$"),
        Shape::Rate => text("^[0-9]*[1-9][0-9]*/(s|m|min|h|d)$"),
        Shape::Network => {
            text("^([0-9]{1,3}(\\.[0-9]{1,3}){3}|\\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\\]?)(/[0-9]{1,3})?$")
        }
        Shape::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Switch => json!({ "type": "boolean" }),
        Shape::List(inner) => {
            let inner = schema(inner);
            json!({ "anyOf": [inner, { "type": "array", "items": inner }] })
        }
        Shape::Tables(fields) => json!({ "type": "array", "items": table_schema(fields) }),
        Shape::Table(fields) => table_schema(fields),
        Shape::Named(inner) => json!({ "type": "object", "additionalProperties": schema(inner) }),
    }
}

impl Usual {
    fn shown(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Texts(texts) => json!(texts),
            Self::Number(number) => json!(number),
            Self::Switch(switch) => json!(switch),
        }
    }
}

pub(super) fn table_schema(fields: &[Field]) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let mut described = schema(&field.shape);
        if let Some(object) = described.as_object_mut() {
            object.insert("description".into(), field.about.into());
            if let Some(usual) = &field.usual {
                object.insert("default".into(), usual.shown());
            }
        }
        properties.insert(field.name.to_owned(), described);
    }
    let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut table = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    table
}

//! JSON Schema (2020-12), as far as it can be checked in bounded time and without anything from elsewhere.
//!
//! Everything that asserts is understood but `unevaluated…` and `$dynamicRef`; a `$ref` stays within the document. What is not
//! understood is refused when a schema comes in, and not when a value does. `format` and other annotations assert nothing.

mod check;

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

pub(crate) use check::Misfit;

/// The largest schema, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 65_536;
/// How deep a schema may be nested, and a `$ref` lead.
const DEPTH_MAX: usize = 32;
/// What the program of one pattern may take, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Members that say nothing about a value.
const ANNOTATIONS: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "$anchor",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];
const SCHEMAS: &[&str] =
    &["additionalProperties", "items", "contains", "propertyNames", "not", "if", "then", "else"];
const LISTS: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
const MAPS: &[&str] = &["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];
const COUNTS: &[&str] = &[
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
];
const NUMBERS: &[&str] = &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
const TYPES: &[&str] = &["null", "boolean", "object", "array", "number", "string", "integer"];

/// A schema that was read.
#[derive(Debug)]
pub(crate) struct Schema {
    document: Value,
    patterns: HashMap<String, Regex>,
}

/// A schema that cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub(crate) struct Unfit {
    pub(crate) path: String,
    pub(crate) problem: String,
}

impl Schema {
    /// Reads a schema; `name` is what its paths begin with.
    ///
    /// # Errors
    /// When it is too large, asks for what is not understood, or refers to what is elsewhere or not there.
    pub(crate) fn read(document: &Value, name: &str) -> Result<Self, Unfit> {
        let bytes = document.to_string().len();
        if bytes > SCHEMA_BYTES_MAX {
            let problem = format!("it has {bytes} bytes, and a schema has at most {SCHEMA_BYTES_MAX}");
            return Err(Unfit { path: name.to_owned(), problem });
        }
        let mut schema = Self { document: document.clone(), patterns: HashMap::new() };
        schema.understand(document, name, 0)?;
        Ok(schema)
    }

    fn understand(&mut self, schema: &Value, at: &str, depth: usize) -> Result<(), Unfit> {
        let wrong = |path: String, problem: &str| Err(Unfit { path, problem: problem.to_owned() });
        if depth > DEPTH_MAX {
            return wrong(at.to_owned(), "it is nested too deeply");
        }
        if schema.is_boolean() {
            return Ok(());
        }
        let Some(members) = schema.as_object() else {
            return wrong(at.to_owned(), "an object, true or false is expected");
        };
        for (name, value) in members {
            let path = format!("{at}.{name}");
            let name = name.as_str();
            if ANNOTATIONS.contains(&name) || name == "enum" && value.is_array() || name == "const" {
                continue;
            }
            if SCHEMAS.contains(&name) {
                self.understand(value, &path, depth + 1)?;
            } else if LISTS.contains(&name) {
                let Some(parts) = value.as_array().filter(|parts| !parts.is_empty()) else {
                    return wrong(path, "a list of schemas is expected");
                };
                for (index, part) in parts.iter().enumerate() {
                    self.understand(part, &format!("{path}[{index}]"), depth + 1)?;
                }
            } else if MAPS.contains(&name) {
                let Some(parts) = value.as_object() else {
                    return wrong(path, "an object of schemas is expected");
                };
                for (key, part) in parts {
                    if name == "patternProperties" {
                        self.pattern(key, &path)?;
                    }
                    self.understand(part, &format!("{path}.{key}"), depth + 1)?;
                }
            } else if COUNTS.contains(&name) {
                if value.as_u64().is_none() {
                    return wrong(path, "a whole number from 0 on is expected");
                }
            } else if NUMBERS.contains(&name) {
                let is_number = value.as_f64().is_some_and(|number| name != "multipleOf" || number > 0.0);
                if !is_number {
                    return wrong(path, "a number is expected");
                }
            } else {
                self.rest(name, value, &path)?;
            }
        }
        Ok(())
    }

    fn rest(&mut self, name: &str, value: &Value, path: &str) -> Result<(), Unfit> {
        let wrong = |problem: String| Err(Unfit { path: path.to_owned(), problem });
        let are_texts =
            |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
        match name {
            "type" => {
                let named = value
                    .as_str()
                    .map_or_else(|| value.as_array().cloned().unwrap_or_default(), |one| vec![one.into()]);
                let is_known = |one: &Value| one.as_str().is_some_and(|one| TYPES.contains(&one));
                if named.is_empty() || !named.iter().all(is_known) {
                    return wrong(format!("it has to be of {}", TYPES.join(", ")));
                }
                Ok(())
            }
            "required" if are_texts(value) => Ok(()),
            "required" => wrong("a list of texts is expected".into()),
            "dependentRequired" => match value.as_object() {
                Some(members) if members.values().all(are_texts) => Ok(()),
                _ => wrong("an object of lists of texts is expected".into()),
            },
            "uniqueItems" if value.is_boolean() => Ok(()),
            "pattern" => match value.as_str() {
                Some(pattern) => self.pattern(pattern, path),
                None => wrong("a text is expected".into()),
            },
            "$ref" => {
                let Some(target) = value.as_str() else { return wrong("a text is expected".into()) };
                if !target.starts_with('#') {
                    return wrong(format!(
                        "'{target}' is elsewhere: only what is in the document, such as #/$defs/order, is looked at"
                    ));
                }
                match self.target(target) {
                    Some(_) => Ok(()),
                    None => wrong(format!("'{target}' is not in the document")),
                }
            }
            _ => wrong("it is not understood here".into()),
        }
    }

    fn pattern(&mut self, pattern: &str, path: &str) -> Result<(), Unfit> {
        let made = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
        let made = made.map_err(|_| Unfit {
            path: path.to_owned(),
            problem: "it is no regular expression that takes linear time: there is no look-around and no back reference".into(),
        })?;
        self.patterns.insert(pattern.to_owned(), made);
        Ok(())
    }

    /// What a reference within the document leads to.
    fn target(&self, reference: &str) -> Option<&Value> {
        let pointer = reference.strip_prefix('#')?;
        let decoded = percent_encoding::percent_decode_str(pointer).decode_utf8().ok()?;
        self.document.pointer(&decoded)
    }
}

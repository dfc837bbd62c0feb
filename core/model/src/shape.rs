//! Schema as data: what a document may look like, and the check of a document against it.
//!
//! One description serves the server's validation, the command line's help and shorthand, and the conformance test that
//! compares it with App Mesh's public service model member by member.

use serde_json::Value;

use crate::resource::Strictness;
use crate::violation::{Fault, Path, Violations};

/// A named type of the API.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The name that App Mesh's public model gives it, where it has one of its own.
    pub name: &'static str,
    pub form: Form,
}

/// What kind of document a shape describes.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// An object with known members.
    Structure {
        members: &'static [Member],
    },
    /// An object with exactly one of its known members.
    Union {
        members: &'static [Member],
    },
    /// Elements of one shape; `length` counts them.
    List {
        element: &'static Shape,
        length: Bounds,
    },
    /// An object whose members the caller names; `length` counts them.
    Map {
        key: &'static Shape,
        value: &'static Shape,
        length: Bounds,
    },
    /// Text; `length` counts Unicode scalar values.
    String {
        length: Bounds,
        pattern: Option<Pattern>,
    },
    /// Bytes, in base64 where text travels; `length` counts the bytes.
    Blob {
        length: Bounds,
    },
    /// One of these words.
    Enum {
        values: &'static [&'static str],
    },
    /// A 32-bit whole number.
    Integer {
        range: Bounds,
    },
    /// A 64-bit whole number.
    Long {
        range: Bounds,
    },
    /// A number with a fraction.
    Float {
        range: Bounds,
    },
    Boolean,
    /// Seconds since the epoch, with a fraction.
    Timestamp,
}

/// A member of a structure or a union.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The name on the wire.
    pub name: &'static str,
    pub presence: Presence,
    pub shape: &'static Shape,
    /// What the member means, for help texts; may be empty.
    pub doc: &'static str,
}

/// Whether a member may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Required,
    /// Required by App Mesh; may be left out unless the server is strict.
    RequiredWhenStrict,
    Optional,
}

/// Inclusive limits, each of which may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub min: Option<i64>,
    pub max: Option<i64>,
}

/// A rule on text beyond its length.
#[derive(Clone, Copy)]
pub struct Pattern {
    /// The regular expression as App Mesh's model writes it, for messages.
    pub text: &'static str,
    /// The same rule, decided without a regular expression engine.
    pub matches: fn(&str) -> bool,
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text)
    }
}

// === impl Bounds ===

impl Bounds {
    pub const OPEN: Self = Self { min: None, max: None };

    pub const fn between(min: i64, max: i64) -> Self {
        Self { min: Some(min), max: Some(max) }
    }

    pub const fn at_most(max: i64) -> Self {
        Self { min: None, max: Some(max) }
    }

    pub const fn at_least(min: i64) -> Self {
        Self { min: Some(min), max: None }
    }
}

// === impl Shape ===

impl Shape {
    pub const fn string(name: &'static str) -> Self {
        Self { name, form: Form::String { length: Bounds::OPEN, pattern: None } }
    }

    pub const fn string_of(name: &'static str, min: i64, max: i64) -> Self {
        Self { name, form: Form::String { length: Bounds::between(min, max), pattern: None } }
    }

    pub const fn integer(name: &'static str, range: Bounds) -> Self {
        Self { name, form: Form::Integer { range } }
    }

    pub const fn long(name: &'static str, range: Bounds) -> Self {
        Self { name, form: Form::Long { range } }
    }

    pub const fn list(name: &'static str, element: &'static Self, length: Bounds) -> Self {
        Self { name, form: Form::List { element, length } }
    }

    pub const fn enumeration(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, form: Form::Enum { values } }
    }

    /// The members of a structure or union; none for anything else.
    pub const fn members(&self) -> &'static [Member] {
        match self.form {
            Form::Structure { members } | Form::Union { members } => members,
            _ => &[],
        }
    }

    /// The member of that wire name.
    pub fn member(&self, name: &str) -> Option<&'static Member> {
        self.members().iter().find(|member| member.name == name)
    }

    /// Adds everything that is wrong with `value`, with its field path below `path`.
    ///
    /// A `null` member of a structure counts as absent, as it does for every AWS JSON protocol.
    pub fn check(&self, value: &Value, strictness: Strictness, path: &mut Path, found: &mut Violations) {
        match self.form {
            Form::Structure { members } | Form::Union { members } => {
                self.check_members(members, value, strictness, path, found);
            }
            Form::List { element, length } => {
                let Value::Array(elements) = value else {
                    return found.add(path, wrong_type("a list", value));
                };
                check_length(elements.len(), length, value, path, found);
                for (index, item) in elements.iter().enumerate() {
                    path.push_index(index);
                    element.check(item, strictness, path, found);
                    path.pop();
                }
            }
            Form::Map { key, value: each, length } => {
                let Value::Object(entries) = value else {
                    return found.add(path, wrong_type("an object", value));
                };
                check_length(entries.len(), length, value, path, found);
                for (name, item) in entries {
                    path.push_member(name);
                    key.check(&Value::String(name.clone()), strictness, path, found);
                    each.check(item, strictness, path, found);
                    path.pop();
                }
            }
            Form::String { length, pattern } => {
                let Value::String(text) = value else {
                    return found.add(path, wrong_type("a string", value));
                };
                check_length(text.chars().count(), length, value, path, found);
                if let Some(pattern) = pattern.filter(|pattern| !(pattern.matches)(text)) {
                    found.add(path, Fault::Pattern { value: excerpt(value), pattern: pattern.text });
                }
            }
            Form::Blob { length } => {
                // What is wrong with bytes is said without them: they may be a key.
                let Value::String(text) = value else {
                    return found.add(path, wrong_type("bytes in base64", &"bytes".into()));
                };
                match base64_length(text) {
                    None => found.add(path, wrong_type("bytes in base64", &"a text".into())),
                    Some(bytes) => check_length(bytes, length, &"bytes".into(), path, found),
                }
            }
            Form::Enum { values } => {
                let Value::String(text) = value else {
                    return found.add(path, wrong_type("a string", value));
                };
                if !values.contains(&text.as_str()) {
                    found.add(path, Fault::NotInEnum { value: excerpt(value), values });
                }
            }
            Form::Integer { range } => {
                check_number("a 32-bit integer", i32::MIN.into(), i32::MAX.into(), range, value, path, found);
            }
            Form::Long { range } => {
                check_number("a 64-bit integer", i64::MIN, i64::MAX, range, value, path, found);
            }
            Form::Float { range } => match value.as_f64() {
                None => found.add(path, wrong_type("a number", value)),
                // The bounds are whole numbers: what lies beyond one does so too when it is rounded outwards.
                Some(number) if number < 0.0 => check_range(number.floor() as i64, range, path, found),
                Some(number) => check_range(number.ceil() as i64, range, path, found),
            },
            Form::Boolean => {
                if !value.is_boolean() {
                    found.add(path, wrong_type("true or false", value));
                }
            }
            Form::Timestamp => {
                if !value.is_number() {
                    found.add(path, wrong_type("a number of seconds", value));
                }
            }
        }
    }

    fn check_members(
        &self,
        members: &'static [Member],
        value: &Value,
        strictness: Strictness,
        path: &mut Path,
        found: &mut Violations,
    ) {
        let Value::Object(object) = value else {
            return found.add(path, wrong_type("an object", value));
        };
        for (name, value) in object {
            path.push_member(name);
            match self.member(name) {
                Some(_) if value.is_null() => {}
                Some(member) => member.shape.check(value, strictness, path, found),
                None => found.add(path, Fault::Unknown { known: members }),
            }
            path.pop();
        }
        for member in members.iter().filter(|member| member.presence.demands(strictness)) {
            if object.get(member.name).is_none_or(Value::is_null) {
                path.push_member(member.name);
                found.add(path, Fault::Missing);
                path.pop();
            }
        }
        if let Form::Union { .. } = self.form {
            let present =
                members.iter().filter(|member| object.get(member.name).is_some_and(|v| !v.is_null()));
            match present.count() {
                1 => {}
                count => found.add(path, Fault::NotExactlyOne { present: count, members }),
            }
        }
    }
}

// === impl Presence ===

impl Presence {
    /// Whether a server of that strictness refuses a structure without the member.
    pub fn demands(self, strictness: Strictness) -> bool {
        match self {
            Self::Required => true,
            Self::RequiredWhenStrict => strictness == Strictness::Strict,
            Self::Optional => false,
        }
    }
}

/// How many bytes a text in base64 stands for; `None` if it is none.
fn base64_length(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let is_whole = text.len().is_multiple_of(4) && padding <= 2;
    (is_whole && digits.bytes().all(is_digit)).then(|| digits.len() * 3 / 4)
}

fn check_length(length: usize, bounds: Bounds, value: &Value, path: &Path, found: &mut Violations) {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    if let Some(min) = bounds.min.filter(|min| length < *min) {
        found.add(path, Fault::TooShort { value: excerpt(value), min });
    }
    if let Some(max) = bounds.max.filter(|max| length > *max) {
        found.add(path, Fault::TooLong { value: excerpt(value), max });
    }
}

fn check_number(
    expected: &'static str,
    least: i64,
    most: i64,
    range: Bounds,
    value: &Value,
    path: &Path,
    found: &mut Violations,
) {
    let number = value.as_i64().filter(|number| (least..=most).contains(number));
    let Some(number) = number else {
        return found.add(path, wrong_type(expected, value));
    };
    check_range(number, range, path, found);
}

fn check_range(number: i64, range: Bounds, path: &Path, found: &mut Violations) {
    if let Some(min) = range.min.filter(|min| number < *min) {
        found.add(path, Fault::TooSmall { value: number, min });
    }
    if let Some(max) = range.max.filter(|max| number > *max) {
        found.add(path, Fault::TooLarge { value: number, max });
    }
}

fn wrong_type(expected: &'static str, value: &Value) -> Fault {
    Fault::WrongType { expected, value: excerpt(value) }
}

/// As much of a value as a message should repeat.
fn excerpt(value: &Value) -> String {
    const CHARS_MAX: usize = 80;
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

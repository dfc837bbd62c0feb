//! `--generate-cli-skeleton`: an input or output with every member in place, to be filled in.

use selvedge_model::{Form, Member, Shape};
use serde_json::{Map, Value, json};

/// Which words stand in for text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Empty strings: the skeleton of an input.
    Empty,
    /// The member's name: the sample of an output.
    Named,
}

/// An object with every member.
pub(super) fn object<'a>(members: impl Iterator<Item = &'a Member>, style: Style) -> Value {
    Value::Object(
        members
            .map(|member| (member.name.to_owned(), value(member.shape, member.name, style)))
            .collect::<Map<_, _>>(),
    )
}

fn value(shape: &Shape, name: &str, style: Style) -> Value {
    match shape.form {
        Form::Structure { members } | Form::Union { members } => object(members.iter(), style),
        Form::List { element, .. } => json!([value(element, element.name, style)]),
        Form::Map { value: each, .. } => {
            let mut entries = Map::new();
            entries.insert("KeyName".into(), value(each, each.name, style));
            Value::Object(entries)
        }
        Form::Enum { values } if style == Style::Empty => json!(values.first().copied().unwrap_or_default()),
        Form::String { .. } | Form::Blob { .. } if style == Style::Empty => json!(""),
        Form::String { .. } | Form::Blob { .. } | Form::Enum { .. } => json!(name),
        Form::Integer { .. } | Form::Long { .. } | Form::Float { .. } => json!(0),
        Form::Boolean => json!(true),
        Form::Timestamp => json!("1970-01-01T00:00:00"),
    }
}

//! One option of an operation: how it is declared, and how what was typed becomes a value.

use std::path::PathBuf;

use clap::Arg;
use selvedge_model::{Form, Member, Shape};
use serde_json::Value;

use super::{coerce, shorthand};

/// What is wrong with an option's value.
#[derive(Debug, thiserror::Error)]
#[error("Error parsing parameter '--{option}': {reason}")]
pub(super) struct Error {
    option: String,
    reason: String,
}

/// `meshName` as `mesh-name`.
pub(super) fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The option for a member of an input.
pub(super) fn declare(member: &'static Member) -> Arg {
    let arg = Arg::new(member.name).long(kebab(member.name)).allow_negative_numbers(true);
    match member.shape.form {
        Form::List { element, .. } if is_scalar(element) => arg
            .num_args(0..)
            .value_name("VALUE")
            .help(format!("{} Values separated by blanks, or a JSON list.", member.doc)),
        Form::List { element, .. } => arg
            .num_args(0..)
            .value_name(sketch(element))
            .help(format!("{} Each in shorthand, or one JSON list; file:// reads a file.", member.doc)),
        Form::Structure { .. } | Form::Union { .. } => arg
            .value_name("JSON|SHORTHAND")
            .help(format!("{} A {}, as JSON, shorthand or file://PATH.", member.doc, member.shape.name)),
        Form::Integer { .. } | Form::Long { .. } | Form::Float { .. } => {
            arg.value_name("NUMBER").help(member.doc)
        }
        Form::Enum { values } => {
            arg.value_name("WORD").help(format!("{} One of {}.", member.doc, values.join(", ")))
        }
        _ => arg.value_name(member.shape.name.to_ascii_uppercase()).help(member.doc),
    }
}

/// Reads what was typed for a member.
///
/// # Errors
/// When a file cannot be read, or the text is neither JSON nor shorthand, or no number where one is needed.
pub(super) fn read(member: &Member, typed: &[&str]) -> Result<Value, Error> {
    let option = kebab(member.name);
    let fail = |reason: String| Error { option: option.clone(), reason };
    let texts = typed.iter().map(|text| resolve(text)).collect::<Result<Vec<_>, _>>().map_err(fail)?;
    value(member.shape, &texts, member.name).map_err(fail)
}

/// The text itself, or that of the file which `file://` or `fileb://` names.
pub(super) fn resolve(typed: &str) -> Result<String, String> {
    let Some(path) = typed.strip_prefix("file://").or_else(|| typed.strip_prefix("fileb://")) else {
        return Ok(typed.to_owned());
    };
    let file = match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    };
    std::fs::read_to_string(&file).map_err(|error| format!("Unable to load paramfile {typed}: {error}"))
}

fn value(shape: &Shape, texts: &[String], name: &str) -> Result<Value, String> {
    let first = texts.first().map_or("", String::as_str);
    let looks_like_json = first.trim_start().starts_with(['[', '{']);
    match shape.form {
        Form::List { .. } if first.trim_start().starts_with('{') => {
            texts.iter().map(|text| json(text)).collect::<Result<_, _>>().map(Value::Array)
        }
        Form::List { .. } if looks_like_json => json(first),
        Form::List { element, .. } if is_scalar(element) => {
            texts.iter().map(|text| scalar(element, text)).collect::<Result<_, _>>().map(Value::Array)
        }
        Form::List { .. } => {
            let parsed: Result<Vec<Value>, _> = texts.iter().map(|text| shorthand::parse(text)).collect();
            coerced(Value::Array(parsed.map_err(|error| error.to_string())?), shape, name)
        }
        Form::Structure { .. } | Form::Union { .. } if looks_like_json => json(first),
        Form::Structure { .. } | Form::Union { .. } => {
            coerced(shorthand::parse(first).map_err(|error| error.to_string())?, shape, name)
        }
        _ => scalar(shape, first),
    }
}

fn scalar(shape: &Shape, text: &str) -> Result<Value, String> {
    coerced(Value::String(text.to_owned()), shape, "value")
}

fn coerced(mut value: Value, shape: &Shape, name: &str) -> Result<Value, String> {
    coerce::coerce(&mut value, shape, name).map_err(|error| error.to_string())?;
    Ok(value)
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("Invalid JSON: {error}\nJSON received: {text}"))
}

fn is_scalar(shape: &Shape) -> bool {
    !matches!(shape.form, Form::List { .. } | Form::Structure { .. } | Form::Union { .. })
}

/// `key=…,value=…`.
fn sketch(shape: &Shape) -> String {
    shape.members().iter().map(|member| format!("{}=…", member.name)).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use selvedge_aws::operations;
    use serde_json::json;

    use super::*;

    fn member(command: &str, name: &str) -> &'static Member {
        operations::find(command).and_then(|operation| operation.input.member(name)).expect(name)
    }

    #[test]
    fn values_are_read_by_the_shape_of_their_member() {
        for (command, name, typed, expected) in [
            ("create-mesh", "meshName", vec!["my-mesh"], json!("my-mesh")),
            ("create-mesh", "meshName", vec!["007"], json!("007")),
            (
                "create-mesh",
                "spec",
                vec!["egressFilter={type=ALLOW_ALL}"],
                json!({"egressFilter": {"type": "ALLOW_ALL"}}),
            ),
            (
                "create-mesh",
                "spec",
                vec![" {\"egressFilter\": {\"type\": \"DROP_ALL\"}}"],
                json!({"egressFilter": {"type": "DROP_ALL"}}),
            ),
            (
                "create-mesh",
                "tags",
                vec!["key=a,value=b", "key=c,value=d"],
                json!([{"key": "a", "value": "b"}, {"key": "c", "value": "d"}]),
            ),
            (
                "create-mesh",
                "tags",
                vec!["\n[{\"key\":\"a\",\"value\":\"b\"}]"],
                json!([{"key": "a", "value": "b"}]),
            ),
            (
                "create-mesh",
                "tags",
                vec!["{\"key\":\"a\"}", "{\"key\":\"b\"}"],
                json!([{"key": "a"}, {"key": "b"}]),
            ),
            ("create-mesh", "tags", vec![], json!([])),
            ("untag-resource", "tagKeys", vec!["a", "b"], json!(["a", "b"])),
            ("untag-resource", "tagKeys", vec!["[\"a\"]"], json!(["a"])),
            ("list-meshes", "limit", vec!["10"], json!(10)),
        ] {
            assert_eq!(read(member(command, name), &typed).expect(name), expected, "{name}");
        }
    }

    #[test]
    fn a_file_stands_for_its_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spec.json");
        std::fs::write(&path, r#"{"egressFilter":{"type":"DROP_ALL"}}"#).expect("written");
        let typed = format!("file://{}", path.display());
        assert_eq!(
            read(member("create-mesh", "spec"), &[&typed]).expect("read"),
            json!({"egressFilter": {"type": "DROP_ALL"}})
        );
        let error = read(member("create-mesh", "spec"), &["file:///no/such/file"]).expect_err("absent");
        assert!(
            error.to_string().starts_with("Error parsing parameter '--spec': Unable to load paramfile"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_value_names_its_option() {
        for (command, name, typed) in [
            ("create-mesh", "spec", "{\"a\":"),
            ("create-mesh", "tags", "key"),
            ("list-meshes", "limit", "ten"),
        ] {
            let error = read(member(command, name), &[typed]).expect_err(typed);
            assert!(error.to_string().contains(&format!("'--{name}'")), "{error}");
        }
    }
}

//! What a command prints: one document in the format that was asked for.
//!
//! JSON, text and table are laid out exactly as the AWS command line lays them out, because scripts parse them;
//! YAML is block style, as its second version prints it.

mod columns;
pub(crate) mod query;
mod table;
mod text;
pub(crate) mod yaml;

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum as _;
use serde::Serialize;
use serde_json::Value;

use crate::exit::Failure;

pub(crate) use columns::columns;
pub(crate) use query::Query;

/// `-o`, `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Indented JSON.
    Json,
    /// Block-style YAML.
    #[value(alias = "yaml-stream")]
    Yaml,
    /// Tab-separated lines, for `cut` and `awk`.
    Text,
    /// Boxes with aligned columns, for people.
    Table,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Color {
    /// When standard output is a terminal and `NO_COLOR` is not set.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Color {
    pub(crate) fn enabled(self) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            Self::Auto => {
                io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            }
        }
    }
}

/// The format when no option names one: `AWS_DEFAULT_OUTPUT`, else JSON.
///
/// # Errors
/// When the variable names no format.
pub(crate) fn default_format() -> Result<Format, Failure> {
    match std::env::var("AWS_DEFAULT_OUTPUT") {
        Ok(name) if !name.is_empty() => Format::from_str(&name, true)
            .map_err(|_| Failure::Usage(format!("AWS_DEFAULT_OUTPUT: unknown output type: {name}"))),
        _ => Ok(Format::Json),
    }
}

/// Writes `document` to standard output. `title` heads a table. A reader that went away is no failure.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub(crate) fn print(document: &Value, format: Format, title: &str, color: Color) -> io::Result<()> {
    emit(&render(document, format, title, color))
}

/// Writes text to standard output. A reader that went away (`| head`) is no failure.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub(crate) fn emit(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The text of `document` in `format`.
pub(crate) fn render(document: &Value, format: Format, title: &str, color: Color) -> String {
    match format {
        Format::Json if document.as_object().is_some_and(|object| object.is_empty()) => String::new(),
        Format::Json => json(document),
        Format::Yaml => yaml::write(document),
        Format::Text => text::write(document),
        Format::Table => table::write(document, title, color.enabled()),
    }
}

/// JSON with four spaces of indentation and a final newline.
pub(crate) fn json(document: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    document.serialize(&mut serializer).expect("a value has only string keys and the buffer grows");
    let mut text = String::from_utf8(bytes).expect("JSON is written as UTF-8");
    text.push('\n');
    text
}

/// A scalar as the AWS command line shows it: Python's words for the three constants.
fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_indented_by_four_and_an_empty_answer_prints_nothing() {
        assert_eq!(
            render(&json!({"a": [1], "b": {}}), Format::Json, "T", Color::Off),
            "{\n    \"a\": [\n        1\n    ],\n    \"b\": {}\n}\n"
        );
        assert_eq!(render(&json!({}), Format::Json, "T", Color::Off), "");
        assert_eq!(render(&json!(null), Format::Json, "T", Color::Off), "null\n");
    }

    /// What the AWS command line itself prints, through the Python modules of an installed one.
    fn aws_prints(documents: &[Value]) -> Option<Vec<(String, String)>> {
        const SCRIPT: &str = "
import io, json, sys
from awscli import text
from awscli.formatter import TableFormatter
class Args:
    color = 'off'
    query = None
out = []
for document in json.load(sys.stdin):
    lines, boxes = io.StringIO(), io.StringIO()
    text.format_text(document, lines)
    TableFormatter(Args())._format_response('DescribeMesh', document, boxes)
    out.append([lines.getvalue(), boxes.getvalue()])
json.dump(out, sys.stdout)
";
        let python = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
        let mut child = std::process::Command::new(python)
            .args(["-c", SCRIPT])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .ok()?;
        let mut stdin = child.stdin.take().expect("piped above");
        stdin.write_all(&serde_json::to_vec(documents).expect("JSON")).expect("the script reads");
        drop(stdin);
        let output = child.wait_with_output().expect("the script ends");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    #[test]
    fn text_and_table_are_what_the_aws_command_line_prints() {
        let metadata = json!({"arn": "arn:aws:appmesh:us-west-2:123456789012:mesh/my-mesh", "createdAt": 1563809909.282, "version": 1, "meshOwner": "123456789012"});
        let documents = vec![
            json!({"mesh": {"meshName": "my-mesh", "metadata": metadata, "spec": {}, "status": {"status": "ACTIVE"}}}),
            json!({"mesh": {"meshName": "my-mesh", "spec": {"egressFilter": {"type": "DROP_ALL"}}, "status": {"status": "ACTIVE"}}}),
            json!({"meshes": [metadata, {"arn": "a", "extra": true}], "nextToken": null}),
            json!({"virtualNode": {"spec": {"listeners": [
                {"portMapping": {"port": 8080, "protocol": "http"}, "healthCheck": {"path": "/", "port": 1}},
                {"portMapping": {"port": 9090, "protocol": "grpc"}},
            ], "backends": []}, "virtualNodeName": "n"}}),
            json!({"tags": [{"key": "Environment", "value": "Production"}, {"key": "Team", "value": "Platform"}]}),
            json!({"route": {"spec": {"httpRoute": {"action": {"weightedTargets": [
                {"virtualNode": "a", "weight": 80}, {"virtualNode": "b", "weight": 20}]}, "match": {"prefix": "/"}}}}}),
            json!([["a", 1], ["bb", 2]]),
            json!(["a", "b", "ccc"]),
            json!([{"l": ["x", "y"], "n": 1}, {"l": ["z"], "n": 2}]),
            json!([{"a": 1, "b": {"c": 1}}, {"a": 2}]),
            json!("just text"),
            json!({"one": "scalar"}),
            json!({"one": "scalar", "two": false, "three": null}),
            json!({}),
            json!([]),
            json!({"wide": "x".repeat(70), "wider": "y".repeat(30)}),
        ];
        let Some(expected) = aws_prints(&documents) else {
            eprintln!("SKIPPED: no AWS command line in target/venv");
            return;
        };
        for (document, (text, table)) in documents.iter().zip(expected) {
            assert_eq!(render(document, Format::Text, "DescribeMesh", Color::Off), text, "{document}");
            assert_eq!(render(document, Format::Table, "DescribeMesh", Color::Off), table, "{document}");
        }
    }
}

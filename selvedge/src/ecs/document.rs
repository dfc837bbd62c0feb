//! A task definition as a file: read, and written back in the shape that it had.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize as _;
use serde_json::{Map, Value};

use crate::exit::Failure;

/// Bytes that are read; ECS takes 64 KiB.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A task definition with what belongs to its file alone.
#[derive(Debug, Clone)]
pub(super) struct Document {
    whole: Value,
    indent: String,
    ends_with_newline: bool,
}

impl Document {
    /// Reads a file, or standard input for `-`.
    ///
    /// # Errors
    /// It cannot be read, or is no task definition.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let mut text = String::new();
        let read = if path == Path::new("-") {
            std::io::stdin().lock().take(BYTES_MAX + 1).read_to_string(&mut text)
        } else {
            std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text))
        };
        let read = read.with_context(|| format!("failed to read {}", path.display()))?;
        if read as u64 > BYTES_MAX {
            return Err(Failure::Usage(format!("{} is longer than {BYTES_MAX} bytes", path.display())));
        }
        Self::parse(&text).map_err(|problem| Failure::Usage(format!("{}: {problem}", path.display())))
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let whole: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let document = Self { whole, indent: indent(text), ends_with_newline: text.ends_with('\n') };
        match document.find() {
            Some(task) if task.contains_key("containerDefinitions") => Ok(document),
            Some(_) => Err("it has no containerDefinitions, so it is no task definition".to_owned()),
            None => Err("it is not an object, so it is no task definition".to_owned()),
        }
    }

    /// The task definition, which `aws ecs describe-task-definition` prints within another object.
    pub(super) fn task(&self) -> &Map<String, Value> {
        self.find().expect("the constructor found it")
    }

    pub(super) fn task_mut(&mut self) -> &mut Map<String, Value> {
        let whole = self.whole.as_object_mut().expect("the constructor found it");
        if !is_wrapped(whole) {
            return whole;
        }
        whole.get_mut("taskDefinition").and_then(Value::as_object_mut).expect("the constructor found it")
    }

    fn find(&self) -> Option<&Map<String, Value>> {
        let whole = self.whole.as_object()?;
        if is_wrapped(whole) { whole.get("taskDefinition")?.as_object() } else { Some(whole) }
    }

    /// The text, indented as the file was.
    pub(super) fn text(&self) -> String {
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(self.indent.as_bytes());
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        self.whole.serialize(&mut serializer).expect("values serialize");
        if self.ends_with_newline {
            bytes.push(b'\n');
        }
        String::from_utf8(bytes).expect("JSON is text")
    }
}

fn is_wrapped(whole: &Map<String, Value>) -> bool {
    !whole.contains_key("containerDefinitions") && whole.get("taskDefinition").is_some_and(Value::is_object)
}

/// The first indentation in the text; two spaces for a text of one line.
fn indent(text: &str) -> String {
    let indented = text.lines().find(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty());
    let blanks = indented.map(|line| &line[..line.len() - line.trim_start().len()]);
    blanks.unwrap_or("  ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_as_it_was() {
        for text in [
            "{\n    \"family\": \"f\",\n    \"containerDefinitions\": []\n}",
            "{\n\t\"containerDefinitions\": [],\n\t\"memory\": 1.50\n}\n",
            "{\n  \"taskDefinition\": {\n    \"containerDefinitions\": [\n      {\n        \"cpu\": 0\n      }\n    ]\n  }\n}\n",
        ] {
            assert_eq!(Document::parse(text).expect("a task definition").text(), text);
        }
    }

    #[test]
    fn what_is_no_task_definition_is_refused() {
        for text in ["", "[]", "{}", "{\"taskDefinition\": {}}", "{\"containerDefinitions\": ["] {
            assert!(Document::parse(text).is_err(), "{text}");
        }
    }
}

//! What `lighttpd -p` prints: the configuration after variables, includes and simple expressions are worked out.

use std::fmt::Write as _;

use super::block::{Block, Document};
use crate::value::{List, Value};

impl Document {
    /// The configuration as `lighttpd -p` prints it, with a newline at the end.
    pub fn normal_form(&self) -> String {
        let mut out = String::new();
        self.block(0, 0, &mut out);
        out.push('\n');
        out
    }

    fn block(&self, number: usize, depth: usize, out: &mut String) {
        let block = &self.blocks[number];
        let title = block.condition();
        if number == 0 {
            out.push_str("config {\n");
        } else {
            if let Some(title) = title {
                let _ = write!(out, "{title} ");
            }
            let _ = write!(out, "{{\n{}# block {number}\n", indent(depth + 1));
        }
        let depth = depth + 1;
        values(block, depth, out);
        out.push('\n');
        for child in block.children.iter().filter(|child| self.blocks[**child].previous.is_none()) {
            let _ = write!(out, "\n{}", indent(depth));
            self.block(*child, depth, out);
            out.push('\n');
        }
        let depth = depth - 1;
        let _ = write!(out, "{}}}", indent(depth));
        if number != 0 {
            let _ = write!(out, " # end of {}", title.unwrap_or("else"));
        }
        if let Some(next) = block.next {
            let _ = write!(out, "\n{}else ", indent(depth));
            self.block(next, depth, out);
        }
    }
}

fn values(block: &Block, depth: usize, out: &mut String) {
    let width = block.values.keys().map(|key| key.len()).max().unwrap_or(0);
    for (key, (value, _)) in &block.values {
        let _ = write!(out, "{}{key:width$} = ", indent(depth));
        // A type that lighttpd changes as it reads it.
        let settled = (**key == *"mimetype.assign").then(|| with_script_type(value)).flatten();
        print(settled.as_ref().unwrap_or(value), depth, out);
        out.push('\n');
    }
}

/// The list with the type that scripts have.
fn with_script_type(value: &Value) -> Option<Value> {
    let list = value.as_list()?;
    let old: Value = "application/javascript".into();
    if list.get(".js") != Some(&old) {
        return None;
    }
    let entries = list.iter().map(|(key, value)| {
        let is_script = key.is_some_and(|key| **key == *".js");
        (key.cloned(), if is_script { "text/javascript".into() } else { value.clone() })
    });
    Some(Value::List(entries.collect()))
}

fn print(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Text(text) => {
            let _ = write!(out, "\"{}\"", text.replace('"', "\\\""));
        }
        Value::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        Value::List(list) => print_list(list, depth, out),
    }
}

/// How many plain values stand on one line.
const SHORT: usize = 5;

fn print_list(list: &List, depth: usize, out: &mut String) {
    let unkeyed = list.iter().next().is_none_or(|(key, _)| key.is_none());
    let plain = list.iter().all(|(_, value)| !matches!(value, Value::List(_)));
    if list.len() <= SHORT && unkeyed && plain {
        out.push('(');
        for (index, (_, value)) in list.iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            print(value, depth + 1, out);
        }
        out.push(')');
        return;
    }
    let width = list.iter().filter_map(|(key, _)| key).map(|key| key.len()).max().unwrap_or(0);
    out.push_str("(\n");
    for (key, value) in list.iter() {
        out.push_str(&indent(depth + 1));
        if let Some(key) = key {
            let _ = write!(out, "\"{key}\"{} => ", " ".repeat(width - key.len()));
        }
        print(value, depth + 1, out);
        out.push_str(",\n");
    }
    let _ = write!(out, "{})", indent(depth));
}

fn indent(depth: usize) -> String {
    " ".repeat(depth * 4)
}

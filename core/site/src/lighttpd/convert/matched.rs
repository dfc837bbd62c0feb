//! Conditions of a block in the form's words.

use super::text::quoted;
use crate::lighttpd::condition::ConditionText;

/// What a block's conditions are in the form.
#[derive(Default)]
pub(super) struct Match {
    pub(super) host: Option<String>,
    /// The address of the listener.
    pub(super) listen: Option<String>,
    pub(super) lines: Vec<String>,
    pub(super) comments: Vec<String>,
    pub(super) has_path: Option<String>,
    /// What every path begins with that the conditions hold for.
    path_begins: Option<String>,
    /// Whether that is the whole path.
    is_one_path: bool,
    /// The condition on the path as a look ahead from its beginning.
    path_ahead: Option<String>,
}

impl Match {
    /// Whether all paths below a prefix are the block's, none, or nobody can tell.
    pub(super) fn has_below(&self, prefix: &str) -> Option<bool> {
        match (&self.path_begins, &self.has_path) {
            (_, None) => Some(true),
            (Some(begins), _) if prefix.starts_with(begins.as_str()) => (!self.is_one_path).then_some(true),
            (Some(begins), _) if !begins.starts_with(prefix) => Some(false),
            _ => None,
        }
    }

    /// An expression for the block's paths of which another one finds something.
    pub(super) fn and_found(&self, expression: &str) -> String {
        match &self.path_ahead {
            None => expression.to_owned(),
            Some(ahead) => format!(r"^{ahead}(?=[\s\S]*?(?:{expression}))"),
        }
    }

    /// An expression for the block's paths of which another one finds nothing.
    pub(super) fn and_not_found(&self, expression: &str) -> String {
        let ahead = self.path_ahead.as_deref().unwrap_or_default();
        format!(r"^{ahead}(?![\s\S]*(?:{expression}))")
    }

    /// Takes another condition that has to hold; what has no equal becomes a comment.
    pub(super) fn add(&mut self, condition: &ConditionText) {
        let value = &*condition.value;
        let line = match (&*condition.object, &*condition.field, condition.operator) {
            _ if condition.otherwise => None,
            ("SERVER", "socket", "==") if self.listen.is_none() => {
                self.listen = Some(value.to_owned());
                return;
            }
            ("HTTP", "host", "==") if self.host.is_none() => {
                self.host = Some(value.rsplit_once(':').map_or(value, |(name, _)| name).to_owned());
                return;
            }
            ("HTTP", "host", "=$") if self.host.is_none() && value.starts_with('.') => {
                self.host = Some(format!("*{value}"));
                return;
            }
            // The inner block says it already.
            ("HTTP", "url", "=^")
                if self.path_begins.as_ref().is_some_and(|begins| begins.starts_with(value)) =>
            {
                return;
            }
            ("HTTP", "url", operator) if self.has_path.is_none() => {
                self.path_begins = matches!(operator, "==" | "=^").then(|| value.to_owned());
                self.is_one_path = operator == "==";
                let line = match operator {
                    "==" => Some(format!("path = {}", quoted(value))),
                    "=^" => Some(format!("path = {}", quoted(&format!("{value}*")))),
                    "=~" => Some(format!("path_regex = {}", quoted(value))),
                    "=$" => Some(format!("path_regex = {}", quoted(&format!("{}$", literal(value))))),
                    _ => None,
                };
                self.has_path = line.as_ref().map(|_| condition.text.to_string());
                self.path_ahead = match operator {
                    _ if line.is_none() => None,
                    "==" => Some(format!("(?={}$)", literal(value))),
                    "=^" => Some(format!("(?={})", literal(value))),
                    "=$" => Some(format!(r"(?=[\s\S]*{}$)", literal(value))),
                    _ => Some(format!(r"(?=[\s\S]*?(?:{value}))")),
                };
                line
            }
            ("HTTP", "request-method", "==") => Some(format!("method = {}", quoted(value))),
            ("REQUEST_HEADER", name, "==") => {
                Some(format!("header = {{ {} = {} }}", quoted(name), quoted(value)))
            }
            ("HTTP", "remoteip" | "remote-ip", "==") => Some(format!("client = {}", quoted(value))),
            ("HTTP", "remoteip" | "remote-ip", "!=") => Some(format!("not_client = {}", quoted(value))),
            _ => None,
        };
        match line {
            Some(line) => self.lines.push(line),
            None => self.comments.push(condition.text.to_string()),
        }
    }
}

/// Text as an expression that finds it.
pub(super) fn literal(text: &str) -> String {
    let special = |one: char| !one.is_alphanumeric() && !matches!(one, '/' | '-' | '_');
    text.chars().flat_map(|one| special(one).then_some('\\').into_iter().chain([one])).collect()
}

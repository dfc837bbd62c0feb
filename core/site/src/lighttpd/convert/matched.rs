//! Conditions of a block in the form's words.

use super::Document;
use super::expression::{is_anchored, is_any_host, literal, on_path};
use super::text::quoted;
use crate::lighttpd::condition::ConditionText;

/// What a block's conditions are in the form.
#[derive(Default)]
pub(super) struct Match {
    pub(super) host: Option<String>,
    /// An expression on the host, in place of it.
    pub(super) host_regex: Option<String>,
    /// The address of the listener.
    pub(super) listen: Option<String>,
    pub(super) lines: Vec<String>,
    pub(super) comments: Vec<String>,
    pub(super) has_path: bool,
    /// What every path begins with that the conditions hold for.
    pub(super) path_begins: Option<String>,
    /// Whether that is the whole path.
    is_one_path: bool,
    /// The condition on the path as a look ahead from its beginning.
    path_ahead: Option<String>,
    /// The same where a query follows the path; `None` as well where it cannot be said.
    url_ahead: Option<String>,
    /// What `%1` and its siblings are groups of: the innermost condition.
    groups: Option<GroupsOf>,
}

/// What the groups of a block's own condition are of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GroupsOf {
    /// The host, and the form has the expression.
    Host,
    /// Every host: the first is all of it.
    AnyHost,
    Other,
}

impl Match {
    /// The conditions of a block and of those that it stands in.
    pub(super) fn of(document: &Document, number: usize) -> Self {
        let mut rule = Self::default();
        let mut at = Some(number);
        while let Some(block) = at {
            let of = &document.blocks[block];
            if let Some(condition) = &of.condition {
                let chained = of.previous.is_some_and(|before| document.blocks[before].previous.is_some());
                rule.add(condition, chained);
            }
            at = of.parent;
        }
        rule
    }

    /// Whether it holds for everything that comes in by the listener, without TLS.
    pub(super) fn is_all_plain(&self) -> bool {
        let no_more = self.host.is_none() && self.host_regex.is_none() && self.comments.is_empty();
        match self.lines.as_slice() {
            [] => no_more && self.listen.is_some(),
            [only] => no_more && only == "scheme = \"http\"",
            _ => false,
        }
    }

    /// Whether all paths below a prefix are the block's, none, or nobody can tell.
    pub(super) fn has_below(&self, prefix: &str) -> Option<bool> {
        match &self.path_begins {
            _ if !self.has_path => Some(true),
            Some(begins) if prefix.starts_with(begins.as_str()) => (!self.is_one_path).then_some(true),
            Some(begins) if !begins.starts_with(prefix) => Some(false),
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

    /// The expression of a redirect to `target`, for the block's paths alone, its groups under their numbers.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub(super) fn redirecting(&self, expression: &str, target: &str) -> Result<String, &'static str> {
        let expression = if expression.is_empty() { "^" } else { expression };
        if !self.has_path {
            return Ok(expression.to_owned());
        }
        let Some(ahead) = &self.url_ahead else { return Err("its condition counts on its own groups") };
        if is_anchored(expression) {
            return Ok(format!("^{ahead}{}", &expression[1..]));
        }
        if target.contains("$0") {
            return Err("what it finds begins anywhere, and is part of where it leads");
        }
        Ok(format!(r"^{ahead}[\s\S]*?(?:{expression})"))
    }

    /// Where a redirect or a rewrite leads, with the groups of the block's condition as the form has them.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub(super) fn target(&self, target: &str) -> Result<String, &'static str> {
        let asks = target.as_bytes().windows(2).any(|two| two[0] == b'%' && two[1].is_ascii_digit());
        match self.groups {
            _ if !asks => Ok(target.to_owned()),
            Some(GroupsOf::Host) => Ok(target.to_owned()),
            Some(GroupsOf::AnyHost) => {
                let host = "${url.authority.noport}";
                Ok(target.replace("%0", host).replace("%1", host))
            }
            _ => Err("%1 is a group of host_regex"),
        }
    }

    /// Takes another condition that has to hold, from the inner ones to the outer; what has no equal becomes a comment. `chained`: it is the
    /// `else` of more than one.
    fn add(&mut self, condition: &ConditionText, chained: bool) {
        let value = &*condition.value;
        let groups = match (&*condition.field, condition.operator) {
            ("host", "=~") if is_any_host(value) => GroupsOf::AnyHost,
            ("host", "=~") if self.host.is_none() && self.host_regex.is_none() => GroupsOf::Host,
            _ => GroupsOf::Other,
        };
        self.groups.get_or_insert(groups);
        if !(condition.otherwise && chained) && self.known(condition) {
            return;
        }
        self.comments.push(condition.text.to_string());
    }

    /// Takes a condition that the form can say.
    fn known(&mut self, condition: &ConditionText) -> bool {
        let value = &*condition.value;
        let line = match (&*condition.object, &*condition.field, condition.operator) {
            ("SERVER", "socket", "==") if self.listen.is_none() => {
                self.listen = Some(value.to_owned());
                return true;
            }
            ("HTTP", "host", operator) => return self.host(operator, value),
            // The inner block says it already.
            ("HTTP", "url", "=^")
                if self.path_begins.as_ref().is_some_and(|begins| begins.starts_with(value)) =>
            {
                return true;
            }
            ("HTTP", "url", operator) => {
                let text = literal(value);
                let end = r"(?:\?|$)";
                let (line, ahead, of_url) = match operator {
                    "==" => (
                        format!("path = {}", quoted(value)),
                        format!("(?={text}$)"),
                        Some(format!("(?={text}{end})")),
                    ),
                    "=^" => (
                        format!("path = {}", quoted(&format!("{value}*"))),
                        format!("(?={text})"),
                        Some(format!("(?={text})")),
                    ),
                    "=$" => (
                        format!("path_regex = {}", quoted(&format!("{text}$"))),
                        format!(r"(?=[\s\S]*{text}$)"),
                        Some(format!("(?=[^?]*{text}{end})")),
                    ),
                    "=~" => (
                        format!("path_regex = {}", quoted(value)),
                        format!(r"(?=[\s\S]*?(?:{value}))"),
                        on_path(value).map(|value| format!("(?=[^?]*?(?:{value}))")),
                    ),
                    other => {
                        let (inner, of_url) = match other {
                            "!=" => (format!("{text}$"), Some(format!("{text}{end}"))),
                            "!^" => (text.clone(), Some(text)),
                            "!$" => (format!(r"[\s\S]*{text}$"), Some(format!("[^?]*{text}{end}"))),
                            _ => (
                                format!(r"[\s\S]*?(?:{value})"),
                                on_path(value).map(|value| format!("[^?]*?(?:{value})")),
                            ),
                        };
                        (
                            format!("path_regex = {}", quoted(&format!("^(?!{inner})"))),
                            format!("(?!{inner})"),
                            of_url.map(|inner| format!("(?!{inner})")),
                        )
                    }
                };
                if self.has_path {
                    // An outer one has to hold as well.
                    let both = format!("{}{ahead}", self.path_ahead.take().unwrap_or_default());
                    self.url_ahead = self.url_ahead.take().zip(of_url).map(|(one, other)| one + &other);
                    self.lines.retain(|line| !line.starts_with("path"));
                    self.lines.push(format!("path_regex = {}", quoted(&format!("^{both}"))));
                    self.path_ahead = Some(both);
                    return true;
                }
                self.path_begins = matches!(operator, "==" | "=^").then(|| value.to_owned());
                self.is_one_path = operator == "==";
                self.has_path = true;
                (self.path_ahead, self.url_ahead) = (Some(ahead), of_url);
                line
            }
            ("HTTP", "scheme", operator @ ("==" | "!=")) if matches!(value, "http" | "https") => {
                let is_plain = (value == "http") == (operator == "==");
                let line = format!("scheme = \"{}\"", if is_plain { "http" } else { "https" });
                if self.lines.contains(&line) {
                    return true;
                }
                if self.lines.iter().any(|line| line.starts_with("scheme")) {
                    return false;
                }
                line
            }
            ("HTTP", "request-method", "==") => format!("method = {}", quoted(value)),
            ("REQUEST_HEADER", name, "==") => {
                format!("header = {{ {} = {} }}", quoted(name), quoted(value))
            }
            ("HTTP", "remoteip" | "remote-ip", "==") => format!("client = {}", quoted(value)),
            ("HTTP", "remoteip" | "remote-ip", "!=") => format!("not_client = {}", quoted(value)),
            _ => return false,
        };
        let key = line.split(' ').next().unwrap_or_default();
        // A route has each of its keys once.
        if self.lines.iter().any(|known| known.split(' ').next() == Some(key)) {
            return false;
        }
        self.lines.push(line);
        true
    }

    fn host(&mut self, operator: &str, value: &str) -> bool {
        if operator == "=~" && is_any_host(value) {
            return true;
        }
        let name = value.rsplit_once(':').map_or(value, |(name, _)| name);
        if self.host.is_some() || self.host_regex.is_some() {
            return false;
        }
        let text = literal(name);
        match operator {
            "==" => self.host = Some(name.to_owned()),
            "=$" if value.starts_with('.') => self.host = Some(format!("*{value}")),
            "=$" => self.host_regex = Some(format!("{text}$")),
            "=^" => self.host_regex = Some(format!("^{text}")),
            "=~" => self.host_regex = Some(value.to_owned()),
            "!=" => self.host_regex = Some(format!("^(?!{text}$)")),
            "!~" => self.host_regex = Some(format!(r"^(?![\s\S]*?(?:{value}))")),
            "!^" => self.host_regex = Some(format!("^(?!{text})")),
            "!$" => self.host_regex = Some(format!("(?<!{text})$")),
            _ => return false,
        }
        true
    }
}

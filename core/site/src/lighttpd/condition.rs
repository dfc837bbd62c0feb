//! Conditions while they are read: which field, which operator, and what simple expressions become.

use std::sync::Arc;

use crate::condition::{Field, Network, Operand, Operation, Test};
use crate::pattern::Pattern;

/// A condition as it was read.
#[derive(Clone, Debug)]
pub(super) struct ConditionText {
    /// `$HTTP["host"] == "a"`, with the operator that a simple expression became.
    pub(super) text: Arc<str>,
    /// A plain `else`, whose text is that of the block before, with the operator turned round.
    pub(super) otherwise: bool,
    pub(super) object: Arc<str>,
    pub(super) field: Arc<str>,
    pub(super) operator: &'static str,
    /// What stands behind the operator.
    pub(super) value: Arc<str>,
}

impl ConditionText {
    /// Reads `$object["field"] operator "value"`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(
        object: &str,
        field: &str,
        operator: &'static str,
        value: &str,
    ) -> Result<Self, String> {
        let known = match (object, field) {
            ("REQUEST_HEADER", _) | ("SERVER", "socket") => true,
            ("HTTP", field) => HTTP_FIELDS.contains(&field),
            _ => false,
        };
        let (operator, value) = match operator {
            "=~" if (object, field) != ("SERVER", "socket") => simplified(value),
            operator => (operator, value.to_owned()),
        };
        let text = format!("${object}[\"{field}\"] {operator} \"{value}\"");
        if !known {
            return Err(format!("error comp_key {text}"));
        }
        let condition = Self {
            text: text.into(),
            otherwise: false,
            object: object.into(),
            field: field.into(),
            operator,
            value: value.into(),
        };
        condition.check()?;
        Ok(condition)
    }

    /// The `else` of `before`.
    pub(super) fn otherwise(before: &Self) -> Self {
        let operator = match before.operator {
            "==" => "!=",
            "!=" => "==",
            "=~" => "!~",
            "!~" => "=~",
            "=^" => "!^",
            _ => "!$",
        };
        let Self { object, field, value, .. } = before;
        let text = format!("${object}[\"{field}\"] {operator} \"{value}\"");
        Self { text: text.into(), otherwise: true, operator, ..before.clone() }
    }

    /// Refuses hosts, addresses and sockets that are none.
    fn check(&self) -> Result<(), String> {
        let literal = matches!(self.operator, "==" | "!=" | "=^" | "=$");
        let wrong = || format!("invalid IP addr: {}", self.value);
        match self.known_field() {
            Some(Field::RemoteIp) if literal && !self.value.starts_with('/') => {
                let network = Network::parse(&self.value).ok_or_else(wrong)?;
                if self.value.contains('/') && network.bits == 0 {
                    return Err(wrong());
                }
                Ok(())
            }
            Some(Field::Socket) => {
                let special = self.value.starts_with([':', '/', '\\']) || self.value.starts_with("[]");
                if special { Ok(()) } else { normal_host(&self.value).map(drop).ok_or_else(wrong) }
            }
            Some(Field::Host) if literal => normal_host(&self.value).map(drop).ok_or_else(wrong),
            _ => Ok(()),
        }
    }

    fn known_field(&self) -> Option<Field> {
        Some(match (&*self.object, &*self.field) {
            ("SERVER", "socket") => Field::Socket,
            ("REQUEST_HEADER", name) => Field::Header(name.into()),
            ("HTTP", field) => match field {
                "url" => Field::Url,
                "host" => Field::Host,
                "remoteip" | "remote-ip" => Field::RemoteIp,
                "querystring" | "query-string" => Field::QueryString,
                "request-method" => Field::RequestMethod,
                "scheme" => Field::Scheme,
                "useragent" => Field::Header("User-Agent".into()),
                "language" => Field::Header("Accept-Language".into()),
                "referer" | "user-agent" | "cookie" => Field::Header(field.into()),
                _ => return None,
            },
            _ => return None,
        })
    }

    /// The condition for a program. `normalize`: percent-encodings of queries are brought to one form.
    ///
    /// # Errors
    /// What is wrong with its expression.
    pub(super) fn test(&self, normalize: bool) -> Result<Option<Test>, String> {
        if self.otherwise {
            return Ok(None);
        }
        let Some(field) = self.known_field() else { return Err(format!("error comp_key {}", self.text)) };
        let mut value = self.value.clone();
        if normalize && field == Field::QueryString {
            value = normal_percents(&value, false).into();
        }
        let not = self.operator.starts_with('!');
        let operation = match self.operator {
            "=~" | "!~" => {
                let pattern = Pattern::new(&value)
                    .map_err(|error| format!("pcre2_compile: {error}, regex: {value}"))?;
                if pattern.groups_len() > CONDITION_GROUPS_MAX {
                    return Err(format!("Too many captures in regex, use (?:...) instead of (...): {value}"));
                }
                Operation::Matches { pattern, not }
            }
            "=^" => Operation::Prefix(self.literal(&field, value)),
            "=$" => Operation::Suffix(self.literal(&field, value)),
            _ => {
                let network = (field == Field::RemoteIp).then(|| Network::parse(&value)).flatten();
                let operand = match network {
                    Some(network) => Operand::Network(network),
                    None => Operand::Text(self.literal(&field, value)),
                };
                Operation::Equal { operand, not }
            }
        };
        Ok(Some(Test { field, operation }))
    }

    fn literal(&self, field: &Field, value: Arc<str>) -> Arc<str> {
        match field {
            Field::Host => normal_host(&value).map_or(value, Into::into),
            _ => value,
        }
    }
}

/// Groups that a condition's expression may have: `%1` to `%9`.
const CONDITION_GROUPS_MAX: usize = 9;

const HTTP_FIELDS: &[&str] = &[
    "url",
    "host",
    "referer",
    "useragent",
    "user-agent",
    "language",
    "cookie",
    "remoteip",
    "remote-ip",
    "querystring",
    "query-string",
    "request-method",
    "scheme",
];

/// What an expression that is only anchored text becomes: `^/a` is a prefix, `\.png$` a suffix, `^/a$` equality.
fn simplified(expression: &str) -> (&'static str, String) {
    let as_it_is = ("=~", expression.to_owned());
    let (operator, literal) = if let Some(before) = expression.strip_suffix('$') {
        if let Some(rest) = before.strip_prefix("\\.") {
            if rest.contains(SPECIAL) {
                return as_it_is;
            }
            return ("=$", format!(".{rest}"));
        }
        match before.strip_prefix('^') {
            Some(rest) => ("==", rest),
            None => ("=$", before),
        }
    } else {
        match expression.strip_prefix('^') {
            Some(rest) => ("=^", rest),
            None => return as_it_is,
        }
    };
    if literal.contains(SPECIAL) { as_it_is } else { (operator, literal.to_owned()) }
}

const SPECIAL: &[char] = &['\\', '^', '$', '.', '|', '?', '*', '+', '(', ')', '[', ']', '{', '}'];

/// A host with its address, if it is one, in its usual form, and its port; `None` when it cannot be a host.
fn normal_host(host: &str) -> Option<String> {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let (inside, rest) = rest.split_once(']')?;
        let (address, zone) =
            inside.split_once('%').map_or((inside, None), |(address, zone)| (address, Some(zone)));
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        let zone = zone.map(|zone| format!("%{zone}")).unwrap_or_default();
        let port = if rest.is_empty() { "" } else { rest.strip_prefix(':')? };
        (format!("[{address}{zone}]"), port)
    } else {
        match host.split_once(':') {
            None => (host.to_owned(), ""),
            Some(("", _)) => return None,
            Some((name, port)) => (name.to_owned(), port),
        }
    };
    if port.is_empty() {
        return Some(name);
    }
    let number: u16 = match port.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16).ok()?,
        None => port.parse().ok()?,
    };
    (number != 0).then(|| format!("{name}:{number}"))
}

/// Percent-encodings in capitals, and bytes beyond ASCII encoded. In right-hand sides, where `%` asks for groups, an
/// encoding is written `%%XX`.
pub(super) fn normal_percents(text: &str, doubled: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let sigil = if doubled { "%%" } else { "%" };
        let hex = bytes.get(at + sigil.len()..at + sigil.len() + 2);
        if bytes[at..].starts_with(sigil.as_bytes())
            && hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
        {
            out.push_str(sigil);
            out.push_str(&text[at + sigil.len()..at + sigil.len() + 2].to_ascii_uppercase());
            at += sigil.len() + 2;
        } else if byte.is_ascii() {
            out.push(char::from(byte));
            at += 1;
        } else {
            out.push_str(&format!("{sigil}{byte:02X}"));
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchored_text_is_no_expression() {
        let rows = [
            ("^/a", "=^", "/a"),
            ("^/a$", "==", "/a"),
            ("png$", "=$", "png"),
            ("\\.png$", "=$", ".png"),
            ("\\.p.g$", "=~", "\\.p.g$"),
            (".png$", "=~", ".png$"),
            ("^/a.b", "=~", "^/a.b"),
            ("/a", "=~", "/a"),
            ("^", "=^", ""),
            ("$", "=$", ""),
            ("^$", "==", ""),
            ("", "=~", ""),
            ("^/a\\", "=~", "^/a\\"),
            ("a\\$", "=~", "a\\$"),
            ("\\.$", "=$", "."),
        ];
        for (expression, operator, text) in rows {
            assert_eq!(simplified(expression), (operator, text.to_owned()), "{expression}");
        }
    }

    #[test]
    fn hosts_are_brought_to_one_form() {
        let rows = [
            ("a.example", Some("a.example")),
            ("a.example:8080", Some("a.example:8080")),
            ("a.example:", Some("a.example")),
            ("a:0x50", Some("a:80")),
            ("[::0:1]:81", Some("[::1]:81")),
            ("[::1]", Some("[::1]")),
            ("a:0", None),
            ("a:x", None),
            (":80", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
        ];
        for (host, expected) in rows {
            assert_eq!(normal_host(host).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn encodings_are_brought_to_one_form() {
        assert_eq!(normal_percents("a%2fb\u{e9}%x", false), "a%2Fb%C3%A9%x");
        assert_eq!(normal_percents("%%2f%1\u{e9}", true), "%%2F%1%%C3%%A9");
    }
}

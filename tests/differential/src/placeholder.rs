//! Names in a suite that become numbers when it runs, and the way back.
//!
//! `$blue` as a whole value becomes the number of the port on which the application `blue` listens; inside a longer
//! text it becomes its digits. What a plane shows is turned back, so that two runs on different ports compare equal.

use indexmap::IndexMap;
use regex::{Captures, Regex};
use serde_json::Value;

/// What each name stands for in one run.
#[derive(Clone, Debug, Default)]
pub struct Placeholders {
    ports: IndexMap<String, u16>,
    /// Where the certificates are; `$certs` stands for it.
    certs: Option<String>,
}

// === impl Placeholders ===

impl Placeholders {
    /// Lets `name` stand for `port`.
    pub fn insert(&mut self, name: impl Into<String>, port: u16) {
        self.ports.insert(name.into(), port);
    }

    /// Lets `$certs` stand for a folder.
    pub fn set_certs(&mut self, folder: &std::path::Path) {
        self.certs = Some(folder.display().to_string());
    }

    /// The port that `name` stands for.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.ports.get(name).copied()
    }

    /// Replaces each name in `value` by its number.
    pub fn fill(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(port) = text.strip_prefix('$').and_then(|name| self.port(name)) {
                    *value = Value::from(port);
                } else if text.contains('$') {
                    *text = self.fill_text(text);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill(item)),
            Value::Object(members) => {
                let filled = members.iter().map(|(name, member)| {
                    let mut member = member.clone();
                    self.fill(&mut member);
                    (self.fill_text(name), member)
                });
                *members = filled.collect();
            }
            _ => {}
        }
    }

    /// Replaces each `$name` in `text` by its digits.
    pub fn fill_text(&self, text: &str) -> String {
        let mut names: Vec<&String> = self.ports.keys().collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        let text = self.certs.as_ref().map_or_else(|| text.to_owned(), |certs| text.replace("$certs", certs));
        names
            .into_iter()
            .fold(text, |text, name| text.replace(&format!("${name}"), &self.ports[name].to_string()))
    }

    /// Replaces each number that stands alone in `text` and is the port of a name by `$name`; a port that no name
    /// stands for and that follows the loopback address is a client's, and becomes `$ephemeral`.
    ///
    /// What is told of a certificate becomes `$certificate`: each run issues its own.
    pub fn mask(&self, text: &str) -> String {
        let told = Regex::new(r#"(?P<key>Hash|Cert)=(?:[0-9a-f]{64}|"-----BEGIN[^"]*")"#);
        let told = told.expect("the pattern is a constant");
        let text = &*told.replace_all(text, "$key=$$certificate");
        let number = Regex::new(r"(127\.0\.0\.1:)?(\d+)").expect("the pattern is a constant");
        let masked = number.replace_all(text, |found: &Captures<'_>| {
            let address = found.get(1).map_or("", |address| address.as_str());
            let name = found[2]
                .parse()
                .ok()
                .and_then(|port: u16| self.ports.iter().find(|(_, other)| **other == port));
            match name {
                Some((name, _)) => format!("{address}${name}"),
                None if !address.is_empty() => format!("{address}$ephemeral"),
                None => found[0].to_owned(),
            }
        });
        masked.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholders() -> Placeholders {
        let mut placeholders = Placeholders::default();
        placeholders.insert("blue", 20_001);
        placeholders.insert("blue_two", 20_002);
        placeholders
    }

    #[test]
    fn a_whole_value_becomes_a_number_and_a_part_becomes_digits() {
        let mut value =
            serde_json::json!({"port": "$blue", "host": ["a:$blue_two"], "$blue": 1, "text": "$other"});
        placeholders().fill(&mut value);
        let expected = serde_json::json!({"port": 20001, "host": ["a:20002"], "20001": 1, "text": "$other"});
        assert_eq!(value, expected);
    }

    #[test]
    fn ports_are_masked_where_they_stand_alone() {
        let rows = [
            ("cds_egress_m_blue_http_20001", "cds_egress_m_blue_http_$blue"),
            ("120001", "120001"),
            ("a.20001.b", "a.$blue.b"),
            ("127.0.0.1:20002 127.0.0.1:54321", "127.0.0.1:$blue_two 127.0.0.1:$ephemeral"),
            ("length 20003", "length 20003"),
        ];
        for (text, masked) in rows {
            assert_eq!(placeholders().mask(text), masked, "{text}");
        }
    }
}

//! What a page knows: the variables that programs get, and what the page has set itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::answer::directory::escape;
use crate::answer::environment;
use crate::request::Exchange;

/// The most variables that a page may set.
pub(crate) const SET_MAX: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Variables {
    request: BTreeMap<String, String>,
    set: BTreeMap<String, String>,
}

impl Variables {
    /// Those of a request. Passwords stay out.
    pub(super) fn of(x: &Exchange<'_>) -> Self {
        let all = environment::of(x, environment::Options::default()).into_iter();
        let told = all.filter(|(name, _)| name != "HTTP_AUTHORIZATION");
        let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
        Self { request: told.map(|(name, value)| (name, text(value))).collect(), set: BTreeMap::new() }
    }

    /// A page cannot put its own in the place of the request's.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.request.get(name).or_else(|| self.set.get(name)).map(String::as_str)
    }

    /// # Errors
    /// Beyond [`SET_MAX`].
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        if self.set.len() >= SET_MAX && !self.set.contains_key(name) {
            return Err("it sets more than 1,000 variables");
        }
        self.set.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// A line for each; what could be markup is escaped.
    pub(super) fn printed(&self) -> String {
        let mut lines = String::new();
        for (name, value) in self.set.iter().chain(&self.request) {
            let _ = writeln!(lines, "{name}={}", escape(value));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_bounded_and_hides_nothing() {
        let mut variables = Variables::default();
        variables.request.insert("REMOTE_USER".to_owned(), "anna".to_owned());
        for number in 0..SET_MAX - 1 {
            variables.set(&number.to_string(), "1").unwrap();
        }
        variables.set("REMOTE_USER", "root").unwrap();
        assert!(variables.set("more", "1").is_err());
        variables.set("0", "<2>").unwrap();
        assert_eq!(variables.find("REMOTE_USER"), Some("anna"));
        assert!(variables.printed().starts_with("0=&lt;2&gt;\n"));
    }
}

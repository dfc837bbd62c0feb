//! `Cache-Control` (RFC 9111 §5.2), of a request or of an answer.

use crate::fields::Fields;

/// The longest time that counts; more is as much (RFC 9111 §1.2.2).
const SECONDS_MAX: u64 = 1 << 31;

/// What it says. A directive that comes twice with two values, or with a value that is none, counts as the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    pub no_store: bool,
    /// With field names or without.
    pub no_cache: bool,
    pub private: bool,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub only_if_cached: bool,
    pub max_age: Option<u64>,
    pub s_maxage: Option<u64>,
    pub stale_while_revalidate: Option<u64>,
    pub stale_if_error: Option<u64>,
}

impl Control {
    /// Reads all `Cache-Control` fields of a message.
    pub fn of(fields: &Fields) -> Self {
        let mut control = Self::default();
        for value in fields.all_named("cache-control") {
            for directive in split(value) {
                control.add(directive);
            }
        }
        control
    }

    fn add(&mut self, directive: &[u8]) {
        let text = String::from_utf8_lossy(directive);
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (text.trim(), None),
        };
        let least = |known: Option<u64>| {
            let seconds = value.and_then(seconds).unwrap_or(0);
            Some(known.map_or(seconds, |known| known.min(seconds)))
        };
        match name.to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => self.max_age = least(self.max_age),
            "s-maxage" => self.s_maxage = least(self.s_maxage),
            "stale-while-revalidate" => self.stale_while_revalidate = least(self.stale_while_revalidate),
            "stale-if-error" => self.stale_if_error = least(self.stale_if_error),
            _ => {}
        }
    }
}

/// Seconds as a header writes them: digits and nothing else.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().map_or(SECONDS_MAX, |seconds: u64| seconds.min(SECONDS_MAX)))
}

/// The elements of a list, whose quoted strings may hold commas.
pub(super) fn split(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    value.split(move |byte| {
        if escaped {
            escaped = false;
            return false;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Control {
        let mut fields = Fields::default();
        for value in values {
            fields.append(b"cache-control", value.as_bytes());
        }
        Control::of(&fields)
    }

    #[test]
    fn what_is_said() {
        let said = of(&["Public, MAX-AGE = 60 , s-maxage=\"10\"", "stale-while-revalidate=5"]);
        let expected = Control {
            public: true,
            max_age: Some(60),
            s_maxage: Some(10),
            stale_while_revalidate: Some(5),
            ..Control::default()
        };
        assert_eq!(said, expected);
        assert_eq!(of(&[]), Control::default());
        assert!(of(&["no-cache=\"set-cookie, x\", no-store"]).no_store);
    }

    #[test]
    fn what_is_odd_keeps_less() {
        for value in
            ["max-age=", "max-age=-1", "max-age=1.5", "max-age=x", "max-age", "max-age=60, max-age=0"]
        {
            assert_eq!(of(&[value]).max_age, Some(0), "{value}");
        }
        assert_eq!(of(&["max-age=10", "max-age=5"]).max_age, Some(5));
        assert_eq!(of(&["max-age=99999999999999999999"]).max_age, Some(SECONDS_MAX));
        assert!(!of(&["x=\"no-store\""]).no_store, "within a string it says nothing");
        assert!(of(&["private=\"set-cookie\""]).private && of(&["no-cache=\"x\""]).no_cache);
    }
}

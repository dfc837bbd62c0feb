//! `application/x-www-form-urlencoded`: query strings and bodies, written and read without two meanings.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Fields of a form that are read; one with more is refused.
pub const FIELDS_MAX: usize = 64;

/// What stands for itself in a form and in a URL's query (RFC 3986 §2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `name=value&name=value`.
pub fn encode(fields: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{}={}", component(name), component(value));
    fields.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// One name or value.
pub fn component(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The fields of a form. A plus is a space.
///
/// `None` when there are more than [`FIELDS_MAX`], when a name stands twice, or when something is no text: what could be read
/// in two ways is not read.
pub fn decode(text: &str) -> Option<Vec<(String, String)>> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name)?, decoded(value)?);
        if fields.len() == FIELDS_MAX || fields.iter().any(|(known, _)| *known == name) {
            return None;
        }
        fields.push((name, value));
    }
    Some(fields)
}

fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let fields = [("code", "a b&c=d+é%"), ("state", ""), ("scope", "openid profile")];
        let text = encode(&fields);
        assert!(!text.contains(' ') && text.is_ascii(), "{text}");
        let read = decode(&text).expect("a form");
        assert_eq!(read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(), fields);
    }

    #[test]
    fn what_has_two_readings_has_none() {
        assert_eq!(decode("state=a&state=b"), None);
        assert_eq!(decode("s%74ate=a&state=b"), None);
        assert_eq!(decode("a=%ff"), None);
        assert_eq!(decode(&["a"; 2].join("&")), None);
        let many: Vec<String> = (0..=FIELDS_MAX).map(|n| format!("f{n}=1")).collect();
        assert_eq!(decode(&many.join("&")), None);
        assert_eq!(decode("").map(|fields| fields.len()), Some(0));
    }
}

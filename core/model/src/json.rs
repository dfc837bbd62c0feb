//! JSON as strangers send it: strict, bounded, and with nothing lost.
//!
//! Reads RFC 8259 and no more. Numbers keep their digits, members their order. A member given twice is refused: readers disagree on
//! which one counts, so whoever sent it cannot have meant it. Depth is bounded, and the reader's own stack grows by a fixed amount
//! for each level.

use serde_json::{Map, Number, Value};

use crate::violation::Path;

/// Levels of lists and objects within each other. The deepest App Mesh request has about a dozen.
pub const DEPTH_MAX: usize = 64;

/// Why a text is not a JSON document that we take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("the document is not UTF-8")]
    NotUtf8,
    #[error("the document ends early")]
    Truncated,
    #[error("unexpected character at byte {at}")]
    Unexpected { at: usize },
    #[error("lists and objects are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("member '{path}' is given twice")]
    Duplicate { path: String },
}

/// Reads one document.
///
/// # Errors
/// The text is not JSON, is nested beyond [`DEPTH_MAX`], or has a member twice.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)?;
    let mut reader = Reader { text, at: 0, path: Path::default(), depth: 0 };
    let value = reader.value()?;
    reader.skip_whitespace();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.unexpected()),
    }
}

/// The document without the `null` members of its objects, which the AWS protocols take for absent ones.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_nulls(value)))
                .collect(),
        ),
        Value::Array(elements) => Value::Array(elements.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    path: Path,
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Value, JsonError> {
        self.skip_whitespace();
        match self.peek() {
            None => Err(JsonError::Truncated),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::list),
            Some(b'"') => self.string().map(Value::String),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => self.number(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, JsonError>) -> Result<Value, JsonError> {
        if self.depth == DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        self.at += 1;
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let mut members = Map::new();
        if self.take_after_whitespace(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_whitespace();
            let name = self.string()?;
            self.path.push_member(&name);
            if members.contains_key(&name) {
                return Err(JsonError::Duplicate { path: self.path.to_string() });
            }
            self.expect_after_whitespace(b':')?;
            let value = self.value()?;
            self.path.pop();
            members.insert(name, value);
            if self.take_after_whitespace(b'}') {
                return Ok(Value::Object(members));
            }
            self.expect_after_whitespace(b',')?;
        }
    }

    fn list(&mut self) -> Result<Value, JsonError> {
        let mut elements = Vec::new();
        if self.take_after_whitespace(b']') {
            return Ok(Value::Array(elements));
        }
        loop {
            self.path.push_index(elements.len());
            elements.push(self.value()?);
            self.path.pop();
            if self.take_after_whitespace(b']') {
                return Ok(Value::Array(elements));
            }
            self.expect_after_whitespace(b',')?;
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < 0x20);
            let end = end.ok_or(JsonError::Truncated)?;
            out.push_str(&rest[..end]);
            self.at += end;
            match self.next()? {
                b'"' => return Ok(out),
                b'\\' => out.push(self.escape()?),
                _ => return Err(self.unexpected_before()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        Ok(match self.next()? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.unexpected_before()),
        })
    }

    /// The scalar of a `\u` escape, which may be a pair of surrogates; half a pair is refused.
    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let first = self.four_digits()?;
        if !(0xD800..0xE000).contains(&first) {
            return char::from_u32(first).ok_or_else(|| self.unexpected_before());
        }
        if !self.text[self.at..].starts_with("\\u") {
            return Err(self.unexpected_before());
        }
        self.at += 2;
        let second = self.four_digits()?;
        let pair = (first < 0xDC00 && (0xDC00..0xE000).contains(&second))
            .then(|| 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
        pair.and_then(char::from_u32).ok_or_else(|| self.unexpected_before())
    }

    fn four_digits(&mut self) -> Result<u32, JsonError> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = char::from(self.next()?).to_digit(16).ok_or_else(|| self.unexpected_before())?;
            number = number * 16 + digit;
        }
        Ok(number)
    }

    /// The grammar is checked here, so that the digits can be kept as they are.
    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let number: Result<Number, _> = self.text[start..self.at].parse();
        number.map(Value::Number).map_err(|_| JsonError::Unexpected { at: start })
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match (self.at > start, self.peek()) {
            (true, _) => Ok(()),
            (false, None) => Err(JsonError::Truncated),
            (false, Some(_)) => Err(self.unexpected()),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.unexpected());
        }
        self.at += word.len();
        Ok(value)
    }

    fn skip_whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take_after_whitespace(&mut self, byte: u8) -> bool {
        self.skip_whitespace();
        self.take(byte)
    }

    fn expect_after_whitespace(&mut self, byte: u8) -> Result<(), JsonError> {
        self.skip_whitespace();
        self.expect(byte)
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.unexpected()),
            None => Err(JsonError::Truncated),
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte, consumed. Whoever takes one that is not ASCII refuses the document, so a slice never starts within a
    /// character.
    fn next(&mut self) -> Result<u8, JsonError> {
        let byte = self.peek().ok_or(JsonError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn unexpected(&self) -> JsonError {
        JsonError::Unexpected { at: self.at }
    }

    fn unexpected_before(&self) -> JsonError {
        JsonError::Unexpected { at: self.at - 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_reads_back_with_its_order_and_digits() {
        for text in [
            r#"{"b":1,"a":[true,false,null,{}],"c":{"z":-0.10e+05,"y":12345678901234567890123}}"#,
            "[]",
            r#""""#,
            "0",
            "1.50",
        ] {
            assert_eq!(parse(text.as_bytes()).expect("valid JSON").to_string(), text);
        }
    }

    #[test]
    fn escapes_become_characters() {
        let value = parse(br#" "\u0041\n\t\"\\\/\ud83d\ude00\u00e9" "#).expect("valid JSON");
        assert_eq!(value, Value::String("A\n\t\"\\/😀é".into()));
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for (text, error) in [
            ("", JsonError::Truncated),
            ("{", JsonError::Truncated),
            (r#"{"a"#, JsonError::Truncated),
            (r#"{"a":1"#, JsonError::Truncated),
            (r#"{"a":1}x"#, JsonError::Unexpected { at: 7 }),
            ("[1,]", JsonError::Unexpected { at: 3 }),
            (r#"{"a":1,}"#, JsonError::Unexpected { at: 7 }),
            ("{a:1}", JsonError::Unexpected { at: 1 }),
            ("01", JsonError::Unexpected { at: 1 }),
            ("+1", JsonError::Unexpected { at: 0 }),
            ("1.", JsonError::Truncated),
            (".5", JsonError::Unexpected { at: 0 }),
            ("nul", JsonError::Unexpected { at: 0 }),
            ("\"\n\"", JsonError::Unexpected { at: 1 }),
            (r#""\x""#, JsonError::Unexpected { at: 2 }),
            (r#""\ud800""#, JsonError::Unexpected { at: 6 }),
            (r#""\ud800\u0041""#, JsonError::Unexpected { at: 12 }),
            ("\"\\é\"", JsonError::Unexpected { at: 2 }),
            ("é", JsonError::Unexpected { at: 0 }),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(parse(b"\"\xff\""), Err(JsonError::NotUtf8));
    }

    #[test]
    fn a_member_given_twice_is_refused_by_its_path() {
        let error = parse(br#"{"spec":{"listeners":[{"a":1,"a":1}]}}"#);
        assert_eq!(error, Err(JsonError::Duplicate { path: "spec.listeners[0].a".into() }));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(parse(nested(DEPTH_MAX + 1).as_bytes()), Err(JsonError::TooDeep));
        assert_eq!(parse(nested(100_000).as_bytes()), Err(JsonError::TooDeep));
    }
}

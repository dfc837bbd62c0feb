//! JSON, read strictly: no key twice, no nesting without end, and the place of every value is remembered.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// How deep a definition nests.
pub const JSON_DEPTH_MAX: usize = 200;

/// Where each value begins in the text, by its JSON pointer (RFC 6901).
#[derive(Clone, Debug, Default)]
pub struct Places(HashMap<String, usize>);

/// Why a text is no acceptable JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line}, column {column}")]
pub struct JsonError {
    /// What is wrong.
    pub message: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
}

impl Places {
    /// The offset of the value at `pointer` in bytes, or that of the nearest value around it.
    pub fn offset(&self, pointer: &str) -> usize {
        let mut pointer = pointer;
        loop {
            if let Some(offset) = self.0.get(pointer) {
                return *offset;
            }
            match pointer.rfind('/') {
                Some(end) => pointer = &pointer[..end],
                None => return 0,
            }
        }
    }
}

/// Line and column of an offset, both counted from 1.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

pub(crate) fn read(text: &str) -> Result<(Value, Places), JsonError> {
    let mut reader = Reader { text, at: 0, pointer: String::new(), places: Places::default(), depth: 0 };
    let value = reader.value()?;
    reader.blanks();
    if reader.at < text.len() {
        return Err(reader.error("unexpected text after the value"));
    }
    Ok((value, reader.places))
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    pointer: String,
    places: Places,
    depth: usize,
}

impl Reader<'_> {
    fn error(&self, message: impl Into<String>) -> JsonError {
        let (line, column) = line_and_column(self.text, self.at);
        JsonError { message: message.into(), line, column }
    }

    fn blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn value(&mut self) -> Result<Value, JsonError> {
        self.blanks();
        self.places.0.insert(self.pointer.clone(), self.at);
        self.depth += 1;
        if self.depth > JSON_DEPTH_MAX {
            return Err(self.error(format!("values are nested more than {JSON_DEPTH_MAX} levels deep")));
        }
        let value = match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => self.string().map(Value::String),
            Some(_) => self.literal(),
            None => Err(self.error("a value is missing")),
        }?;
        self.depth -= 1;
        Ok(value)
    }

    fn below<T>(
        &mut self,
        token: &str,
        f: impl FnOnce(&mut Self) -> Result<T, JsonError>,
    ) -> Result<T, JsonError> {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&escape(token));
        let result = f(self);
        self.pointer.truncate(length);
        result
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        self.at += 1;
        let mut members = Map::new();
        loop {
            self.blanks();
            if members.is_empty() && self.take(b'}') {
                return Ok(Value::Object(members));
            }
            if self.peek() != Some(b'"') {
                return Err(self.error("a name in double quotes is missing"));
            }
            let start = self.at;
            let name = self.string()?;
            if members.contains_key(&name) {
                self.at = start;
                return Err(self.error(format!("the name '{name}' is there twice")));
            }
            self.blanks();
            if !self.take(b':') {
                return Err(self.error("':' is missing"));
            }
            let member = self.below(&name, Self::value)?;
            members.insert(name, member);
            self.blanks();
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.take(b',') {
                return Err(self.error("',' or '}' is missing"));
            }
        }
    }

    fn array(&mut self) -> Result<Value, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.blanks();
            if items.is_empty() && self.take(b']') {
                return Ok(Value::Array(items));
            }
            let item = self.below(&items.len().to_string(), Self::value)?;
            items.push(item);
            self.blanks();
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            if !self.take(b',') {
                return Err(self.error("',' or ']' is missing"));
            }
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        loop {
            match bytes.get(end) {
                None => return Err(self.error("the closing quote is missing")),
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
            }
        }
        let quoted = self.text.get(self.at..=end).ok_or_else(|| self.error("an escape is cut short"))?;
        let text = serde_json::from_str(quoted)
            .map_err(|_| self.error("the text has an invalid escape or a control character"))?;
        self.at = end + 1;
        Ok(text)
    }

    fn literal(&mut self) -> Result<Value, JsonError> {
        let rest = &self.text[self.at..];
        let end = rest.find([',', '}', ']', ' ', '\t', '\n', '\r', ':', '"', '{', '[']).unwrap_or(rest.len());
        let value = serde_json::from_str(&rest[..end]).map_err(|_| {
            self.error(format!("'{}' is no value", rest.chars().take(20).collect::<String>()))
        })?;
        self.at += end;
        Ok(value)
    }
}

/// A token of a JSON pointer.
pub(crate) fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_and_their_places() {
        let text = "{\n  \"a/b\": [1, {\"c\": \"\\u00e9\\n\"}],\n  \"n\": -1.50e3 }";
        let (value, places) = read(text).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(line_and_column(text, places.offset("/a~1b/1/c")), (2, 20));
        assert_eq!(line_and_column(text, places.offset("/a~1b/1/missing")), (2, 14));
        assert_eq!(read("[]").unwrap().0, json!([]));
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        for (text, line, column, message) in [
            ("{\"a\": 1,\n \"a\": 2}", 2, 2, "twice"),
            ("{\"a\" 1}", 1, 6, "':'"),
            ("[1 2]", 1, 4, "','"),
            ("[1,]", 1, 4, "no value"),
            ("{", 1, 2, "name"),
            ("\"a", 1, 1, "closing quote"),
            ("\"\\", 1, 1, "closing quote"),
            ("[1] 2", 1, 5, "after the value"),
            ("", 1, 1, "missing"),
            ("NaN", 1, 1, "no value"),
            ("\"\\ud800\"", 1, 1, "escape"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
            assert!(error.message.contains(message), "{text}: {error}");
        }
        assert!(read(&"[".repeat(100_000)).unwrap_err().message.contains("nested"));
    }
}

//! The shorthand syntax of the AWS command line: `key=value,list=a,b,nested={x=1,y=[1,2]}`.
//!
//! Purely syntactic: every scalar is a string until [`coerce`](super::coerce) reads it against a shape.
//!
//! ```text
//! parameter = keyval *("," keyval)
//! keyval    = key "=" values            key = 1*[A-Za-z0-9-_.#/:]
//! values    = csv / list / hash         csv = value *("," value)   one value is a scalar, several are a list
//! list      = "[" [item *("," item)] "]"
//! hash      = "{" [key "=" item *("," key "=" item)] "}"
//! item      = list / hash / value       value = bare / 'quoted' / "quoted"
//! ```
//! `\,` in a bare value is a comma; `\'`, `\"` and `\\` in a quoted one are what they escape.
//! Source: AWS CLI user guide, "Using shorthand syntax in the AWS CLI".

use serde_json::{Map, Value};

/// The deepest nesting that is read; beyond it the input is refused rather than the stack risked.
pub(super) const DEPTH_MAX: usize = 64;

/// What is wrong with a shorthand text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("Expected: '{expected}', received: '{received}' for input:\n{}", pointer(.input, *.at))]
    Unexpected {
        expected: String,
        received: String,
        input: String,
        /// Index of the character (not the byte) where reading stopped.
        at: usize,
    },
    #[error(
        "Second instance of key \"{key}\" encountered for input:\n{}\nThis is often because there is a preceding \",\" instead of a space.",
        pointer(.input, *.at)
    )]
    DuplicateKey { key: String, input: String, at: usize },
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// Reads one shorthand parameter into an object whose scalars are all strings.
///
/// # Errors
/// [`Error`] names what was expected and points at the place.
pub(super) fn parse(input: &str) -> Result<Value, Error> {
    Parser { chars: input.chars().collect(), at: 0, depth: 0 }.parameter().map(Value::Object)
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: usize,
}

/// Where a bare value stands: the first value after `=` may contain `=` and `[`, later ones of a list may not contain `=`.
#[derive(Clone, Copy, PartialEq)]
enum Position {
    First,
    Following,
}

impl Parser {
    fn parameter(&mut self) -> Result<Map<String, Value>, Error> {
        let mut object = Map::new();
        let (key, value) = self.keyval()?;
        object.insert(key, value);
        while !self.at_end() {
            let before = self.at;
            self.expect_spaced(',')?;
            let (key, value) = self.keyval()?;
            if object.contains_key(&key) {
                return Err(Error::DuplicateKey { key, input: self.input(), at: before + 1 });
            }
            object.insert(key, value);
        }
        Ok(object)
    }

    fn keyval(&mut self) -> Result<(String, Value), Error> {
        let key = self.key();
        self.expect_spaced('=')?;
        let value = match self.current() {
            None => Value::String(String::new()),
            Some('[') => self.nested(Self::list)?,
            Some('{') => self.nested(Self::hash)?,
            Some(_) => self.csv()?,
        };
        Ok((key, value))
    }

    fn key(&mut self) -> String {
        let start = self.at;
        while self.current().is_some_and(|c| c.is_ascii_alphanumeric() || "-_.#/:".contains(c)) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    /// One value, or a list when more values follow before the next `key=`.
    fn csv(&mut self) -> Result<Value, Error> {
        let first = self.scalar(Position::First)?;
        self.skip_spaces();
        if self.current() != Some(',') {
            return Ok(Value::String(first));
        }
        let mut comma = self.at;
        self.expect_spaced(',')?;
        let mut list = vec![Value::String(first)];
        loop {
            match self.csv_item() {
                Ok((item, ended)) => {
                    list.push(Value::String(item));
                    if ended {
                        break;
                    }
                    comma = self.last_comma();
                }
                Err(error) if self.at_end() => return Err(error),
                // `a=1,2,c=3`: the third word was the next key; step back to the comma before it.
                Err(_) => {
                    self.at = comma;
                    break;
                }
            }
        }
        Ok(match list.len() {
            1 => list.remove(0),
            _ => Value::Array(list),
        })
    }

    fn csv_item(&mut self) -> Result<(String, bool), Error> {
        let item = self.scalar(Position::Following)?;
        self.skip_spaces();
        if self.at_end() {
            return Ok((item, true));
        }
        self.expect_spaced(',')?;
        Ok((item, false))
    }

    fn list(&mut self) -> Result<Value, Error> {
        self.expect_spaced('[')?;
        let mut items = Vec::new();
        while self.current() != Some(']') {
            items.push(self.item()?);
            self.separator(']')?;
        }
        self.expect(']')?;
        Ok(Value::Array(items))
    }

    fn hash(&mut self) -> Result<Value, Error> {
        self.expect_spaced('{')?;
        let mut object = Map::new();
        while self.current() != Some('}') {
            let key = self.key();
            self.expect_spaced('=')?;
            let value = self.item()?;
            self.separator('}')?;
            object.insert(key, value);
        }
        self.expect('}')?;
        Ok(Value::Object(object))
    }

    fn item(&mut self) -> Result<Value, Error> {
        match self.current() {
            Some('[') => self.nested(Self::list),
            Some('{') => self.nested(Self::hash),
            _ => self.scalar(Position::First).map(Value::String),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, Error>) -> Result<Value, Error> {
        if self.depth == DEPTH_MAX {
            return Err(Error::TooDeep);
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn separator(&mut self, close: char) -> Result<(), Error> {
        self.skip_spaces();
        if self.current() != Some(close) {
            self.expect(',')?;
            self.skip_spaces();
        }
        Ok(())
    }

    fn scalar(&mut self, position: Position) -> Result<String, Error> {
        match self.current() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote),
            _ => self.bare(position),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, Error> {
        let start = self.at;
        let mut text = String::new();
        self.at += 1;
        loop {
            match (self.current(), self.chars.get(self.at + 1).copied()) {
                (Some('\\'), Some(next)) if next == quote || next == '\\' => {
                    text.push(next);
                    self.at += 2;
                }
                (Some(c), _) if c == quote => {
                    self.at += 1;
                    return Ok(text);
                }
                (Some(c), _) => {
                    text.push(c);
                    self.at += 1;
                }
                (None, _) => {
                    self.at = start;
                    let kind = if quote == '"' { "double" } else { "singled" };
                    return Err(self.unexpected(&format!("<{kind} quoted>"), "<none>"));
                }
            }
        }
    }

    fn bare(&mut self, position: Position) -> Result<String, Error> {
        let start = self.at;
        let mut text = String::new();
        while let Some(c) = self.current() {
            if c == '\\' && self.chars.get(self.at + 1) == Some(&',') {
                text.push(',');
                self.at += 2;
                continue;
            }
            let allowed = if self.at == start { starts_bare(c) } else { follows_bare(c, position) };
            if !allowed {
                break;
            }
            text.push(c);
            self.at += 1;
        }
        if self.at == start && position == Position::Following {
            return Err(self.unexpected("<second>", "<none>"));
        }
        text.truncate(text.trim_end().len());
        Ok(text)
    }

    fn last_comma(&self) -> usize {
        self.chars[..self.at].iter().rposition(|c| *c == ',').expect("a comma was just consumed")
    }

    fn current(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn at_end(&self) -> bool {
        self.at >= self.chars.len()
    }

    fn skip_spaces(&mut self) {
        while self.current().is_some_and(|c| c.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn expect_spaced(&mut self, wanted: char) -> Result<(), Error> {
        self.skip_spaces();
        self.expect(wanted)?;
        self.skip_spaces();
        Ok(())
    }

    fn expect(&mut self, wanted: char) -> Result<(), Error> {
        match self.current() {
            Some(c) if c == wanted => {
                self.at += 1;
                Ok(())
            }
            Some(c) => Err(self.unexpected(&wanted.to_string(), &c.to_string())),
            None => Err(self.unexpected(&wanted.to_string(), "EOF")),
        }
    }

    fn unexpected(&self, expected: &str, received: &str) -> Error {
        Error::Unexpected {
            expected: expected.to_owned(),
            received: received.to_owned(),
            input: self.input(),
            at: self.at,
        }
    }

    fn input(&self) -> String {
        self.chars.iter().collect()
    }
}

fn starts_bare(c: char) -> bool {
    !c.is_whitespace() && !matches!(c, '"' | '\'' | ',' | '=' | '[' | '{')
}

fn follows_bare(c: char, position: Position) -> bool {
    match position {
        Position::First => !matches!(c, '"' | '\'' | ',' | ']' | '}'),
        Position::Following => !matches!(c, '"' | '\'' | ',' | '='),
    }
}

/// The input with a caret under the character at `at`, on the line that it belongs to.
fn pointer(input: &str, at: usize) -> String {
    let chars: Vec<char> = input.chars().collect();
    let at = at.min(chars.len());
    let column = chars[..at].iter().rev().take_while(|c| **c != '\n').count();
    let line_end = chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |offset| at + offset);
    let consumed: String = chars[..line_end].iter().collect();
    let remaining: String = chars[line_end..].iter().collect();
    format!("{consumed}\n{}^{remaining}", " ".repeat(column))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_the_syntax_reads_as_the_aws_command_line_reads_it() {
        for (input, expected) in [
            ("a=b", json!({"a": "b"})),
            ("a=", json!({"a": ""})),
            ("a=b,c=d", json!({"a": "b", "c": "d"})),
            ("a=b,c", json!({"a": ["b", "c"]})),
            ("a=b,c,d=e", json!({"a": ["b", "c"], "d": "e"})),
            ("a=b,c,d=e,f", json!({"a": ["b", "c"], "d": ["e", "f"]})),
            ("a=b=c", json!({"a": "b=c"})),
            ("a = b , c = d", json!({"a": "b", "c": "d"})),
            ("a=[]", json!({"a": []})),
            ("a=[b]", json!({"a": ["b"]})),
            ("a=[b, c]", json!({"a": ["b", "c"]})),
            ("a={}", json!({"a": {}})),
            ("a={b=c,d=[e,{f=g}]},h=i", json!({"a": {"b": "c", "d": ["e", {"f": "g"}]}, "h": "i"})),
            ("a='b,c'", json!({"a": "b,c"})),
            ("a=\"b c\",d='e'", json!({"a": "b c", "d": "e"})),
            (r"a='it\'s'", json!({"a": "it's"})),
            (r#"a="say \"x\"""#, json!({"a": "say \"x\""})),
            (r"a='back\\slash'", json!({"a": "back\\slash"})),
            (r"a=b\,c", json!({"a": "b,c"})),
            (r"a=\,b", json!({"a": ",b"})),
            ("a='b','c'", json!({"a": ["b", "c"]})),
            ("key=Environment,value=Production", json!({"key": "Environment", "value": "Production"})),
            ("egressFilter={allowAll=true}", json!({"egressFilter": {"allowAll": "true"}})),
            ("a=b\n,c=d", json!({"a": "b", "c": "d"})),
            ("a=b,=c", json!({"a": "b", "": "c"})),
            ("a=b,'c=d',e=f", json!({"a": ["b", "c=d"], "e": "f"})),
            ("a=[a,]", json!({"a": ["a"]})),
            ("a= ,b", json!({"a": ["", "b"]})),
            ("a=é☃", json!({"a": "é☃"})),
            ("a:b/c.d#e-f_g=1", json!({"a:b/c.d#e-f_g": "1"})),
        ] {
            assert_eq!(parse(input), Ok(expected), "{input}");
        }
    }

    #[test]
    fn an_error_points_at_the_place() {
        for (input, message) in [
            ("a", "Expected: '=', received: 'EOF' for input:\na\n ^"),
            ("a=b,", "Expected: '<second>', received: '<none>' for input:\na=b,\n    ^"),
            ("a=b]", "Expected: ',', received: ']' for input:\na=b]\n   ^"),
            ("a=[b", "Expected: ',', received: 'EOF' for input:\na=[b\n    ^"),
            ("a={b}", "Expected: '=', received: '}' for input:\na={b}\n    ^"),
            ("a='b", "Expected: '<singled quoted>', received: '<none>' for input:\na='b\n  ^"),
        ] {
            let error = parse(input).expect_err(input);
            assert_eq!(error.to_string(), message, "{input}");
        }
    }

    #[test]
    fn a_key_given_twice_is_refused_with_advice() {
        let error = parse("key=a,value=b,key=c").expect_err("twice");
        assert!(error.to_string().starts_with("Second instance of key \"key\""), "{error}");
        assert!(error.to_string().contains("instead of a space"), "{error}");
    }

    #[test]
    fn nesting_has_a_limit() {
        let deep = format!("a={}{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
        assert_eq!(parse(&deep), Err(Error::TooDeep));
        let allowed = format!("a={}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert!(parse(&allowed).is_ok());
    }
}

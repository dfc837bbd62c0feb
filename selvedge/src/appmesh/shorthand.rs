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
        self.expect_spaced(',')?;
        let mut list = vec![Value::String(first)];
        loop {
            match self.csv_item() {
                Ok((item, ended)) => {
                    list.push(Value::String(item));
                    if ended {
                        break;
                    }
                }
                Err(error) if self.at_end() => return Err(error),
                // `a=1,2,c=3`: the third word was the next key; step back to the comma before it.
                Err(_) => {
                    self.back_to_comma();
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
        let Some(end) = self.closing(quote) else {
            let kind = if quote == '"' { "double" } else { "singled" };
            return Err(self.unexpected(&format!("<{kind} quoted>"), "<none>"));
        };
        let text: String = self.chars[self.at + 1..end].iter().collect();
        self.at = end + 1;
        Ok(text.replace(&format!("\\{quote}"), &quote.to_string()).replace("\\\\", "\\"))
    }

    /// Where a quoted value ends: at the first quote that no backslash precedes, or, failing that, at the last one.
    fn closing(&self, quote: char) -> Option<usize> {
        let mut escaped = None;
        let mut at = self.at + 1;
        while let Some(&c) = self.chars.get(at) {
            if c == quote {
                return Some(at);
            }
            if c == '\\' && self.chars.get(at + 1) == Some(&quote) {
                at += 1;
                escaped = Some(at);
            }
            at += 1;
        }
        escaped
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

    /// To the nearest comma at or before this place; there is one, since a list began with it.
    fn back_to_comma(&mut self) {
        while self.at > 0 && self.current() != Some(',') {
            self.at -= 1;
        }
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

    /// What the AWS command line's own parser makes of each text: the value, or null where it refuses.
    fn aws_parses(texts: &[String]) -> Option<Vec<Value>> {
        const SCRIPT: &str = "
import json, sys
from awscli.shorthand import ShorthandParser
def parsed(text):
    try:
        return ShorthandParser().parse(text)
    except Exception:
        return None
json.dump([parsed(text) for text in json.load(sys.stdin)], sys.stdout)
";
        let python = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
        let mut child = std::process::Command::new(python)
            .args(["-c", SCRIPT])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .ok()?;
        let mut stdin = child.stdin.take().expect("piped above");
        std::io::Write::write_all(&mut stdin, &serde_json::to_vec(texts).expect("JSON")).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("the script ends");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    #[test]
    fn arbitrary_texts_are_read_or_refused_as_the_aws_command_line_does() {
        const ALPHABET: &[u8] = b"aab==,,[]{}'\"\\ .1";
        // A fixed sequence: the same texts in every run. (Knuth's MMIX constants.)
        let mut state: u64 = 20_190_125;
        let mut next = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let texts: Vec<String> = (0..20_000)
            .map(|_| {
                let body: String =
                    (0..next(14)).map(|_| ALPHABET[next(ALPHABET.len() as u64) as usize] as char).collect();
                format!("a={body}")
            })
            .collect();
        let Some(expected) = aws_parses(&texts) else {
            eprintln!("SKIPPED: no AWS command line in target/venv");
            return;
        };
        for (text, expected) in texts.iter().zip(expected) {
            assert_eq!(parse(text).unwrap_or(Value::Null), expected, "{text}");
        }
    }
}
